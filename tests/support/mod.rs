//! What the tests of the bus share: a watchdog, latches in place of sleeps, processors that keep records, and a child
//! process for measurements that must be alone.

// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code, unused_imports)]

mod alone;
mod latch;
mod panics;
mod random;
mod recorder;
mod watchdog;

pub(crate) use alone::{alone, command, in_child_process, resident_bytes};
pub(crate) use latch::{Latch, eventually};
pub(crate) use panics::{DELIBERATE, mute_deliberate_panics};
pub(crate) use random::Random;
pub(crate) use recorder::{Ledger, OrderCheck, Recorded, Recorder, Violations};
pub(crate) use watchdog::within;

use std::time::Duration;

/// A deadline that no healthy bus reaches, however busy the machine is.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// How much longer than usual the stress tests run: `KEYLANE_STRESS=10` for ten times.
pub(crate) fn stress() -> u64 {
    std::env::var("KEYLANE_STRESS").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}
