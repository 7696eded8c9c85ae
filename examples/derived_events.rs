//! A processor that turns events into other events.
//!
//! ```console
//! $ cargo run --example derived_events
//! ```
//!
//! `Watch` counts failed logins by address and emits one alarm at the third. The alarm has a key of its own, the
//! user's name, so it may be processed on another shard. Emitting inside a processor never waits.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use keylane::{Bus, Emitter, Event, EventType, Processor, ShardContext};
use serde::Serialize;

const ALARM: EventType = EventType::user(0);

#[derive(Debug, Clone, Serialize)]
struct FailedLogin {
    user: &'static str,
    from: Ipv4Addr,
}

struct Watch {
    emitter: Emitter,
    failures: HashMap<Ipv4Addr, u32>,
}

impl Watch {
    fn new(cx: &ShardContext) -> Self {
        Self { emitter: cx.emitter(), failures: HashMap::new() }
    }
}

impl Processor for Watch {
    fn process(&mut self, event: &Event) {
        let Some(login) = event.get::<FailedLogin>() else { return };
        let failures = self.failures.entry(login.from).or_default();
        *failures += 1;
        if *failures != 3 {
            return;
        }
        // On a shard an emit that finds no room is refused at once; waiting could be waiting for oneself.
        if let Err(error) = self.emitter.try_emit(ALARM, login.clone(), login.user) {
            eprintln!("alarm not raised: {error}");
        }
    }
}

struct Alarms {
    shard: usize,
}

impl Processor for Alarms {
    fn process(&mut self, event: &Event) {
        let (shard, hops) = (self.shard, event.hops());
        println!("shard {shard}: {} after {hops} hop: {}", event.kind(), event.value());
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = Bus::builder()
        .shards(2)
        .processor_for("watch", [EventType::FAILED_AUTH], Watch::new)
        .processor_for("alarms", [ALARM], |cx: &ShardContext| Alarms { shard: cx.shard() })
        .build()?;

    let emitter = bus.emitter();
    for (user, host) in [("ann", 7), ("bob", 9), ("ann", 7), ("eve", 9), ("ann", 7), ("eve", 9)] {
        let from = Ipv4Addr::new(192, 0, 2, host);
        emitter.emit_blocking(
            EventType::FAILED_AUTH,
            FailedLogin { user, from },
            &from.octets(),
        )?;
    }

    // Six from outside, two derived: a shutdown waits for those as well.
    println!("{}", bus.shutdown(Duration::from_secs(5)));
    Ok(())
}
