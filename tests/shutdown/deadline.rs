//! Deadlines that pass in the middle of something, and their reports.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{LONG, Latch, Ledger, eventually, mute_deliberate_panics, within};
use keylane::{Bus, Event, Key, Processor, ShardContext};

use crate::stuck::*;
use crate::{DERIVED, OUTSIDE};

#[test]
fn a_deadline_in_the_middle_of_a_batch() {
    for walk in [Walk::Default, Walk::ForEach, Walk::Pieces, Walk::Nested] {
        within(60, move || {
            let (journal, latches) = (Journal::default(), latches(&[0, 5]));
            let bus = Bus::builder()
                .shards(2)
                .processor("stuck", stuck(&journal, &latches, walk, None))
                .build()
                .expect("it builds");
            let (stuck_shard, other) = (Key::from(0).shard(2).expect("a key"), 1);
            assert_ne!(stuck_shard, other, "the test wants the other shard to be free");
            bus.emitter().try_emit(OUTSIDE, 100u64, "order-17").expect("room");
            assert_eq!(Key::from("order-17").shard(2), Some(other));
            eventually("the other shard is done", || bus.stats().processed == 1);
            one_batch(&bus, &latches);
            latches[&5].0.wait();
            let report = bus.shutdown(Duration::from_millis(20));
            let what = format!("{walk:?}: {report}");
            assert!(!report.is_clean(), "{what}");
            assert!(report.stuck_shards().any(|shard| shard == stuck_shard), "{what}");
            assert!(!report.shards[stuck_shard].ended, "{what}");
            // 0 to 4 were processed; 5 is under way, and 6 to 9 will never be.
            assert_eq!(report.shards[stuck_shard].processed, 5, "{what}");
            assert_report(&report, 6, 0, 5);
            // Every later call gives the same report at once.
            assert_eq!(bus.shutdown(LONG).to_string(), report.to_string());
            latches[&5].1.open();
            eventually("both instances end", || {
                journal.read().iter().filter(|e| matches!(e, Entry::Dropped { .. })).count() == 2
            });
            journal.assert_all_ended_once(2);
            let mut numbers = journal.numbers("stuck");
            numbers.retain(|&number| number != 100);
            assert_eq!(
                numbers,
                [0, 1, 2, 3, 4, 5],
                "{walk:?}: stops after the event that it is at"
            );
        });
    }
}

/// The other shards cannot end either, because the stuck one may derive events for them; that is not their fault.
#[test]
fn only_the_stuck_shard_is_named() {
    within(60, || {
        let (journal, latches) = (Journal::default(), latches(&[0]));
        let bus = Bus::builder()
            .shards(8)
            .processor("stuck", stuck(&journal, &latches, Walk::Default, None))
            .build()
            .expect("it builds");
        let stuck_shard = Key::from(0).shard(8).expect("a key");
        for number in 1..50u64 {
            bus.emitter().emit_blocking(OUTSIDE, number, number).expect("open");
        }
        eventually("all shards are idle", || bus.stats().processed == 49);
        bus.emitter().try_emit(OUTSIDE, 0u64, 0).expect("room");
        latches[&0].0.wait();
        // Long enough for seven idle threads to notice that the bus is closed.
        let report = bus.shutdown(Duration::from_secs(2));
        assert_report(&report, 49, 0, 1);
        assert_eq!(report.stuck_shards().collect::<Vec<_>>(), [stuck_shard], "{report}");
        let text = report.to_string();
        assert!(text.ends_with(&format!("did not end in time: shard {stuck_shard}")), "{text}");
        assert!(!report.is_clean());
        latches[&0].1.open();
        eventually("all end", || {
            journal.read().iter().filter(|e| matches!(e, Entry::Dropped { .. })).count() == 8
        });
        journal.assert_all_ended_once(8);
    });
}

#[test]
fn a_deadline_behind_a_fault_in_the_same_batch() {
    mute_deliberate_panics();
    within(60, || {
        let (journal, latches) = (Journal::default(), latches(&[0, 5]));
        let bus = Bus::builder()
            .shards(1)
            .processor("stuck", stuck(&journal, &latches, Walk::Default, Some(3)))
            .build()
            .expect("it builds");
        one_batch(&bus, &latches);
        latches[&5].0.wait();
        assert_report(&bus.shutdown(Duration::from_millis(20)), 4, 1, 5);
        latches[&5].1.open();
        eventually("it ends", || matches!(journal.read().last(), Some(Entry::Dropped { .. })));
        assert_eq!(journal.numbers("stuck"), [0, 1, 2, 3, 4, 5]);
        journal.assert_all_ended_once(1);
    });
}

#[test]
fn a_deadline_in_the_first_of_two_processors() {
    within(60, || {
        let (journal, latches) = (Journal::default(), latches(&[0, 5]));
        let bus = Bus::builder()
            .shards(1)
            .processor("first", stuck(&journal, &latches, Walk::Default, None))
            .processor("second", stuck(&journal, &Arc::default(), Walk::Default, None))
            .build()
            .expect("it builds");
        one_batch(&bus, &latches);
        latches[&5].0.wait();
        // The second processor gets a batch when the first is through, so of the batch 1 to 9 nothing is complete.
        assert_report(&bus.shutdown(Duration::from_millis(20)), 1, 0, 9);
        latches[&5].1.open();
        eventually("both end", || {
            journal.read().iter().filter(|e| matches!(e, Entry::Dropped { .. })).count() == 2
        });
        journal.assert_all_ended_once(2);
        assert_eq!(journal.numbers("first"), [0, 1, 2, 3, 4, 5], "stops after the event it is at");
        assert_eq!(journal.numbers("second"), [0], "what was reported abandoned stays so");
    });
}

#[test]
fn a_deadline_in_the_second_of_two_processors() {
    within(60, || {
        let (journal, latches) = (Journal::default(), latches(&[0, 5]));
        let bus = Bus::builder()
            .shards(1)
            .processor("first", stuck(&journal, &Arc::default(), Walk::Default, None))
            .processor("second", stuck(&journal, &latches, Walk::Default, None))
            .build()
            .expect("it builds");
        one_batch(&bus, &latches);
        latches[&5].0.wait();
        assert_report(&bus.shutdown(Duration::from_millis(20)), 5, 0, 5);
        latches[&5].1.open();
        eventually("both end", || {
            journal.read().iter().filter(|e| matches!(e, Entry::Dropped { .. })).count() == 2
        });
        assert_eq!(journal.numbers("second"), [0, 1, 2, 3, 4, 5]);
        journal.assert_all_ended_once(2);
    });
}

#[test]
fn a_deadline_in_a_processor_of_some_types() {
    within(60, || {
        let (journal, latches) = (Journal::default(), latches(&[0, 5]));
        let bus = Bus::builder()
            .shards(1)
            .processor_for("stuck", [OUTSIDE], stuck(&journal, &latches, Walk::Default, None))
            .build()
            .expect("it builds");
        let emitter = bus.emitter();
        emitter.try_emit(OUTSIDE, 0u64, 0).expect("room");
        latches[&0].0.wait();
        for number in 1..10u64 {
            emitter.try_emit(OUTSIDE, number, 0).expect("room");
            emitter.try_emit(DERIVED, number, 0).expect("room");
        }
        latches[&0].1.open();
        latches[&5].0.wait();
        // 0 to 4 and the four events in between that no processor wants are done.
        assert_report(&bus.shutdown(Duration::from_millis(20)), 9, 0, 10);
        latches[&5].1.open();
        eventually("it ends", || matches!(journal.read().last(), Some(Entry::Dropped { .. })));
        assert_eq!(journal.numbers("stuck"), [0, 1, 2, 3, 4, 5]);
    });
}

#[test]
fn a_shard_that_is_only_slow_stops_at_the_deadline() {
    within(60, || {
        struct Slow(Latch, Ledger, #[expect(dead_code)] Arc<()>);
        impl Processor for Slow {
            fn process(&mut self, event: &Event) {
                self.0.wait();
                self.1.process(event);
            }
        }
        let (latch, ledger) = (Latch::new(), Ledger::new(1000));
        let alive = Arc::new(Mutex::new(std::sync::Weak::new()));
        let bus = Bus::builder()
            .shards(1)
            .processor("slow", {
                let (latch, ledger, alive) = (latch.clone(), ledger.clone(), alive.clone());
                move |_: &ShardContext| {
                    let life = Arc::new(());
                    *alive.lock().expect("unpoisoned") = Arc::downgrade(&life);
                    Slow(latch.clone(), ledger.clone(), life)
                }
            })
            .build()
            .expect("it builds");
        let emitter = bus.emitter();
        for number in 0..1000u64 {
            emitter.try_emit(OUTSIDE, number, number).expect("room");
        }
        let report = bus.shutdown(Duration::ZERO);
        assert_eq!((report.accepted, report.processed), (1000, 0));
        latch.open();
        let alive = alive.lock().expect("unpoisoned").clone();
        eventually("the instance is dropped", || alive.strong_count() == 0);
        drop(bus);
        assert!(ledger.distinct() <= 1, "at most the event that it was at");
    });
}
