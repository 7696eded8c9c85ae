//! Which keys are drawn, and in which order.

use super::{KEY_BYTES, KEYS, KINDS, Payload, Shape, Work, hash, shard_of};

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
}
