//! The checks. Each is told what it does before it does it, and tells what is wrong.

mod bus;
mod calls;
mod config;
mod create;
mod delivery;
mod events;
mod load;
mod memory;
mod state;

use super::subject::Subject;
use super::talk::Talk;

/// One check.
pub(super) struct Check {
    pub(super) name: &'static str,
    /// What is good when nothing is found.
    pub(super) what: &'static str,
    pub(super) run: fn(&Subject, &Talk),
    /// Whether the others do what it does: when it does not come to its end, they would not.
    pub(super) is_basic: bool,
}

/// All of them, in the order in which they are run: what the others rest on first.
pub(super) const CHECKS: [Check; 9] = [
    Check {
        name: "load",
        what: "loads, and what it says of itself is right",
        run: load::run,
        is_basic: true,
    },
    Check {
        name: "config",
        what: "takes its configuration and refuses others",
        run: config::run,
        is_basic: false,
    },
    Check {
        name: "create",
        what: "instances come and go, and leave nothing behind",
        run: create::run,
        is_basic: true,
    },
    Check {
        name: "calls",
        what: "calls in any order that may come, a host short of everything",
        run: calls::run,
        is_basic: false,
    },
    Check {
        name: "values",
        what: "every kind of value, and odd events",
        run: events::run,
        is_basic: false,
    },
    Check {
        name: "batches",
        what: "batches of 0 to 1024 events, with the same result",
        run: delivery::run,
        is_basic: false,
    },
    Check {
        name: "memory",
        what: "does not grow with the events",
        run: memory::run,
        is_basic: false,
    },
    Check {
        name: "state",
        what: "saves its state, loads it, refuses what is none",
        run: state::run,
        is_basic: false,
    },
    Check {
        name: "bus",
        what: "on a bus with shards, producers and swaps, all is processed",
        run: bus::run,
        is_basic: false,
    },
];
