//! Contenders of the `latency` scenario: one sender on a fixed schedule, one receiver, one way.
//!
//! An event carries the moment at which it was *due*, not the one at which it was sent. A sender that is held up, by a
//! full buffer or by the machine, therefore counts the wait of every event that it should have sent meanwhile:
//! nothing is omitted because the system was too slow to ask (Gil Tene's "coordinated omission").

use std::hint::spin_loop;
use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use keylane::{Bus, Event, EventType, Processor, ShardContext, WaitStrategy};

use super::crossbeam::Iter;
use super::disruptor::{self, Spin};
use super::ping::{LinePing, ParkPing};
use super::{Card, Channel, Role, Transport, crossfire, flume, kanal, std_sync, thingbuf, tokio};
use crate::cpu::{process_cpu, thread_cpu};
use crate::workload::{
    Draw, Keys, Lane, Pace, Payload, RivalEvent, Shape, Stamp, Work, hash, stamp,
};

/// Events that go first and do not count: they pay for the pages of the ring and for its line in every cache.
const WARM_UP: u64 = 256;
/// Time between the warm-up and the first event that counts.
const PAUSE: Duration = Duration::from_millis(2);

/// One round: so many events, one every so many nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) events: u64,
    pub(crate) interval: u64,
    pub(crate) capacity: usize,
}

/// What the receiver found in one round.
#[derive(Debug)]
pub(crate) struct Heard {
    /// Nanoseconds from the moment an event was due to the moment it was seen.
    pub(crate) delays: Histogram<u64>,
    /// CPU time of everybody but the sender, in cores.
    pub(crate) cores: f64,
}

/// A contender of the scenario.
pub(crate) trait Hop {
    fn card(&self) -> Card;

    /// One round.
    ///
    /// # Errors
    ///
    /// Says how many events came instead of how many.
    fn run(&self, schedule: &Schedule, keys: &Arc<Keys>) -> Result<Heard, String>;
}

/// Everyone, keylane first and floors last.
pub(crate) fn hops() -> Vec<Box<dyn Hop>> {
    let rival = |name, package, settings| Card { name, role: Role::Rival, package, settings };
    let floor = |name, settings| Card { name, role: Role::Floor, package: None, settings };
    vec![
        Box::new(Keylane {
            card: Card {
                name: "keylane",
                role: Role::Keylane,
                package: Some("keylane"),
                settings: "Producer, emit_blocking; WaitStrategy::Adaptive",
            },
            strategy: WaitStrategy::Adaptive,
        }),
        Box::new(Keylane {
            card: Card {
                name: "keylane-spin",
                role: Role::Variant,
                package: Some("keylane"),
                settings: "Producer, emit_blocking; WaitStrategy::BusySpin",
            },
            strategy: WaitStrategy::BusySpin,
        }),
        Box::new(Keylane {
            card: Card {
                name: "keylane-park",
                role: Role::Variant,
                package: Some("keylane"),
                settings: "Producer, emit_blocking; WaitStrategy::Park",
            },
            strategy: WaitStrategy::Park,
        }),
        Box::new(Rival::<Iter>::new(rival(
            "crossbeam",
            Some("crossbeam-channel"),
            "bounded; send blocks; recv by iter(), which spins, yields and parks",
        ))),
        Box::new(Rival::<Spinning>::new(rival(
            "crossbeam-spin",
            Some("crossbeam-channel"),
            "bounded; send blocks; try_recv in a loop that never sleeps",
        ))),
        Box::new(Rival::<crossfire::OneProducer>::new(rival(
            "crossfire",
            Some("crossfire"),
            "spsc::bounded_blocking; send blocks; recv(); detect_backoff_cfg",
        ))),
        Box::new(Rival::<disruptor::OneProducer<Spin>>::new(rival(
            "disruptor",
            Some("disruptor"),
            "build_single_producer; try_publish; the crate's thread with BusySpinWithSpinLoopHint, which never sleeps",
        ))),
        Box::new(Rival::<kanal::Recv>::new(rival(
            "kanal",
            Some("kanal"),
            "bounded; send blocks; recv()",
        ))),
        Box::new(Rival::<std_sync::SyncChannel>::new(rival(
            "std",
            None,
            "sync_channel; send blocks; recv by iter()",
        ))),
        Box::new(Rival::<thingbuf::InPlace>::new(rival(
            "thingbuf",
            Some("thingbuf"),
            "mpsc::blocking; send_ref and recv_ref in place",
        ))),
        Box::new(Rival::<tokio::OneByOne>::new(rival(
            "tokio",
            Some("tokio"),
            "mpsc::channel on plain threads; blocking_send; blocking_recv",
        ))),
        Box::new(Rival::<flume::Recv>::new(rival(
            "flume",
            Some("flume"),
            "bounded; send blocks; recv by iter()",
        ))),
        Box::new(Rival::<LinePing>::new(floor(
            "line-ping",
            "one word in one cache line, no event, no hash, no stamp; the receiver spins",
        ))),
        Box::new(Rival::<ParkPing>::new(floor(
            "park-ping",
            "the same with a receiver that parks, and an unpark for every event",
        ))),
    ]
}

/// Nanoseconds since the first call; never 0.
#[inline]
fn now() -> u64 {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    EPOCH.elapsed().as_nanos() as u64 + 1
}

/// Sends the events of `schedule`, the first of them as a warm-up; returns CPU time used meanwhile by
/// everybody but this thread, in cores.
#[inline]
fn send_on_schedule(schedule: &Schedule, keys: &Keys, mut send: impl FnMut(Draw<'_>)) -> f64 {
    let work = Work {
        shape: Shape { producers: 1, shards: 1 },
        pace: Pace::Single,
        events: WARM_UP + schedule.events,
        capacity: schedule.capacity,
        hot: 0,
        stamp: Stamp::Ordered,
    };
    let mut lane = Lane::new(keys, &work, 0);
    for mut draw in lane.by_ref().take(WARM_UP as usize) {
        draw.payload.body[0] = now();
        send(draw);
    }
    let (others, start) = (process_cpu().saturating_sub(thread_cpu()), now());
    let mut due = start + PAUSE.as_nanos() as u64;
    for mut draw in lane {
        while now() < due {
            spin_loop();
        }
        draw.payload.body[0] = due;
        send(draw);
        due += schedule.interval;
    }
    let others = process_cpu().saturating_sub(thread_cpu()).saturating_sub(others);
    others.as_nanos() as f64 / (now() - start) as f64
}

/// How many events a receiver saw, warm-up included, and the delays of the others.
type HandedIn = (u64, Histogram<u64>);

/// The receiver's end: records delays, and hands them in when dropped.
struct Ear {
    /// `None` once handed in.
    delays: Option<Histogram<u64>>,
    seen: u64,
    done: Sender<HandedIn>,
}

impl Ear {
    fn new() -> Result<(Self, Receiver<HandedIn>), String> {
        let delays =
            Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(|error| error.to_string())?;
        let (done, heard) = channel();
        Ok((Self { delays: Some(delays), seen: 0, done }, heard))
    }

    #[inline]
    fn hear(&mut self, due: u64) {
        let delay = now().saturating_sub(due);
        self.seen += 1;
        if self.seen > WARM_UP
            && let Some(delays) = &mut self.delays
        {
            delays.saturating_record(delay);
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        if let Some(delays) = self.delays.take() {
            // Nobody listens any more when the round has failed already.
            let _ = self.done.send((self.seen, delays));
        }
    }
}

fn heard(schedule: &Schedule, cores: f64, handed_in: &Receiver<HandedIn>) -> Result<Heard, String> {
    let (seen, delays) = handed_in.recv().map_err(|_| "the receiver panicked".to_owned())?;
    if seen != WARM_UP + schedule.events {
        return Err(format!("{seen} events came instead of {}", WARM_UP + schedule.events));
    }
    Ok(Heard { delays, cores })
}

struct Rival<T> {
    card: Card,
    transport: PhantomData<T>,
}

impl<T: Transport> Rival<T> {
    fn new(card: Card) -> Self {
        Self { card, transport: PhantomData }
    }
}

impl<T: Transport> Hop for Rival<T> {
    fn card(&self) -> Card {
        self.card.clone()
    }

    fn run(&self, schedule: &Schedule, keys: &Arc<Keys>) -> Result<Heard, String> {
        ::crossfire::detect_backoff_cfg();
        let (mut ear, handed_in) = Ear::new()?;
        let hear = move |event: &RivalEvent| ear.hear(event.payload.body[0]);
        let (mut senders, consumer) = T::open(1, schedule.capacity, hear);
        let sender = &mut senders[0];
        let cores = send_on_schedule(schedule, keys, |draw| {
            let hash = hash(draw.key);
            T::send(sender, RivalEvent::new(&draw, hash, stamp()));
        });
        drop(senders);
        drop(consumer);
        heard(schedule, cores, &handed_in)
    }
}

/// crossbeam's channel with a receiver that never sleeps: the counterpart of a shard that spins.
struct Spinning;

impl Channel for Spinning {
    type Sender = <Iter as Channel>::Sender;
    type Receiver = <Iter as Channel>::Receiver;

    fn open(senders: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        <Iter as Channel>::open(senders, capacity)
    }

    #[inline]
    fn send(sender: &mut Self::Sender, event: RivalEvent) {
        <Iter as Channel>::send(sender, event);
    }

    fn consume(receiver: Self::Receiver, mut see: impl FnMut(&RivalEvent)) {
        loop {
            match receiver.try_recv() {
                Ok(event) => see(&event),
                Err(error) if error.is_empty() => spin_loop(),
                Err(_) => return,
            }
        }
    }
}

struct Keylane {
    card: Card,
    strategy: WaitStrategy,
}

impl Processor for Ear {
    fn process(&mut self, event: &Event) {
        if let Some(payload) = event.get::<Payload>() {
            self.hear(payload.body[0]);
        }
    }
}

impl Hop for Keylane {
    fn card(&self) -> Card {
        self.card.clone()
    }

    fn run(&self, schedule: &Schedule, keys: &Arc<Keys>) -> Result<Heard, String> {
        let (ear, handed_in) = Ear::new()?;
        let ear = std::sync::Mutex::new(Some(ear));
        let bus = Bus::builder()
            .shards(1)
            .capacity(schedule.capacity)
            .wait(self.strategy)
            .processor("hear", move |_: &ShardContext| {
                ear.lock().ok().and_then(|mut ear| ear.take()).expect("there is one shard")
            })
            .build()
            .map_err(|error| error.to_string())?;
        let mut producer = bus.producer();
        let cores = send_on_schedule(schedule, keys, |Draw { key, kind, payload }| {
            producer
                .emit_blocking(EventType::user(kind), payload, key)
                .expect("the bus outlives its producer");
        });
        bus.shutdown(Duration::from_secs(60));
        heard(schedule, cores, &handed_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hop_hears_every_event() {
        let keys = Arc::new(Keys::new());
        let schedule = Schedule { events: 300, interval: 10_000, capacity: 64 };
        for hop in hops() {
            let heard = hop.run(&schedule, &keys);
            let name = hop.card().name;
            let heard = heard.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(heard.delays.len(), 300, "{name}");
            assert!(heard.delays.min() > 0, "{name}: an event came before it was due");
        }
    }

    #[test]
    fn a_sender_that_was_held_up_charges_every_event_that_was_due() {
        let keys = Keys::new();
        let schedule = Schedule { events: 100, interval: 1_000_000, capacity: 64 };
        let (mut ear, handed_in) = Ear::new().unwrap();
        let mut sent = 0;
        send_on_schedule(&schedule, &keys, |draw| {
            sent += 1;
            if sent == WARM_UP + 1 {
                std::thread::sleep(Duration::from_millis(50));
            }
            ear.hear(draw.payload.body[0]);
        });
        drop(ear);
        let (_, delays) = handed_in.recv().unwrap();
        // The first event is 50 ms late, the next 49, and so on: half of all wait for more than 20 ms
        // less whatever the machine adds, which only makes it more.
        assert!(delays.count_between(20_000_000, u64::MAX) >= 29, "{delays:?}");
    }
}
