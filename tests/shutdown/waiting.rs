//! Emits that wait when the bus is closed.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::thread::{self};
use std::time::Duration;

use crate::support::{eventually, within};
use keylane::{Bus, EmitError, Event, Processor, Reason, ShardContext};

use crate::stuck::*;
use crate::{OUTSIDE, runtime};

/// Whether a thread of this process sleeps in the kernel.
pub(crate) fn is_asleep(thread: &OnceLock<libc::pid_t>) -> bool {
    let Some(id) = thread.get() else { return false };
    let stat = std::fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('S'))
}

pub(crate) fn note_thread(thread: &OnceLock<libc::pid_t>) {
    // SAFETY: gettid has no arguments and cannot fail.
    thread.set(unsafe { libc::gettid() }).expect("noted once");
}

#[test]
fn waiting_emits_are_woken_and_get_their_event_back() {
    within(60, || {
        let (journal, latches) = (Journal::default(), latches(&[0]));
        let bus = Bus::builder()
            .shards(1)
            .capacity(1)
            .processor("stuck", stuck(&journal, &latches, Walk::Default, None))
            .build()
            .expect("it builds");
        bus.emitter().try_emit(OUTSIDE, 0u64, 0).expect("room");
        latches[&0].0.wait();

        type Blocking = Box<dyn FnOnce() -> Result<(), EmitError> + Send>;
        let (emitter, timed) = (bus.emitter(), bus.emitter());
        let (mut producer, mut batching) = (bus.producer(), bus.producer());
        let fill = |emit: &mut dyn FnMut(u64) -> Result<(), EmitError>| {
            emit(1).expect("a ring of its own")
        };
        let ways: Vec<Blocking> = vec![
            Box::new(move || {
                fill(&mut |n| emitter.try_emit(OUTSIDE, n, 0));
                emitter.emit_blocking(OUTSIDE, 7u64, 0)
            }),
            Box::new(move || {
                fill(&mut |n| timed.try_emit(OUTSIDE, n, 0));
                timed.emit_timeout(OUTSIDE, 7u64, 0, Duration::MAX)
            }),
            Box::new(move || {
                fill(&mut |n| producer.try_emit(OUTSIDE, n, 0));
                producer.emit_blocking(OUTSIDE, 7u64, 0)
            }),
            Box::new(move || {
                let items = [1u64, 7, 8].map(|n| (OUTSIDE, n.into(), 0.into()));
                let error = batching.emit_batch(items).expect_err("closed while it waits");
                assert_eq!((error.accepted(), error.reason()), (1, Reason::Closed));
                let rest = error.into_rest();
                let numbers: Vec<_> = rest.iter().map(|(_, value, _)| value.get::<u64>()).collect();
                assert_eq!(numbers, [Some(&7), Some(&8)]);
                Ok(())
            }),
        ];
        let mut threads = Vec::new();
        for emit in ways {
            let id = Arc::new(OnceLock::new());
            let thread = thread::spawn({
                let id = id.clone();
                move || {
                    note_thread(&id);
                    emit()
                }
            });
            eventually("the emit blocks", || is_asleep(&id));
            threads.push(thread);
        }
        let emitter = bus.emitter();
        let mut waiting: Vec<_> =
            (0..5).map(|_| Box::pin(emitter.emit(OUTSIDE, 7u64, 0))).collect();
        let mut cx = Context::from_waker(Waker::noop());
        for future in &mut waiting {
            assert!(future.as_mut().poll(&mut cx).is_pending(), "the ring is full");
        }
        // One goes away while it waits.
        waiting.pop();
        let report = bus.shutdown(Duration::from_millis(20));
        assert_eq!((report.accepted, report.processed), (5, 0));
        let back = |result: Result<(), EmitError>| {
            let error = result.expect_err("closed while it waited");
            assert_eq!(error.reason(), Reason::Closed);
            assert_eq!(error.into_event().get::<u64>(), Some(&7));
        };
        for thread in threads {
            if let Err(error) = thread.join().expect("no panic") {
                back(Err(error));
            }
        }
        for future in &mut waiting {
            let Poll::Ready(result) = future.as_mut().poll(&mut cx) else { panic!("still waits") };
            back(result);
        }
        latches[&0].1.open();
        eventually("it ends", || matches!(journal.read().last(), Some(Entry::Dropped { .. })));
        assert_eq!(journal.numbers("stuck"), [0]);
    });
}

#[test]
fn a_waiting_task_is_woken_by_the_shutdown_itself() {
    within(60, || {
        let (journal, latches) = (Journal::default(), latches(&[0]));
        let bus = Bus::builder()
            .shards(1)
            .capacity(2)
            .processor("stuck", stuck(&journal, &latches, Walk::Default, None))
            .build()
            .expect("it builds");
        let runtime = runtime();
        let emitter = bus.emitter();
        let waits = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..20u64)
            .map(|number| {
                let (emitter, waits) = (emitter.clone(), waits.clone());
                runtime.spawn(async move {
                    let mut emit = pin!(emitter.emit(OUTSIDE, number, 0));
                    std::future::poll_fn(|cx| {
                        let polled = emit.as_mut().poll(cx);
                        waits.fetch_add(u64::from(polled.is_pending()), Ordering::Relaxed);
                        polled
                    })
                    .await
                })
            })
            .collect();
        // Two runtime threads with a ring of two each, and one event that may have left its ring.
        eventually("most wait", || waits.load(Ordering::Relaxed) >= 14);
        let report = runtime.block_on(bus.shutdown_async(Duration::from_millis(20)));
        let mut accepted = 0;
        for task in tasks {
            match runtime.block_on(task).expect("no panic") {
                Ok(()) => accepted += 1,
                Err(error) => assert_eq!(error.reason(), Reason::Closed),
            }
        }
        assert_eq!(report.accepted, accepted);
        latches[&0].1.open();
    });
}

/// A batch is sorted by shards on its way in. What does not get in comes back as it was.
#[test]
fn the_rest_of_a_batch_over_several_shards_comes_back_in_order() {
    struct Held(Arc<Mutex<()>>);

    impl Processor for Held {
        fn process(&mut self, _: &Event) {
            drop(self.0.lock());
        }
    }

    for capacity in [1, 8, 256] {
        within(60, move || {
            let gate = Arc::new(Mutex::new(()));
            let closed = gate.lock().expect("nobody panics");
            let held = gate.clone();
            let bus = Bus::builder()
                .shards(3)
                .capacity(capacity)
                .processor("held", move |_: &ShardContext| Held(held.clone()))
                .build()
                .expect("it builds");
            let thread = Arc::new(OnceLock::new());
            let emitting = thread::spawn({
                let (mut producer, thread) = (bus.producer(), thread.clone());
                move || {
                    note_thread(&thread);
                    let items = (0..10_000u64).map(|n| (OUTSIDE, n.into(), n.into()));
                    producer.emit_batch(items).expect_err("closed while it waits")
                }
            });
            eventually("the batch waits for room", || is_asleep(&thread));
            let report = bus.shutdown(Duration::from_millis(20));
            let error = emitting.join().expect("no panic");
            assert_eq!(error.reason(), Reason::Closed);
            assert_eq!(error.accepted() as u64, report.accepted, "capacity {capacity}");
            let left = error.accepted() as u64..10_000;
            let rest = error.into_rest();
            let rest: Vec<_> = rest.iter().filter_map(|(_, value, _)| value.get::<u64>()).collect();
            assert!(rest.into_iter().copied().eq(left), "capacity {capacity}");
            drop(closed);
        });
    }
}
