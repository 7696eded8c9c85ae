//! Several calls of `shutdown`, from anywhere.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread::{self};
use std::time::Duration;

use crate::support::{LONG, Latch, Ledger, within};
use keylane::{Bus, Event, Processor, Reason, ShardContext};

use crate::stuck::*;
use crate::{DERIVED, OUTSIDE};

#[test]
fn shutdowns_from_many_threads_give_one_report() {
    within(120, || {
        for round in 0..100 {
            let ledger = Ledger::new(64);
            let bus = Bus::builder()
                .shards(2)
                .processor("ledger", {
                    let ledger = ledger.clone();
                    move |_: &ShardContext| ledger.clone()
                })
                .build()
                .expect("it builds");
            let emitter = bus.emitter();
            for number in 0..64u64 {
                emitter.try_emit(OUTSIDE, number, number).expect("room");
            }
            let begin = Barrier::new(4);
            let reports: Vec<String> = thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|number| {
                        let (begin, bus) = (&begin, &bus);
                        scope.spawn(move || {
                            begin.wait();
                            let report = if number == 3 {
                                let runtime = tokio::runtime::Builder::new_current_thread().build();
                                runtime.expect("a runtime").block_on(bus.shutdown_async(LONG))
                            } else {
                                bus.shutdown(LONG)
                            };
                            serde_json::to_string(&report).expect("a report is JSON")
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            });
            assert!(
                reports.iter().all(|report| *report == reports[0]),
                "round {round}: {reports:#?}"
            );
            let again = bus.shutdown(Duration::ZERO);
            assert_eq!(serde_json::to_string(&again).expect("JSON"), reports[0]);
            assert!(again.is_clean());
            assert_eq!(again.processed, 64);
            ledger.assert_exactly(0..64);
        }
    });
}

#[test]
fn the_shortest_deadline_ends_all_shutdowns() {
    within(60, || {
        let (journal, latches) = (Journal::default(), latches(&[0]));
        let bus = Bus::builder()
            .shards(1)
            .processor("stuck", stuck(&journal, &latches, Walk::Default, None))
            .build()
            .expect("it builds");
        bus.emitter().try_emit(OUTSIDE, 0u64, 0).expect("room");
        latches[&0].0.wait();
        thread::scope(|scope| {
            let patient = scope.spawn(|| bus.shutdown(Duration::MAX));
            let report = bus.shutdown(Duration::from_millis(10));
            assert_report(&report, 0, 0, 1);
            assert_report(&patient.join().expect("no panic"), 0, 0, 1);
        });
        latches[&0].1.open();
    });
}

#[test]
fn shutdown_async_begins_with_the_call_and_survives_its_future() {
    within(60, || {
        let ledger = Ledger::new(10);
        let latch = Latch::new();
        struct Held(Latch, Ledger);
        impl Processor for Held {
            fn process(&mut self, event: &Event) {
                self.0.wait();
                self.1.process(event);
            }
        }
        let bus = Bus::builder()
            .shards(1)
            .processor("held", {
                let (latch, ledger) = (latch.clone(), ledger.clone());
                move |_: &ShardContext| Held(latch.clone(), ledger.clone())
            })
            .build()
            .expect("it builds");
        let emitter = bus.emitter();
        for number in 0..10u64 {
            emitter.try_emit(OUTSIDE, number, 0).expect("room");
        }
        let shutdown = bus.shutdown_async(LONG);
        let error = emitter.try_emit(OUTSIDE, 0u64, 0).expect_err("it has begun");
        assert_eq!(error.reason(), Reason::Closed);
        drop(shutdown);
        latch.open();
        let report = bus.shutdown(LONG);
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.processed, 10);
        ledger.assert_exactly(0..10);
    });
}

#[test]
fn a_shutdown_from_a_processor_closes_and_drains() {
    within(60, || {
        struct Suicide(Arc<OnceLock<Arc<Bus>>>, Ledger, Arc<AtomicBool>);
        impl Processor for Suicide {
            fn process(&mut self, event: &Event) {
                self.1.process(event);
                if event.get() == Some(&5u64) {
                    let bus = self.0.get().expect("set before the first event");
                    let report = bus.shutdown(LONG);
                    assert!(report.accepted >= 6);
                    let own = bus.emitter().try_emit(DERIVED, 19u64, 0);
                    self.2.store(own.is_ok(), Ordering::Relaxed);
                }
            }
        }
        let (cell, ledger, derived) =
            (Arc::new(OnceLock::new()), Ledger::new(20), Arc::new(AtomicBool::new(false)));
        let bus = Bus::builder()
            .shards(1)
            .processor("suicide", {
                let (cell, ledger, derived) = (cell.clone(), ledger.clone(), derived.clone());
                move |_: &ShardContext| Suicide(cell.clone(), ledger.clone(), derived.clone())
            })
            .build()
            .expect("it builds");
        let bus = Arc::new(bus);
        assert!(cell.set(bus.clone()).is_ok());
        let mut accepted = Vec::new();
        for number in 0..15u64 {
            match bus.emitter().emit_blocking(OUTSIDE, number, 0) {
                Ok(()) => accepted.push(number),
                Err(error) => assert_eq!(error.reason(), Reason::Closed),
            }
        }
        let report = bus.shutdown(LONG);
        assert!(report.is_clean(), "{report}");
        assert!(derived.load(Ordering::Relaxed), "a draining bus takes derived events");
        accepted.push(19);
        ledger.assert_exactly(accepted);
    });
}
