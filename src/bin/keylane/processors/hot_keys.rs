//! The hottest keys of a stream, in bounded memory.
//!
//! A table of counters with a floor. As long as the distinct keys fit, every count is exact. When they do not, the cold half is
//! dropped and the largest count dropped becomes the floor: a key that comes (back) later starts from the floor, so its
//! count may be too high by at most that, and is never too low. It is the idea of Space-Saving (Metwally, Agrawal, El Abbadi,
//! 2005) with the eviction in bulk of the Frequent Items sketch of Apache DataSketches, which makes it cheap without a heap.

use std::collections::HashMap;

/// Counters for the keys of one shard.
#[derive(Debug)]
pub(crate) struct HotKeys {
    counters: HashMap<Box<str>, Counter>,
    /// The most counters to keep.
    max_keys: usize,
    /// The most bytes of key text to keep.
    max_bytes: usize,
    /// Bytes of key text kept.
    bytes: usize,
    /// No key that is not in the table was seen more often than this.
    floor: u64,
}

/// How often a key was seen: at most `events`, at least `events - excess`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counter {
    /// The count, perhaps too high.
    pub(crate) events: u64,
    /// By how much it may be too high.
    pub(crate) excess: u64,
}

impl HotKeys {
    /// Room for `max_keys` keys with `max_bytes` of text together.
    pub(crate) fn new(max_keys: usize, max_bytes: usize) -> Self {
        Self { counters: HashMap::new(), max_keys: max_keys.max(2), max_bytes, bytes: 0, floor: 0 }
    }

    /// Counts one event of `key`.
    pub(crate) fn add(&mut self, key: &str) {
        if let Some(counter) = self.counters.get_mut(key) {
            counter.events += 1;
            return;
        }
        if key.len() > self.max_bytes {
            // It can never be kept; the floor has to cover it like any other key outside of the table.
            self.floor += 1;
            return;
        }
        while self.counters.len() >= self.max_keys || self.bytes + key.len() > self.max_bytes {
            self.drop_cold_half();
        }
        self.bytes += key.len();
        let counter = Counter { events: self.floor + 1, excess: self.floor };
        self.counters.insert(key.into(), counter);
    }

    /// Makes room: drops every counter up to the median.
    fn drop_cold_half(&mut self) {
        let mut counts: Vec<u64> = self.counters.values().map(|counter| counter.events).collect();
        let middle = (counts.len() - 1) / 2;
        let (_, median, _) = counts.select_nth_unstable(middle);
        let median = *median;
        self.floor = self.floor.max(median);
        let bytes = &mut self.bytes;
        self.counters.retain(|key, counter| {
            let kept = counter.events > median;
            *bytes -= if kept { 0 } else { key.len() };
            kept
        });
    }

    /// Whether every key is in the table and every count exact.
    pub(crate) fn is_exact(&self) -> bool {
        self.floor == 0
    }

    /// How many keys are in the table.
    pub(crate) fn len(&self) -> usize {
        self.counters.len()
    }

    /// The keys and their counters, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Counter)> {
        self.counters.iter().map(|(key, counter)| (&**key, *counter))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(keys: &[String], max_keys: usize, max_bytes: usize) -> HotKeys {
        let mut hot = HotKeys::new(max_keys, max_bytes);
        keys.iter().for_each(|key| hot.add(key));
        hot
    }

    #[test]
    fn counts_are_exact_while_the_keys_fit() {
        let keys: Vec<_> = (0..100).flat_map(|n| vec![format!("k{n}"); n]).collect();
        let hot = counted(&keys, 100, 1 << 20);
        assert!(hot.is_exact());
        assert_eq!(hot.len(), 99);
        for (key, counter) in hot.iter() {
            assert_eq!(format!("k{}", counter.events), key);
            assert_eq!(counter.excess, 0);
        }
    }

    #[test]
    fn a_hot_key_survives_a_flood_of_cold_ones() {
        let keys: Vec<_> = (0..100_000)
            .map(|n| if n % 10 == 0 { "hot".into() } else { format!("k{n}") })
            .collect();
        let hot = counted(&keys, 64, 1 << 20);
        let (key, counter) = hot.iter().max_by_key(|(_, counter)| counter.events).unwrap();
        assert_eq!(key, "hot");
        assert!((10_000 - counter.excess..=10_000 + counter.excess).contains(&counter.events));
        assert!(!hot.is_exact());
    }

    #[test]
    fn key_text_is_bounded() {
        let mut hot = HotKeys::new(1000, 10_000);
        for n in 0..10_000 {
            hot.add(&format!("{n:>500}"));
            assert!(hot.bytes <= 10_000 && hot.len() <= 20);
        }
        hot.add(&"x".repeat(10_001));
        assert!(hot.len() <= 20);
    }

    proptest! {
        #[test]
        fn no_count_is_too_low_or_off_by_more_than_it_says(
            keys in prop::collection::vec("[a-f]{1,3}", 0..400),
            max_keys in 2usize..20,
            max_bytes in 3usize..60,
        ) {
            let mut truth = HashMap::new();
            keys.iter().for_each(|key| *truth.entry(key.as_str()).or_insert(0u64) += 1);
            let hot = counted(&keys, max_keys, max_bytes);
            prop_assert!(hot.len() <= max_keys);
            prop_assert_eq!(hot.bytes, hot.iter().map(|(key, _)| key.len()).sum::<usize>());
            let mut outside = truth.clone();
            for (key, counter) in hot.iter() {
                let events = truth[key];
                prop_assert!(events <= counter.events, "{key}: {events} counted as {counter:?}");
                prop_assert!(counter.events - counter.excess <= events, "{key}: {events} counted as {counter:?}");
                outside.remove(key);
            }
            prop_assert!(outside.values().all(|events| *events <= hot.floor));
            prop_assert!(!hot.is_exact() || outside.is_empty());
        }
    }
}
