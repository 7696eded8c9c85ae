//! One size of one thing: producers that emit keyed values to shards.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use keylane::{Bus, Event, EventType, Processor, ShardContext, Value};

use serde::{Serialize, Serializer};

use crate::measure::{Lap, Track};
use crate::workload::{KEY_BYTES, SplitMix, hash, shard_of};

#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) keys: u64,
    pub(super) producers: usize,
    pub(super) shards: usize,
    /// Bytes of a value.
    pub(super) value: usize,
    pub(super) capacity: usize,
}

impl Load {
    /// One round.
    ///
    /// # Errors
    ///
    /// When the bus cannot be built, or loses an event.
    pub(super) fn run(&self, events: u64) -> Result<Lap, String> {
        match self.value {
            0 => self.carry::<0>(events),
            8 => self.carry::<8>(events),
            32 => self.carry::<32>(events),
            64 => self.carry::<64>(events),
            256 => self.carry::<256>(events),
            1024 => self.carry::<1024>(events),
            4096 => self.carry::<4096>(events),
            other => Err(format!("no values of {other} bytes")),
        }
    }

    fn share(&self, producer: usize, events: u64) -> u64 {
        let producers = self.producers as u64;
        events / producers + u64::from((producer as u64) < events % producers)
    }

    fn carry<const BYTES: usize>(&self, events: u64) -> Result<Lap, String> {
        let quotas = self.quotas(events);
        let busy = quotas.iter().filter(|quota| **quota > 0).count();
        let track = Arc::new(Track::new(self.producers, self.producers + busy));
        let wrong = Arc::new(AtomicU64::new(0));
        let factory = {
            let (track, wrong) = (Arc::clone(&track), Arc::clone(&wrong));
            move |cx: &ShardContext| Tally::<BYTES> {
                left: quotas[cx.shard()],
                first_bytes: 0,
                wrong: 0,
                track: Arc::clone(&track),
                all_wrong: Arc::clone(&wrong),
            }
        };
        let bus = Bus::builder().shards(self.shards).capacity(self.capacity);
        let bus = bus.processor("tally", factory).build().map_err(|error| error.to_string())?;
        let started = thread::scope(|scope| {
            for index in 0..self.producers {
                let (track, mut producer) = (&track, bus.producer());
                scope.spawn(move || {
                    let mut draws = Draws::new(self, index, events);
                    track.ready_then_wait();
                    while let Some(key) = draws.next() {
                        let value = Value::new(Bytes([key[DIGITS.start]; BYTES]));
                        producer
                            .emit_blocking(EventType::user(0), value, key)
                            .expect("the bus outlives its producers");
                    }
                    track.finish();
                    producer
                });
            }
            track.time()
        });
        let report = bus.shutdown(Duration::from_secs(60));
        let lap = started.joined(events);
        let wrong = wrong.load(Ordering::Relaxed);
        if report.processed != events || wrong > 0 {
            return Err(format!(
                "{wrong} values were wrong, and the report of {events} events: {report:?}"
            ));
        }
        Ok(lap)
    }

    /// How many events belong to each shard.
    fn quotas(&self, events: u64) -> Vec<u64> {
        let mut quotas = vec![0; self.shards];
        if self.shards == 1 {
            return vec![events];
        }
        for index in 0..self.producers {
            let mut draws = Draws::new(self, index, events);
            while let Some(key) = draws.next() {
                quotas[shard_of(hash(key), self.shards)] += 1;
            }
        }
        quotas
    }
}

/// A value of so many bytes.
#[derive(Debug)]
struct Bytes<const BYTES: usize>([u8; BYTES]);

impl<const BYTES: usize> Serialize for Bytes<BYTES> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// Where a key is different from another: eight bytes that the hash reads as one word. It would wait for a word that was written in
/// pieces, longer than the rest of an emit takes.
const DIGITS: Range<usize> = 24..32;

/// The keys of one producer's events, drawn at random and written on the stack.
struct Draws {
    random: SplitMix,
    keys: u64,
    left: u64,
    text: [u8; KEY_BYTES],
}

impl Draws {
    fn new(load: &Load, producer: usize, events: u64) -> Self {
        Self {
            random: SplitMix(producer as u64),
            keys: load.keys,
            left: load.share(producer, events),
            text: *b"00000000-0000-4000-8000-000000000000",
        }
    }

    #[inline]
    fn next(&mut self) -> Option<&[u8; KEY_BYTES]> {
        self.left = self.left.checked_sub(1)?;
        // A multiplication in place of a division, which would be a good part of the cost of an event.
        let key = ((u128::from(self.random.next()) * u128::from(self.keys)) >> 64) as u32;
        self.text[DIGITS].copy_from_slice(&hex_digits(key));
        Some(&self.text)
    }
}

/// The digits of a number, all eight at once.
#[inline]
fn hex_digits(number: u32) -> [u8; 8] {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let mut digits = u64::from(number);
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (digits + EACH * 6) >> 4 & EACH;
    (digits + EACH * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// Counts, and compares what it can see of each value.
struct Tally<const BYTES: usize> {
    left: u64,
    first_bytes: u64,
    wrong: u64,
    track: Arc<Track>,
    all_wrong: Arc<AtomicU64>,
}

impl<const BYTES: usize> Processor for Tally<BYTES> {
    fn process(&mut self, event: &Event) {
        match event.get::<Bytes<BYTES>>() {
            Some(Bytes(value)) => self.first_bytes += value.first().copied().map_or(0, u64::from),
            None => self.wrong += 1,
        }
        self.left = self.left.wrapping_sub(1);
        if self.left == 0 {
            self.track.finish();
        }
    }
}

impl<const BYTES: usize> Drop for Tally<BYTES> {
    fn drop(&mut self) {
        std::hint::black_box(self.first_bytes);
        self.all_wrong.fetch_add(self.wrong, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_delivers_everything() {
        let base = Load { keys: 100, producers: 1, shards: 1, value: 8, capacity: 64 };
        for load in [
            base,
            Load { keys: 10_000_000, ..base },
            Load { producers: 5, shards: 3, ..base },
            Load { value: 0, ..base },
            Load { value: 32, ..base },
            Load { value: 4096, ..base },
        ] {
            let lap = load.run(5_003);
            assert!(lap.is_ok(), "{load:?}: {lap:?}");
        }
        assert!(Load { value: 5, ..base }.run(1).is_err());
    }

    #[test]
    fn digits_are_those_of_the_formatter() {
        for number in [0, 9, 10, 15, 16, 0x1234_abcd, 0xdead_beef, 0x7060_5040, u32::MAX] {
            assert_eq!(hex_digits(number), format!("{number:08x}").as_bytes(), "{number:x}");
        }
    }

    #[test]
    fn keys_are_within_their_number() {
        let load = Load { keys: 100, producers: 1, shards: 1, value: 8, capacity: 64 };
        let mut draws = Draws::new(&load, 0, 20_000);
        let mut seen = std::collections::HashSet::new();
        while let Some(key) = draws.next() {
            assert!(key.is_ascii());
            seen.insert(*key);
        }
        assert_eq!(seen.len(), 100);
    }
}
