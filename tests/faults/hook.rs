//! The fault hook: its panics, what it prints, and what it may do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crate::support::{LONG, Ledger, mute_deliberate_panics, within};
use keylane::{Bus, Emitter, Fault, FaultPolicy, ShardContext};

use crate::shaky::*;
use crate::values::{On, Render, Touchy, Weight};
use crate::{KIND, OTHER};

#[test]
fn a_hook_that_panics_changes_nothing() {
    mute_deliberate_panics();
    for payload in [Payload::Text, Payload::Bomb] {
        within(60, move || {
            let calls = Arc::new(AtomicU64::new(0));
            let mut plan = Plan::new(|number| number % 2 == 0);
            (plan.payload, plan.shutdown, plan.drop) = (payload, true, true);
            let bus = Bus::builder()
                .shards(1)
                .fault_policy(FaultPolicy::Restart)
                .on_fault({
                    let calls = calls.clone();
                    move |fault: &Fault| {
                        calls.fetch_add(1, Ordering::Relaxed);
                        payload.throw(&fault.to_string());
                    }
                })
                .processor("shaky", plan.factory())
                .build()
                .expect("it builds");
            emit_all(&bus, 0..100);
            assert_counts(&bus.shutdown(LONG), 50, 50);
            // Fifty events, and the end of fifty-one instances in two ways.
            assert_eq!(calls.load(Ordering::Relaxed), 50 + 2 * 51);
        });
    }
}

#[test]
fn a_fault_prints_without_its_value() {
    mute_deliberate_panics();
    within(60, || {
        let text = Arc::new(Mutex::new(String::new()));
        let bus = Bus::builder()
            .shards(1)
            .on_fault({
                let text = text.clone();
                move |fault: &Fault| {
                    *text.lock().expect("unpoisoned") = format!("{fault} | {fault:?}");
                }
            })
            .processor("render", |_: &ShardContext| Render(Ledger::new(1)))
            .build()
            .expect("it builds");
        let value = Touchy { number: 1, on: On::Debug, _weight: Weight::Light };
        bus.emitter().try_emit(KIND, value, "k").expect("room");
        assert_counts(&bus.shutdown(LONG), 0, 1);
        let text = text.lock().expect("unpoisoned");
        for part in ["shard 0", "\"render\"", "process", "deliberate", "USER(0)"] {
            assert!(text.contains(part), "{text}");
        }
    });
}

/// The hook reports each fault as an event, and that event causes the next fault. The hop limit must end it, also while the
/// bus drains.
#[test]
fn a_hook_that_feeds_the_processor_that_panics() {
    mute_deliberate_panics();
    within(60, || {
        let emitter: Arc<OnceLock<Emitter>> = Arc::default();
        let (accepted, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let bus = Bus::builder()
            .shards(2)
            .hop_limit(5)
            .on_fault({
                let (emitter, accepted, refused) =
                    (emitter.clone(), accepted.clone(), refused.clone());
                move |fault: &Fault| {
                    let emitter = emitter.get().expect("set before the first event");
                    let number: u64 = *fault.event().and_then(|event| event.get()).expect("u64");
                    match emitter.try_emit(OTHER, number, number) {
                        Ok(()) => accepted.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            assert!(error.is_hop_limit());
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            })
            .processor("shaky", Plan::new(|_| true).factory())
            .build()
            .expect("it builds");
        assert!(emitter.set(bus.emitter()).is_ok());
        emit_all(&bus, 0..10);
        let report = bus.shutdown(LONG);
        assert_counts(&report, 0, 60);
        assert_eq!(accepted.load(Ordering::Relaxed), 50, "each event has five descendants");
        assert_eq!(refused.load(Ordering::Relaxed), 10);
    });
}
