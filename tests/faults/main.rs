//! Promise 6: a fault stays where it is. A panic in a processor costs the one event that it panicked on; the shard goes on.

#[path = "../support/mod.rs"]
mod support;

mod callers;
mod hook;
mod instance;
mod process;
mod shaky;
mod storm;
mod values;

use keylane::EventType;

const KIND: EventType = EventType::user(0);
const OTHER: EventType = EventType::user(1);
