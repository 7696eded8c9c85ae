//! The work that every contender does, and the proof that it was done.
//!
//! A ratio means nothing when one side does less, so everything outside the transport itself is
//! written once, here, and used by all: which keys are drawn and in which order, how a key becomes
//! a shard, how time is stamped, what travels, and what the consumer does with it.
//!
//! Each producer owns a disjoint part of the keys. That makes the order per key *exact*: every key
//! counts 0, 1, 2, .. and the [`Sink`] sees at once whether an event is missing, doubled or late,
//! with one small table per consumer however many producers there are.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

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

/// The keys of one run.
#[derive(Debug)]
pub(crate) struct Keys {
    texts: Vec<String>,
    hot: String,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let mut random = SplitMix(0x6B65_796C_616E_6531);
        let mut texts: Vec<String> = (0..=KEYS)
            .map(|_| {
                let (high, low) = (random.next(), random.next());
                let text = format!(
                    "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                    high >> 32,
                    high >> 16 & 0xFFFF,
                    high & 0xFFFF,
                    low >> 48,
                    low & 0xFFFF_FFFF_FFFF
                );
                debug_assert_eq!(text.len(), KEY_BYTES, "keys are as long as announced");
                text
            })
            .collect();
        let hot = texts.pop().unwrap_or_default();
        Self { texts, hot }
    }

    /// The keys that belong to producer `index`, shuffled so that neither key order nor memory
    /// order decides which shard comes next.
    pub(crate) fn cycle(&self, index: usize, producers: usize) -> Vec<CycleKey<'_>> {
        let mut cycle: Vec<_> = self
            .texts
            .iter()
            .enumerate()
            .skip(index)
            .step_by(producers)
            .map(|(id, text)| CycleKey { text, id: id as u32 })
            .collect();
        let mut random = SplitMix(index as u64 + 1);
        for last in (1..cycle.len()).rev() {
            let other = (random.next() % (last as u64 + 1)) as usize;
            cycle.swap(last, other);
        }
        cycle
    }

    /// The key of a task's event: one after the other, from a place of its own on.
    #[inline]
    pub(crate) fn of_task(&self, task: usize, seq: u64) -> &str {
        &self.texts[task.wrapping_mul(7).wrapping_add(seq as usize) % KEYS]
    }

    /// How many events of `work` belong to each shard.
    pub(crate) fn quotas(&self, work: &Work) -> Vec<u64> {
        let Shape { producers, shards } = work.shape;
        let mut quotas = vec![0; shards];
        for index in 0..producers {
            let cycle = self.cycle(index, producers);
            let (length, hot) = (cycle.len() as u64, work.hot_share(index));
            let share = work.share(index) - hot;
            quotas[shard_of(hash(&self.hot), shards)] += hot;
            for (place, key) in cycle.iter().enumerate() {
                let count = share / length + u64::from((place as u64) < share % length);
                quotas[shard_of(hash(key.text), shards)] += count;
            }
        }
        quotas
    }
}

/// One key of a producer's cycle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CycleKey<'a> {
    text: &'a str,
    id: u32,
}

/// One event to be emitted, before it is hashed and stamped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw<'a> {
    pub(crate) key: &'a str,
    pub(crate) kind: u16,
    pub(crate) payload: Payload,
}

/// The events of one producer, in order.
#[derive(Debug)]
pub(crate) struct Lane<'a> {
    cycle: Vec<CycleKey<'a>>,
    place: usize,
    lap: u32,
    hot_key: CycleKey<'a>,
    /// Events with the hot key so far.
    hot_lap: u32,
    /// How many of a hundred events have the hot key.
    hot: u32,
    /// Hundredths of a hot event that are due.
    hot_due: u32,
    emitted: u64,
    share: u64,
}

impl<'a> Lane<'a> {
    pub(crate) fn new(keys: &'a Keys, work: &Work, index: usize) -> Self {
        Self {
            cycle: keys.cycle(index, work.shape.producers),
            place: 0,
            lap: 0,
            // One key for all producers, and for each a number of its own, under which its order is exact.
            hot_key: CycleKey { text: &keys.hot, id: (KEYS + index) as u32 },
            hot_lap: 0,
            hot: work.hot,
            hot_due: 0,
            emitted: 0,
            share: work.share(index),
        }
    }
}

impl<'a> Iterator for Lane<'a> {
    type Item = Draw<'a>;

    #[inline]
    fn next(&mut self) -> Option<Draw<'a>> {
        if self.emitted == self.share {
            return None;
        }
        let kind = (self.emitted % KINDS as u64) as u16;
        let body = [self.emitted, !self.emitted, self.share];
        self.emitted += 1;
        self.hot_due += self.hot;
        let (key, seq);
        if self.hot_due >= 100 {
            self.hot_due -= 100;
            (key, seq) = (self.hot_key, self.hot_lap);
            self.hot_lap = self.hot_lap.wrapping_add(1);
        } else {
            (key, seq) = (self.cycle[self.place], self.lap);
            self.place += 1;
            if self.place == self.cycle.len() {
                self.place = 0;
                self.lap = self.lap.wrapping_add(1);
            }
        }
        Some(Draw { key: key.text, kind, payload: Payload { key_id: key.id, seq, body } })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.share - self.emitted) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Lane<'_> {}

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

/// The hash of a key, the one keylane documents.
#[inline]
pub(crate) fn hash(key: &str) -> u64 {
    seahash::hash(key.as_bytes())
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

/// The name of [`stamp`] in the report.
pub(crate) const STAMP: &str =
    if cfg!(target_arch = "x86_64") { "lfence; rdtsc" } else { "Instant::now" };

/// What a consumer found out about its events.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) shard: usize,
    /// Events seen, per type.
    pub(crate) kinds: [u64; KINDS],
    /// Events that were not the next one of their key.
    pub(crate) disordered: u64,
}

/// What every consumer does with an event: count it under its type and check that it is the next
/// one of its key.
#[derive(Debug)]
pub(crate) struct Sink {
    kinds: [u64; KINDS],
    /// The next number of each key, and of the hot key for each producer.
    next: Box<[u32; 2 * KEYS]>,
    disordered: u64,
    left: u64,
    shard: usize,
}

impl Sink {
    /// A sink that expects `quota` events.
    pub(crate) fn new(shard: usize, quota: u64) -> Self {
        Self { kinds: [0; KINDS], next: Box::new([0; 2 * KEYS]), disordered: 0, left: quota, shard }
    }

    /// Takes one event; `true` when it was the last one expected.
    #[inline]
    pub(crate) fn see(&mut self, kind: u16, payload: &Payload) -> bool {
        self.kinds[kind as usize % KINDS] += 1;
        let next = &mut self.next[payload.key_id as usize % (2 * KEYS)];
        self.disordered += u64::from(*next != payload.seq);
        *next = payload.seq.wrapping_add(1);
        self.left = self.left.wrapping_sub(1);
        self.left == 0
    }

    pub(crate) fn verdict(&self) -> Verdict {
        Verdict { shard: self.shard, kinds: self.kinds, disordered: self.disordered }
    }
}

/// Sebastiano Vigna's SplitMix64: enough randomness to name and shuffle keys, the same on every
/// machine.
#[derive(Debug)]
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn work(producers: usize, shards: usize, events: u64) -> Work {
        Work {
            shape: Shape { producers, shards },
            pace: Pace::Single,
            events,
            capacity: 64,
            hot: 0,
        }
    }

    #[test]
    fn keys_are_distinct_and_of_the_announced_length() {
        let keys = Keys::new();
        assert!(keys.texts.iter().all(|text| text.len() == KEY_BYTES));
        assert_eq!(keys.texts.iter().collect::<HashSet<_>>().len(), KEYS);
    }

    #[test]
    fn cycles_divide_the_keys() {
        let keys = Keys::new();
        for producers in [1, 2, 8, 32] {
            let mut ids: Vec<_> = (0..producers)
                .flat_map(|index| keys.cycle(index, producers))
                .map(|key| key.id)
                .collect();
            ids.sort_unstable();
            assert_eq!(ids, (0..KEYS as u32).collect::<Vec<_>>());
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
