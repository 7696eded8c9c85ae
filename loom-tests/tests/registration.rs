//! Rings that come and go while the worker makes its rounds.
//!
//! | model | proves | threads, events, capacity | preemptions |
//! |---|---|---|---|
//! | `a_ring_is_handed_on` | a ring whose producer is gone is drained, retired and used by the next one; each event once | 2, 2, 1 | 2 |
//! | `a_ring_comes_while_another_goes` | the same for two threads: the second producer gets the ring of the first, or one of its own | 3, 2, 1 | 2 |
//! | `a_thread_that_ends_gives_its_ring_back` | the rings of an emitter's threads | 3, 2, 1 | 2 |
//! | `producers_without_a_ring_share_one` | beyond the limit of rings, through the common one | 3, 2, 2 | 2 |
#![cfg(loom)]

use keylane::{Bus, EventType};
use keylane_loom_tests::{Log, Payload, check, finish, start};
use loom::thread;

const KIND: EventType = EventType::user(0);

fn one_shard(max_rings: usize, capacity: usize) -> (Bus, Log) {
    let log = Log::default();
    let builder = Bus::builder().shards(1).capacity(capacity).max_rings(max_rings);
    (start(builder.processor("log", log.record())), log)
}

/// Ends the bus, and checks that events 0 to `events` were processed, once each.
fn account(bus: &Bus, log: &Log, events: u64) {
    let report = finish(bus);
    assert_eq!((report.accepted, report.processed), (events, events));
    let mut seen = log.entries();
    seen.sort_unstable();
    assert_eq!(seen, (0..events).collect::<Vec<_>>());
}

#[test]
fn a_ring_is_handed_on() {
    check(2, || {
        let (bus, log) = one_shard(8, 1);
        for number in 0..2 {
            bus.producer().try_emit(KIND, Payload::new(number), 0).unwrap();
        }
        account(&bus, &log, 2);
        assert_eq!(log.entries(), [0, 1]);
    });
}

#[test]
fn a_ring_comes_while_another_goes() {
    check(2, || {
        let (bus, log) = one_shard(8, 1);
        let (mut one, mut two) = (bus.producer(), bus.producer());
        let other = thread::spawn(move || {
            one.try_emit(KIND, Payload::new(0), 0).unwrap();
            drop(one);
        });
        two.try_emit(KIND, Payload::new(1), 0).unwrap();
        other.join().unwrap();
        account(&bus, &log, 2);
    });
}

#[test]
fn a_thread_that_ends_gives_its_ring_back() {
    check(2, || {
        let (bus, log) = one_shard(8, 1);
        let emitter = bus.emitter();
        let other = {
            let emitter = emitter.clone();
            thread::spawn(move || emitter.try_emit(KIND, Payload::new(0), 0).unwrap())
        };
        emitter.try_emit(KIND, Payload::new(1), 0).unwrap();
        other.join().unwrap();
        account(&bus, &log, 2);
    });
}

#[test]
fn producers_without_a_ring_share_one() {
    check(2, || {
        let (bus, log) = one_shard(0, 2);
        let (mut one, mut two) = (bus.producer(), bus.producer());
        let other = thread::spawn(move || {
            one.try_emit(KIND, Payload::new(0), 0).unwrap();
            one
        });
        two.try_emit(KIND, Payload::new(1), 0).unwrap();
        let _one = other.join().unwrap();
        account(&bus, &log, 2);
    });
}
