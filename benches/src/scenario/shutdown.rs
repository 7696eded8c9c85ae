//! `shutdown`: every ring is full; from the call to the report.
//!
//! The consumers stand at a gate in the middle of their first event while the producers fill whatever there is to
//! fill. Then the gate opens and the shutdown begins, in one step. Processing the backlog takes what it takes; the figure
//! that belongs to the shutdown is the time beyond the last event.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::Instant;

use crossbeam_channel::TrySendError;
use keylane::{Bus, Event, EventType, Processor, Reason, ShardContext};

use super::Plan;
use crate::contender::{Card, Role};
use crate::measure::STALLED;
use crate::report::{Scenario, Table};
use crate::workload::{Payload, RivalEvent, shard_of};

const PRODUCERS: usize = 4;
const SHARDS: usize = 2;
const CAPACITIES: [usize; 2] = [1024, 65_536];
const QUICK_CAPACITIES: [usize; 2] = [64, 1024];

/// One round's figures.
#[derive(Debug, Clone, Copy)]
struct Ended {
    events: u64,
    lost: u64,
    processing_ms: f64,
    beyond_ms: f64,
}

/// One round with rings of so many slots.
type Round = fn(usize) -> Result<Ended, String>;

fn contenders() -> Vec<(Card, Round)> {
    vec![
        (
            Card {
                name: "keylane",
                role: Role::Keylane,
                package: Some("keylane"),
                settings: "Producers; Bus::shutdown, to its report",
            },
            keylane,
        ),
        (
            Card {
                name: "crossbeam",
                role: Role::Rival,
                package: Some("crossbeam-channel"),
                settings: "bounded, a channel per shard; drop the senders, join the threads that receive until then",
            },
            crossbeam,
        ),
    ]
}

pub(super) fn cards() -> Vec<Card> {
    contenders().into_iter().map(|(card, _)| card).collect()
}

pub(super) fn run(plan: &Plan) -> Result<Scenario, String> {
    let mut contenders = contenders();
    contenders.retain(|(card, _)| plan.admits(card));
    let cards: Vec<Card> = contenders.iter().map(|(card, _)| card.clone()).collect();
    let what = format!(
        "{PRODUCERS} producers have filled the rings to {SHARDS} shards; from the shutdown to its report, of which \
         `processing` to the last event and `beyond` behind it"
    );
    let mut scenario = Scenario::new("shutdown", what, &cards);
    for capacity in if plan.quick { QUICK_CAPACITIES } else { CAPACITIES } {
        let name = format!("{} slots", PRODUCERS * SHARDS * capacity);
        eprintln!(
            "shutdown, {name}: {} contenders, {} rounds and one more",
            cards.len(),
            plan.rounds.count
        );
        let rounds = plan.rounds.interleave(cards.len(), |index| contenders[index].1(capacity))?;
        let columns = [
            ("events", ""),
            ("in all", "ms"),
            ("processing", "ms"),
            ("beyond", "ms"),
            ("lost", "events"),
        ];
        let mut table = Table::new(&name, &columns);
        for (card, rounds) in cards.iter().zip(rounds) {
            let of = |figure: fn(&Ended) -> f64| rounds.iter().map(figure).collect::<Vec<f64>>();
            table.row(
                card.name,
                card.role,
                [
                    of(|ended| ended.events as f64),
                    of(|ended| ended.processing_ms + ended.beyond_ms),
                    of(|ended| ended.processing_ms),
                    of(|ended| ended.beyond_ms),
                    of(|ended| ended.lost as f64),
                ],
            );
        }
        scenario.tables.push(table);
    }
    Ok(scenario.done(plan))
}

/// What the consumers of one round share. They hold still while the gate is locked for writing.
#[derive(Debug, Default)]
struct Gate {
    gate: RwLock<()>,
    /// How many events each shard will see; known when the rings are full.
    quotas: [AtomicU64; SHARDS],
}

/// A consumer: counts, and remembers when it saw its last event.
struct Backlog {
    gate: Arc<Gate>,
    shard: usize,
    seen: u64,
    /// What the counting is for: the order of the events leaves its trace in it.
    digest: u64,
    last: Option<Instant>,
    done: Sender<(u64, Option<Instant>)>,
}

impl Backlog {
    #[inline]
    fn see(&mut self, payload: &Payload) {
        if self.seen == 0 {
            drop(self.gate.gate.read());
        }
        self.seen += 1;
        self.digest = self.digest.rotate_left(5) ^ payload.body[0];
        if self.seen == self.gate.quotas[self.shard].load(Ordering::Relaxed) {
            self.last = Some(Instant::now());
        }
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        std::hint::black_box(self.digest);
        // Nobody listens any more when the round has failed already.
        let _ = self.done.send((self.seen, self.last));
    }
}

impl Processor for Backlog {
    fn process(&mut self, event: &Event) {
        if let Some(payload) = event.get::<Payload>() {
            self.see(payload);
        }
    }
}

/// Fills with `fill`, which returns how many events each shard has taken, then opens the gate and ends with `end`.
fn time<B>(
    open: impl FnOnce(&mut dyn FnMut(usize) -> Backlog) -> Result<B, String>,
    fill: impl FnOnce(&mut B) -> Result<[u64; SHARDS], String>,
    end: impl FnOnce(B),
) -> Result<Ended, String> {
    let gate = Arc::new(Gate::default());
    let (done, verdicts) = channel();
    let locked = gate.gate.write().map_err(|error| error.to_string())?;
    let mut bus = open(&mut |shard| Backlog {
        gate: Arc::clone(&gate),
        shard,
        seen: 0,
        digest: 0,
        last: None,
        done: done.clone(),
    })?;
    drop(done);
    let accepted = fill(&mut bus)?;
    for (quota, accepted) in gate.quotas.iter().zip(accepted) {
        quota.store(accepted, Ordering::Relaxed);
    }
    let start = Instant::now();
    drop(locked);
    end(bus);
    let ended = Instant::now();
    let verdicts: Vec<(u64, Option<Instant>)> = verdicts.iter().take(SHARDS).collect();
    let seen: u64 = verdicts.iter().map(|(seen, _)| seen).sum();
    let last = verdicts.iter().filter_map(|(_, last)| *last).max().unwrap_or(start);
    let milliseconds =
        |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1e3;
    let events: u64 = accepted.iter().sum();
    Ok(Ended {
        events,
        lost: events.abs_diff(seen),
        processing_ms: milliseconds(start, last),
        beyond_ms: milliseconds(last, ended),
    })
}

/// A key for each shard.
fn keys() -> [u64; SHARDS] {
    std::array::from_fn(|shard| {
        let leads_here = |key: &u64| keylane::Key::from(*key).shard(SHARDS) == Some(shard);
        (0..).find(leads_here).unwrap_or_default()
    })
}

fn keylane(capacity: usize) -> Result<Ended, String> {
    let open = |backlog: &mut dyn FnMut(usize) -> Backlog| {
        let ready: [_; SHARDS] = std::array::from_fn(|shard| Some(backlog(shard)));
        let ready = std::sync::Mutex::new(ready);
        let bus = Bus::builder().shards(SHARDS).capacity(capacity);
        let bus = bus.processor("backlog", move |cx: &ShardContext| {
            ready
                .lock()
                .ok()
                .and_then(|mut ready| ready[cx.shard()].take())
                .expect("one for each shard")
        });
        let bus = bus.build().map_err(|error| error.to_string())?;
        let producers: Vec<_> = (0..PRODUCERS).map(|_| bus.producer()).collect();
        Ok((bus, producers))
    };
    let fill = |(_, producers): &mut (Bus, Vec<keylane::Producer>)| {
        let mut accepted = [0; SHARDS];
        for producer in producers {
            for (key, accepted) in keys().into_iter().zip(&mut accepted) {
                loop {
                    let payload = Payload { body: [*accepted, 0, 0], ..Payload::default() };
                    match producer.try_emit(EventType::user(0), payload, key) {
                        Ok(()) => *accepted += 1,
                        Err(error) if error.reason() == Reason::Full => break,
                        Err(error) => return Err(error.to_string()),
                    }
                }
            }
        }
        Ok(accepted)
    };
    time(open, fill, |(bus, producers)| {
        bus.shutdown(STALLED);
        drop(producers);
    })
}

fn crossbeam(capacity: usize) -> Result<Ended, String> {
    let open = |backlog: &mut dyn FnMut(usize) -> Backlog| {
        let (senders, threads): (Vec<_>, Vec<_>) = (0..SHARDS)
            .map(|shard| {
                let (sender, receiver) =
                    crossbeam_channel::bounded::<RivalEvent>(PRODUCERS * capacity);
                let mut backlog = backlog(shard);
                let receive = move || receiver.iter().for_each(|event| backlog.see(&event.payload));
                (sender, thread::spawn(receive))
            })
            .unzip();
        Ok((senders, threads))
    };
    type Open = (Vec<crossbeam_channel::Sender<RivalEvent>>, Vec<thread::JoinHandle<()>>);
    let fill = |(senders, _): &mut Open| {
        let mut accepted = [0; SHARDS];
        for key in keys() {
            let key_hash = keylane::Key::from(key).hash().unwrap_or_default();
            let shard = shard_of(key_hash, SHARDS);
            loop {
                let payload = Payload { body: [accepted[shard], 0, 0], ..Payload::default() };
                match senders[shard].try_send(RivalEvent {
                    key_hash,
                    payload,
                    ..RivalEvent::default()
                }) {
                    Ok(()) => accepted[shard] += 1,
                    Err(TrySendError::Full(_)) => break,
                    Err(error) => return Err(error.to_string()),
                }
            }
        }
        Ok(accepted)
    };
    time(open, fill, |(senders, threads)| {
        drop(senders);
        for thread in threads {
            // A consumer that panicked has not seen all, which the count shows.
            let _ = thread.join();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_and_the_rings_were_full() {
        for (card, run) in contenders() {
            let ended = run(64).unwrap();
            assert_eq!(ended.lost, 0, "{}", card.name);
            // A consumer may hold the event that it stands still in outside of the buffer.
            let slots = (PRODUCERS * SHARDS * 64) as u64;
            assert!(
                (slots..=slots + SHARDS as u64).contains(&ended.events),
                "{}: {ended:?}",
                card.name
            );
        }
    }
}
