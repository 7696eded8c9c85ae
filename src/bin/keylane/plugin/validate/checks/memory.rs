//! Memory over many events of the same few keys.

use std::time::{Duration, Instant};

use keylane_plugin_abi::flush_reason;

use super::delivery::{Fate, end, flush, give, usual};
use super::{Subject, Talk};
use crate::plugin::raw::Desk;
use crate::plugin::validate::subject::Holdings;

/// Each quarter is this many batches of 64 events, or this much time.
const BATCHES: i64 = 500;
const QUARTER: Duration = Duration::from_secs(3);

pub(super) fn run(subject: &Subject, talk: &Talk) {
    let Some(library) = subject.library(talk) else { return };
    let desk = Desk::new(0);
    let mut instance = match library.create(&desk, &subject.config, (0, 1)) {
        Ok(instance) => instance,
        Err(answer) => return subject.not_created(talk, &answer),
    };
    let batch = usual(64);
    talk.step("process 64 events again and again");
    // A table that doubles grows in one quarter; a leak grows in all. The first is for what is allocated once.
    let (mut grown, mut events, mut leaked) = (0, 0, 0);
    for quarter in 0..5 {
        let before = Holdings::now();
        let began = Instant::now();
        let mut batches = 0;
        while batches < BATCHES && began.elapsed() < QUARTER {
            if give(&mut instance, &desk, &batch, talk) == Fate::Gone {
                return;
            }
            desk.advance(1_000_000);
            batches += 1;
        }
        flush(&mut instance, flush_reason::IDLE, talk);
        // At the least a few bytes for each batch.
        if let Some(bytes) = Holdings::now().leaked_since(&before, batches)
            && quarter > 0
        {
            grown += 1;
            leaked += bytes;
            events += batches * 64;
        }
    }
    if grown == 4 {
        talk.fail(format!(
            "it grows with the events: {events} events of 7 keys took {leaked} bytes, {:.1} each",
            leaked as f64 / events as f64
        ));
    }
    end(instance, talk);
}
