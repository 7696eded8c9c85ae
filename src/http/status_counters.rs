//! Counting requests by the class of their status.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;

use super::{Failed, Finished};
use crate::event::{Event, EventType};
use crate::processor::{Own, Processor, ProcessorFactory, ShardContext};
use crate::stats::serialize_fields;
use serde_core::ser::{Serialize, SerializeStruct, Serializer};

/// Counts ended requests by the class of their status, on each shard by itself; reading adds up. This is gohm's `StatusCounters`.
///
/// It is a handle: clones share the counts. Register a clone as a processor, and read any other. A failed request counts by
/// [`Failed::log_status`]; a status outside of 100 to 599 counts in `all` only.
///
/// No request is lost or counted twice by a reset, however many shards count meanwhile: the counts only ever grow, and a reset moves
/// the point from which they are read. Resetting one does not touch the others.
///
/// ```
/// use keylane::http::StatusCounters;
///
/// let counters = StatusCounters::new();
/// let bus = keylane::Bus::builder()
///     .shards(1)
///     .processor_for("counters", StatusCounters::EVENTS, counters.clone())
///     .build()?;
/// assert_eq!(counters.get_2xx(), 0);
/// # Ok::<(), keylane::BuildError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[doc(alias = "Counters")]
pub struct StatusCounters {
    inner: Arc<Inner>,
}

/// One for each class from 1xx to 5xx, and one for the rest.
const CELLS: usize = 6;

type Cells = CachePadded<[AtomicU64; CELLS]>;

#[derive(Debug, Default)]
struct Inner {
    /// By the index of the shard. An instance keeps its own, so counting takes no lock.
    shards: Mutex<Vec<Arc<Cells>>>,
    bases: Mutex<Bases>,
}

/// What had been counted at the last reset of each counter.
#[derive(Debug, Default)]
struct Bases {
    classes: [u64; 5],
    all: u64,
}

/// What [`StatusCounters`] say at one moment. `all` is the sum of the others and of what has no class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusCounts {
    /// Informational responses.
    pub status_1xx: u64,
    /// Successes.
    pub status_2xx: u64,
    /// Redirections.
    pub status_3xx: u64,
    /// Errors of clients, and 499 for those that have gone.
    pub status_4xx: u64,
    /// Errors of the service.
    pub status_5xx: u64,
    /// All requests.
    pub all: u64,
}

serialize_fields!(StatusCounts { status_1xx, status_2xx, status_3xx, status_4xx, status_5xx, all });

/// Leaves out the lock's poison: nothing here panics while it holds one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StatusCounters {
    /// The types of the events that are counted, for [`processor_for`](crate::Builder::processor_for).
    pub const EVENTS: [EventType; 2] = [EventType::FINISH_REQUEST, EventType::FAILED_REQUEST];

    /// Counters at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn sums(&self) -> [u64; CELLS] {
        let mut sums = [0; CELLS];
        for shard in lock(&self.inner.shards).iter() {
            for (sum, cell) in sums.iter_mut().zip(shard.iter()) {
                *sum += cell.load(Ordering::Relaxed);
            }
        }
        sums
    }

    /// Reads everything, and resets it if asked to.
    fn read(&self, reset: bool) -> StatusCounts {
        // The sums are taken under the lock, or a slow reader would see fewer than the base.
        let mut bases = lock(&self.inner.bases);
        let sums = self.sums();
        let class = |index: usize| sums[index] - bases.classes[index];
        let all: u64 = sums.iter().sum();
        let counts = StatusCounts {
            status_1xx: class(0),
            status_2xx: class(1),
            status_3xx: class(2),
            status_4xx: class(3),
            status_5xx: class(4),
            all: all - bases.all,
        };
        if reset {
            bases.classes.copy_from_slice(&sums[..5]);
            bases.all = all;
        }
        counts
    }

    fn reset_class(&self, index: usize) -> u64 {
        let mut bases = lock(&self.inner.bases);
        let sum = self.sums()[index];
        sum - std::mem::replace(&mut bases.classes[index], sum)
    }

    /// Everything at one moment.
    #[must_use]
    pub fn snapshot(&self) -> StatusCounts {
        self.read(false)
    }

    /// Everything at one moment, from which on everything is counted from zero. Each request is in exactly one such snapshot, in its
    /// class and in `all`.
    pub fn snapshot_and_reset(&self) -> StatusCounts {
        self.read(true)
    }

    /// All requests since the last reset of this counter.
    #[must_use]
    #[doc(alias = "GetAll")]
    pub fn get_all(&self) -> u64 {
        self.read(false).all
    }

    /// Responses from 100 to 199 since the last reset of this counter.
    #[must_use]
    #[doc(alias = "Get1xx")]
    pub fn get_1xx(&self) -> u64 {
        self.read(false).status_1xx
    }

    /// Responses from 200 to 299 since the last reset of this counter.
    #[must_use]
    #[doc(alias = "Get2xx")]
    pub fn get_2xx(&self) -> u64 {
        self.read(false).status_2xx
    }

    /// Responses from 300 to 399 since the last reset of this counter.
    #[must_use]
    #[doc(alias = "Get3xx")]
    pub fn get_3xx(&self) -> u64 {
        self.read(false).status_3xx
    }

    /// Responses from 400 to 499 since the last reset of this counter.
    #[must_use]
    #[doc(alias = "Get4xx")]
    pub fn get_4xx(&self) -> u64 {
        self.read(false).status_4xx
    }

    /// Responses from 500 to 599 since the last reset of this counter.
    #[must_use]
    #[doc(alias = "Get5xx")]
    pub fn get_5xx(&self) -> u64 {
        self.read(false).status_5xx
    }

    /// [`get_all`](Self::get_all), and resets this counter.
    #[doc(alias = "GetAndResetAll")]
    pub fn get_and_reset_all(&self) -> u64 {
        let mut bases = lock(&self.inner.bases);
        let sum = self.sums().iter().sum();
        sum - std::mem::replace(&mut bases.all, sum)
    }

    /// [`get_1xx`](Self::get_1xx), and resets this counter.
    #[doc(alias = "GetAndReset1xx")]
    pub fn get_and_reset_1xx(&self) -> u64 {
        self.reset_class(0)
    }

    /// [`get_2xx`](Self::get_2xx), and resets this counter.
    #[doc(alias = "GetAndReset2xx")]
    pub fn get_and_reset_2xx(&self) -> u64 {
        self.reset_class(1)
    }

    /// [`get_3xx`](Self::get_3xx), and resets this counter.
    #[doc(alias = "GetAndReset3xx")]
    pub fn get_and_reset_3xx(&self) -> u64 {
        self.reset_class(2)
    }

    /// [`get_4xx`](Self::get_4xx), and resets this counter.
    #[doc(alias = "GetAndReset4xx")]
    pub fn get_and_reset_4xx(&self) -> u64 {
        self.reset_class(3)
    }

    /// [`get_5xx`](Self::get_5xx), and resets this counter.
    #[doc(alias = "GetAndReset5xx")]
    pub fn get_and_reset_5xx(&self) -> u64 {
        self.reset_class(4)
    }
}

impl ProcessorFactory<Own> for StatusCounters {
    type Processor = StatusCountsProcessor;
    type Error = std::convert::Infallible;

    fn create(&self, cx: &ShardContext) -> Result<StatusCountsProcessor, Self::Error> {
        let mut shards = lock(&self.inner.shards);
        while shards.len() <= cx.shard() {
            shards.push(Arc::default());
        }
        Ok(StatusCountsProcessor { cells: shards[cx.shard()].clone() })
    }
}

/// One shard's instance of [`StatusCounters`].
#[derive(Debug)]
pub struct StatusCountsProcessor {
    cells: Arc<Cells>,
}

impl Processor for StatusCountsProcessor {
    fn process(&mut self, event: &Event) {
        let status = if let Some(finished) = event.get::<Finished>() {
            finished.status.as_u16()
        } else if let Some(failed) = event.get::<Failed>() {
            failed.log_status()
        } else {
            return;
        };
        let class = match status {
            100..600 => usize::from(status / 100 - 1),
            _ => CELLS - 1,
        };
        // Not a load and a store: an instance that is being replaced may still count beside its successor.
        self.cells[class].fetch_add(1, Ordering::Relaxed);
    }
}
