//! Promise 2: if one emit returned before another began, on any threads or tasks, and both have the same key, the first
//! event is processed before the second.
//!
//! Numbers per key must only grow at the processor. Which hand-overs cause trouble depends on the machine, so these run
//! on the real clock and the real scheduler; `KEYLANE_STRESS=n` makes them `n` times as long.

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use keylane::{Bus, EmitError, Emitter, EventType, Key, Producer, Reason, ShardContext, Value};
use support::{LONG, OrderCheck, Random, Violations, stress, within};

const KIND: EventType = EventType::user(0);

/// Threads that hand a token over spin; two tests at once would take each other's cores away.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone_within(seconds: u64, body: impl FnOnce() + Send + 'static) {
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    within(seconds, body);
    drop(turn);
}

fn checking_bus(shards: usize, capacity: usize) -> (Bus, Violations) {
    let violations = Violations::default();
    let bus = Bus::builder()
        .shards(shards)
        .capacity(capacity)
        .processor("order", {
            let violations = violations.clone();
            move |_: &ShardContext| OrderCheck::new(&violations)
        })
        .build()
        .expect("it builds");
    (bus, violations)
}

/// Ends the bus and fails unless exactly `count` events came, each key's in order.
#[track_caller]
fn finish(bus: &Bus, violations: &Violations, count: u64, what: &str) {
    let report = bus.shutdown(LONG);
    assert!(report.is_clean(), "{what}: {report}");
    assert_eq!((report.processed, report.faulted), (count, 0), "{what}");
    let violations = violations.lock().expect("unpoisoned");
    assert!(violations.is_empty(), "{what}: out of order: {violations:#?}");
}

/// One of the ways to emit that a thread may choose from event to event.
enum Sender {
    Emitter(Emitter),
    Producer(Box<Producer>),
    Both(Emitter, Box<Producer>),
}

impl Sender {
    fn new(form: u64, bus: &Bus) -> Self {
        match form {
            0 => Self::Emitter(bus.emitter()),
            1 => Self::Producer(Box::new(bus.producer())),
            _ => Self::Both(bus.emitter(), Box::new(bus.producer())),
        }
    }

    fn emit(&mut self, random: &mut Random, number: u64, key: Key) {
        match self {
            Self::Emitter(emitter) => by_emitter(emitter, random, number, key),
            Self::Producer(producer) => by_producer(producer, random, number, key),
            Self::Both(emitter, producer) => {
                if random.below(2) == 0 {
                    by_emitter(emitter, random, number, key);
                } else {
                    by_producer(producer, random, number, key);
                }
            }
        }
    }
}

fn by_emitter(emitter: &Emitter, random: &mut Random, number: u64, key: Key) {
    match random.below(4) {
        0 => emitter.emit_blocking(KIND, number, key).expect("open"),
        1 => emitter.emit_timeout(KIND, number, key, LONG).expect("open and moving"),
        _ => retry(number, |value| emitter.try_emit(KIND, value, key)),
    }
}

fn by_producer(producer: &mut Producer, random: &mut Random, number: u64, key: Key) {
    match random.below(5) {
        0 => producer.emit_blocking(KIND, number, key).expect("open"),
        1 => producer.emit_timeout(KIND, number, key, LONG).expect("open and moving"),
        2 => assert_eq!(producer.emit_batch([(KIND, number.into(), key)]).expect("open"), 1),
        _ => retry(number, |value| producer.try_emit(KIND, value, key)),
    }
}

/// Tries until there is room, with the event that came back.
fn retry(number: u64, mut emit: impl FnMut(Value) -> Result<(), EmitError>) {
    let mut value = Value::new(number);
    while let Err(error) = emit(value) {
        assert_eq!(error.reason(), Reason::Full);
        value = error.into_event().into_value();
        assert_eq!(value.get(), Some(&number), "the event came back as it was");
        thread::yield_now();
    }
}

/// `threads` threads pass a token around; whoever has it emits the next number and passes it on.
fn pass_a_token(bus: &Bus, threads: u64, rounds: u64, forms: &[u64], keys: u64) {
    let token = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..threads {
            let mut sender = Sender::new(forms[thread as usize % forms.len()], bus);
            let (token, mut random) = (&token, Random::new(thread));
            scope.spawn(move || {
                let mut number = thread;
                while number < rounds {
                    await_token(token, number);
                    sender.emit(&mut random, number, Key::from(number / 7 % keys));
                    token.store(number + 1, Ordering::Release);
                    number += threads;
                }
            });
        }
    });
}

/// Spins until the token shows `number`, and lets others run now and then.
fn await_token(token: &AtomicU64, number: u64) {
    let mut looks = 0;
    while token.load(Ordering::Acquire) != number {
        looks += 1;
        if looks % 200 == 0 {
            thread::yield_now();
        }
        std::hint::spin_loop();
    }
}

fn hand_over(shards: usize, capacity: usize, threads: u64, forms: &[u64], keys: u64) {
    let what =
        format!("{shards} shards of {capacity}, {threads} threads of forms {forms:?}, {keys} keys");
    let rounds = 20_000 * stress();
    let (bus, violations) = checking_bus(shards, capacity);
    pass_a_token(&bus, threads, rounds, forms, keys);
    finish(&bus, &violations, rounds, &what);
}

#[test]
fn a_token_between_emitters() {
    alone_within(120, || {
        for capacity in [1, 2, 8, 1024] {
            hand_over(1, capacity, 2, &[0], 1);
        }
        hand_over(3, 8, 2, &[0], 5);
    });
}

#[test]
fn a_token_between_producers() {
    alone_within(120, || {
        for capacity in [1, 2, 8, 1024] {
            hand_over(1, capacity, 2, &[1], 1);
        }
        hand_over(2, 8, 2, &[1], 5);
    });
}

#[test]
fn a_token_between_everything() {
    alone_within(120, || {
        for capacity in [1, 2, 8, 1024] {
            hand_over(2, capacity, 2, &[0, 1], 1);
            hand_over(2, capacity, 2, &[2], 3);
        }
        hand_over(3, 1024, 3, &[0, 1, 2], 7);
    });
}

#[test]
fn a_token_beyond_the_limit_of_rings() {
    alone_within(120, || {
        for max_rings in [0, 1] {
            let violations = Violations::default();
            let bus = Bus::builder()
                .shards(2)
                .capacity(8)
                .max_rings(max_rings)
                .processor("order", {
                    let violations = violations.clone();
                    move |_: &ShardContext| OrderCheck::new(&violations)
                })
                .build()
                .expect("it builds");
            let rounds = 20_000 * stress();
            pass_a_token(&bus, 3, rounds, &[0, 1, 2], 3);
            finish(&bus, &violations, rounds, &format!("{max_rings} rings"));
        }
    });
}

/// A producer moves to another thread after every few events, and its former thread goes on with an emitter.
#[test]
fn one_producer_that_changes_threads() {
    alone_within(120, || {
        for capacity in [2, 64] {
            let (bus, violations) = checking_bus(2, capacity);
            let rounds = 60_000 * stress();
            let (to_other, other) = std::sync::mpsc::channel::<(Producer, u64)>();
            let (to_me, me) = std::sync::mpsc::channel::<(Producer, u64)>();
            let work = |inbox: std::sync::mpsc::Receiver<(Producer, u64)>,
                        outbox: std::sync::mpsc::Sender<(Producer, u64)>,
                        emitter: Emitter| {
                move || {
                    while let Ok((mut producer, number)) = inbox.recv() {
                        if number >= rounds {
                            break;
                        }
                        producer.emit_blocking(KIND, number, 1).expect("open");
                        emitter.emit_blocking(KIND, number + 1, 1).expect("open");
                        if outbox.send((producer, number + 2)).is_err() {
                            break;
                        }
                    }
                }
            };
            to_me.send((bus.producer(), 0)).expect("the receiver is there");
            let first = thread::spawn(work(me, to_other, bus.emitter()));
            let second = thread::spawn(work(other, to_me, bus.emitter()));
            first.join().expect("no panic");
            second.join().expect("no panic");
            finish(&bus, &violations, rounds, "a producer on the move");
        }
    });
}

/// A batch is one emit: what another thread emits after the call returned comes after all of it, what it emitted before
/// the call began comes before all of it.
#[test]
fn batches_against_single_emits() {
    alone_within(120, || {
        for (shards, capacity) in [(1, 1), (1, 8), (2, 64), (3, 1024)] {
            let (bus, violations) = checking_bus(shards, capacity);
            let token = AtomicU64::new(0);
            let numbers = 100_000 * stress();
            thread::scope(|scope| {
                let token = &token;
                let turns = move |parity: u64, emit: &mut dyn FnMut(u64, u64)| {
                    let mut random = Random::new(parity);
                    loop {
                        let now = token.load(Ordering::Acquire);
                        if now >> 1 >= numbers {
                            return;
                        }
                        if now & 1 != parity {
                            thread::yield_now();
                            continue;
                        }
                        let first = now >> 1;
                        let last = (first + 1 + random.below(200)).min(numbers);
                        emit(first, last);
                        token.store(last << 1 | (parity ^ 1), Ordering::Release);
                    }
                };
                let mut producer = bus.producer();
                scope.spawn(move || {
                    turns(0, &mut |first, last| {
                        let items = (first..last).map(|n| (KIND, n.into(), Key::from(n % 3)));
                        assert_eq!(producer.emit_batch(items).expect("open") as u64, last - first);
                    });
                });
                let emitter = bus.emitter();
                scope.spawn(move || {
                    turns(1, &mut |first, last| {
                        for number in first..last {
                            retry(number, |value| emitter.try_emit(KIND, value, number % 3));
                        }
                    });
                });
            });
            finish(&bus, &violations, numbers, &format!("batches, {shards} shards of {capacity}"));
        }
    });
}

/// One task per key. It emits before and after each point where the scheduler may move it to another thread.
async fn wander(emitter: Emitter, key: u64, steps: u64) {
    let mut random = Random::new(key);
    let mut number = 0;
    while number < steps {
        // Where two numbers are emitted without a pause, they are on one thread.
        for _ in 0..1 + random.below(3) {
            match random.below(4) {
                0 | 1 => emitter.emit(KIND, number, key).await.expect("open"),
                2 => {
                    let mut value = Value::new(number);
                    while let Err(error) = emitter.try_emit(KIND, value, key) {
                        value = error.into_event().into_value();
                        tokio::task::yield_now().await;
                    }
                }
                // Another task, which may run on another thread at once, emits one number in between.
                _ => {
                    let emitter = emitter.clone();
                    let emit = async move { emitter.emit(KIND, number, key).await.expect("open") };
                    tokio::spawn(emit).await.expect("no panic");
                }
            }
            number += 1;
        }
        if random.below(3) == 0 {
            tokio::task::yield_now().await;
        }
    }
    // What was emitted beyond the number of steps is at most two; the count is evened out.
    while number < steps + 2 {
        emitter.emit(KIND, number, key).await.expect("open");
        number += 1;
    }
}

#[test]
fn tasks_that_move_between_threads() {
    alone_within(180, || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(3)
            .build()
            .expect("a runtime");
        for (shards, capacity, tasks) in [(1, 1, 3), (1, 8, 2), (2, 2, 6), (3, 1024, 12)] {
            let (bus, violations) = checking_bus(shards, capacity);
            let steps = 6_000 * stress();
            let running: Vec<_> =
                (0..tasks).map(|key| runtime.spawn(wander(bus.emitter(), key, steps))).collect();
            for task in running {
                runtime.block_on(task).expect("no panic");
            }
            let what = format!("{tasks} tasks, {shards} shards of {capacity}");
            finish(&bus, &violations, tasks * (steps + 2), &what);
        }
    });
}

/// A task and a plain thread hand one token around.
#[test]
fn a_token_between_a_task_and_a_thread() {
    alone_within(120, || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .expect("a runtime");
        for capacity in [1, 8] {
            let (bus, violations) = checking_bus(1, capacity);
            let rounds = 20_000 * stress();
            let (to_task, mut task_inbox) = tokio::sync::mpsc::unbounded_channel();
            let (to_thread, thread_inbox) = std::sync::mpsc::channel();
            let emitter = bus.emitter();
            let task = runtime.spawn(async move {
                while let Some(number) = task_inbox.recv().await {
                    emitter.emit(KIND, number, "key").await.expect("open");
                    to_thread.send(number + 1).expect("the thread waits");
                }
            });
            let mut producer = bus.producer();
            for number in (0..rounds).step_by(2) {
                producer.emit_timeout(KIND, number, "key", Duration::MAX).expect("open");
                to_task.send(number + 1).expect("the task waits");
                assert_eq!(thread_inbox.recv(), Ok(number + 2));
            }
            drop(to_task);
            runtime.block_on(task).expect("no panic");
            finish(&bus, &violations, rounds, "a task and a thread");
        }
    });
}

/// One thread has a producer that stays; the other makes a new one for each turn, whose ring comes and goes. So stamps have to
/// order the events at some moments and not at others.
#[test]
fn a_second_ring_that_comes_and_goes() {
    alone_within(120, || {
        for (shards, batches) in [(1, false), (1, true), (2, false), (2, true)] {
            let (bus, violations) = checking_bus(shards, 64);
            let rounds = 20_000 * stress();
            let token = AtomicU64::new(0);
            thread::scope(|scope| {
                let mut stays = bus.producer();
                let (bus, token) = (&bus, &token);
                scope.spawn(move || {
                    take_turns(token, 0, rounds, |number| {
                        emit_two(&mut stays, number, batches);
                    });
                });
                scope.spawn(move || {
                    take_turns(token, 1, rounds, |number| {
                        emit_two(&mut bus.producer(), number, batches);
                    });
                });
            });
            finish(&bus, &violations, rounds, &format!("{shards} shards, batches: {batches}"));
        }
    });
}

fn emit_two(producer: &mut Producer, number: u64, batch: bool) {
    let key = Key::from(1);
    let events = [number, number + 1].map(|number| (KIND, Value::new(number), key));
    if batch {
        assert_eq!(producer.emit_batch(events).expect("open"), 2);
    } else {
        for (kind, value, key) in events {
            producer.emit_blocking(kind, value, key).expect("open");
        }
    }
}

/// Acts on every other pair of numbers, when its turn has come.
fn take_turns(token: &AtomicU64, parity: u64, rounds: u64, mut act: impl FnMut(u64)) {
    for number in (2 * parity..rounds).step_by(4) {
        await_token(token, number);
        act(number);
        token.store(number + 2, Ordering::Release);
    }
}
