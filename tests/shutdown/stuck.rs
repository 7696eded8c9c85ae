//! A processor that stays in an event until it is let go, and a journal of what became of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use crate::support::Latch;
use keylane::{Bus, Event, Processor, ShardContext, ShutdownReport, for_each};

use crate::OUTSIDE;

/// When a processor calls `shutdown` and on which thread, and what it saw before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal {
    pub(crate) entries: Arc<Mutex<Vec<Entry>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Made { name: String, shard: usize, thread: ThreadId },
    Began { name: String, shard: usize, number: u64 },
    Flushed { name: String, shard: usize },
    ShutDown { name: String, shard: usize, thread: ThreadId },
    Dropped { name: String, shard: usize, thread: ThreadId },
}

impl Journal {
    pub(crate) fn write(&self, entry: Entry) {
        self.entries.lock().expect("no panic under this lock").push(entry);
    }

    pub(crate) fn read(&self) -> Vec<Entry> {
        self.entries.lock().expect("no panic under this lock").clone()
    }

    pub(crate) fn numbers(&self, of: &str) -> Vec<u64> {
        let number = |entry| match entry {
            Entry::Began { name, number, .. } if name == of => Some(number),
            _ => None,
        };
        self.read().into_iter().filter_map(number).collect()
    }

    /// Fails unless each instance that was made was shut down once, on its thread, after its last event, and then dropped.
    #[track_caller]
    pub(crate) fn assert_all_ended_once(&self, instances: usize) {
        let entries = self.read();
        let mut life: HashMap<(String, usize), (ThreadId, Vec<&'static str>)> = HashMap::new();
        for entry in &entries {
            let (name, shard, on, what) = match entry {
                Entry::Made { name, shard, thread } => {
                    life.insert((name.clone(), *shard), (*thread, vec!["made"]));
                    continue;
                }
                Entry::Began { name, shard, .. } => (name, shard, None, "event"),
                Entry::Flushed { name, shard } => (name, shard, None, "flush"),
                Entry::ShutDown { name, shard, thread } => (name, shard, Some(thread), "shutdown"),
                Entry::Dropped { name, shard, thread } => (name, shard, Some(thread), "drop"),
            };
            let (thread, so_far) = life.get_mut(&(name.clone(), *shard)).expect("made first");
            assert!(on.is_none_or(|on| on == thread), "{what} on another thread: {entries:#?}");
            so_far.push(what);
        }
        assert_eq!(life.len(), instances, "{entries:#?}");
        for ((name, shard), (_, life)) in &life {
            assert!(
                life.ends_with(&["shutdown", "drop"])
                    && life.iter().filter(|&&step| step == "shutdown").count() == 1,
                "{name} on shard {shard}: {life:?}"
            );
            let events_after_flush =
                life.iter().rev().take_while(|&&step| step != "flush").any(|&step| step == "event");
            assert!(!events_after_flush, "{name} on shard {shard} was not flushed: {life:?}");
        }
    }
}

/// How [`Stuck`] walks through a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walk {
    Default,
    ForEach,
    /// `for_each` on pieces of three events.
    Pieces,
    /// One `for_each` around another.
    Nested,
}

/// Writes a journal, and gets stuck in some events until it is released.
pub(crate) struct Stuck {
    pub(crate) name: String,
    pub(crate) shard: usize,
    pub(crate) journal: Journal,
    pub(crate) latches: Arc<HashMap<u64, (Latch, Latch)>>,
    pub(crate) walk: Walk,
    pub(crate) panics_on: Option<u64>,
}

impl Stuck {
    pub(crate) fn step(&mut self, event: &Event) {
        let &number: &u64 = event.get().expect("the test emits u64");
        let (name, shard) = (self.name.clone(), self.shard);
        self.journal.write(Entry::Began { name, shard, number });
        assert_ne!(self.panics_on, Some(number), "deliberate");
        if let Some((entered, release)) = self.latches.get(&number) {
            entered.open();
            release.wait();
        }
    }
}

impl Processor for Stuck {
    fn process(&mut self, event: &Event) {
        match self.walk {
            Walk::Nested => for_each(&[event], |event| self.step(event)),
            _ => self.step(event),
        }
    }

    fn process_batch(&mut self, events: &[&Event]) {
        match self.walk {
            Walk::Default | Walk::ForEach | Walk::Nested => {
                for_each(events, |event| self.process(event));
            }
            Walk::Pieces => {
                for piece in events.chunks(3) {
                    for_each(piece, |event| self.process(event));
                }
            }
        }
    }

    fn flush(&mut self) {
        self.journal.write(Entry::Flushed { name: self.name.clone(), shard: self.shard });
    }

    fn shutdown(&mut self) {
        let (name, shard, thread) = (self.name.clone(), self.shard, thread::current().id());
        self.journal.write(Entry::ShutDown { name, shard, thread });
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let (name, shard, thread) = (self.name.clone(), self.shard, thread::current().id());
        self.journal.write(Entry::Dropped { name, shard, thread });
    }
}

/// Makes [`Stuck`]s that get stuck in the numbers of `latches`.
pub(crate) fn stuck(
    journal: &Journal,
    latches: &Arc<HashMap<u64, (Latch, Latch)>>,
    walk: Walk,
    panics_on: Option<u64>,
) -> impl Fn(&ShardContext) -> Stuck + Send + Sync + 'static {
    let (journal, latches) = (journal.clone(), latches.clone());
    move |cx: &ShardContext| {
        let (name, shard, thread) = (cx.processor().to_owned(), cx.shard(), thread::current().id());
        journal.write(Entry::Made { name: name.clone(), shard, thread });
        Stuck { name, shard, journal: journal.clone(), latches: latches.clone(), walk, panics_on }
    }
}

pub(crate) fn latches(numbers: &[u64]) -> Arc<HashMap<u64, (Latch, Latch)>> {
    Arc::new(numbers.iter().map(|&number| (number, (Latch::new(), Latch::new()))).collect())
}

/// Brings the shard of key 0 into the middle of one batch: number 0 holds it up until 1 to 9 are in the ring behind, which
/// then are read together.
pub(crate) fn one_batch(bus: &Bus, latches: &HashMap<u64, (Latch, Latch)>) {
    let emitter = bus.emitter();
    emitter.try_emit(OUTSIDE, 0u64, 0).expect("room");
    latches[&0].0.wait();
    for number in 1..10u64 {
        emitter.try_emit(OUTSIDE, number, 0).expect("room");
    }
    latches[&0].1.open();
}

#[track_caller]
pub(crate) fn assert_report(report: &ShutdownReport, processed: u64, faulted: u64, abandoned: u64) {
    let counts = (report.accepted, report.processed, report.faulted, report.abandoned);
    assert_eq!(
        counts,
        (processed + faulted + abandoned, processed, faulted, abandoned),
        "{report}"
    );
}
