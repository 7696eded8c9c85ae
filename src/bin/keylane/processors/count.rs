//! The processor `count`: events by type, and the hottest keys.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keylane::ingest::Record;
use keylane::{Event, EventType, Processor, ShardContext, for_each};

use super::hot_keys::HotKeys;

/// How many keys are counted one by one, over all shards. With more, the coldest are forgotten and the report says by how
/// much the counts may be off.
const MAX_KEYS: usize = 1 << 18;

/// How many bytes of key text are kept, over all shards.
const MAX_KEY_BYTES: usize = 64 << 20;

/// What all instances have counted. Readable at any time, also when a shard is stuck in another processor.
#[derive(Debug)]
pub(crate) struct Counts {
    shards: Vec<Mutex<ShardCounts>>,
}

/// What one shard has counted. Its lock is taken once a batch, and contended by nobody but a report.
#[derive(Debug)]
struct ShardCounts {
    /// By code.
    types: Vec<u64>,
    keys: HotKeys,
}

/// The hottest keys of a run.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Hottest {
    /// Whether every key was counted, and exactly.
    pub(crate) exact: bool,
    /// How many distinct keys there were, or are still in the tables if that is not exact.
    pub(crate) distinct: u64,
    /// The hottest, the hottest first; ties in the order of their text.
    pub(crate) hottest: Vec<HotKey>,
}

/// One of the hottest keys.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct HotKey {
    /// The key.
    pub(crate) key: String,
    /// How many events it had, at most.
    pub(crate) events: u64,
    /// By how much `events` may be too high.
    pub(crate) excess: u64,
}

impl Counts {
    /// Empty counts for a bus of that many shards.
    pub(crate) fn new(shards: usize) -> Arc<Self> {
        let shard = || {
            let keys = HotKeys::new(MAX_KEYS / shards.max(1), MAX_KEY_BYTES / shards.max(1));
            Mutex::new(ShardCounts { types: Vec::new(), keys })
        };
        Arc::new(Self { shards: (0..shards).map(|_| shard()).collect() })
    }

    /// A factory of instances that count into here.
    pub(crate) fn factory(
        self: &Arc<Self>,
    ) -> impl Fn(&ShardContext) -> Count + Send + Sync + use<> {
        let counts = Arc::clone(self);
        move |cx: &ShardContext| Count { counts: Arc::clone(&counts), shard: cx.shard() }
    }

    fn shard(&self, shard: usize) -> MutexGuard<'_, ShardCounts> {
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events by type, the most frequent first.
    pub(crate) fn types(&self) -> Vec<(EventType, u64)> {
        let mut all = BTreeMap::new();
        for shard in 0..self.shards.len() {
            for (code, events) in (0..=u16::MAX).zip(&self.shard(shard).types) {
                if *events > 0 {
                    *all.entry(EventType::from_code(code)).or_insert(0) += events;
                }
            }
        }
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by_key(|(_, events)| Reverse(*events));
        all
    }

    /// The `top` hottest keys. A key lives on one shard, so the shards' tables have no key in common.
    pub(crate) fn hottest(&self, top: usize) -> Hottest {
        let mut found = Hottest { exact: true, distinct: 0, hottest: Vec::new() };
        for shard in 0..self.shards.len() {
            let shard = self.shard(shard);
            found.exact &= shard.keys.is_exact();
            found.distinct += shard.keys.len() as u64;
            let mut keys: Vec<_> = shard.keys.iter().collect();
            keys.sort_unstable_by_key(|(key, counter)| (Reverse(counter.events), *key));
            found.hottest.extend(keys.into_iter().take(top).map(|(key, counter)| HotKey {
                key: key.to_owned(),
                events: counter.events,
                excess: counter.excess,
            }));
        }
        found.hottest.sort_by(|a, b| b.events.cmp(&a.events).then_with(|| a.key.cmp(&b.key)));
        found.hottest.truncate(top);
        found
    }
}

/// Counts the events of one shard.
#[derive(Debug)]
pub(crate) struct Count {
    counts: Arc<Counts>,
    shard: usize,
}

impl Processor for Count {
    fn process(&mut self, event: &Event) {
        self.process_batch(&[event]);
    }

    fn process_batch(&mut self, events: &[&Event]) {
        let mut shard = self.counts.shard(self.shard);
        for_each(events, |event| {
            let code = usize::from(event.kind().code());
            if code >= shard.types.len() {
                shard.types.resize(code + 1, 0);
            }
            shard.types[code] += 1;
            if let Some(record) = event.get::<Record>() {
                shard.keys.add(record.key());
            }
        });
    }
}
