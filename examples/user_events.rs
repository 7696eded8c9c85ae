//! Event types and values of one's own, a processor that knows them and one that does not.
//!
//! ```console
//! $ cargo run --example user_events
//! ```
//!
//! `Revenue` asks each event for the type that it expects. `Json` takes whatever comes, and gets deliveries only.

use std::collections::BTreeMap;
use std::time::Duration;

use keylane::{Bus, Event, EventType, Processor, ShardContext};
use serde::Serialize;

// All of a program's types in one place: two of them with one number would be the same type.
const ORDER_PAID: EventType = EventType::user(0);
const ORDER_SHIPPED: EventType = EventType::user(1);

/// Up to 32 bytes travel in the event itself.
#[derive(Debug, Serialize)]
struct Payment {
    customer: u32,
    cents: u64,
}

/// More than that travels in a box, which is allocated by the emit.
#[derive(Debug, Serialize)]
struct Delivery {
    customer: u32,
    parcels: Vec<String>,
    carrier: &'static str,
}

/// Adds up what each customer paid. One key is on one shard only, so shards need not share their sums.
#[derive(Default)]
struct Revenue {
    cents: BTreeMap<u32, u64>,
}

impl Processor for Revenue {
    fn process(&mut self, event: &Event) {
        if let Some(payment) = event.get::<Payment>() {
            *self.cents.entry(payment.customer).or_default() += payment.cents;
        }
    }

    fn shutdown(&mut self) {
        for (customer, cents) in &self.cents {
            println!("customer {customer} paid {}.{:02}", cents / 100, cents % 100);
        }
    }
}

/// Renders values of any type.
struct Json;

impl Processor for Json {
    fn process(&mut self, event: &Event) {
        match event.value().to_json() {
            Ok(json) => println!("{} {json}", event.kind()),
            Err(error) => println!("{} has no JSON form: {error}", event.kind()),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = Bus::builder()
        .shards(2)
        .processor("revenue", |_: &ShardContext| Revenue::default())
        .processor_for("json", [ORDER_SHIPPED], |_: &ShardContext| Json)
        .build()?;

    let emitter = bus.emitter();
    for customer in 1..=3 {
        for cents in [1999, 450] {
            let payment = Payment { customer, cents };
            emitter.emit_blocking(ORDER_PAID, payment, u64::from(customer))?;
        }
    }
    let parcels = vec!["books".to_owned(), "a lamp".to_owned()];
    let delivery = Delivery { customer: 2, parcels, carrier: "bicycle" };
    emitter.emit_blocking(ORDER_SHIPPED, delivery, 2)?;

    println!("{}", bus.shutdown(Duration::from_secs(5)));
    Ok(())
}
