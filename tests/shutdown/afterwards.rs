//! After the end, and after a build that failed: nothing goes on and nothing is left.

use std::sync::{Arc, Mutex};
use std::task::Poll;

use crate::support::{LONG, alone, mute_deliberate_panics, within};
use keylane::{BuildError, Bus, EmitError, Key, NoopProcessorFactory, Reason, ShardContext};

use crate::last_handle::ledger_bus;
use crate::stuck::*;
use crate::{OUTSIDE, poll_once};

#[test]
fn everything_is_refused_after_the_end() {
    within(60, || {
        let kept = Arc::new(Mutex::new(None));
        let bus = Bus::builder()
            .shards(1)
            .processor("keeps", {
                let kept = kept.clone();
                move |cx: &ShardContext| {
                    *kept.lock().expect("unpoisoned") = Some(cx.emitter());
                    keylane::NoopProcessor
                }
            })
            .build()
            .expect("it builds");
        let inner = kept.lock().expect("unpoisoned").take().expect("the factory ran");
        inner.emit_blocking(OUTSIDE, 1u64, 0).expect("a processor's emitter works elsewhere too");
        let (emitter, mut producer) = (bus.emitter(), bus.producer());
        assert_eq!(bus.shutdown(LONG).processed, 1);
        let closed = |result: Result<(), EmitError>| {
            assert_eq!(result.expect_err("it is closed").reason(), Reason::Closed);
        };
        for _ in 0..3 {
            closed(emitter.try_emit(OUTSIDE, 1u64, 0));
            closed(emitter.emit_blocking(OUTSIDE, 1u64, 0));
            closed(emitter.emit_timeout(OUTSIDE, 1u64, 0, LONG));
            closed(inner.try_emit(OUTSIDE, 1u64, 0));
            closed(producer.try_emit(OUTSIDE, 1u64, 0));
            closed(producer.emit_blocking(OUTSIDE, 1u64, 0));
            closed(bus.producer().emit_timeout(OUTSIDE, 1u64, 0, LONG));
            closed(bus.emitter().try_emit(OUTSIDE, 1u64, Key::NONE));
            match poll_once(emitter.emit(OUTSIDE, 1u64, 0)) {
                Poll::Ready(result) => closed(result),
                Poll::Pending => panic!("waits for a bus that is gone"),
            }
        }
        drop((bus, emitter, producer));
        closed(inner.emit_blocking(OUTSIDE, 1u64, 0));
    });
}

#[test]
fn instances_end_once_on_their_threads_after_their_last_event() {
    within(60, || {
        let journal = Journal::default();
        let bus = Bus::builder()
            .shards(3)
            .processor("a", stuck(&journal, &Arc::default(), Walk::Default, None))
            .processor("b", stuck(&journal, &Arc::default(), Walk::ForEach, None))
            .build()
            .expect("it builds");
        let emitter = bus.emitter();
        for number in 0..100u64 {
            emitter.emit_blocking(OUTSIDE, number, number).expect("open");
        }
        assert!(bus.shutdown(LONG).is_clean());
        journal.assert_all_ended_once(6);
        assert_eq!((journal.numbers("a").len(), journal.numbers("b").len()), (100, 100));
    });
}

fn threads_of_buses() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux has /proc");
    let names = tasks.filter_map(|task| {
        std::fs::read_to_string(task.expect("an entry").path().join("comm")).ok()
    });
    names.filter(|name| name.starts_with("keylane-")).count()
}

#[test]
fn a_failed_build_leaves_nothing_behind() {
    alone("afterwards::a_failed_build_leaves_nothing_behind", || {
        mute_deliberate_panics();
        within(60, || {
            for panics in [true, false] {
                let journal = Journal::default();
                let made = stuck(&journal, &Arc::default(), Walk::Default, None);
                let error = Bus::builder()
                    .shards(4)
                    .processor("noop", NoopProcessorFactory)
                    .processor("made", made)
                    .processor("fails", move |cx: &ShardContext| match cx.shard() {
                        2 if panics => panic!("deliberate: no disk"),
                        2 => Err("deliberate: no disk"),
                        _ => Ok(keylane::NoopProcessor),
                    })
                    .build()
                    .expect_err("shard 2 fails");
                assert_eq!(threads_of_buses(), 0, "the threads are gone when build returns");
                let text = error.to_string();
                for part in ["\"fails\"", "shard 2", "no disk"] {
                    assert!(text.contains(part), "{text}");
                }
                assert!(matches!(error, BuildError::Factory { shard: 2, .. }));
                journal.assert_all_ended_once(4);
            }
            for (shards, capacity) in [(0, 8), (1, 0), (1, 3), (5000, 8), (1, 1 << 40)] {
                let error = Bus::builder().shards(shards).capacity(capacity).build();
                let text = error.expect_err("out of range").to_string();
                assert!(text.contains("use "), "says what to do instead: {text}");
            }
            let twice = Bus::builder()
                .shards(1)
                .processor("x", NoopProcessorFactory)
                .processor("x", NoopProcessorFactory)
                .build();
            assert!(matches!(twice, Err(BuildError::DuplicateProcessor { .. })));
            assert_eq!(threads_of_buses(), 0);
        });
    });
}

#[test]
fn a_shutdown_leaves_no_threads_behind() {
    alone("afterwards::a_shutdown_leaves_no_threads_behind", || {
        within(60, || {
            let (bus, ..) = ledger_bus(3, 10);
            bus.emitter().try_emit(OUTSIDE, 1u64, 1).expect("room");
            assert_eq!(threads_of_buses(), 3);
            assert!(bus.shutdown(LONG).is_clean());
            assert_eq!(threads_of_buses(), 0, "the threads are gone when shutdown returns");
        });
    });
}
