//! Counters, gauges and histograms of plugins: cells that an instance writes without a call, one set per processor and shard.
//!
//! Cells are never freed, because generations of a plugin follow one another and may end late; their number is limited instead. The
//! same name and labels on the same shard give the same cell again, also to the next generation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam_utils::CachePadded;
use keylane_plugin_abi as abi;
use serde_core::ser::{Serialize, SerializeStruct, Serializer};

use crate::stats::serialize_fields;

/// What a cell is found by: processor, shard, name, labels.
type Place = (String, usize, String, String);

/// A cell and what it means.
#[derive(Debug, Clone, Copy)]
struct Cell {
    kind: u32,
    value: &'static CachePadded<AtomicU64>,
}

/// All cells of one host.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    limit: usize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    cells: BTreeMap<Place, Cell>,
    histograms: BTreeMap<Place, u32>,
    by_number: Vec<&'static Histogram>,
}

/// Buckets by powers of two, with the sum: what `observe` records.
#[derive(Debug)]
struct Histogram {
    /// Bucket `n` counts values of `n` significant bits.
    buckets: [AtomicU64; 65],
    sum: AtomicU64,
}

/// One number that a plugin counts, of one processor on one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginMetric {
    /// The name that the processor is registered under.
    pub processor: String,
    /// The shard.
    pub shard: usize,
    /// The metric's name, chosen by the plugin.
    pub name: String,
    /// Its labels, a JSON object or empty, chosen by the plugin.
    pub labels: String,
    /// What it is and what it says.
    pub value: PluginMetricValue,
}

serialize_fields!(PluginMetric { processor, shard, name, labels, value });

/// The value of a [`PluginMetric`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PluginMetricValue {
    /// Only ever grows.
    Counter(u64),
    /// Goes up and down.
    Gauge(i64),
    /// How many values there were below a bound, for bounds that are powers of two, and their sum.
    Histogram {
        /// Upper bounds, exclusive, and how many values were below each and not below the one before it. Empty ones are left out.
        buckets: Vec<(u128, u64)>,
        /// The sum of all values; it wraps around.
        sum: u64,
    },
}

impl Serialize for PluginMetricValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const NAME: &str = "PluginMetricValue";
        match self {
            Self::Counter(value) => serializer.serialize_newtype_variant(NAME, 0, "counter", value),
            Self::Gauge(value) => serializer.serialize_newtype_variant(NAME, 1, "gauge", value),
            Self::Histogram { buckets, sum } => {
                serializer.serialize_newtype_variant(NAME, 2, "histogram", &(buckets, sum))
            }
        }
    }
}

/// The longest name and the longest labels.
const MAX_TEXT: usize = 512;

impl Cells {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, known: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cell of a counter or gauge; `None` when there are too many, the text is too long, or the cell is of the other kind.
    pub(crate) fn cell(
        &self,
        kind: u32,
        processor: &str,
        shard: usize,
        name: &str,
        labels: &str,
    ) -> Option<&'static AtomicU64> {
        if name.len().max(labels.len()) > MAX_TEXT || kind > abi::cell::GAUGE {
            return None;
        }
        let mut known = self.lock();
        let room = known.cells.len() < self.limit;
        let place = (processor.to_owned(), shard, name.to_owned(), labels.to_owned());
        let cell = match known.cells.get(&place) {
            Some(cell) => *cell,
            None if room => {
                // Lives as long as the process, as the ABI promises; the limit bounds what that costs.
                let value: &'static _ = Box::leak(Box::default());
                *known.cells.entry(place).or_insert(Cell { kind, value })
            }
            None => return None,
        };
        (cell.kind == kind).then_some(&**cell.value)
    }

    /// The number of a histogram; `None` as for [`cell`](Self::cell).
    pub(crate) fn histogram(
        &self,
        processor: &str,
        shard: usize,
        name: &str,
        labels: &str,
    ) -> Option<u32> {
        if name.len().max(labels.len()) > MAX_TEXT {
            return None;
        }
        let mut known = self.lock();
        let place = (processor.to_owned(), shard, name.to_owned(), labels.to_owned());
        if let Some(&number) = known.histograms.get(&place) {
            return Some(number);
        }
        // A histogram is as large as 66 cells.
        if known.by_number.len() >= self.limit / 64 {
            return None;
        }
        let number = known.by_number.len() as u32;
        let histogram =
            Histogram { buckets: [const { AtomicU64::new(0) }; 65], sum: AtomicU64::new(0) };
        known.by_number.push(Box::leak(Box::new(histogram)));
        known.histograms.insert(place, number);
        Some(number)
    }

    /// Records a value; false when there is no such histogram.
    pub(crate) fn observe(&self, number: u32, value: u64) -> bool {
        let Some(histogram) = self.lock().by_number.get(number as usize).copied() else {
            return false;
        };
        let bits = u64::BITS - value.leading_zeros();
        histogram.buckets[bits as usize].fetch_add(1, Ordering::Relaxed);
        histogram.sum.fetch_add(value, Ordering::Relaxed);
        true
    }

    pub(crate) fn snapshot(&self) -> Vec<PluginMetric> {
        let known = self.lock();
        let metric = |(processor, shard, name, labels): &Place, value| PluginMetric {
            processor: processor.clone(),
            shard: *shard,
            name: name.clone(),
            labels: labels.clone(),
            value,
        };
        let cells = known.cells.iter().map(|(place, cell)| {
            let value = cell.value.load(Ordering::Relaxed);
            metric(
                place,
                match cell.kind {
                    abi::cell::GAUGE => PluginMetricValue::Gauge(value as i64),
                    _ => PluginMetricValue::Counter(value),
                },
            )
        });
        let histograms = known.histograms.iter().map(|(place, &number)| {
            let histogram = known.by_number[number as usize];
            let counts = histogram.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
            let buckets =
                (0..).map(|bits| 1u128 << bits).zip(counts).filter(|(_, count)| *count > 0);
            let sum = histogram.sum.load(Ordering::Relaxed);
            metric(place, PluginMetricValue::Histogram { buckets: buckets.collect(), sum })
        });
        cells.chain(histograms).collect()
    }
}
