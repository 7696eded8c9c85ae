//! Promises 3 and 7: an accepted event is processed exactly once even when a shutdown races with it, a refused one comes
//! back, and `Processor::shutdown` runs exactly once per instance, on its own thread, after its last event.

mod support;

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use keylane::{
    BuildError, Bus, EmitError, Emitter, Event, EventType, Key, NoopProcessorFactory, Processor,
    Producer, Reason, ShardContext, ShutdownReport, Value, WaitStrategy, for_each,
};
use serde::{Serialize, Serializer};
use support::{
    LONG, Latch, Ledger, Random, alone, eventually, mute_deliberate_panics, stress, within,
};

const OUTSIDE: EventType = EventType::user(0);
const DERIVED: EventType = EventType::user(1);

// ---- the storm ----

/// A numbered value that notices when it is lost or dropped twice.
struct Ticket {
    number: u64,
    alive: Arc<AtomicI64>,
}

impl Ticket {
    fn new(number: u64, alive: &Arc<AtomicI64>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self { number, alive: alive.clone() }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket({})", self.number)
    }
}

impl Serialize for Ticket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.number)
    }
}

/// Notes every ticket, and derives a new one from some.
struct Storming {
    seen: Ledger,
    derived_accepted: Ledger,
    derived_seen: Ledger,
    next_derived: Arc<AtomicU64>,
    emitter: Emitter,
    random: Random,
    alive: Arc<AtomicI64>,
}

impl Processor for Storming {
    fn process(&mut self, event: &Event) {
        let ticket: &Ticket = event.get().expect("the storm emits tickets");
        if event.kind() == OUTSIDE {
            self.seen.note(ticket.number);
        } else {
            self.derived_seen.note(ticket.number);
        }
        if self.random.below(4) == 0 {
            let number = self.next_derived.fetch_add(1, Ordering::Relaxed);
            let ticket = Ticket::new(number, &self.alive);
            match self.emitter.try_emit(DERIVED, ticket, self.random.next()) {
                Ok(()) => self.derived_accepted.note(number),
                Err(error) => {
                    let back = error.into_event();
                    assert_eq!(back.get::<Ticket>().expect("a ticket").number, number);
                }
            }
        }
    }
}

/// What all senders of one round share.
#[derive(Clone)]
struct Weather {
    attempts: Arc<AtomicU64>,
    alive: Arc<AtomicI64>,
}

impl Weather {
    fn ticket(&self, number: u64) -> Ticket {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        Ticket::new(number, &self.alive)
    }

    /// Whether the number was accepted; `None` when the bus is closed. Checks that a refused event came back.
    #[track_caller]
    fn judge(&self, number: u64, result: Result<(), EmitError>) -> Option<bool> {
        let Err(error) = result else { return Some(true) };
        let reason = error.reason();
        let event = error.into_event();
        assert_eq!(event.get::<Ticket>().expect("a ticket").number, number, "the event came back");
        match reason {
            Reason::Closed => None,
            Reason::Full | Reason::Timeout => Some(false),
        }
    }
}

/// Polls a future once, with a waker that does nothing.
fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

const FORMS: u64 = 9;
const PER_SENDER: u64 = 150;

/// Emits in one way until the bus is closed or the numbers are used up. Returns the accepted numbers.
async fn send(form: u64, weather: Weather, emitter: Emitter, mut producer: Producer) -> Vec<u64> {
    let mut random = Random::new(form);
    let mut accepted = Vec::new();
    let mut numbers = (form * PER_SENDER)..((form + 1) * PER_SENDER);
    while let Some(number) = numbers.next() {
        let ticket = weather.ticket(number);
        let key = if random.below(5) == 0 { Key::NONE } else { Key::from(random.below(6)) };
        let patience = Duration::from_micros(random.below(300));
        let result = match form {
            0 => emitter.try_emit(OUTSIDE, ticket, key),
            1 => emitter.emit_blocking(OUTSIDE, ticket, key),
            2 => emitter.emit_timeout(OUTSIDE, ticket, key, patience),
            3 => producer.try_emit(OUTSIDE, ticket, key),
            4 => producer.emit_blocking(OUTSIDE, ticket, key),
            5 => producer.emit_timeout(OUTSIDE, ticket, key, patience),
            6 => {
                let count = random.below(20) as usize;
                let more = numbers.by_ref().take(count).map(|number| weather.ticket(number));
                let batch: Vec<_> = std::iter::once(ticket).chain(more).collect();
                let sent: Vec<_> = batch.iter().map(|ticket| ticket.number).collect();
                let items = batch.into_iter().map(|ticket| (OUTSIDE, Value::new(ticket), key));
                match producer.emit_batch(items) {
                    Ok(count) => assert_eq!(count, sent.len()),
                    Err(error) => {
                        assert_eq!(error.reason(), Reason::Closed);
                        let (gone, back) = sent.split_at(error.accepted());
                        let rest = error.into_rest();
                        let rest: Vec<_> = rest
                            .iter()
                            .map(|(_, value, _)| value.get::<Ticket>().expect("a ticket").number)
                            .collect();
                        assert_eq!(rest, back, "the rest of the batch came back");
                        accepted.extend(gone);
                        break;
                    }
                }
                accepted.extend(&sent[1..]);
                Ok(())
            }
            7 => emitter.emit(OUTSIDE, ticket, key).await,
            // A future that is dropped while it waits was never accepted.
            _ => match poll_once(emitter.emit(OUTSIDE, ticket, key)) {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    tokio::task::yield_now().await;
                    continue;
                }
            },
        };
        match weather.judge(number, result) {
            Some(true) => accepted.push(number),
            Some(false) => thread::yield_now(),
            None => break,
        }
    }
    accepted
}

/// One bus, every kind of sender, and a shutdown at a random moment.
fn storm(seed: u64, deadline: Duration, runtime: &tokio::runtime::Runtime) {
    let mut random = Random::new(seed);
    let weather = Weather { attempts: Arc::default(), alive: Arc::default() };
    let seen = Ledger::new((FORMS * PER_SENDER) as usize);
    let (derived_accepted, derived_seen) = (Ledger::new(4000), Ledger::new(4000));
    let next_derived = Arc::new(AtomicU64::new(0));
    let bus = Bus::builder()
        .shards(1 + random.below(3) as usize)
        .capacity(1 << random.below(5))
        .max_rings(*random.pick(&[0, 1, 4, 4096]))
        .wait(*random.pick(&[WaitStrategy::Adaptive, WaitStrategy::Park, WaitStrategy::Adaptive]))
        .processor("storming", {
            let (seen, alive) = (seen.clone(), weather.alive.clone());
            let (accepted, derived) = (derived_accepted.clone(), derived_seen.clone());
            let next_derived = next_derived.clone();
            move |cx: &ShardContext| Storming {
                seen: seen.clone(),
                derived_accepted: accepted.clone(),
                derived_seen: derived.clone(),
                next_derived: next_derived.clone(),
                emitter: cx.emitter(),
                random: Random::new(seed ^ cx.shard() as u64),
                alive: alive.clone(),
            }
        })
        .build()
        .expect("it builds");
    let target = random.below(FORMS * PER_SENDER * 2 / 3);
    let mut threads = Vec::new();
    let mut tasks = Vec::new();
    for form in 0..FORMS {
        let sending = send(form, weather.clone(), bus.emitter(), bus.producer());
        if form < 7 {
            threads.push(thread::spawn(move || match poll_once(sending) {
                Poll::Ready(accepted) => accepted,
                Poll::Pending => unreachable!("this form does not await"),
            }));
        } else if random.below(2) == 0 {
            tasks.push(runtime.spawn(sending));
        } else {
            threads.push(thread::spawn(|| {
                let own = tokio::runtime::Builder::new_current_thread().build();
                own.expect("a runtime").block_on(sending)
            }));
        }
    }
    eventually("the storm rises", || weather.attempts.load(Ordering::Relaxed) >= target);
    let report = match random.below(3) {
        0 => runtime.block_on(bus.shutdown_async(deadline)),
        _ => bus.shutdown(deadline),
    };
    let mut accepted = Vec::new();
    for thread in threads {
        accepted.extend(thread.join().expect("no panic in a sender"));
    }
    for task in tasks {
        accepted.extend(runtime.block_on(task).expect("no panic in a sender"));
    }
    let what = format!("seed {seed}: {report}");
    assert_eq!(report.accepted, report.processed + report.faulted + report.abandoned, "{what}");
    assert_eq!(report.faulted, 0, "{what}");
    // A shard that was told to stop may still be at one event, and derive from it what then is refused.
    let stopped = report.stuck_shards().count() as u64;
    let handles_gone = |bus: Bus| {
        drop(bus);
        eventually("every value is dropped", || weather.alive.load(Ordering::Relaxed) == 0);
    };
    if !report.is_clean() {
        // The processors may be at work until their threads end.
        handles_gone(bus);
        let accepted_in_all = accepted.len() as u64 + derived_accepted.distinct();
        assert_eq!(report.accepted, accepted_in_all, "the report counts what was accepted, {what}");
        let seen_in_all = seen.distinct() + derived_seen.distinct();
        assert!(
            (report.processed..=report.processed + stopped).contains(&seen_in_all),
            "{seen_in_all} seen, {what}"
        );
        let refused = (0..FORMS * PER_SENDER).filter(|number| !accepted.contains(number));
        for number in refused {
            assert_eq!(seen.times(number), 0, "{number} was refused, {what}");
        }
        for &number in &accepted {
            assert!(seen.times(number) <= 1, "{number} was seen twice, {what}");
        }
        return;
    }
    let derived: Vec<_> = (0..next_derived.load(Ordering::Relaxed))
        .filter(|&number| derived_accepted.times(number) > 0)
        .collect();
    assert_eq!(report.accepted, (accepted.len() + derived.len()) as u64, "{what}");
    seen.assert_exactly(accepted);
    derived_seen.assert_exactly(derived);
    handles_gone(bus);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime")
}

#[test]
fn storm_with_a_patient_shutdown() {
    within(200, || {
        let runtime = runtime();
        for seed in 0..700 * stress() {
            storm(seed, LONG, &runtime);
        }
    });
}

#[test]
fn storm_with_a_hasty_shutdown() {
    within(200, || {
        let runtime = runtime();
        for seed in 0..300 * stress() {
            let deadline = [0, 0, 20, 100, 500][seed as usize % 5];
            storm(seed, Duration::from_micros(deadline), &runtime);
        }
    });
}

/// Senders that never pause, so that at the moment of the closing some of them are interrupted in the middle of an emit: more threads
/// than cores, and nothing in a round but that moment.
#[test]
fn storm_at_full_rate() {
    within(200, || {
        for seed in 0..300 * stress() {
            let mut random = Random::new(seed);
            let count = Arc::new(AtomicU64::new(0));
            struct Count(Arc<AtomicU64>);
            impl Processor for Count {
                fn process(&mut self, _: &Event) {
                    self.0.fetch_add(1, Ordering::Relaxed);
                }
            }
            let bus = Bus::builder()
                .shards(1 + random.below(2) as usize)
                .capacity(*random.pick(&[64, 4096]))
                .max_rings(*random.pick(&[1, 4096, 4096]))
                .processor("count", {
                    let count = count.clone();
                    move |_: &ShardContext| Count(count.clone())
                })
                .build()
                .expect("it builds");
            let (attempts, target) = (AtomicU64::new(0), random.below(2_000));
            let accepted: u64 = thread::scope(|scope| {
                let senders: Vec<_> = (0..5u64)
                    .map(|form| {
                        let (emitter, mut producer) = (bus.emitter(), bus.producer());
                        let attempts = &attempts;
                        scope.spawn(move || {
                            let (mut accepted, mut number) = (0, form);
                            loop {
                                number += 1;
                                let result = match form {
                                    0 | 1 => emitter.try_emit(OUTSIDE, number, number),
                                    2 | 3 => producer.try_emit(OUTSIDE, number, number),
                                    _ => {
                                        let items = (0..70).map(|n| (OUTSIDE, n.into(), n.into()));
                                        match producer.emit_batch(items) {
                                            Ok(count) => accepted += count as u64 - 1,
                                            Err(error) => {
                                                return accepted + error.accepted() as u64;
                                            }
                                        }
                                        Ok(())
                                    }
                                };
                                attempts.fetch_add(1, Ordering::Relaxed);
                                match result.map_err(|error| error.reason()) {
                                    Ok(()) => accepted += 1,
                                    Err(Reason::Closed) => return accepted,
                                    Err(_) => thread::yield_now(),
                                }
                            }
                        })
                    })
                    .collect();
                eventually("it is under way", || attempts.load(Ordering::Relaxed) >= target);
                let report = bus.shutdown(LONG);
                assert!(report.is_clean(), "seed {seed}: {report}");
                senders.into_iter().map(|sender| sender.join().expect("no panic")).sum()
            });
            let report = bus.shutdown(LONG);
            assert_eq!((report.accepted, report.processed), (accepted, accepted), "seed {seed}");
            assert_eq!(count.load(Ordering::Relaxed), accepted, "seed {seed}");
        }
    });
}

// ---- deadlines ----

/// When a processor calls `shutdown` and on which thread, and what it saw before.
#[derive(Debug, Clone, Default)]
struct Journal {
    entries: Arc<Mutex<Vec<Entry>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Made { name: String, shard: usize, thread: ThreadId },
    Began { name: String, shard: usize, number: u64 },
    Flushed { name: String, shard: usize },
    ShutDown { name: String, shard: usize, thread: ThreadId },
    Dropped { name: String, shard: usize, thread: ThreadId },
}

impl Journal {
    fn write(&self, entry: Entry) {
        self.entries.lock().expect("no panic under this lock").push(entry);
    }

    fn read(&self) -> Vec<Entry> {
        self.entries.lock().expect("no panic under this lock").clone()
    }

    fn numbers(&self, of: &str) -> Vec<u64> {
        let number = |entry| match entry {
            Entry::Began { name, number, .. } if name == of => Some(number),
            _ => None,
        };
        self.read().into_iter().filter_map(number).collect()
    }

    /// Fails unless each instance that was made was shut down once, on its thread, after its last event, and then dropped.
    #[track_caller]
    fn assert_all_ended_once(&self, instances: usize) {
        let entries = self.read();
        let mut life: HashMap<(String, usize), (ThreadId, Vec<&'static str>)> = HashMap::new();
        for entry in &entries {
            let (name, shard, on, what) = match entry {
                Entry::Made { name, shard, thread } => {
                    life.insert((name.clone(), *shard), (*thread, vec!["made"]));
                    continue;
                }
                Entry::Began { name, shard, .. } => (name, shard, None, "event"),
                Entry::Flushed { name, shard } => (name, shard, None, "flush"),
                Entry::ShutDown { name, shard, thread } => (name, shard, Some(thread), "shutdown"),
                Entry::Dropped { name, shard, thread } => (name, shard, Some(thread), "drop"),
            };
            let (thread, so_far) = life.get_mut(&(name.clone(), *shard)).expect("made first");
            assert!(on.is_none_or(|on| on == thread), "{what} on another thread: {entries:#?}");
            so_far.push(what);
        }
        assert_eq!(life.len(), instances, "{entries:#?}");
        for ((name, shard), (_, life)) in &life {
            assert!(
                life.ends_with(&["shutdown", "drop"])
                    && life.iter().filter(|&&step| step == "shutdown").count() == 1,
                "{name} on shard {shard}: {life:?}"
            );
            let events_after_flush =
                life.iter().rev().take_while(|&&step| step != "flush").any(|&step| step == "event");
            assert!(!events_after_flush, "{name} on shard {shard} was not flushed: {life:?}");
        }
    }
}

/// How [`Stuck`] walks through a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    Default,
    ForEach,
    /// `for_each` on pieces of three events.
    Pieces,
    /// One `for_each` around another.
    Nested,
}

/// Writes a journal, and gets stuck in some events until it is released.
struct Stuck {
    name: String,
    shard: usize,
    journal: Journal,
    latches: Arc<HashMap<u64, (Latch, Latch)>>,
    walk: Walk,
    panics_on: Option<u64>,
}

impl Stuck {
    fn step(&mut self, event: &Event) {
        let &number: &u64 = event.get().expect("the test emits u64");
        let (name, shard) = (self.name.clone(), self.shard);
        self.journal.write(Entry::Began { name, shard, number });
        assert_ne!(self.panics_on, Some(number), "deliberate");
        if let Some((entered, release)) = self.latches.get(&number) {
            entered.open();
            release.wait();
        }
    }
}

impl Processor for Stuck {
    fn process(&mut self, event: &Event) {
        match self.walk {
            Walk::Nested => for_each(&[event], |event| self.step(event)),
            _ => self.step(event),
        }
    }

    fn process_batch(&mut self, events: &[&Event]) {
        match self.walk {
            Walk::Default | Walk::ForEach | Walk::Nested => {
                for_each(events, |event| self.process(event));
            }
            Walk::Pieces => {
                for piece in events.chunks(3) {
                    for_each(piece, |event| self.process(event));
                }
            }
        }
    }

    fn flush(&mut self) {
        self.journal.write(Entry::Flushed { name: self.name.clone(), shard: self.shard });
    }

    fn shutdown(&mut self) {
        let (name, shard, thread) = (self.name.clone(), self.shard, thread::current().id());
        self.journal.write(Entry::ShutDown { name, shard, thread });
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let (name, shard, thread) = (self.name.clone(), self.shard, thread::current().id());
        self.journal.write(Entry::Dropped { name, shard, thread });
    }
}

/// Makes [`Stuck`]s that get stuck in the numbers of `latches`.
fn stuck(
    journal: &Journal,
    latches: &Arc<HashMap<u64, (Latch, Latch)>>,
    walk: Walk,
    panics_on: Option<u64>,
) -> impl Fn(&ShardContext) -> Stuck + Send + Sync + 'static {
    let (journal, latches) = (journal.clone(), latches.clone());
    move |cx: &ShardContext| {
        let (name, shard, thread) = (cx.processor().to_owned(), cx.shard(), thread::current().id());
        journal.write(Entry::Made { name: name.clone(), shard, thread });
        Stuck { name, shard, journal: journal.clone(), latches: latches.clone(), walk, panics_on }
    }
}

fn latches(numbers: &[u64]) -> Arc<HashMap<u64, (Latch, Latch)>> {
    Arc::new(numbers.iter().map(|&number| (number, (Latch::new(), Latch::new()))).collect())
}

/// Brings the shard of key 0 into the middle of one batch: number 0 holds it up until 1 to 9 are in the ring behind, which
/// then are read together.
fn one_batch(bus: &Bus, latches: &HashMap<u64, (Latch, Latch)>) {
    let emitter = bus.emitter();
    emitter.try_emit(OUTSIDE, 0u64, 0).expect("room");
    latches[&0].0.wait();
    for number in 1..10u64 {
        emitter.try_emit(OUTSIDE, number, 0).expect("room");
    }
    latches[&0].1.open();
}

#[track_caller]
fn assert_report(report: &ShutdownReport, processed: u64, faulted: u64, abandoned: u64) {
    let counts = (report.accepted, report.processed, report.faulted, report.abandoned);
    assert_eq!(
        counts,
        (processed + faulted + abandoned, processed, faulted, abandoned),
        "{report}"
    );
}

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

// ---- waiting emits ----

/// Whether a thread of this process sleeps in the kernel.
fn is_asleep(thread: &OnceLock<libc::pid_t>) -> bool {
    let Some(id) = thread.get() else { return false };
    let stat = std::fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('S'))
}

fn note_thread(thread: &OnceLock<libc::pid_t>) {
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

// ---- calls of shutdown ----

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

// ---- the last handle ----

/// A bus whose processors fill a ledger and open a latch when they have been shut down.
fn ledger_bus(shards: usize, numbers: usize) -> (Bus, Ledger, Arc<AtomicU64>) {
    struct Ended(Ledger, Arc<AtomicU64>);
    impl Processor for Ended {
        fn process(&mut self, event: &Event) {
            self.0.process(event);
        }
        fn shutdown(&mut self) {
            self.1.fetch_add(1, Ordering::Release);
        }
    }
    let (ledger, ended) = (Ledger::new(numbers), Arc::new(AtomicU64::new(0)));
    let bus = Bus::builder()
        .shards(shards)
        .processor("ledger", {
            let (ledger, ended) = (ledger.clone(), ended.clone());
            move |_: &ShardContext| Ended(ledger.clone(), ended.clone())
        })
        .build()
        .expect("it builds");
    (bus, ledger, ended)
}

#[test]
fn the_last_handle_drains_on_a_thread() {
    within(120, || {
        for round in 0..60u64 {
            let (bus, ledger, ended) = ledger_bus(2, 500);
            let (emitter, mut producer) = (bus.emitter(), bus.producer());
            for number in 0..250u64 {
                emitter.emit_blocking(OUTSIDE, number, number).expect("open");
                producer.emit_blocking(OUTSIDE, 250 + number, number).expect("open");
            }
            assert_eq!(ended.load(Ordering::Acquire), 0, "three handles are left");
            // Whichever is dropped last.
            let mut handles: Vec<Box<dyn Send>> =
                vec![Box::new(bus), Box::new(emitter), Box::new(producer)];
            let last = handles.remove(round as usize % 3);
            drop(handles);
            if round % 2 == 0 {
                drop(last);
            } else {
                thread::spawn(move || drop(last)).join().expect("no panic");
            }
            assert_eq!(ended.load(Ordering::Acquire), 2, "the drop came back after the drain");
            ledger.assert_exactly(0..500);
        }
    });
}

#[test]
fn the_last_handle_drains_in_a_task() {
    within(60, || {
        for flavour in ["current", "multi"] {
            let runtime = match flavour {
                "current" => tokio::runtime::Builder::new_current_thread().build(),
                _ => tokio::runtime::Builder::new_multi_thread().worker_threads(1).build(),
            };
            let (bus, ledger, ended) = ledger_bus(2, 300);
            let emitter = bus.emitter();
            drop(bus);
            runtime.expect("a runtime").block_on(async {
                let task = tokio::spawn(async move {
                    for number in 0..300u64 {
                        emitter.emit(OUTSIDE, number, number).await.expect("open");
                    }
                    drop(emitter);
                });
                task.await.expect("no panic");
            });
            assert_eq!(ended.load(Ordering::Acquire), 2);
            ledger.assert_exactly(0..300);
        }
    });
}

/// Events carry the last handle into a processor, which drops it with the event, or in the middle of processing it.
#[test]
fn the_last_handle_drains_on_a_shard() {
    within(60, || {
        #[derive(Debug)]
        struct Carrier(Mutex<Option<Emitter>>);
        impl Serialize for Carrier {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_unit()
            }
        }
        struct Taker {
            take: bool,
            ledger: Ledger,
            ended: Latch,
        }
        impl Processor for Taker {
            fn process(&mut self, event: &Event) {
                if let Some(carrier) = event.get::<Carrier>() {
                    if self.take {
                        drop(carrier.0.lock().expect("unpoisoned").take());
                    }
                } else {
                    self.ledger.process(event);
                }
            }
            fn shutdown(&mut self) {
                self.ended.open();
            }
        }
        for take in [true, false] {
            let (ledger, ended) = (Ledger::new(300), Latch::new());
            let bus = Bus::builder()
                .shards(1)
                .processor("taker", {
                    let (ledger, ended) = (ledger.clone(), ended.clone());
                    move |_: &ShardContext| Taker {
                        take,
                        ledger: ledger.clone(),
                        ended: ended.clone(),
                    }
                })
                .build()
                .expect("it builds");
            let mut producer = bus.producer();
            let emitter = bus.emitter();
            drop(bus);
            for number in 0..150u64 {
                producer.emit_blocking(OUTSIDE, number, 0).expect("open");
            }
            producer.emit_blocking(OUTSIDE, Carrier(Mutex::new(Some(emitter))), 0).expect("open");
            for number in 150..300u64 {
                producer.emit_blocking(OUTSIDE, number, 0).expect("open");
            }
            drop(producer);
            ended.wait();
            ledger.assert_exactly(0..300);
        }
    });
}

// ---- threads that end ----

thread_local! {
    static EARLY: RefCell<Option<AtExit>> = const { RefCell::new(None) };
    static LATE: RefCell<Option<AtExit>> = const { RefCell::new(None) };
}

/// Emits when its thread ends.
struct AtExit {
    emitter: Emitter,
    producer: Option<Producer>,
    numbers: std::ops::Range<u64>,
    blocking: bool,
}

impl Drop for AtExit {
    fn drop(&mut self) {
        for number in self.numbers.clone() {
            let result = match (&mut self.producer, self.blocking) {
                (Some(producer), true) => producer.emit_blocking(OUTSIDE, number, number % 5),
                (Some(producer), false) => producer.try_emit(OUTSIDE, number, number % 5),
                (None, true) => self.emitter.emit_blocking(OUTSIDE, number, number % 5),
                (None, false) => self.emitter.try_emit(OUTSIDE, number, number % 5),
            };
            result.expect("there is room, or it waits");
        }
    }
}

#[test]
fn threads_emit_from_destructors_of_thread_locals() {
    within(60, || {
        let (bus, ledger, _) = ledger_bus(2, 8 * 30);
        for case in 0..8u64 {
            let (emitter, own) = (bus.emitter(), (case & 1 == 1).then(|| bus.producer()));
            let numbers = case * 30..(case + 1) * 30;
            let at_exit = AtExit { emitter, producer: own, numbers, blocking: case & 2 == 2 };
            thread::spawn(move || {
                // Destructors run in the reverse order of first use: the bus's own thread-locals are gone when EARLY's
                // runs, and still there when LATE's does.
                if case & 4 == 4 {
                    EARLY.with(|_| ());
                }
                at_exit.emitter.try_emit(DERIVED, case * 30, 0).expect("room");
                let cell = if case & 4 == 4 { &EARLY } else { &LATE };
                cell.set(Some(at_exit));
            })
            .join()
            .expect("no panic");
        }
        let report = bus.shutdown(LONG);
        assert!(report.is_clean(), "{report}");
        let twice = (0..8).map(|case| case * 30);
        ledger.assert_exactly((0..8 * 30).chain(twice));
    });
}

#[test]
fn a_thread_blocks_in_the_destructor_of_a_thread_local() {
    within(60, || {
        let (journal, latches) = (Journal::default(), latches(&[0]));
        let bus = Bus::builder()
            .shards(1)
            .capacity(2)
            .processor("stuck", stuck(&journal, &latches, Walk::Default, None))
            .build()
            .expect("it builds");
        bus.emitter().try_emit(OUTSIDE, 0u64, 0).expect("room");
        latches[&0].0.wait();
        let emitter = bus.emitter();
        let id = Arc::new(OnceLock::new());
        let thread = thread::spawn({
            let id = id.clone();
            move || {
                EARLY.with(|_| ());
                emitter.try_emit(OUTSIDE, 1u64, 0).expect("room");
                note_thread(&id);
                let numbers = 2..20;
                EARLY.set(Some(AtExit { emitter, producer: None, numbers, blocking: true }));
            }
        });
        eventually("the destructor blocks", || is_asleep(&id));
        latches[&0].1.open();
        thread.join().expect("no panic");
        let report = bus.shutdown(LONG);
        assert!(report.is_clean(), "{report}");
        assert_eq!(journal.numbers("stuck"), (0..20).collect::<Vec<_>>());
    });
}

#[test]
fn the_last_handle_drains_in_the_destructor_of_a_thread_local() {
    within(60, || {
        let (bus, ledger, ended) = ledger_bus(2, 60);
        thread::spawn(move || {
            EARLY.with(|_| ());
            bus.emitter().try_emit(OUTSIDE, 0u64, 0).expect("room");
            let numbers = 1..60;
            EARLY.set(Some(AtExit {
                emitter: bus.emitter(),
                producer: None,
                numbers,
                blocking: true,
            }));
        })
        .join()
        .expect("no panic");
        assert_eq!(ended.load(Ordering::Acquire), 2);
        ledger.assert_exactly(0..60);
    });
}

// ---- after the end ----

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

// ---- builds that fail ----

fn threads_of_buses() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux has /proc");
    let names = tasks.filter_map(|task| {
        std::fs::read_to_string(task.expect("an entry").path().join("comm")).ok()
    });
    names.filter(|name| name.starts_with("keylane-")).count()
}

#[test]
fn a_failed_build_leaves_nothing_behind() {
    alone("a_failed_build_leaves_nothing_behind", || {
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
    alone("a_shutdown_leaves_no_threads_behind", || {
        within(60, || {
            let (bus, ..) = ledger_bus(3, 10);
            bus.emitter().try_emit(OUTSIDE, 1u64, 1).expect("room");
            assert_eq!(threads_of_buses(), 3);
            assert!(bus.shutdown(LONG).is_clean());
            assert_eq!(threads_of_buses(), 0, "the threads are gone when shutdown returns");
        });
    });
}
