//! What goes wrong outside of requests: counted, and told on standard error, a line a second at most.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use keylane::ingest::printable::plain;
use keylane::{CommonErrorMeta, Event, EventType, Own, Processor, ProcessorFactory, ShardContext};

use crate::diagnostics::Diagnostics;

/// How often a line is told. Whoever knocks at the port without a word of HTTP must not fill a disk.
const PERIOD: Duration = Duration::from_secs(1);

/// Counts `COMMON_ERROR`s. A handle: clones share the count.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionErrors {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    count: AtomicU64,
    diagnostics: Diagnostics,
    limit: Mutex<Limit>,
}

/// Lets one through in a period, and counts the others.
#[derive(Debug, Default)]
struct Limit {
    last: Option<Instant>,
    withheld: u64,
}

impl Limit {
    /// How many were withheld before this one, if this one is let through.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < PERIOD) {
            self.withheld += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.withheld))
    }
}

impl ConnectionErrors {
    /// The types of the events that are counted.
    pub(crate) const EVENTS: [EventType; 1] = [EventType::COMMON_ERROR];

    /// A count at zero.
    pub(crate) fn new(diagnostics: &Diagnostics) -> Self {
        let shared = Shared {
            count: AtomicU64::new(0),
            diagnostics: diagnostics.clone(),
            limit: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// All so far.
    pub(crate) fn count(&self) -> u64 {
        self.shared.count.load(Ordering::Relaxed)
    }
}

impl ProcessorFactory<Own> for ConnectionErrors {
    type Processor = Self;
    type Error = std::convert::Infallible;

    fn create(&self, _: &ShardContext) -> Result<Self, Self::Error> {
        Ok(self.clone())
    }
}

impl Processor for ConnectionErrors {
    fn process(&mut self, event: &Event) {
        let Some(meta) = event.get::<CommonErrorMeta>() else { return };
        let Shared { count, diagnostics, limit } = &*self.shared;
        count.fetch_add(1, Ordering::Relaxed);
        let passed = limit.lock().unwrap_or_else(PoisonError::into_inner).pass(Instant::now());
        let Some(withheld) = passed else { return };
        let who = meta.addr.map_or_else(|| "listener".to_owned(), |addr| addr.to_string());
        let what = plain(&format!("{:#}", meta.err), 200);
        match withheld {
            0 => diagnostics.say(format_args!("{who}: {what}")),
            _ => diagnostics.say(format_args!("{who}: {what} (and {withheld} others before)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_line_and_the_next_counts_the_others() {
        let (start, mut limit) = (Instant::now(), Limit::default());
        assert_eq!(limit.pass(start), Some(0));
        assert_eq!(limit.pass(start), None);
        assert_eq!(limit.pass(start + PERIOD - Duration::from_nanos(1)), None);
        assert_eq!(limit.pass(start + PERIOD), Some(2));
        assert_eq!(limit.pass(start + 2 * PERIOD), Some(0));
    }
}
