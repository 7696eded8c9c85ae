//! Processors are replaced, added and removed while events flow: nothing is lost, nothing comes twice, and each instance sees one
//! stretch of its shard's events.

mod support;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use keylane::{
    Bus, Event, EventType, Fault, Key, NoopProcessor, NoopProcessorFactory, Processor,
    ShardContext, SwapError,
};
use serde::{Serialize, Serializer};
use support::{LONG, Latch, Random, eventually, mute_deliberate_panics, stress, within};

const KIND: EventType = EventType::user(0);
const OTHER: EventType = EventType::user(1);

/// What all instances of one processor have seen, in the order of each shard.
#[derive(Debug, Clone, Default)]
struct Log {
    shards: Arc<Mutex<BTreeMap<usize, Vec<Seen>>>>,
    made: Arc<AtomicU64>,
    flushed: Arc<AtomicU64>,
    shut_down: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    generation: u64,
    instance: u64,
    number: u64,
    key_hash: u64,
}

impl Log {
    fn factory(&self) -> impl Fn(&ShardContext) -> Logger + Send + Sync + 'static {
        let log = self.clone();
        move |cx: &ShardContext| Logger {
            shard: cx.shard(),
            generation: cx.generation(),
            instance: log.made.fetch_add(1, Ordering::Relaxed),
            log: log.clone(),
            over: false,
        }
    }

    fn all(&self) -> BTreeMap<usize, Vec<Seen>> {
        self.shards.lock().expect("unpoisoned").clone()
    }

    fn numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<_> = self.all().values().flatten().map(|seen| seen.number).collect();
        numbers.sort_unstable();
        numbers
    }

    #[track_caller]
    fn assert_all_ended(&self, made: u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!(count(&self.made), made, "made");
        assert_eq!(count(&self.shut_down), made, "each is shut down once");
        assert_eq!(count(&self.dropped), made, "each is dropped");
    }

    /// Fails unless every shard's events went to one instance after the other, and each key's numbers grow.
    #[track_caller]
    fn assert_stretches(&self) {
        for (shard, events) in self.all() {
            let mut past = HashSet::new();
            let mut last = HashMap::new();
            for pair in events.windows(2) {
                if pair[0].instance != pair[1].instance {
                    assert!(past.insert(pair[0].instance), "shard {shard}: {pair:?}");
                    assert!(!past.contains(&pair[1].instance), "shard {shard} goes back: {pair:?}");
                    assert!(pair[0].generation < pair[1].generation, "shard {shard}: {pair:?}");
                }
            }
            for seen in events {
                let before = last.insert(seen.key_hash, seen.number);
                assert!(
                    before.is_none_or(|before| before < seen.number),
                    "{seen:?} after {before:?}"
                );
            }
        }
    }
}

struct Logger {
    shard: usize,
    generation: u64,
    instance: u64,
    log: Log,
    over: bool,
}

impl Processor for Logger {
    fn process(&mut self, event: &Event) {
        assert!(!self.over, "an event after the shutdown");
        let seen = Seen {
            generation: self.generation,
            instance: self.instance,
            number: *event.get().expect("the test emits u64"),
            key_hash: event.key_hash(),
        };
        let mut shards = self.log.shards.lock().expect("unpoisoned");
        shards.entry(self.shard).or_default().push(seen);
    }

    fn flush(&mut self) {
        self.log.flushed.fetch_add(1, Ordering::Relaxed);
    }

    fn shutdown(&mut self) {
        self.over = true;
        self.log.shut_down.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.log.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Emits numbers from several threads until told to stop. Returns how many were accepted.
///
/// The numbers of one thread and one key grow; a key belongs to one thread.
fn flood(bus: &Bus, threads: u64, limit: u64, stop: &AtomicBool) -> u64 {
    thread::scope(|scope| {
        let senders: Vec<_> = (0..threads)
            .map(|thread| {
                let (emitter, mut producer) = (bus.emitter(), bus.producer());
                scope.spawn(move || {
                    let mut random = Random::new(thread);
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) && count < limit {
                        let number = count * threads + thread;
                        let key = random.below(5) * threads + thread;
                        if key.is_multiple_of(2) {
                            emitter.emit_blocking(KIND, number, key).expect("open");
                        } else {
                            producer.emit_blocking(KIND, number, key).expect("open");
                        }
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().expect("no panic")).sum()
    })
}

#[test]
fn replaced_at_full_rate() {
    within(120, || {
        for (shards, capacity) in [(1, 1), (2, 64), (3, 1024)] {
            let log = Log::default();
            let bus = Bus::builder()
                .shards(shards)
                .capacity(capacity)
                .processor("log", log.factory())
                .build()
                .expect("it builds");
            let stop = AtomicBool::new(false);
            let swaps = 60 * stress();
            let emitted = thread::scope(|scope| {
                let flood = scope.spawn(|| flood(&bus, 3, 50_000 * stress(), &stop));
                for _ in 0..swaps {
                    let before = bus.stats().processed;
                    bus.replace_processor("log", log.factory()).expect("open");
                    // Each generation gets something to do, unless the flood is over.
                    eventually("events flow", || {
                        bus.stats().processed > before || flood.is_finished()
                    });
                }
                stop.store(true, Ordering::Relaxed);
                flood.join().expect("no panic")
            });
            let report = bus.shutdown(LONG);
            assert!(report.is_clean(), "{report}");
            assert_eq!((report.processed, report.faulted), (emitted, 0));
            let numbers = log.numbers();
            assert_eq!(numbers.len() as u64, emitted);
            assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "nothing came twice");
            log.assert_stretches();
            log.assert_all_ended((swaps + 1) * shards as u64);
            let stats = &bus.stats().processors[0];
            assert_eq!((stats.generation, stats.events), (swaps + 1, emitted), "counting goes on");
        }
    });
}

/// One processor stays and shows what there was to see; another comes and goes.
#[test]
fn added_and_removed_at_full_rate() {
    within(120, || {
        let (all, some) = (Log::default(), Log::default());
        let bus = Bus::builder()
            .shards(2)
            .capacity(64)
            .processor("all", all.factory())
            .build()
            .expect("it builds");
        let stop = AtomicBool::new(false);
        let emitted = thread::scope(|scope| {
            let flood = scope.spawn(|| flood(&bus, 2, 50_000 * stress(), &stop));
            for _ in 0..30 * stress() {
                let mut seen = bus.stats().processed;
                bus.add_processor("some", some.factory()).expect("open");
                for _ in 0..2 {
                    eventually("events flow", || {
                        bus.stats().processed > seen || flood.is_finished()
                    });
                    seen = bus.stats().processed;
                }
                bus.remove_processor("some").expect("open");
            }
            stop.store(true, Ordering::Relaxed);
            flood.join().expect("no panic")
        });
        assert_eq!(bus.shutdown(LONG).processed, emitted);
        some.assert_all_ended(60 * stress());
        all.assert_stretches();
        let all = all.all();
        for (shard, some) in some.all() {
            let places: HashMap<u64, usize> =
                all[&shard].iter().enumerate().map(|(place, seen)| (seen.number, place)).collect();
            for pair in some.windows(2) {
                let (before, after) = (places[&pair[0].number], places[&pair[1].number]);
                if pair[0].instance == pair[1].instance {
                    assert_eq!(before + 1, after, "an instance sees one stretch without a gap");
                } else {
                    assert!(before < after, "a later instance sees later events");
                }
            }
        }
    });
}

#[test]
fn a_call_that_has_returned_has_taken_effect() {
    within(60, || {
        let log = Log::default();
        let bus =
            Bus::builder().shards(3).processor("log", log.factory()).build().expect("it builds");
        let emitter = bus.emitter();
        for generation in 1..50u64 {
            for number in 0..10 {
                let number = generation * 10 + number;
                emitter.emit_blocking(KIND, number, number).expect("open");
            }
            bus.replace_processor("log", log.factory()).expect("open");
        }
        assert!(bus.shutdown(LONG).is_clean());
        for seen in log.all().values().flatten() {
            // An event that was in a ring at the time of the call may go to either.
            assert!(
                seen.generation >= seen.number / 10,
                "{seen:?} went to an instance that is gone"
            );
        }
        assert_eq!(log.numbers(), (10..500).collect::<Vec<_>>());
    });
}

// ---- failures ----

#[test]
fn a_factory_that_fails_on_one_shard_changes_nothing() {
    mute_deliberate_panics();
    within(60, || {
        for panics in [false, true] {
            let (old, new) = (Log::default(), Log::default());
            let bus = Bus::builder()
                .shards(4)
                .processor("log", old.factory())
                .build()
                .expect("it builds");
            let broken = || {
                let make = new.factory();
                move |cx: &ShardContext| match cx.shard() {
                    2 if panics => panic!("deliberate: no licence"),
                    2 => Err("deliberate: no licence"),
                    _ => Ok(make(cx)),
                }
            };
            for round in 1..=3 {
                for error in [
                    bus.replace_processor("log", broken()).expect_err("shard 2 fails"),
                    bus.add_processor("new", broken()).expect_err("shard 2 fails"),
                ] {
                    let text = error.to_string();
                    for part in ["shard 2", "no licence", "nothing was changed"] {
                        assert!(text.contains(part), "{text}");
                    }
                    assert!(matches!(error, SwapError::Factory { shard: 2, .. }));
                }
                // What the other shards had made is taken down before the call returns.
                new.assert_all_ended(round * 6);
            }
            for number in 0..100u64 {
                bus.emitter().emit_blocking(KIND, number, number).expect("open");
            }
            let names: Vec<_> = bus.stats().processors.into_iter().map(|p| p.name).collect();
            assert_eq!(names, ["log"]);
            bus.replace_processor("log", old.factory()).expect("this one is fine");
            for number in 100..200u64 {
                bus.emitter().emit_blocking(KIND, number, number).expect("open");
            }
            assert!(bus.shutdown(LONG).is_clean());
            assert_eq!(old.numbers(), (0..200).collect::<Vec<_>>());
            assert!(new.numbers().is_empty());
            old.assert_all_ended(8);
            assert_eq!(bus.stats().processors[0].generation, 2);
        }
    });
}

#[test]
fn names_that_exist_and_names_that_do_not() {
    within(60, || {
        let bus = Bus::builder()
            .shards(1)
            .processor("b", NoopProcessorFactory)
            .processor("a", NoopProcessorFactory)
            .build()
            .expect("it builds");
        let error = bus.add_processor("a", NoopProcessorFactory).expect_err("it exists");
        assert_eq!(error, SwapError::Exists { name: "a".into() });
        let unknown = SwapError::Unknown { name: "c".into(), known: vec!["a".into(), "b".into()] };
        assert_eq!(bus.replace_processor("c", NoopProcessorFactory), Err(unknown.clone()));
        assert_eq!(bus.remove_processor("c"), Err(unknown));
        bus.remove_processor("a").expect("it exists");
        bus.remove_processor("b").expect("it exists");
        let error = bus.remove_processor("b").expect_err("it is gone");
        assert!(error.to_string().contains("none at all"), "{error}");
        bus.emitter().try_emit(KIND, 1u64, 1).expect("a bus without processors takes events");
        bus.add_processor("b", NoopProcessorFactory).expect("the name is free again");
        assert_eq!(bus.shutdown(LONG).processed, 1);
        for result in [
            bus.add_processor("d", NoopProcessorFactory),
            bus.replace_processor("b", NoopProcessorFactory),
            bus.remove_processor("b"),
        ] {
            assert_eq!(result, Err(SwapError::Closed));
        }
    });
}

// ---- what a swap keeps ----

#[test]
fn a_replacement_keeps_filter_and_place() {
    within(60, || {
        #[derive(Clone)]
        struct Line(&'static str, Arc<Mutex<Vec<(&'static str, u64)>>>);
        impl Processor for Line {
            fn process(&mut self, event: &Event) {
                let number = *event.get().expect("u64");
                self.1.lock().expect("unpoisoned").push((self.0, number));
            }
        }
        let list = Arc::new(Mutex::new(Vec::new()));
        let line = |name| {
            let line = Line(name, list.clone());
            move |_: &ShardContext| line.clone()
        };
        let bus = Bus::builder()
            .shards(1)
            .processor("first", line("first"))
            .processor_for("second", [OTHER], line("second"))
            .processor("third", line("third"))
            .build()
            .expect("it builds");
        bus.replace_processor("second", line("second, new")).expect("open");
        bus.replace_processor("first", line("first, new")).expect("open");
        bus.add_processor_for("fourth", [KIND], line("fourth")).expect("open");
        let emitter = bus.emitter();
        for (number, kind) in [(1u64, KIND), (2, OTHER)] {
            emitter.try_emit(kind, number, 0).expect("room");
            // One batch each, because a batch goes through the processors as a whole.
            eventually("it is processed", || bus.stats().processed == number);
        }
        assert!(bus.shutdown(LONG).is_clean());
        let expected = [
            ("first, new", 1),
            ("third", 1),
            ("fourth", 1),
            ("first, new", 2),
            ("second, new", 2),
            ("third", 2),
        ];
        assert_eq!(*list.lock().expect("unpoisoned"), expected);
        let names: Vec<_> = bus.stats().processors.into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["first", "second", "third", "fourth"]);
    });
}

#[test]
fn the_old_instance_is_flushed_and_its_last_faults_count() {
    mute_deliberate_panics();
    within(60, || {
        struct Sore(Arc<AtomicU64>);
        impl Processor for Sore {
            fn process(&mut self, _: &Event) {}
            fn flush(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
            fn shutdown(&mut self) {
                panic!("deliberate");
            }
        }
        let flushed = Arc::new(AtomicU64::new(0));
        let bus = Bus::builder()
            .shards(1)
            .processor("sore", {
                let flushed = flushed.clone();
                move |_: &ShardContext| Sore(flushed.clone())
            })
            .build()
            .expect("it builds");
        bus.emitter().try_emit(KIND, 1u64, 1).expect("room");
        eventually("it is processed", || bus.stats().processed == 1);
        bus.replace_processor("sore", NoopProcessorFactory).expect("open");
        assert!(flushed.load(Ordering::Relaxed) >= 1);
        assert_eq!(bus.stats().processors[0].faults, 1, "the panic in its shutdown");
        assert!(bus.shutdown(LONG).is_clean());
    });
}

#[test]
fn generations_count_the_factories_of_a_name() {
    within(60, || {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let factory = || {
            let seen = seen.clone();
            move |cx: &ShardContext| {
                let entry = (cx.processor().to_owned(), cx.generation(), cx.shard(), cx.shards());
                seen.lock().expect("unpoisoned").push(entry);
                NoopProcessor
            }
        };
        let generations = |bus: &Bus| {
            let stats = bus.stats();
            stats.processors.iter().map(|p| (p.name.clone(), p.generation)).collect::<Vec<_>>()
        };
        let bus = Bus::builder().shards(2).processor("a", factory()).build().expect("it builds");
        bus.add_processor("b", factory()).expect("open");
        for _ in 0..3 {
            bus.replace_processor("a", factory()).expect("open");
        }
        assert_eq!(generations(&bus), [("a".into(), 4), ("b".into(), 1)]);
        bus.remove_processor("a").expect("open");
        bus.add_processor("a", factory()).expect("open");
        assert_eq!(generations(&bus), [("b".into(), 1), ("a".into(), 1)]);
        assert!(bus.shutdown(LONG).is_clean());
        let mut seen = seen.lock().expect("unpoisoned").clone();
        seen.sort();
        let mut expected = Vec::new();
        for (name, generation) in [("a", 1), ("a", 1), ("a", 2), ("a", 3), ("a", 4), ("b", 1)] {
            expected.extend([0, 1].map(|shard| (name.to_owned(), generation, shard, 2)));
        }
        expected.sort();
        assert_eq!(seen, expected);
    });
}

#[test]
fn swaps_from_many_threads_come_one_after_the_other() {
    within(60, || {
        let log = Log::default();
        let bus =
            Bus::builder().shards(2).processor("log", log.factory()).build().expect("it builds");
        thread::scope(|scope| {
            for thread in 0..4 {
                let (bus, log) = (&bus, &log);
                scope.spawn(move || {
                    for _ in 0..10 {
                        bus.replace_processor("log", log.factory()).expect("open");
                        let name = format!("own-{thread}");
                        bus.add_processor(&name, NoopProcessorFactory).expect("a name of its own");
                        bus.remove_processor(&name).expect("it is there");
                    }
                });
            }
        });
        assert_eq!(bus.stats().processors[0].generation, 41);
        assert!(bus.shutdown(LONG).is_clean());
        log.assert_all_ended(82);
    });
}

// ---- where a swap is refused ----

#[test]
fn a_swap_on_a_shard_is_refused() {
    mute_deliberate_panics();
    /// Tries to change its own bus from every place that runs on a shard.
    #[derive(Clone)]
    struct Meddler {
        bus: Arc<OnceLock<Bus>>,
        results: Arc<Mutex<Vec<Meddled>>>,
    }
    type Meddled = (&'static str, Result<(), SwapError>);
    impl Meddler {
        fn meddle(&self, place: &'static str) {
            let Some(bus) = self.bus.get() else { return };
            let mut results = self.results.lock().expect("unpoisoned");
            results.push((place, bus.replace_processor("meddler", NoopProcessorFactory)));
            results.push((place, bus.add_processor("new", NoopProcessorFactory)));
            results.push((place, bus.remove_processor("meddler")));
        }
    }
    impl Processor for Meddler {
        fn process(&mut self, event: &Event) {
            self.meddle("process");
            assert_eq!(event.kind(), KIND, "deliberate");
        }
        fn flush(&mut self) {
            self.meddle("flush");
        }
        fn shutdown(&mut self) {
            self.meddle("shutdown");
        }
    }
    struct Touchy(Meddler);
    impl std::fmt::Debug for Touchy {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Touchy")
        }
    }
    impl Serialize for Touchy {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_unit()
        }
    }
    impl Drop for Touchy {
        fn drop(&mut self) {
            self.0.meddle("value");
        }
    }
    within(60, || {
        let meddler = Meddler { bus: Arc::default(), results: Arc::default() };
        let bus = Bus::builder()
            .shards(2)
            .on_fault({
                let meddler = meddler.clone();
                move |_: &Fault| meddler.meddle("hook")
            })
            .processor("meddler", {
                let meddler = meddler.clone();
                move |_: &ShardContext| {
                    meddler.meddle("factory");
                    meddler.clone()
                }
            })
            .build()
            .expect("it builds");
        let bus = meddler.bus.get_or_init(|| bus);
        bus.emitter().try_emit(KIND, Touchy(meddler.clone()), 0).expect("room");
        bus.emitter().try_emit(OTHER, 1u64, 0).expect("room");
        bus.replace_processor("meddler", {
            let meddler = meddler.clone();
            move |_: &ShardContext| {
                meddler.meddle("factory");
                meddler.clone()
            }
        })
        .expect("this thread is no shard");
        assert!(bus.shutdown(LONG).is_clean());
        let results = meddler.results.lock().expect("unpoisoned");
        let places: HashSet<_> = results.iter().map(|(place, _)| *place).collect();
        let all = ["process", "flush", "shutdown", "value", "hook", "factory"];
        assert_eq!(places, HashSet::from(all));
        for (place, result) in &*results {
            assert_eq!(*result, Err(SwapError::OnShard), "in {place}");
        }
    });
}

#[test]
fn a_processor_of_another_bus_may_swap() {
    within(60, || {
        struct Remote(Arc<Bus>, Log);
        impl Processor for Remote {
            fn process(&mut self, _: &Event) {
                self.0.replace_processor("log", self.1.factory()).expect("open");
            }
        }
        let log = Log::default();
        let target = Bus::builder().shards(2).processor("log", log.factory()).build();
        let target = Arc::new(target.expect("it builds"));
        let remote = Bus::builder()
            .shards(1)
            .processor("remote", {
                let (target, log) = (target.clone(), log.clone());
                move |_: &ShardContext| Remote(target.clone(), log.clone())
            })
            .build()
            .expect("it builds");
        for number in 0..5u64 {
            remote.emitter().try_emit(KIND, number, 0).expect("room");
        }
        assert_eq!(remote.shutdown(LONG).processed, 5);
        assert_eq!(target.stats().processors[0].generation, 6);
        assert!(target.shutdown(LONG).is_clean());
    });
}

// ---- swaps and shutdowns ----

#[test]
fn swaps_while_the_bus_shuts_down() {
    within(120, || {
        for round in 0..150 * stress() {
            let mut random = Random::new(round);
            let log = Log::default();
            let shards = 1 + random.below(3);
            let bus = Bus::builder()
                .shards(shards as usize)
                .capacity(16)
                .processor("log", log.factory())
                .build()
                .expect("it builds");
            let (started, wanted) = (AtomicU64::new(0), random.below(6));
            let accepted = thread::scope(|scope| {
                let mut producer = bus.producer();
                let emitting = scope.spawn(move || {
                    let mut number = 0u64;
                    while producer.emit_blocking(KIND, number, number % 7).is_ok() {
                        number += 1;
                    }
                    number
                });
                let swapping = scope.spawn(|| {
                    loop {
                        started.fetch_add(1, Ordering::Relaxed);
                        let added = bus.add_processor("more", log.factory());
                        let removed = bus.remove_processor("more");
                        let replaced = bus.replace_processor("log", NoopProcessorFactory);
                        let back = bus.replace_processor("log", log.factory());
                        for result in [&added, &removed, &replaced, &back] {
                            match result {
                                Ok(()) | Err(SwapError::Closed) => {}
                                // What became of it when the bus closed in the middle of the one before is open.
                                Err(SwapError::Unknown { .. } | SwapError::Exists { .. }) => {}
                                Err(error) => panic!("round {round}: {error}"),
                            }
                        }
                        if [added, removed, replaced, back].contains(&Err(SwapError::Closed)) {
                            break;
                        }
                    }
                });
                eventually("swaps are under way", || started.load(Ordering::Relaxed) > wanted);
                let report = bus.shutdown(LONG);
                assert!(report.is_clean(), "round {round}: {report}");
                swapping.join().expect("no panic");
                let accepted = emitting.join().expect("no panic");
                assert_eq!((report.accepted, report.processed), (accepted, accepted));
                accepted
            });
            assert!(log.numbers().len() as u64 <= 2 * accepted);
            let made = log.made.load(Ordering::Relaxed);
            log.assert_all_ended(made);
        }
    });
}

/// Holds its shard up in an event until it is told to go on.
struct Hold(Latch, Latch);

impl Processor for Hold {
    fn process(&mut self, _: &Event) {
        self.0.open();
        self.1.wait();
    }
}

/// A bus of two shards of which the first is stuck in an event.
fn half_stuck_bus() -> (Arc<Bus>, Latch) {
    let (entered, release) = (Latch::new(), Latch::new());
    let bus = Bus::builder()
        .shards(2)
        .processor("hold", {
            let (entered, release) = (entered.clone(), release.clone());
            move |_: &ShardContext| Hold(entered.clone(), release.clone())
        })
        .build()
        .expect("it builds");
    assert_eq!(Key::from(0).shard(2), Some(0));
    bus.emitter().try_emit(KIND, 0u64, 0).expect("room");
    entered.wait();
    (Arc::new(bus), release)
}

/// A swap that waits for a stuck shard ends with the deadline of the shutdown, and so does one that comes later. What had been
/// made for it is taken down in the proper way.
#[test]
fn a_deadline_ends_swaps_that_wait() {
    within(60, || {
        let (bus, release) = half_stuck_bus();
        let log = Log::default();
        let swap = thread::spawn({
            let (bus, make) = (bus.clone(), log.factory());
            move || bus.add_processor("new", make)
        });
        eventually("the free shard has made its instance", || {
            log.made.load(Ordering::Relaxed) == 1
        });
        let report = bus.shutdown(Duration::from_millis(20));
        assert_eq!(report.stuck_shards().next(), Some(0), "{report}");
        assert_eq!(swap.join().expect("no panic"), Err(SwapError::Closed));
        assert_eq!(bus.add_processor("newer", NoopProcessorFactory), Err(SwapError::Closed));
        assert_eq!(bus.replace_processor("hold", NoopProcessorFactory), Err(SwapError::Closed));
        eventually("the prepared instance is taken down", || {
            log.dropped.load(Ordering::Relaxed) == 1
        });
        log.assert_all_ended(1);
        release.open();
    });
}

/// As above, and the instance that was prepared breaks when it is dropped.
#[test]
fn a_prepared_instance_that_breaks_in_its_end() {
    mute_deliberate_panics();
    struct Brittle(Arc<AtomicU64>);
    impl Processor for Brittle {
        fn process(&mut self, _: &Event) {}
    }
    impl Drop for Brittle {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("deliberate");
        }
    }
    within(60, || {
        let (bus, release) = half_stuck_bus();
        let (made, dropped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let swap = thread::spawn({
            let (bus, made, dropped) = (bus.clone(), made.clone(), dropped.clone());
            move || {
                bus.add_processor("new", move |_: &ShardContext| {
                    made.fetch_add(1, Ordering::Relaxed);
                    Brittle(dropped.clone())
                })
            }
        });
        eventually("the free shard has made its instance", || made.load(Ordering::Relaxed) == 1);
        let shutting = thread::spawn({
            let bus = bus.clone();
            move || bus.shutdown(Duration::from_millis(20))
        });
        assert_eq!(swap.join().expect("no panic"), Err(SwapError::Closed));
        assert!(!shutting.join().expect("no panic").is_clean());
        eventually("it is dropped", || dropped.load(Ordering::Relaxed) == 1);
        release.open();
    });
}
