//! A processor is replaced while events flow, and no event is lost or seen twice.
//!
//! ```console
//! $ cargo run --release --example hot_swap
//! ```
//!
//! A producer emits 0, 1, 2, ... under one key and never stops for the swaps. Each generation says which numbers it saw:
//! every one begins where the one before it ended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use keylane::{Bus, Event, EventType, Processor, Producer, ShardContext};

/// Notes the first and the last number.
struct Range {
    generation: u64,
    seen: Option<(u64, u64)>,
    count: u64,
}

impl Range {
    fn new(cx: &ShardContext) -> Self {
        Self { generation: cx.generation(), seen: None, count: 0 }
    }
}

impl Processor for Range {
    fn process(&mut self, event: &Event) {
        if let Some(&number) = event.get::<u64>() {
            self.seen = Some((self.seen.map_or(number, |(first, _)| first), number));
            self.count += 1;
        }
    }

    fn shutdown(&mut self) {
        let Self { generation, seen, count } = self;
        let (first, last) = seen.unwrap_or_default();
        println!("generation {generation}: {count} events, {first} to {last}");
    }
}

fn emit_until(stop: &AtomicBool, mut producer: Producer) -> u64 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        producer.emit_blocking(EventType::user(0), number, "the key").expect("the bus is open");
        number += 1;
    }
    number
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = Bus::builder().shards(1).processor("range", Range::new).build()?;
    let stop = AtomicBool::new(false);
    let emitted = thread::scope(|scope| {
        let producer = bus.producer();
        let emitted = scope.spawn(|| emit_until(&stop, producer));
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(50));
            // Returns when every shard has switched.
            bus.replace_processor("range", Range::new).expect("the factory does not fail");
        }
        thread::sleep(Duration::from_millis(50));
        stop.store(true, Ordering::Relaxed);
        emitted.join().expect("the producer does not panic")
    });
    println!("emitted {emitted}");
    println!("{}", bus.shutdown(Duration::from_secs(5)));
    Ok(())
}
