//! How long requests take: a processor that keeps a histogram.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use keylane::http::{Failed, Finished};
use keylane::{Event, EventType, Own, Processor, ProcessorFactory, ShardContext, for_each};

/// The upper bounds of the buckets that are exported, in seconds. Prometheus adds up what it gets, so these never change at run time.
pub(crate) const BOUNDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0];

/// The longest time that is told apart, in nanoseconds: an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// Counts requests by how long they took, from their head to the end of their response. A handle: clones share the counts.
#[derive(Debug, Clone)]
pub(crate) struct Durations {
    shards: Arc<[Mutex<Counted>]>,
}

/// What one shard has counted, or all of them. Its lock is contended by nobody but a reader.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    /// One for each of [`BOUNDS`], not cumulative.
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: Duration,
    histogram: Histogram<u64>,
}

impl Counted {
    fn new() -> Self {
        let histogram =
            Histogram::new_with_bounds(1_000, LONGEST, 2).expect("the bounds are right");
        Self { buckets: [0; BOUNDS.len()], count: 0, sum: Duration::ZERO, histogram }
    }

    fn add(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        if let Some(bucket) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum += time;
        self.histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(LONGEST));
    }

    fn merge(&mut self, other: &Self) {
        for (sum, bucket) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += bucket;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.histogram.add(&other.histogram).expect("all have the same bounds");
    }

    /// Each bound with the number of requests that took no longer.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut sum = 0;
        BOUNDS.into_iter().zip(self.buckets).map(move |(bound, count)| {
            sum += count;
            (bound, sum)
        })
    }

    /// All requests.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// All their times together.
    pub(crate) fn sum(&self) -> Duration {
        self.sum
    }

    /// The time that this part of the requests stayed below, to within 1 %.
    pub(crate) fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.histogram.value_at_quantile(quantile))
    }

    /// The longest time, to within 1 %.
    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.histogram.max())
    }
}

impl Durations {
    /// The types of the events that are counted.
    pub(crate) const EVENTS: [EventType; 2] =
        [EventType::FINISH_REQUEST, EventType::FAILED_REQUEST];

    /// Counts for a bus of that many shards.
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| Mutex::new(Counted::new())).collect() }
    }

    fn shard(&self, shard: usize) -> MutexGuard<'_, Counted> {
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all shards have counted.
    pub(crate) fn total(&self) -> Counted {
        let mut total = Counted::new();
        for shard in 0..self.shards.len() {
            total.merge(&self.shard(shard));
        }
        total
    }
}

impl ProcessorFactory<Own> for Durations {
    type Processor = DurationsProcessor;
    type Error = std::convert::Infallible;

    fn create(&self, cx: &ShardContext) -> Result<DurationsProcessor, Self::Error> {
        Ok(DurationsProcessor { durations: self.clone(), shard: cx.shard() })
    }
}

/// One shard's instance of [`Durations`].
#[derive(Debug)]
pub(crate) struct DurationsProcessor {
    durations: Durations,
    shard: usize,
}

impl Processor for DurationsProcessor {
    fn process(&mut self, event: &Event) {
        self.process_batch(&[event]);
    }

    fn process_batch(&mut self, events: &[&Event]) {
        let mut counted = self.durations.shard(self.shard);
        for_each(events, |event| {
            if let Some(finished) = event.get::<Finished>() {
                counted.add(finished.total);
            } else if let Some(failed) = event.get::<Failed>() {
                counted.add(failed.total);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_first_bucket_that_holds_it() {
        let mut counted = Counted::new();
        for micros in [0, 100, 101, 1_000, 10_000_000, 10_000_001] {
            counted.add(Duration::from_micros(micros));
        }
        let cumulative: Vec<_> = counted.cumulative().collect();
        assert_eq!(cumulative[0], (0.0001, 2));
        assert_eq!(cumulative[1], (0.00025, 3));
        assert_eq!(cumulative[3], (0.001, 4));
        assert_eq!(cumulative[13], (10.0, 5));
        assert_eq!((counted.count(), counted.sum().as_micros()), (6, 20_001_202));
        let max = counted.max().as_secs_f64();
        assert!((9.9..10.2).contains(&max), "{max}");
    }

    #[test]
    fn shards_are_added_up() {
        let durations = Durations::new(2);
        durations.shard(0).add(Duration::from_millis(1));
        durations.shard(1).add(Duration::from_secs(7_200));
        let total = durations.total();
        assert_eq!((total.count(), total.sum()), (2, Duration::from_millis(7_200_001)));
        assert!(total.quantile(0.5) < Duration::from_millis(2));
    }
}
