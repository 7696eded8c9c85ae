//! The README's first example: a processor, a bus, some events, an orderly end.
//!
//! ```console
//! $ cargo run --example quick_start
//! ```
//!
//! Every event is printed by the shard that its key leads to; the steps of one order come in their order.

use keylane::{Bus, Event, EventType, Processor, ShardContext};
use std::time::Duration;

struct Print(usize);

impl Processor for Print {
    fn process(&mut self, event: &Event) {
        println!("shard {}: {event}", self.0);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let factory = |cx: &ShardContext| Print(cx.shard());
    let bus = Bus::builder().shards(2).processor("print", factory).build()?;
    for (order, step) in [("A-1", "placed"), ("B-2", "placed"), ("A-1", "paid")] {
        bus.emitter().emit_blocking(EventType::user(0), step, order)?;
    }
    println!("{}", bus.shutdown(Duration::from_secs(5)));
    Ok(())
}
