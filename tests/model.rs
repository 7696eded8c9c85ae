//! A whole bus against a model that has no threads: whatever is done to it, each key's events come in the order in which they were
//! emitted, each to the processors that were there, and the books balance.

mod support;

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use keylane::{
    Bus, Emitter, Event, EventType, FaultPolicy, Key, Processor, Producer, ShardContext, SwapError,
    Value,
};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{LONG, eventually, mute_deliberate_panics, stress, within};

// ---- what is done ----

/// One thing that happens to a bus. All of them are done by one thread, one after the other.
#[derive(Debug, Clone)]
enum Operation {
    Emit(Way, Item),
    Batch(Vec<Item>),
    /// Gives the producer up and takes a new one.
    Renew,
    /// Waits until everything has been processed.
    Settle,
    Add(usize, Filter),
    Replace(usize),
    Remove(usize),
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Try,
    Blocking,
    Timeout,
    Async,
    OtherThread,
    Producer,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    kind: u16,
    key: Option<u8>,
    /// Whether the first processor panics on it.
    poison: bool,
}

/// Which event types a processor gets; `None` for all.
type Filter = Option<Vec<u16>>;

#[derive(Debug, Clone)]
struct Setting {
    shards: usize,
    capacity: usize,
    max_rings: usize,
    policy: FaultPolicy,
}

/// Events of this type make the first processor derive one of the next type.
const FERTILE: u16 = 2;
const CHILD: u16 = 3;
/// The names of processors that come and go.
const NAMES: [&str; 3] = ["x", "y", "z"];

fn item() -> impl Strategy<Value = Item> {
    (0..3u16, prop::option::weighted(0.9, 0..4u8), prop::bool::weighted(0.1))
        .prop_map(|(kind, key, poison)| Item { kind, key, poison })
}

fn operation() -> impl Strategy<Value = Operation> {
    use Way::{Async, Blocking, OtherThread, Producer, Timeout, Try};
    let way = prop::sample::select(vec![Try, Blocking, Timeout, Async, OtherThread, Producer]);
    let filter = prop::option::of(prop::sample::subsequence(vec![0, 1, 2, 3], 1..=4));
    prop_oneof![
        20 => (way, item()).prop_map(|(way, item)| Operation::Emit(way, item)),
        3 => vec(item(), 0..100).prop_map(Operation::Batch),
        1 => Just(Operation::Renew),
        2 => Just(Operation::Settle),
        2 => (0..NAMES.len(), filter).prop_map(|(name, filter)| Operation::Add(name, filter)),
        2 => (0..NAMES.len()).prop_map(Operation::Replace),
        1 => (0..NAMES.len()).prop_map(Operation::Remove),
    ]
}

fn setting() -> impl Strategy<Value = Setting> {
    let policies = vec![FaultPolicy::Skip, FaultPolicy::Restart];
    (1..=3usize, 0..=7u32, prop::sample::select(vec![0, 1, 4096]), prop::sample::select(policies))
        .prop_map(|(shards, log, max_rings, policy)| Setting {
            shards,
            capacity: 1 << log,
            max_rings,
            policy,
        })
}

// ---- what the bus does with it ----

/// What travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Number(u64);

impl serde::Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// Set in the numbers of events that the first processor panics on, and of those that it derived.
const POISON: u64 = 1 << 62;
const DERIVED: u64 = 1 << 61;

/// What one processor saw on each shard: which factory its instance came from, and the number.
type Log = Arc<Mutex<BTreeMap<usize, Vec<(usize, u64)>>>>;

/// The first processor, which gets everything.
struct Base {
    emitter: Emitter,
    derived: Arc<AtomicU64>,
    note: Note,
}

impl Processor for Base {
    fn process(&mut self, event: &Event) {
        let &Number(number) = event.get().expect("a number");
        if event.kind() == EventType::user(FERTILE) {
            let child = Number(number | DERIVED);
            let sent = self.emitter.try_emit(EventType::user(CHILD), child, event.key());
            self.derived.fetch_add(u64::from(sent.is_ok()), Ordering::Relaxed);
        }
        let poisoned = number & POISON != 0 && number & DERIVED == 0;
        assert!(!poisoned, "deliberate");
        self.note.process(event);
    }
}

struct Note {
    shard: usize,
    factory: usize,
    log: Log,
}

impl Processor for Note {
    fn process(&mut self, event: &Event) {
        let &Number(number) = event.get().expect("a number");
        let mut log = self.log.lock().expect("unpoisoned");
        log.entry(self.shard).or_default().push((self.factory, number));
    }
}

fn note(
    log: &Log,
    factory: usize,
) -> impl Fn(&ShardContext) -> Note + Send + Sync + 'static + use<> {
    let log = log.clone();
    move |cx: &ShardContext| Note { shard: cx.shard(), factory, log: log.clone() }
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

// ---- the model ----

/// One event as the model knows it. Its place in the list is its number.
#[derive(Debug, Clone, Copy)]
struct Emitted {
    number: u64,
    kind: u16,
    key: Option<u8>,
}

/// The life of a processor that comes and goes, from `add` to `remove`.
#[derive(Debug)]
struct Life {
    filter: Filter,
    log: Log,
    /// Events emitted in this range may be the first that it sees: from the last that was certainly processed before, to the
    /// first after `add` had returned.
    begins: Range<usize>,
    /// Events emitted in this range may be the first that it does not see any more.
    ends: Option<Range<usize>>,
    /// For each replacement, the events that may be the first for the new instances.
    replaced: Vec<Range<usize>>,
}

struct Run {
    bus: Bus,
    emitter: Emitter,
    producer: Producer,
    emitted: Vec<Emitted>,
    /// How many of the emitted events have certainly been processed.
    settled: usize,
    base: Log,
    derived: Arc<AtomicU64>,
    alive: BTreeMap<usize, Life>,
    dead: Vec<Life>,
}

impl Run {
    fn new(setting: &Setting) -> Self {
        let (base, derived) = (Log::default(), Arc::new(AtomicU64::new(0)));
        let bus = Bus::builder()
            .shards(setting.shards)
            .capacity(setting.capacity)
            .max_rings(setting.max_rings)
            .fault_policy(setting.policy)
            .processor("base", {
                let (make, derived) = (note(&base, 0), derived.clone());
                move |cx: &ShardContext| Base {
                    emitter: cx.emitter(),
                    derived: derived.clone(),
                    note: make(cx),
                }
            })
            .build()
            .expect("it builds");
        Self {
            emitter: bus.emitter(),
            producer: bus.producer(),
            bus,
            emitted: Vec::new(),
            settled: 0,
            base,
            derived,
            alive: BTreeMap::new(),
            dead: Vec::new(),
        }
    }

    /// Makes an event and enters it into the model.
    fn next(&mut self, item: Item) -> (EventType, Value, Key) {
        let number = self.emitted.len() as u64 | if item.poison { POISON } else { 0 };
        self.emitted.push(Emitted { number, kind: item.kind, key: item.key });
        let key = item.key.map_or(Key::NONE, |key| Key::from(u64::from(key)));
        (EventType::user(item.kind), Value::new(Number(number)), key)
    }

    fn emit(&mut self, way: Way, item: Item) {
        let (kind, mut value, key) = self.next(item);
        let emitter = &self.emitter;
        match way {
            Way::Try => {
                while let Err(error) = emitter.try_emit(kind, value, key) {
                    value = error.into_event().into_value();
                    thread::yield_now();
                }
            }
            Way::Blocking => emitter.emit_blocking(kind, value, key).expect("open"),
            Way::Timeout => emitter.emit_timeout(kind, value, key, LONG).expect("open"),
            Way::Async => block_on(emitter.emit(kind, value, key)).expect("open"),
            Way::OtherThread => thread::scope(|scope| {
                let emit = || emitter.emit_blocking(kind, value, key).expect("open");
                scope.spawn(emit).join().expect("no panic");
            }),
            Way::Producer => self.producer.emit_blocking(kind, value, key).expect("open"),
        }
    }

    /// From the first event that may still be in a ring to the next one.
    fn under_way(&self) -> Range<usize> {
        self.settled..self.emitted.len()
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Emit(way, item) => self.emit(way, item),
            Operation::Batch(items) => {
                let items: Vec<_> = items.into_iter().map(|item| self.next(item)).collect();
                let count = items.len();
                assert_eq!(self.producer.emit_batch(items).expect("open"), count);
            }
            Operation::Renew => self.producer = self.bus.producer(),
            Operation::Settle => {
                eventually("all is processed", || {
                    let stats = self.bus.stats();
                    assert!(stats.processed + stats.faulted <= stats.accepted);
                    stats.processed + stats.faulted == stats.accepted
                });
                self.settled = self.emitted.len();
            }
            Operation::Add(name, filter) => {
                let log = Log::default();
                let (text, make) = (NAMES[name], note(&log, 0));
                let result = match &filter {
                    None => self.bus.add_processor(text, make),
                    Some(kinds) => {
                        let kinds = kinds.iter().map(|&kind| EventType::user(kind));
                        self.bus.add_processor_for(text, kinds, make)
                    }
                };
                if self.alive.contains_key(&name) {
                    assert_eq!(result, Err(SwapError::Exists { name: text.into() }));
                } else {
                    assert_eq!(result, Ok(()));
                    let begins = self.under_way();
                    let life = Life { filter, log, begins, ends: None, replaced: Vec::new() };
                    self.alive.insert(name, life);
                }
            }
            Operation::Replace(name) => {
                let under_way = self.under_way();
                match self.alive.get_mut(&name) {
                    Some(life) => {
                        let make = note(&life.log, life.replaced.len() + 1);
                        self.bus.replace_processor(NAMES[name], make).expect("it exists");
                        life.replaced.push(under_way);
                    }
                    None => {
                        let result = self.bus.replace_processor(NAMES[name], note(&self.base, 9));
                        assert!(matches!(result, Err(SwapError::Unknown { .. })));
                    }
                }
            }
            Operation::Remove(name) => match self.alive.remove(&name) {
                Some(mut life) => {
                    self.bus.remove_processor(NAMES[name]).expect("it exists");
                    life.ends = Some(self.under_way());
                    self.dead.push(life);
                }
                None => {
                    let result = self.bus.remove_processor(NAMES[name]);
                    assert!(matches!(result, Err(SwapError::Unknown { .. })));
                }
            },
        }
    }

    /// Ends the bus and compares it with the model.
    fn finish(self) {
        let report = self.bus.shutdown(LONG);
        assert!(report.is_clean(), "{report}");
        let derived = self.derived.load(Ordering::Relaxed);
        let poisoned =
            self.emitted.iter().filter(|event| event.number & POISON != 0).count() as u64;
        let emitted = self.emitted.len() as u64;
        let counts = (report.accepted, report.faulted, report.processed);
        assert_eq!(counts, (emitted + derived, poisoned, emitted + derived - poisoned));

        let base = sequences(&self.base);
        assert_eq!(base.derived.len() as u64, derived, "each derived event came once");
        let sound = |event: &&Emitted| event.number & POISON == 0;
        for key in [None, Some(0), Some(1), Some(2), Some(3)] {
            let expected: Vec<_> = self
                .emitted
                .iter()
                .filter(|event| event.key == key)
                .filter(sound)
                .map(|event| event.number)
                .collect();
            let mut seen = base.of_key(key, &self.emitted);
            if key.is_none() {
                seen.sort_unstable();
            }
            assert_eq!(seen, expected, "key {key:?}");
        }
        let all = self.emitted.len();
        for life in self.dead.iter().chain(self.alive.values()) {
            check_life(life, &self.emitted, all);
        }
    }
}

/// What a processor saw, taken apart.
struct Sequences {
    /// In the order of each shard, one shard after the other: factory and number.
    outside: Vec<(usize, u64)>,
    derived: Vec<u64>,
}

fn sequences(log: &Log) -> Sequences {
    let log = log.lock().expect("unpoisoned");
    let all = log.values().flatten().copied();
    let (derived, outside): (Vec<_>, Vec<_>) = all.partition(|(_, number)| number & DERIVED != 0);
    let mut derived: Vec<_> = derived.into_iter().map(|(_, number)| number).collect();
    derived.sort_unstable();
    let before = derived.len();
    derived.dedup();
    assert_eq!(derived.len(), before, "a derived event came twice");
    Sequences { outside, derived }
}

impl Sequences {
    /// All events of one key are on one shard, so their order here is the order in which they came.
    fn of_key(&self, key: Option<u8>, emitted: &[Emitted]) -> Vec<u64> {
        let numbers = self.outside.iter().map(|&(_, number)| number);
        numbers.filter(|number| emitted[index(*number)].key == key).collect()
    }
}

fn index(number: u64) -> usize {
    (number & !POISON) as usize
}

/// A processor that came and went saw, of every key, a stretch without gaps, which began and ended where it may.
fn check_life(life: &Life, emitted: &[Emitted], all: usize) {
    let seen = sequences(&life.log);
    let admits = |kind: u16| life.filter.as_ref().is_none_or(|kinds| kinds.contains(&kind));
    let ends = life.ends.clone().unwrap_or(all..all);
    for key in [None, Some(0), Some(1), Some(2), Some(3)] {
        let mut numbers = seen.of_key(key, emitted);
        if key.is_none() {
            // On several shards, so there is no order and there may be gaps at both ends.
            numbers.sort_unstable_by_key(|&number| index(number));
            assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]), "one came twice");
        }
        let must = life.begins.end..ends.start;
        let may = life.begins.start..ends.end;
        let admitted = emitted.iter().enumerate().filter(|(_, event)| event.key == key);
        let admitted = admitted.filter(|(_, event)| admits(event.kind)).map(|(place, _)| place);
        let admitted: Vec<usize> = admitted.filter(|place| may.contains(place)).collect();
        let places: Vec<usize> = numbers.iter().map(|&number| index(number)).collect();
        for place in &admitted {
            assert!(
                !must.contains(place) || places.contains(place),
                "{life:?} missed event {place}; it saw {places:?}"
            );
        }
        if key.is_some() {
            let first = places.first().map_or(0, |first| {
                admitted.iter().position(|place| place == first).expect("it may have seen this")
            });
            let stretch = &admitted[first..first + places.len()];
            assert_eq!(places, stretch, "{life:?}: a stretch without gaps");
        } else {
            assert!(places.iter().all(|place| admitted.contains(place)));
        }
    }
    // Which instance saw what.
    for &(factory, number) in &seen.outside {
        let place = index(number);
        for (earlier, under_way) in life.replaced.iter().enumerate() {
            if place >= under_way.end {
                assert!(factory > earlier, "event {place} went to instance {factory}: {life:?}");
            }
            if place < under_way.start {
                assert!(factory <= earlier, "event {place} went to instance {factory}: {life:?}");
            }
        }
    }
    let log = life.log.lock().expect("unpoisoned");
    for events in log.values() {
        assert!(events.windows(2).all(|pair| pair[0].0 <= pair[1].0), "an instance came back");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200 * stress() as u32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_bus_does_what_the_model_does(
        setting in setting(),
        operations in vec(operation(), 1..60),
    ) {
        mute_deliberate_panics();
        within(60, move || {
            let mut run = Run::new(&setting);
            for operation in operations {
                run.apply(operation);
            }
            run.finish();
        });
    }

    /// With a quarantine, everything behind the last tolerated fault of a shard is lost, and nothing before it.
    #[test]
    fn a_quarantine_does_what_the_model_does(
        shards in 1..=3usize,
        after in 0..4u32,
        items in vec(item(), 0..150),
    ) {
        mute_deliberate_panics();
        within(60, move || {
            let policy = FaultPolicy::Quarantine { after, within: Duration::from_secs(3600) };
            let setting = Setting { shards, capacity: 64, max_rings: 4096, policy };
            let mut run = Run::new(&setting);
            let mut expected = BTreeMap::<usize, Vec<(usize, u64)>>::new();
            let mut faults = vec![0; shards];
            let mut lost = 0;
            for mut item in items {
                // Events that are derived or have no key would not be where the model can tell.
                item.kind = item.kind.min(1);
                let number = item.key.unwrap_or(0);
                item.key = Some(number);
                let shard = Key::from(u64::from(number)).shard(shards).expect("a key");
                run.emit(Way::Producer, item);
                let number = run.emitted.last().expect("just emitted").number;
                if faults[shard] >= after.max(1) {
                    lost += 1;
                } else if item.poison {
                    faults[shard] += 1;
                    lost += 1;
                } else {
                    expected.entry(shard).or_default().push((0, number));
                }
            }
            let report = run.bus.shutdown(LONG);
            assert!(report.is_clean(), "{report}");
            assert_eq!(*run.base.lock().expect("unpoisoned"), expected);
            assert_eq!(report.faulted, lost);
        });
    }
}
