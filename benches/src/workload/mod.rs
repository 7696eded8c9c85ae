//! The work that every contender does, and the proof that it was done.
//!
//! A ratio means nothing when one side does less, so everything outside the transport itself is
//! written once, here, and used by all: which keys are drawn and in which order, how a key becomes
//! a shard, how time is stamped, what travels, and what the consumer does with it.
//!
//! Each producer owns a disjoint part of the keys. That makes the order per key *exact*: every key
//! counts 0, 1, 2, .. and the [`Sink`] sees at once whether an event is missing, doubled or late,
//! with one small table per consumer however many producers there are.

mod keys;
mod sink;

use std::fmt;
use std::str::FromStr;

use keylane::Key;
use serde::Serialize;

pub(crate) use keys::{Draw, Keys, Lane, SplitMix};
pub(crate) use sink::{Sink, Verdict};
/// Distinct keys in circulation over all producers.
pub(crate) const KEYS: usize = 1024;
/// Bytes of one key: the length of a UUID in text form.
pub(crate) const KEY_BYTES: usize = 36;
/// Event types in circulation.
pub(crate) const KINDS: usize = 8;
/// Events that share one time stamp in the `batch` scenario.
pub(crate) const BATCH: usize = 64;

/// Producers x shards, printed and parsed as `8x2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) producers: usize,
    pub(crate) shards: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.producers, self.shards)
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not a cell: write producers x shards, such as 8x2");
        let (producers, shards) = text.split_once('x').ok_or_else(refuse)?;
        let shape = Self {
            producers: producers.parse().map_err(|_| refuse())?,
            shards: shards.parse().map_err(|_| refuse())?,
        };
        if shape.producers == 0 || shape.producers > KEYS || shape.shards == 0 {
            return Err(format!("`{text}`: 1..={KEYS} producers and at least 1 shard"));
        }
        Ok(shape)
    }
}

/// How a producer hands over its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// One event, one stamp.
    Single,
    /// [`BATCH`] events under one stamp.
    Batch,
}

/// How a rival reads the clock for its events. keylane decides by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// By [`stamp`].
    Ordered,
    /// By [`plain_stamp`]: for a user who knows that there is one producer and always will be.
    Plain,
}

impl Stamp {
    #[inline]
    pub(crate) fn take(self) -> u64 {
        match self {
            Self::Ordered => stamp(),
            Self::Plain => plain_stamp(),
        }
    }
}

/// Everything that defines one cell, the same for every contender in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) shape: Shape,
    pub(crate) pace: Pace,
    /// Events over all producers.
    pub(crate) events: u64,
    /// Buffer slots per producer and shard. A rival's channel is shared by all producers of a
    /// shard, and gets the same total: `capacity * producers`.
    pub(crate) capacity: usize,
    /// How many of a hundred events have the one hot key.
    pub(crate) hot: u32,
    pub(crate) stamp: Stamp,
}

impl Work {
    /// Events of producer `index`; the first ones carry the remainder.
    pub(crate) fn share(&self, index: usize) -> u64 {
        let producers = self.shape.producers as u64;
        self.events / producers + u64::from((index as u64) < self.events % producers)
    }

    /// How many of producer `index`'s events have the hot key: as many as [`Lane`] draws.
    fn hot_share(&self, index: usize) -> u64 {
        self.share(index) * u64::from(self.hot) / 100
    }

    /// Slots of one rival channel, so that its total per shard equals that of the rings.
    pub(crate) fn shared_capacity(&self) -> usize {
        self.capacity * self.shape.producers
    }
}
/// What an event carries: 32 bytes, the most that stays inline in a keylane event.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Payload {
    pub(crate) key_id: u32,
    pub(crate) seq: u32,
    pub(crate) body: [u64; 3],
}

const _: () = assert!(size_of::<Payload>() == 32);

/// What travels through a rival: as large as a keylane event and with the same content.
///
/// It is not aligned to a cache line: the channels put a word of their own beside each event, and
/// an alignment of 64 would double their slots.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub(crate) struct RivalEvent {
    pub(crate) kind: u16,
    pub(crate) time: u64,
    pub(crate) key_hash: u64,
    pub(crate) payload: Payload,
    pub(crate) context: u64,
}

const _: () = assert!(size_of::<RivalEvent>() == 64);

impl RivalEvent {
    #[inline]
    pub(crate) fn new(draw: &Draw<'_>, key_hash: u64, time: u64) -> Self {
        Self { kind: draw.kind, time, key_hash, payload: draw.payload, context: 0 }
    }
}

/// The hash of a key: keylane's own function for everybody, so that nobody has a faster one.
#[inline]
pub(crate) fn hash<'a>(key: &'a (impl AsRef<[u8]> + ?Sized + 'a)) -> u64 {
    Key::from(key.as_ref()).hash().expect("bytes are a key")
}

/// The shard of a hash, by the rule keylane documents.
#[inline]
pub(crate) fn shard_of(hash: u64, shards: usize) -> usize {
    ((u128::from(hash) * shards as u128) >> 64) as usize
}

/// A time stamp that is ordered after everything the thread has seen so far.
///
/// An unfenced counter is cheaper and may run ahead of earlier loads; then two causally ordered
/// events can carry inverted stamps, and the contender would promise less than keylane does.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn stamp() -> u64 {
    use std::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: every x86-64 processor has SSE2 and `rdtsc`, and user space may execute both on the
    // systems that std supports.
    unsafe {
        _mm_lfence();
        _rdtsc()
    }
}

/// A time stamp that is ordered after everything the thread has seen so far.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(crate) fn stamp() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    EPOCH.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// A time stamp that may be read before what the thread does before it.
#[inline]
pub(crate) fn plain_stamp() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `stamp`.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    stamp()
}

/// The name of [`stamp`] in the report.
pub(crate) const STAMP: &str =
    if cfg!(target_arch = "x86_64") { "lfence; rdtsc" } else { "Instant::now" };

/// The name of [`plain_stamp`] in the report.
pub(crate) const PLAIN_STAMP: &str =
    if cfg!(target_arch = "x86_64") { "rdtsc" } else { "Instant::now" };

#[cfg(test)]
mod tests {
    use super::*;

    fn work(producers: usize, shards: usize, events: u64) -> Work {
        Work {
            shape: Shape { producers, shards },
            pace: Pace::Single,
            events,
            capacity: 64,
            hot: 0,
            stamp: Stamp::Ordered,
        }
    }

    #[test]
    fn quotas_are_what_the_lanes_emit() {
        let keys = Keys::new();
        let shapes = [(1, 1, 10), (3, 2, 5_000), (8, 2, 8_191), (32, 4, 7), (2, 1_000, 5_000)];
        for ((producers, shards, events), hot) in
            shapes.into_iter().flat_map(|shape| [0, 50, 99, 100].map(|hot| (shape, hot)))
        {
            let work = Work { hot, ..work(producers, shards, events) };
            let mut counted = vec![0; shards];
            for index in 0..producers {
                for draw in Lane::new(&keys, &work, index) {
                    counted[shard_of(hash(draw.key), shards)] += 1;
                }
            }
            assert_eq!(counted, keys.quotas(&work));
            assert_eq!(counted.iter().sum::<u64>(), events);
        }
    }

    #[test]
    fn a_sink_notices_a_swap_a_loss_and_a_double() {
        let keys = Keys::new();
        let work = work(1, 1, 3 * KEYS as u64);
        let payloads: Vec<_> = Lane::new(&keys, &work, 0).map(|draw| draw.payload).collect();
        let disordered = |order: &[usize]| {
            let mut sink = Sink::new(0, 0);
            for place in order {
                sink.see(0, &payloads[*place]);
            }
            sink.verdict().disordered
        };
        assert_eq!(disordered(&[0, KEYS, 2 * KEYS]), 0);
        assert_eq!(disordered(&[0, 2 * KEYS, KEYS]), 2);
        assert_eq!(disordered(&[0, 2 * KEYS]), 1);
        assert_eq!(disordered(&[0, 0, KEYS]), 1);
    }

    #[test]
    fn cells_parse_and_print() {
        assert_eq!("8x2".parse::<Shape>().unwrap().to_string(), "8x2");
        for wrong in ["8", "x", "0x1", "1x0", "axb", "2000x1"] {
            assert!(wrong.parse::<Shape>().is_err(), "{wrong}");
        }
    }
}
