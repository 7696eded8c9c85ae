//! Processors that keep records for the test to compare.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use keylane::{Event, EventType, Processor, ShardContext};

/// One event, as a processor saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) shard: usize,
    pub(crate) generation: u64,
    pub(crate) thread: ThreadId,
    pub(crate) kind: EventType,
    pub(crate) key_hash: u64,
    pub(crate) number: u64,
}

/// Writes every event with a `u64` into a list that the test reads.
#[derive(Debug)]
pub(crate) struct Recorder {
    shard: usize,
    generation: u64,
    list: Arc<Mutex<Vec<Recorded>>>,
}

impl Recorder {
    pub(crate) fn new(cx: &ShardContext, list: &Arc<Mutex<Vec<Recorded>>>) -> Self {
        Self { shard: cx.shard(), generation: cx.generation(), list: list.clone() }
    }
}

impl Processor for Recorder {
    fn process(&mut self, event: &Event) {
        let recorded = Recorded {
            shard: self.shard,
            generation: self.generation,
            thread: thread::current().id(),
            kind: event.kind(),
            key_hash: event.key_hash(),
            number: *event.get().expect("the test emits u64"),
        };
        self.list.lock().expect("no panic under this lock").push(recorded);
    }
}

/// What [`OrderCheck`]s have found wrong.
pub(crate) type Violations = Arc<Mutex<Vec<String>>>;

/// Expects that the numbers of each key only grow.
#[derive(Debug)]
pub(crate) struct OrderCheck {
    last: HashMap<u64, u64>,
    violations: Violations,
}

impl OrderCheck {
    pub(crate) fn new(violations: &Violations) -> Self {
        Self { last: HashMap::new(), violations: violations.clone() }
    }
}

impl Processor for OrderCheck {
    fn process(&mut self, event: &Event) {
        let &number: &u64 = event.get().expect("the test emits u64");
        let last = self.last.insert(event.key_hash(), number);
        if let Some(last) = last.filter(|&last| last >= number) {
            let mut violations = self.violations.lock().expect("no panic under this lock");
            if violations.len() < 20 {
                violations.push(format!("{number} after {last}, key {:#x}", event.key_hash()));
            }
        }
    }
}

/// Counts for every number from 0 how often it was seen.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    seen: Arc<[AtomicU8]>,
}

impl Ledger {
    pub(crate) fn new(numbers: usize) -> Self {
        Self { seen: (0..numbers).map(|_| AtomicU8::new(0)).collect() }
    }

    pub(crate) fn note(&self, number: u64) {
        let before = self.seen[number as usize].fetch_add(1, Ordering::Relaxed);
        assert!(before < u8::MAX, "{number} was seen 256 times");
    }

    pub(crate) fn times(&self, number: u64) -> u8 {
        self.seen[number as usize].load(Ordering::Relaxed)
    }

    /// How many numbers were seen at least once.
    pub(crate) fn distinct(&self) -> u64 {
        self.seen.iter().filter(|times| times.load(Ordering::Relaxed) > 0).count() as u64
    }

    /// Fails unless exactly these numbers were seen, each once.
    #[track_caller]
    pub(crate) fn assert_exactly(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut expected = vec![0u8; self.seen.len()];
        for number in numbers {
            expected[number as usize] += 1;
        }
        let wrong: Vec<_> = (0..self.seen.len() as u64)
            .filter(|&number| self.times(number) != expected[number as usize])
            .map(|n| format!("{n}: expected {}, seen {}", expected[n as usize], self.times(n)))
            .take(10)
            .collect();
        assert!(wrong.is_empty(), "numbers seen wrongly: {wrong:#?}");
    }
}

impl Processor for Ledger {
    fn process(&mut self, event: &Event) {
        self.note(*event.get().expect("the test emits u64"));
    }
}
