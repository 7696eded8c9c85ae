//! Histograms that one thread writes with plain stores and any thread reads at any time.
//!
//! The buckets are those of an HDR histogram (G. Tene): 64 linear steps to each power of two, so a value is known to
//! within 1.6 %. The cells are our own because recording must neither lock nor allocate nor wait for a
//! reader; percentiles are computed by `hdrhistogram` when somebody asks.

use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;
use serde_core::ser::{Serialize, SerializeStruct, Serializer};

const STEP_BITS: u32 = 6;
const STEPS: usize = 1 << STEP_BITS;
/// Largest value that is told apart: 2^40 - 1, over 18 minutes in nanoseconds.
const LIMIT: u64 = (1 << 40) - 1;
const BUCKETS: usize = (40 - STEP_BITS as usize + 1) * STEPS;

/// A counter that one thread writes.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    /// Adds; for the one writer only, hence no read-modify-write.
    #[inline(always)]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    /// Raises to at least `n`; for the one writer only.
    #[inline(always)]
    pub(crate) fn raise(&self, n: u64) {
        if n > self.0.load(Ordering::Relaxed) {
            self.0.store(n, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The cells of one histogram.
pub(crate) struct Cells {
    buckets: Box<[Cell]>,
    min: Cell,
    max: Cell,
}

impl std::fmt::Debug for Cells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cells").field("max", &self.max.get()).finish_non_exhaustive()
    }
}

#[inline(always)]
fn bucket(value: u64) -> usize {
    let value = value.min(LIMIT);
    if value < STEPS as u64 {
        return value as usize;
    }
    let shift = value.ilog2() - STEP_BITS;
    (shift as usize + 1) * STEPS + (value >> shift) as usize - STEPS
}

/// The middle of a bucket.
fn middle(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    let low = ((bucket % STEPS + STEPS) as u64) << shift;
    low + (1 << shift) / 2
}

impl Cells {
    pub(crate) fn new() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Cell::default()).collect(),
            min: Cell(AtomicU64::new(u64::MAX)),
            max: Cell::default(),
        }
    }

    /// Records `count` times `value`; for the one writer only.
    #[inline(always)]
    pub(crate) fn record(&self, value: u64, count: u64) {
        self.buckets[bucket(value)].add(count);
        self.max.raise(value);
        if value < self.min.get() {
            self.min.0.store(value, Ordering::Relaxed);
        }
    }

    /// Adds what another set of cells has recorded; for the one writer only.
    pub(crate) fn take_over(&self, old: &Self) {
        for (cell, old) in self.buckets.iter().zip(&old.buckets) {
            cell.add(old.get());
        }
        self.max.raise(old.max.get());
        self.min.0.store(self.min.get().min(old.min.get()), Ordering::Relaxed);
    }

    /// Adds what has been recorded to a summary made by [`Summary::empty`].
    pub(crate) fn add_to(&self, summary: &mut Summary) {
        for (index, cell) in self.buckets.iter().enumerate() {
            let count = cell.get();
            if count > 0 {
                summary.histogram.saturating_record_n(middle(index), count);
            }
        }
        summary.min = summary.min.min(self.min.get());
        summary.max = summary.max.max(self.max.get());
    }
}

/// A distribution, with percentiles to within 2 % and an exact minimum and maximum.
///
/// Times are in nanoseconds, batch sizes in events. As JSON it is an object of `count`, `min`, `mean`, `p50`, `p90`, `p99`, `p999`,
/// `p9999` and `max`; with nothing recorded all are 0.
#[derive(Debug, Clone)]
pub struct Summary {
    histogram: Histogram<u64>,
    min: u64,
    max: u64,
}

impl Summary {
    pub(crate) fn empty() -> Self {
        let histogram =
            Histogram::new_with_bounds(1, LIMIT + 1, 2).expect("the bounds are constant");
        Self { histogram, min: u64::MAX, max: 0 }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all summaries have the same bounds");
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The smallest value.
    pub fn min(&self) -> u64 {
        if self.min == u64::MAX { 0 } else { self.min }
    }

    /// The largest value.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        self.histogram.mean()
    }

    /// The value that `quantile` of all values do not exceed, for example 0.999.
    pub fn quantile(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile).clamp(self.min(), self.max)
    }

    /// The histogram itself, for percentiles of one's own choice, exports and plots.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Summary", 9)?;
        out.serialize_field("count", &self.count())?;
        out.serialize_field("min", &self.min())?;
        out.serialize_field("mean", &((self.mean() * 10.0).round() / 10.0))?;
        out.serialize_field("p50", &self.quantile(0.5))?;
        out.serialize_field("p90", &self.quantile(0.9))?;
        out.serialize_field("p99", &self.quantile(0.99))?;
        out.serialize_field("p999", &self.quantile(0.999))?;
        out.serialize_field("p9999", &self.quantile(0.9999))?;
        out.serialize_field("max", &self.max())?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_keeps_its_value_within_two_percent(value in 0..=LIMIT) {
            let kept = middle(bucket(value));
            prop_assert!(kept.abs_diff(value) as f64 <= value as f64 * 0.016, "{value} became {kept}");
        }

        #[test]
        fn quantiles_agree_with_hdrhistogram(values in proptest::collection::vec(0..LIMIT, 1..200)) {
            let cells = Cells::new();
            let mut oracle = Histogram::<u64>::new_with_bounds(1, LIMIT + 1, 3).expect("constant bounds");
            for &value in &values {
                cells.record(value, 1);
                oracle.record(value).expect("in bounds");
            }
            let mut summary = Summary::empty();
            cells.add_to(&mut summary);
            prop_assert_eq!(summary.count(), values.len() as u64);
            prop_assert_eq!(summary.max(), values.iter().copied().max().unwrap_or(0));
            prop_assert_eq!(summary.min(), values.iter().copied().min().unwrap_or(0));
            for quantile in [0.5, 0.9, 0.99] {
                let (ours, theirs) = (summary.quantile(quantile), oracle.value_at_quantile(quantile));
                prop_assert!(ours.abs_diff(theirs) as f64 <= theirs as f64 * 0.03 + 1.0, "{ours} {theirs}");
            }
        }
    }

    #[test]
    fn beyond_the_limit_is_the_last_bucket() {
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket(LIMIT), BUCKETS - 1);
        assert_eq!(bucket(63), 63);
        assert_eq!(bucket(64), 64);
    }
}
