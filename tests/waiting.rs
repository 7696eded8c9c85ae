//! Promise 3, for emits that wait: whoever waits for room gets it, or is told that the bus is closed, whatever becomes of
//! those that wait beside it.

mod support;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use keylane::{
    Bus, EmitError, Emitter, Event, EventType, Processor, Reason, ShardContext, WaitStrategy,
};
use support::{LONG, Latch, Ledger, Random, eventually, stress, within};

const KIND: EventType = EventType::user(0);
const STRATEGIES: [WaitStrategy; 4] =
    [WaitStrategy::BusySpin, WaitStrategy::Adaptive, WaitStrategy::Park, WaitStrategy::Sleeping];

/// Does nothing until its latch is open, then fills a ledger.
struct Held(Latch, Ledger);

impl Processor for Held {
    fn process(&mut self, event: &Event) {
        self.0.wait();
        self.1.process(event);
    }
}

fn held_bus(capacity: usize, strategy: WaitStrategy, numbers: usize) -> (Bus, Latch, Ledger) {
    let (latch, ledger) = (Latch::new(), Ledger::new(numbers));
    let bus = Bus::builder()
        .shards(1)
        .capacity(capacity)
        .wait(strategy)
        .processor("held", {
            let (latch, ledger) = (latch.clone(), ledger.clone());
            move |_: &ShardContext| Held(latch.clone(), ledger.clone())
        })
        .build()
        .expect("it builds");
    (bus, latch, ledger)
}

/// Emits until there is no room. Returns the next number.
fn fill(emitter: &Emitter) -> u64 {
    let mut number = 0;
    // The event that the shard holds has left the ring's free slots alone, so this ends at the capacity.
    while emitter.try_emit(KIND, number, 0).is_ok() {
        number += 1;
    }
    number
}

/// Counts how often it was woken.
#[derive(Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

type Waiting<'a> = Pin<Box<dyn Future<Output = Result<(), EmitError>> + 'a>>;

fn waiting(emitter: &Emitter, numbers: std::ops::Range<u64>) -> Vec<Waiting<'_>> {
    let mut cx = Context::from_waker(Waker::noop());
    numbers
        .map(|number| {
            let mut emit: Waiting<'_> = Box::pin(emitter.emit(KIND, number, 0));
            assert!(emit.as_mut().poll(&mut cx).is_pending(), "the ring is full");
            emit
        })
        .collect()
}

/// Tasks that are alive and that nobody polls, as in a list of futures while the loop around it awaits something else.
#[test]
fn futures_that_nobody_polls_block_nobody() {
    for strategy in STRATEGIES {
        within(60, move || {
            let (bus, latch, ledger) = held_bus(2, strategy, 100);
            let emitter = bus.emitter();
            let first = fill(&emitter);
            let mut idle = waiting(&emitter, first..first + 20);
            latch.open();
            for number in 60..70u64 {
                emitter.emit_blocking(KIND, number, 0).expect("open");
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            for number in 70..80u64 {
                runtime.block_on(emitter.emit(KIND, number, 0)).expect("open");
            }
            let mut cx = Context::from_waker(Waker::noop());
            for emit in &mut idle {
                eventually("there is room", || match emit.as_mut().poll(&mut cx) {
                    Poll::Ready(result) => result.map(|()| true).expect("open"),
                    Poll::Pending => false,
                });
            }
            assert_eq!(bus.shutdown(LONG).processed, first + 40);
            ledger.assert_exactly((0..first + 20).chain(60..80));
        });
    }
}

#[test]
fn futures_that_are_dropped_lose_and_block_nothing() {
    for strategy in STRATEGIES {
        within(60, move || {
            let (bus, latch, ledger) = held_bus(4, strategy, 200);
            let emitter = bus.emitter();
            let first = fill(&emitter);
            let mut random = Random::new(5);
            let woken = Arc::new(Count::default());
            let waker = Waker::from(woken.clone());
            let mut cx = Context::from_waker(&waker);
            let mut futures: Vec<(u64, Waiting<'_>)> = (first..100)
                .map(|number| (number, Box::pin(emitter.emit(KIND, number, 0)) as Waiting<'_>))
                .collect();
            for (_, emit) in &mut futures {
                assert!(emit.as_mut().poll(&mut cx).is_pending());
            }
            // Some go before they are woken, some after.
            futures.retain(|_| random.below(3) > 0);
            latch.open();
            eventually("the first are woken", || woken.0.load(Ordering::Relaxed) >= 4);
            futures.retain(|_| random.below(3) > 0);
            let mut accepted: Vec<u64> = (0..first).collect();
            while !futures.is_empty() {
                futures.retain_mut(|(number, emit)| match emit.as_mut().poll(&mut cx) {
                    Poll::Ready(result) => {
                        result.expect("open");
                        accepted.push(*number);
                        false
                    }
                    Poll::Pending => true,
                });
                thread::yield_now();
            }
            let report = bus.shutdown(LONG);
            assert_eq!(report.accepted, accepted.len() as u64);
            ledger.assert_exactly(accepted);
            drop(waker);
            assert_eq!(Arc::strong_count(&woken), 1, "no waker stays behind");
        });
    }
}

#[test]
fn a_cancelled_emit_leaves_no_waker_behind() {
    within(60, || {
        let (bus, latch, _) = held_bus(1, WaitStrategy::Adaptive, 10);
        let emitter = bus.emitter();
        fill(&emitter);
        let woken = Arc::new(Count::default());
        for _ in 0..100 {
            let waker = Waker::from(woken.clone());
            let mut emit = pin!(emitter.emit(KIND, 9u64, 0));
            assert!(emit.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            // A second poll with the same waker does not enter twice.
            assert!(emit.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(Arc::strong_count(&woken), 1);
        latch.open();
        assert!(bus.shutdown(LONG).is_clean());
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    });
}

/// Writes down that it was woken.
struct Note(u64, Arc<Mutex<Vec<u64>>>);

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.1.lock().expect("no panic under this lock").push(self.0);
    }
}

/// A `select!` polls all its branches whenever one of them is woken.
#[test]
fn a_poll_out_of_turn_keeps_the_place_in_the_line() {
    within(60, || {
        let (bus, latch, ledger) = held_bus(4, WaitStrategy::Adaptive, 10);
        let emitter = bus.emitter();
        let first = fill(&emitter);
        let woken = Arc::new(Mutex::new(Vec::new()));
        let waker = |number| Waker::from(Arc::new(Note(number, woken.clone())));
        let mut emits = waiting(&emitter, first..first + 3);
        for (number, emit) in emits.iter_mut().enumerate().rev() {
            // With another waker than before, and the last one of the line first.
            let waker = waker(number as u64);
            assert!(emit.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        latch.open();
        eventually("all are woken", || woken.lock().expect("no panic").len() == 3);
        for emit in &mut emits {
            let polled = emit.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_ready(), "the ring had room for all");
        }
        assert_eq!(*woken.lock().expect("no panic"), [0, 1, 2]);
        assert!(bus.shutdown(LONG).is_clean());
        ledger.assert_exactly(0..first + 3);
    });
}

/// A future is polled on one thread, with that thread's ring, and then on another; the first thread ends meanwhile.
#[test]
fn a_future_that_changes_threads_while_it_waits() {
    within(60, || {
        for round in 0..200 * stress() {
            let (bus, latch, ledger) = held_bus(1, WaitStrategy::Adaptive, 10);
            let emitter = bus.emitter();
            let (woken, waker) = {
                let count = Arc::new(Count::default());
                (count.clone(), Waker::from(count))
            };
            let mut emit = pin!(emitter.emit(KIND, 5u64, 0));
            thread::scope(|scope| {
                let (emit, waker) = (&mut emit, &waker);
                let emitter = emitter.clone();
                scope.spawn(move || {
                    let filled = fill(&emitter);
                    assert!(filled == 1 || filled == 2, "{filled}");
                    let poll = emit.as_mut().poll(&mut Context::from_waker(waker));
                    assert!(poll.is_pending(), "round {round}");
                });
            });
            latch.open();
            eventually("it is woken", || woken.0.load(Ordering::Relaxed) > 0);
            let polled = emit.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_ready(), "this thread's ring is empty");
            assert!(bus.shutdown(LONG).is_clean());
            assert_eq!(ledger.times(5), 1);
        }
    });
}

#[test]
fn many_threads_through_a_small_ring() {
    within(120, || {
        for (capacity, max_rings) in [(1, 0), (2, 1), (8, 0), (4, 4096)] {
            let per_thread = 2_000 * stress();
            let ledger = Ledger::new(8 * per_thread as usize);
            let bus = Bus::builder()
                .shards(1)
                .capacity(capacity)
                .max_rings(max_rings)
                .processor("ledger", {
                    let ledger = ledger.clone();
                    move |_: &ShardContext| ledger.clone()
                })
                .build()
                .expect("it builds");
            thread::scope(|scope| {
                for number in 0..8 {
                    let emitter = bus.emitter();
                    let numbers = number * per_thread..(number + 1) * per_thread;
                    scope.spawn(move || {
                        for number in numbers {
                            emitter.emit_blocking(KIND, number, 0).expect("open");
                        }
                    });
                }
            });
            assert!(bus.shutdown(LONG).is_clean());
            ledger.assert_exactly(0..8 * per_thread);
        }
    });
}

#[test]
fn many_tasks_through_a_small_ring() {
    within(120, || {
        for (threads, capacity) in [(1, 1), (1, 8), (2, 2), (3, 64)] {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(threads)
                .enable_time()
                .build()
                .expect("a runtime");
            let (tasks, each) = (100, 40 * stress());
            let ledger = Ledger::new((tasks * each) as usize);
            let bus = Bus::builder()
                .shards(1)
                .capacity(capacity)
                .processor("ledger", {
                    let ledger = ledger.clone();
                    move |_: &ShardContext| ledger.clone()
                })
                .build()
                .expect("it builds");
            let running: Vec<_> = (0..tasks)
                .map(|task| {
                    let emitter = bus.emitter();
                    runtime.spawn(async move {
                        for number in task * each..(task + 1) * each {
                            emitter.emit(KIND, number, 0).await.expect("open");
                        }
                    })
                })
                .collect();
            for task in running {
                runtime.block_on(task).expect("no panic");
            }
            assert!(bus.shutdown(LONG).is_clean());
            ledger.assert_exactly(0..tasks * each);
        }
    });
}

#[test]
fn a_timeout_gives_the_event_back_and_the_next_try_works() {
    within(60, || {
        let (bus, latch, ledger) = held_bus(2, WaitStrategy::Adaptive, 100);
        let (emitter, mut producer) = (bus.emitter(), bus.producer());
        let first = fill(&emitter);
        while producer.try_emit(KIND, 90u64, 0).is_ok() {}
        for patience in [Duration::ZERO, Duration::from_micros(1), Duration::from_millis(5)] {
            let errors = [
                emitter.emit_timeout(KIND, 50u64, "key", patience).map_err(|error| (error, 50)),
                producer.emit_timeout(KIND, 51u64, 0, patience).map_err(|error| (error, 51)),
            ];
            for (number, error) in [0, 1].into_iter().zip(errors) {
                let (error, number_back) = error.expect_err("the ring is full");
                assert_eq!(error.reason(), Reason::Timeout, "{number}");
                assert_eq!(error.into_event().get::<u64>(), Some(&number_back));
            }
        }
        latch.open();
        emitter.emit_timeout(KIND, 50u64, 0, LONG).expect("room comes");
        producer.emit_timeout(KIND, 51u64, 0, Duration::MAX).expect("room comes");
        assert!(bus.shutdown(LONG).is_clean());
        assert_eq!((ledger.times(50), ledger.times(51)), (1, 1));
        assert_eq!(ledger.times(first - 1), 1);
    });
}
