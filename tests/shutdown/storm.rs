//! Emits of every kind against a shutdown at a random moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::Poll;
use std::thread::{self};
use std::time::Duration;

use crate::support::{LONG, Ledger, Random, eventually, stress, within};
use keylane::{
    Bus, EmitError, Emitter, Event, Key, Processor, Producer, Reason, ShardContext, Value,
    WaitStrategy,
};
use serde::{Serialize, Serializer};

use crate::{DERIVED, OUTSIDE, poll_once, runtime};

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
        .wait(*random.pick(&[WaitStrategy::Adaptive, WaitStrategy::Park, WaitStrategy::Sleeping]))
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
