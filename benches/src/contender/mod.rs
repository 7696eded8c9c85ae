//! Who takes part, one contender a file.
//!
//! A rival is a channel of its library, hand-sharded as its user would do it: one channel and one
//! consumer thread per shard, the producer hashes the key and picks the channel. All that is common
//! to rivals is [`HandSharded`]; a rival's own file says only how its channel is opened, sent to
//! and drained, in the mode that is its best. Where a library offers more than one way, the others
//! are alternates, kept so that the choice can be checked; where no way is the best everywhere, all
//! of them are rivals.

mod crossbeam;
mod crossfire;
mod disruptor;
mod floor;
mod flume;
pub(crate) mod hop;
mod kanal;
mod keylane;
mod ping;
pub(crate) mod ring;
mod std_sync;
pub(crate) mod tasks;
mod thingbuf;
mod tokio;

use std::marker::PhantomData;
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle, Thread};

use serde::{Deserialize, Serialize};

use crate::measure::{Course, Lap};
use crate::workload::{
    BATCH, Keys, Lane, Pace, RivalEvent, Stamp, Work, hash, plain_stamp, shard_of, stamp,
};

/// What a contender stands for in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// keylane as it is meant to be used; ratios refer to it.
    Keylane,
    /// keylane in another mode.
    Variant,
    /// Another library, in its best mode.
    Rival,
    /// Another library, in a mode that is not its best.
    Alternate,
    /// The part of the work that no transport can avoid.
    Floor,
}

/// What the report says about a contender.
#[derive(Debug, Clone)]
pub(crate) struct Card {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    /// The package whose version counts; `None` for the standard library and the floor.
    pub(crate) package: Option<&'static str>,
    /// Mode and settings in words.
    pub(crate) settings: &'static str,
}

impl Card {
    /// A rival from a package.
    pub(crate) const fn rival(
        name: &'static str,
        package: &'static str,
        settings: &'static str,
    ) -> Self {
        Self { name, role: Role::Rival, package: Some(package), settings }
    }
}

/// A contender of the `dispatch` and `batch` scenarios.
pub(crate) trait Stream {
    fn card(&self) -> Card;

    /// Whether the contender has a way of its own for this pace.
    fn takes(&self, _pace: Pace) -> bool {
        true
    }

    /// One round of `work`.
    ///
    /// # Errors
    ///
    /// Says what was lost, doubled or out of order.
    fn run(&self, work: &Work, keys: &Arc<Keys>) -> Result<Lap, String>;
}

/// Everyone who can stream events, keylane first.
pub(crate) fn streams() -> Vec<Box<dyn Stream>> {
    vec![
        Box::new(keylane::Exclusive),
        Box::new(keylane::Shared),
        Box::new(crossbeam::rival()),
        Box::new(crossbeam::alternate()),
        Box::new(crossfire::Crossfire),
        Box::new(disruptor::Disruptor),
        Box::new(kanal::receiving()),
        Box::new(kanal::draining()),
        Box::new(std_sync::rival()),
        Box::new(thingbuf::rival()),
        Box::new(thingbuf::alternate()),
        Box::new(tokio::rival()),
        Box::new(tokio::alternate()),
        Box::new(flume::rival()),
        Box::new(flume::alternate()),
        Box::new(floor::Floor),
    ]
}

/// A bounded way from several senders to one consumer, with whatever thread the consumer needs.
pub(crate) trait Transport: 'static {
    type Sender: Send;
    /// Joins the consumer's thread when dropped, once all senders are gone.
    type Consumer: Send;

    /// Whether [`send_all`](Self::send_all) is more than a loop over [`send`](Self::send).
    const SENDS_BATCHES: bool = false;

    /// A transport of `capacity` slots with one handle per producer. Every event is shown to `see`,
    /// on the consumer's thread; that thread drops `see` when it ends.
    fn open(
        senders: usize,
        capacity: usize,
        see: impl FnMut(&RivalEvent) + Send + 'static,
    ) -> (Vec<Self::Sender>, Self::Consumer);

    /// Sends one event; sleeps while there is no room.
    fn send(sender: &mut Self::Sender, event: RivalEvent);

    /// Sends all `events` in order; sleeps while there is no room.
    fn send_all(sender: &mut Self::Sender, events: &mut Vec<RivalEvent>) {
        for event in events.drain(..) {
            Self::send(sender, event);
        }
    }
}

/// A bounded channel with several senders and one receiver that wakes up and blocks by itself: a
/// [`Transport`] with a thread that receives.
pub(crate) trait Channel: 'static {
    type Sender: Send;
    type Receiver: Send;

    /// As [`Transport::SENDS_BATCHES`].
    const SENDS_BATCHES: bool = false;

    /// A channel of `capacity` slots with one handle per producer.
    fn open(senders: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver);

    /// Sends one event; sleeps while the channel is full.
    fn send(sender: &mut Self::Sender, event: RivalEvent);

    /// Sends all `events` in order; sleeps while the channel is full.
    fn send_all(sender: &mut Self::Sender, events: &mut Vec<RivalEvent>) {
        for event in events.drain(..) {
            Self::send(sender, event);
        }
    }

    /// Receives until all senders are gone; sleeps while the channel is empty.
    fn consume(receiver: Self::Receiver, see: impl FnMut(&RivalEvent));
}

impl<C: Channel> Transport for C {
    type Sender = C::Sender;
    type Consumer = Joined;

    const SENDS_BATCHES: bool = C::SENDS_BATCHES;

    fn open(
        senders: usize,
        capacity: usize,
        see: impl FnMut(&RivalEvent) + Send + 'static,
    ) -> (Vec<Self::Sender>, Joined) {
        let (senders, receiver) = C::open(senders, capacity);
        (senders, Joined::spawn(move || C::consume(receiver, see)))
    }

    #[inline]
    fn send(sender: &mut Self::Sender, event: RivalEvent) {
        C::send(sender, event);
    }

    fn send_all(sender: &mut Self::Sender, events: &mut Vec<RivalEvent>) {
        C::send_all(sender, events);
    }
}

/// A thread that is joined when this is dropped.
#[derive(Debug)]
pub(crate) struct Joined(Option<JoinHandle<()>>);

impl Joined {
    /// Runs `work` on a thread of its own. Returns when the thread runs, so that starting it is not part of anybody's time.
    fn spawn(work: impl FnOnce() + Send + 'static) -> Self {
        let running = Arc::new(Barrier::new(2));
        let started = Arc::clone(&running);
        let thread = thread::spawn(move || {
            started.wait();
            work();
        });
        running.wait();
        Self(Some(thread))
    }

    fn thread(&self) -> Option<&Thread> {
        self.0.as_ref().map(JoinHandle::thread)
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        // A consumer that panicked has handed in no verdict, and the check of the round says so.
        let _ = self.0.take().map(JoinHandle::join);
    }
}

/// One [`Transport`] and one consumer thread per shard.
#[derive(Debug)]
pub(crate) struct HandSharded<C> {
    card: Card,
    channel: PhantomData<C>,
}

impl<C: Transport> HandSharded<C> {
    pub(crate) const fn new(card: Card) -> Self {
        Self { card, channel: PhantomData }
    }
}

impl<C: Transport> Stream for HandSharded<C> {
    fn card(&self) -> Card {
        self.card.clone()
    }

    fn run(&self, work: &Work, keys: &Arc<Keys>) -> Result<Lap, String> {
        stream::<C>(work, keys)
    }
}

/// One round over transports of type `C`.
fn stream<C: Transport>(work: &Work, keys: &Arc<Keys>) -> Result<Lap, String> {
    let (producers, shards) = (work.shape.producers, work.shape.shards);
    let course = Course::new(work, keys);
    let mut handles: Vec<Vec<C::Sender>> =
        (0..producers).map(|_| Vec::with_capacity(shards)).collect();
    let mut consumers = Vec::with_capacity(shards);
    for shard in 0..shards {
        let mut counter = course.counter(shard);
        let see = move |event: &RivalEvent| counter.see(event.kind, &event.payload);
        let (senders, consumer) = C::open(producers, work.shared_capacity(), see);
        for (handles, sender) in handles.iter_mut().zip(senders) {
            handles.push(sender);
        }
        consumers.push(consumer);
    }
    let started = thread::scope(|scope| {
        for (index, mut handles) in handles.into_iter().enumerate() {
            let course = &course;
            scope.spawn(move || {
                course.produce(index, |lane| {
                    match course.work.pace {
                        Pace::Single => match course.work.stamp {
                            Stamp::Ordered => emit_single::<C>(lane, &mut handles, stamp),
                            Stamp::Plain => emit_single::<C>(lane, &mut handles, plain_stamp),
                        },
                        Pace::Batch if C::SENDS_BATCHES => {
                            emit_gathered::<C>(lane, &mut handles);
                        }
                        Pace::Batch => emit_batch::<C>(lane, &mut handles),
                    }
                    handles
                });
            });
        }
        course.time()
    });
    drop(consumers);
    let lap = started.joined(work.events);
    course.check()?;
    Ok(lap)
}

fn emit_single<C: Transport>(
    lane: &mut Lane<'_>,
    senders: &mut [C::Sender],
    stamp: impl Fn() -> u64,
) {
    let shards = senders.len();
    for draw in lane {
        let hash = hash(draw.key);
        let time = stamp();
        C::send(&mut senders[shard_of(hash, shards)], RivalEvent::new(&draw, hash, time));
    }
}

/// One stamp per batch, one send per event.
fn emit_batch<C: Transport>(lane: &mut Lane<'_>, senders: &mut [C::Sender]) {
    let shards = senders.len();
    while lane.len() > 0 {
        let time = stamp();
        for draw in lane.by_ref().take(BATCH) {
            let hash = hash(draw.key);
            C::send(&mut senders[shard_of(hash, shards)], RivalEvent::new(&draw, hash, time));
        }
    }
}

/// One stamp per batch, one send per batch and shard.
fn emit_gathered<C: Transport>(lane: &mut Lane<'_>, senders: &mut [C::Sender]) {
    let shards = senders.len();
    let mut gathered: Vec<Vec<RivalEvent>> =
        (0..shards).map(|_| Vec::with_capacity(BATCH)).collect();
    while lane.len() > 0 {
        let time = stamp();
        for draw in lane.by_ref().take(BATCH) {
            let hash = hash(draw.key);
            gathered[shard_of(hash, shards)].push(RivalEvent::new(&draw, hash, time));
        }
        for (sender, events) in senders.iter_mut().zip(&mut gathered) {
            if !events.is_empty() {
                C::send_all(sender, events);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Shape;

    #[test]
    fn every_contender_delivers_everything_in_order() {
        let keys = Arc::new(Keys::new());
        for (producers, shards) in [(1, 1), (2, 1), (2, 2), (8, 2), (3, 5)] {
            for pace in [Pace::Single, Pace::Batch] {
                let shape = Shape { producers, shards };
                let work = Work {
                    shape,
                    pace,
                    events: 20_011,
                    capacity: 64,
                    hot: 30,
                    stamp: Stamp::Ordered,
                };
                for contender in streams().iter().filter(|contender| contender.takes(pace)) {
                    let lap = contender.run(&work, &keys);
                    let name = contender.card().name;
                    assert!(lap.is_ok(), "{name} {} {pace:?}: {lap:?}", work.shape);
                }
            }
        }
    }

    #[test]
    fn names_are_distinct() {
        let mut names: Vec<_> = streams().iter().map(|contender| contender.card().name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
