//! Statistics: numbers that are never out of bounds, whenever they are read.
//!
//! | model | proves | threads, events, capacity | preemptions |
//! |---|---|---|---|
//! | `stats_while_emitting` | `processed + faulted <= accepted`, a depth within the ring, counters that only grow | 3, 2, 2 | 2 |
//! | `stats_while_closing` | the same during a shutdown, and the report at its end is not behind them | 3, 1, 1 | 2 |
#![cfg(loom)]

use std::time::Duration;

use keylane::{Bus, EventType, Stats};
use keylane_loom_tests::{Log, Payload, check, finish, start};
use loom::sync::Arc;
use loom::thread;

const KIND: EventType = EventType::user(0);

/// Two snapshots, one after the other; returns the later one.
fn watch(bus: &Bus, emitted: u64, capacity: u64) -> Stats {
    let mut last: Option<Stats> = None;
    for _ in 0..2 {
        let stats = bus.stats();
        assert!(stats.processed + stats.faulted <= stats.accepted, "{stats}");
        assert!(stats.accepted <= emitted, "{stats}");
        assert!(stats.depth <= capacity, "{stats}");
        if let Some(last) = last {
            assert!(last.accepted <= stats.accepted, "{last}, then {stats}");
            assert!(last.processed <= stats.processed, "{last}, then {stats}");
        }
        last = Some(stats);
    }
    last.expect("two snapshots")
}

#[test]
fn stats_while_emitting() {
    check(2, || {
        let log = Log::default();
        let bus = start(Bus::builder().shards(1).capacity(2).processor("log", log.record()));
        let mut producer = bus.producer();
        let emits = thread::spawn(move || {
            for number in 0..2 {
                producer.try_emit(KIND, Payload::new(number), 0).unwrap();
            }
            producer
        });
        watch(&bus, 2, 2);
        let _producer = emits.join().unwrap();
        let report = finish(&bus);
        assert_eq!((report.accepted, report.processed), (2, 2));
        let stats = bus.stats();
        assert_eq!((stats.accepted, stats.processed, stats.depth), (2, 2, 0));
    });
}

#[test]
fn stats_while_closing() {
    check(2, || {
        let log = Log::default();
        let bus = start(Bus::builder().shards(1).capacity(1).processor("log", log.record()));
        bus.producer().try_emit(KIND, Payload::new(0), 0).unwrap();
        let bus = Arc::new(bus);
        let watcher = {
            let bus = bus.clone();
            thread::spawn(move || watch(&bus, 1, 1))
        };
        let report = bus.shutdown(Duration::MAX);
        let stats = watcher.join().unwrap();
        assert_eq!((report.accepted, report.processed), (1, 1));
        assert!(stats.processed <= report.processed);
    });
}
