//! Promise 6: a fault stays where it is. A panic in a processor costs the one event that it panicked on; the shard goes on.

mod support;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use keylane::{
    Builder, Bus, Emitter, Event, EventType, Fault, FaultPolicy, FaultSite, Key, Processor,
    ShardContext, ShutdownReport, for_each,
};
use serde::{Serialize, Serializer};
use support::{LONG, Latch, Ledger, Random, eventually, mute_deliberate_panics, within};

const KIND: EventType = EventType::user(0);
const OTHER: EventType = EventType::user(1);

/// A fault, as the hook saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    site: FaultSite,
    shard: usize,
    processor: String,
    message: String,
    number: Option<u64>,
}

#[derive(Debug, Clone, Default)]
struct Faults(Arc<Mutex<Vec<Seen>>>);

impl Faults {
    fn watch(&self, builder: Builder) -> Builder {
        let list = self.0.clone();
        builder.on_fault(move |fault: &Fault| {
            let seen = Seen {
                site: fault.site(),
                shard: fault.shard(),
                processor: fault.processor().to_owned(),
                message: fault.message().to_owned(),
                number: fault.event().and_then(|event| event.get().copied()),
            };
            list.lock().expect("unpoisoned").push(seen);
        })
    }

    fn all(&self) -> Vec<Seen> {
        self.0.lock().expect("unpoisoned").clone()
    }

    fn at(&self, site: FaultSite) -> usize {
        self.all().iter().filter(|seen| seen.site == site).count()
    }

    fn numbers(&self) -> Vec<u64> {
        self.all().iter().filter_map(|seen| seen.number).collect()
    }
}

/// What happened to the instances of a processor, in order.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<Step>>>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Made(u64),
    Processed(u64),
    Flushed,
    ShutDown,
    Dropped,
}

impl Log {
    fn write(&self, step: Step) {
        self.0.lock().expect("unpoisoned").push(step);
    }

    fn read(&self) -> Vec<Step> {
        self.0.lock().expect("unpoisoned").clone()
    }

    fn count(&self, step: &Step) -> usize {
        self.read().iter().filter(|&other| other == step).count()
    }

    fn made(&self) -> usize {
        self.read().iter().filter(|step| matches!(step, Step::Made(_))).count()
    }

    fn processed(&self) -> Vec<u64> {
        let number = |step| if let Step::Processed(number) = step { Some(number) } else { None };
        self.read().into_iter().filter_map(number).collect()
    }
}

/// How a processor goes through a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    Default,
    ForEach,
    Pieces,
    /// Without `for_each`: one event after the other.
    ByHand,
}

const WALKS: [Walk; 4] = [Walk::Default, Walk::ForEach, Walk::Pieces, Walk::ByHand];

/// What a panic carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payload {
    Text,
    /// Panics when it is dropped.
    Bomb,
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("deliberate: the payload's destructor");
    }
}

impl Payload {
    fn throw(self, text: &str) -> ! {
        match self {
            Self::Text => panic!("deliberate: {text}"),
            Self::Bomb => panic_any(Bomb),
        }
    }
}

/// Panics where it is told to.
#[derive(Clone)]
struct Plan {
    walk: Walk,
    payload: Payload,
    process: Arc<dyn Fn(u64) -> bool + Send + Sync>,
    flush: Arc<AtomicBool>,
    shutdown: bool,
    drop: bool,
    log: Log,
}

impl Plan {
    fn new(panics_on: impl Fn(u64) -> bool + Send + Sync + 'static) -> Self {
        Self {
            walk: Walk::Default,
            payload: Payload::Text,
            process: Arc::new(panics_on),
            flush: Arc::default(),
            shutdown: false,
            drop: false,
            log: Log::default(),
        }
    }

    fn factory(&self) -> impl Fn(&ShardContext) -> Shaky + Send + Sync + 'static {
        let plan = self.clone();
        move |cx: &ShardContext| {
            plan.log.write(Step::Made(cx.generation()));
            Shaky(plan.clone())
        }
    }
}

struct Shaky(Plan);

impl Processor for Shaky {
    fn process(&mut self, event: &Event) {
        let &number: &u64 = event.get().expect("the test emits u64");
        if (self.0.process)(number) {
            self.0.payload.throw("process");
        }
        self.0.log.write(Step::Processed(number));
    }

    fn process_batch(&mut self, events: &[&Event]) {
        match self.0.walk {
            Walk::Default | Walk::ForEach => for_each(events, |event| self.process(event)),
            Walk::Pieces => {
                for piece in events.chunks(7) {
                    for_each(piece, |event| self.process(event));
                }
            }
            Walk::ByHand => {
                for event in events {
                    self.process(event);
                }
            }
        }
    }

    fn flush(&mut self) {
        if self.0.flush.load(Ordering::Relaxed) {
            self.0.payload.throw("flush");
        }
        self.0.log.write(Step::Flushed);
    }

    fn shutdown(&mut self) {
        self.0.log.write(Step::ShutDown);
        if self.0.shutdown {
            self.0.payload.throw("shutdown");
        }
    }
}

impl Drop for Shaky {
    fn drop(&mut self) {
        self.0.log.write(Step::Dropped);
        if self.0.drop {
            self.0.payload.throw("drop");
        }
    }
}

/// A bus of one shard whose events come in batches: they are emitted while the processor is held up.
fn emit_all(bus: &Bus, numbers: std::ops::Range<u64>) {
    let emitter = bus.emitter();
    for number in numbers {
        emitter.emit_blocking(KIND, number, number % 5).expect("open");
    }
}

#[track_caller]
fn assert_counts(report: &ShutdownReport, processed: u64, faulted: u64) {
    assert!(report.is_clean(), "{report}");
    let counts = (report.accepted, report.processed, report.faulted);
    assert_eq!(counts, (processed + faulted, processed, faulted), "{report}");
}

fn policies() -> [FaultPolicy; 3] {
    let within = Duration::from_secs(3600);
    [FaultPolicy::Skip, FaultPolicy::Restart, FaultPolicy::Quarantine { after: u32::MAX, within }]
}

// ---- process ----

#[test]
fn exactly_the_event_that_panicked_is_lost() {
    mute_deliberate_panics();
    for policy in policies() {
        for walk in WALKS {
            for payload in [Payload::Text, Payload::Bomb] {
                within(60, move || {
                    let faults = Faults::default();
                    let mut plan = Plan::new(|number| number % 10 == 3 || number / 5 == 20);
                    (plan.walk, plan.payload) = (walk, payload);
                    let bus = faults
                        .watch(Bus::builder().shards(1).fault_policy(policy))
                        .processor("shaky", plan.factory())
                        .build()
                        .expect("it builds");
                    emit_all(&bus, 0..400);
                    let report = bus.shutdown(LONG);
                    let what = format!("{policy:?}, {walk:?}, {payload:?}");
                    let (lost, kept): (Vec<u64>, Vec<u64>) =
                        (0..400).partition(|&number| number % 10 == 3 || number / 5 == 20);
                    assert_counts(&report, kept.len() as u64, lost.len() as u64);
                    assert_eq!(plan.log.processed(), kept, "once each, in order: {what}");
                    assert_eq!(faults.numbers(), lost, "{what}");
                    for seen in faults.all() {
                        assert_eq!((seen.site, seen.shard), (FaultSite::Process, 0), "{what}");
                        assert_eq!(seen.processor, "shaky");
                        if payload == Payload::Text {
                            assert_eq!(seen.message, "deliberate: process");
                        }
                    }
                    let restarts = if policy == FaultPolicy::Restart { lost.len() } else { 0 };
                    assert_eq!(plan.log.made(), 1 + restarts, "{what}");
                    assert_eq!(plan.log.count(&Step::ShutDown), 1 + restarts, "{what}");
                    assert_eq!(plan.log.count(&Step::Dropped), 1 + restarts, "{what}");
                    let stats = bus.stats();
                    let processor = &stats.processors[0];
                    assert_eq!(processor.events, kept.len() as u64);
                    assert_eq!(processor.faults, lost.len() as u64);
                    assert_eq!(processor.restarts, restarts as u64);
                });
            }
        }
    }
}

#[test]
fn every_single_event_may_panic() {
    mute_deliberate_panics();
    within(60, || {
        let faults = Faults::default();
        let plan = Plan::new(|_| true);
        let bus = faults
            .watch(Bus::builder().shards(2).capacity(4))
            .processor("shaky", plan.factory())
            .build()
            .expect("it builds");
        emit_all(&bus, 0..2000);
        assert_counts(&bus.shutdown(LONG), 0, 2000);
        let mut numbers = faults.numbers();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..2000).collect::<Vec<_>>());
        assert!(plan.log.processed().is_empty());
    });
}

/// A processor that breaks before it has turned to any event. The first one is given up, or the shard could never move on.
#[test]
fn a_batch_that_nobody_looks_into() {
    mute_deliberate_panics();
    within(60, || {
        struct Blind(u64);
        impl Processor for Blind {
            fn process(&mut self, _: &Event) {}
            fn process_batch(&mut self, _: &[&Event]) {
                self.0 += 1;
                assert!(self.0 > 100, "deliberate: not yet");
            }
        }
        let faults = Faults::default();
        let bus = faults
            .watch(Bus::builder().shards(1))
            .processor("blind", |_: &ShardContext| Blind(0))
            .build()
            .expect("it builds");
        emit_all(&bus, 0..500);
        assert_counts(&bus.shutdown(LONG), 400, 100);
        assert_eq!(faults.numbers(), (0..100).collect::<Vec<_>>());
    });
}

/// What a processor looks at while it is at an event must not confuse whose fault the panic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Glance {
    /// At the first event of the batch.
    Back,
    /// At the last event of the batch.
    Ahead,
    /// At an event of its own.
    Own,
    /// At one that it tried to emit and got back.
    Refused,
}

struct Glancing {
    glance: Glance,
    by_hand: bool,
    emitter: Emitter,
    ledger: Ledger,
}

impl Glancing {
    fn step(&self, event: &Event, events: &[&Event]) {
        let &number: &u64 = event.get().expect("the test emits u64");
        if event.kind() == OTHER {
            return;
        }
        match self.glance {
            Glance::Back => _ = events[0].kind(),
            Glance::Ahead => _ = events[events.len() - 1].get::<u64>(),
            Glance::Own => _ = Event::new(OTHER, 5u64, Key::NONE).get::<u64>(),
            Glance::Refused => {
                while let Ok(()) = self.emitter.try_emit(OTHER, number, 0) {}
                let error = self.emitter.try_emit(OTHER, number, 0).expect_err("full by now");
                assert_eq!(error.into_event().kind(), OTHER);
            }
        }
        assert!(!number.is_multiple_of(4), "deliberate");
        self.ledger.note(number);
    }
}

impl Processor for Glancing {
    fn process(&mut self, _: &Event) {
        unreachable!("process_batch is overridden");
    }

    fn process_batch(&mut self, events: &[&Event]) {
        if self.by_hand {
            events.iter().for_each(|event| self.step(event, events));
        } else {
            for_each(events, |event| self.step(event, events));
        }
    }
}

#[test]
fn a_glance_at_another_event_shifts_no_blame() {
    mute_deliberate_panics();
    for glance in [Glance::Back, Glance::Ahead, Glance::Own, Glance::Refused] {
        for by_hand in [false, true] {
            if by_hand && matches!(glance, Glance::Back | Glance::Ahead) {
                // Without `for_each` the events must be looked at in order, as the documentation of `process_batch` says.
                continue;
            }
            within(60, move || {
                let (faults, ledger) = (Faults::default(), Ledger::new(64));
                let bus = faults
                    .watch(Bus::builder().shards(1).capacity(64))
                    .processor("glancing", {
                        let ledger = ledger.clone();
                        move |cx: &ShardContext| Glancing {
                            glance,
                            by_hand,
                            emitter: cx.emitter(),
                            ledger: ledger.clone(),
                        }
                    })
                    .build()
                    .expect("it builds");
                let items = (0..64u64).map(|number| (KIND, number.into(), 0.into()));
                bus.producer().emit_batch(items).expect("open");
                let report = bus.shutdown(LONG);
                assert!(report.is_clean(), "{report}");
                assert_eq!(report.faulted, 16, "{glance:?}, by hand: {by_hand}");
                let expected: Vec<_> = (0..64).filter(|number| number % 4 == 0).collect();
                assert_eq!(faults.numbers(), expected, "{glance:?}, by hand: {by_hand}");
                ledger.assert_exactly((0..64).filter(|number| number % 4 != 0));
            });
        }
    }
}

// ---- several processors ----

#[test]
fn each_processor_has_its_own_faults() {
    mute_deliberate_panics();
    within(60, || {
        let faults = Faults::default();
        let first = Plan::new(|number| number % 3 == 0);
        let second = Plan::new(|number| number % 5 == 0);
        let odd = Plan::new(|number| number % 7 == 0);
        let bus = faults
            .watch(Bus::builder().shards(1))
            .processor("first", first.factory())
            .processor("second", second.factory())
            .processor_for("other", [OTHER], odd.factory())
            .build()
            .expect("it builds");
        let emitter = bus.emitter();
        for number in 0..210u64 {
            let kind = if number % 2 == 1 { OTHER } else { KIND };
            emitter.emit_blocking(kind, number, 0).expect("open");
        }
        let report = bus.shutdown(LONG);
        let lost = |number: u64| {
            let to_other = number % 2 == 1 && number.is_multiple_of(7);
            number.is_multiple_of(3) || number.is_multiple_of(5) || to_other
        };
        let lost = (0..210).filter(|&number| lost(number)).count() as u64;
        assert_counts(&report, 210 - lost, lost);
        let without = |divisor: u64| (0..210).filter(move |&n: &u64| !n.is_multiple_of(divisor));
        assert_eq!(
            first.log.processed(),
            without(3).collect::<Vec<_>>(),
            "a loss is no loss to others"
        );
        assert_eq!(second.log.processed(), without(5).collect::<Vec<_>>());
        let odd_ones: Vec<_> = without(7).filter(|number| number % 2 == 1).collect();
        assert_eq!(odd.log.processed(), odd_ones);
        let mut by_processor = BTreeMap::new();
        for seen in faults.all() {
            *by_processor.entry(seen.processor).or_insert(0) += 1;
        }
        let expected: [(String, i32); 3] =
            [("first".into(), 70), ("second".into(), 42), ("other".into(), 15)];
        assert_eq!(by_processor, BTreeMap::from(expected));
        for (stats, faults) in bus.stats().processors.iter().zip([70, 42, 15]) {
            assert_eq!(stats.faults, faults, "{}", stats.name);
        }
    });
}

// ---- flush, shutdown, drop ----

#[test]
fn a_panic_in_flush_costs_no_event() {
    mute_deliberate_panics();
    for policy in policies() {
        for payload in [Payload::Text, Payload::Bomb] {
            within(60, move || {
                let faults = Faults::default();
                let mut plan = Plan::new(|_| false);
                plan.payload = payload;
                plan.flush.store(true, Ordering::Relaxed);
                let bus = faults
                    .watch(Bus::builder().shards(1).fault_policy(policy))
                    .processor("shaky", plan.factory())
                    .build()
                    .expect("it builds");
                for round in 1..=5 {
                    emit_all(&bus, 0..10);
                    eventually("flush is tried", || faults.at(FaultSite::Flush) >= round);
                }
                plan.flush.store(false, Ordering::Relaxed);
                emit_all(&bus, 0..10);
                assert_counts(&bus.shutdown(LONG), 60, 0);
                assert!(plan.log.count(&Step::Flushed) >= 1);
                assert_eq!(plan.log.made(), plan.log.count(&Step::ShutDown));
                assert!(
                    faults.all().iter().all(|f| f.site == FaultSite::Flush && f.number.is_none())
                );
                let restarts = if policy == FaultPolicy::Restart { faults.all().len() } else { 0 };
                assert_eq!(plan.log.made(), 1 + restarts);
            });
        }
    }
}

#[test]
fn panics_at_the_end_of_an_instance_are_faults() {
    mute_deliberate_panics();
    for payload in [Payload::Text, Payload::Bomb] {
        within(60, move || {
            let faults = Faults::default();
            let mut plan = Plan::new(|_| false);
            (plan.payload, plan.shutdown, plan.drop) = (payload, true, true);
            plan.flush.store(true, Ordering::Relaxed);
            let bus = faults
                .watch(Bus::builder().shards(2))
                .processor("shaky", plan.factory())
                .build()
                .expect("it builds");
            emit_all(&bus, 0..100);
            // The old instances break in all three ways; the new ones take over all the same.
            bus.replace_processor("shaky", plan.factory()).expect("the new instances are fine");
            emit_all(&bus, 0..100);
            assert_counts(&bus.shutdown(LONG), 200, 0);
            assert_eq!(
                (faults.at(FaultSite::Shutdown), faults.at(FaultSite::ProcessorDrop)),
                (4, 4)
            );
            assert!(faults.at(FaultSite::Flush) >= 2);
            assert_eq!((plan.log.made(), plan.log.count(&Step::ShutDown)), (4, 4));
        });
    }
}

// ---- restart and quarantine ----

#[test]
fn a_restart_that_fails_is_a_quarantine_until_replaced() {
    mute_deliberate_panics();
    for panics in [true, false] {
        within(60, move || {
            let (faults, plan) = (Faults::default(), Plan::new(|number| number == 10));
            let tries = Arc::new(AtomicU64::new(0));
            let bus = faults
                .watch(Bus::builder().shards(1).fault_policy(FaultPolicy::Restart))
                .processor("shaky", {
                    let (make, tries) = (plan.factory(), tries.clone());
                    move |cx: &ShardContext| match tries.fetch_add(1, Ordering::Relaxed) {
                        0 => Ok(make(cx)),
                        _ if panics => panic!("deliberate: no disk"),
                        _ => Err("deliberate: no disk"),
                    }
                })
                .build()
                .expect("the first instance is fine");
            emit_all(&bus, 0..20);
            eventually("it is given up", || bus.stats().processors[0].quarantined == 1);
            emit_all(&bus, 20..30);
            eventually("all is accounted for", || bus.stats().faulted == 20);
            let seen = faults.all();
            assert_eq!(seen.len(), 2, "{seen:#?}");
            assert_eq!((seen[1].site, seen[1].number), (FaultSite::Factory, None));
            assert!(seen[1].message.contains("no disk"), "{}", seen[1].message);
            assert_eq!(plan.log.count(&Step::ShutDown), 1);

            bus.replace_processor("shaky", plan.factory()).expect("this one is fine");
            assert_eq!(bus.stats().processors[0].quarantined, 0);
            emit_all(&bus, 30..40);
            assert_counts(&bus.shutdown(LONG), 20, 20);
            assert_eq!(plan.log.processed(), (0..10).chain(30..40).collect::<Vec<_>>());
            assert_eq!(bus.stats().processors[0].skipped, 19);
            assert_eq!(plan.log.count(&Step::ShutDown), 2);
        });
    }
}

#[test]
fn quarantine_after_too_many_faults_and_back() {
    mute_deliberate_panics();
    for after in [0u32, 1, 3] {
        within(60, move || {
            let (faults, plan) = (Faults::default(), Plan::new(|number| number % 10 == 9));
            let policy = FaultPolicy::Quarantine { after, within: Duration::from_secs(3600) };
            let other = Plan::new(|_| false);
            let bus = faults
                .watch(Bus::builder().shards(1).fault_policy(policy))
                .processor("shaky", plan.factory())
                .processor("sound", other.factory())
                .build()
                .expect("it builds");
            emit_all(&bus, 0..100);
            let last = u64::from(after.max(1)) * 10 - 1;
            eventually("it is given up", || bus.stats().processors[0].quarantined == 1);
            eventually("all is accounted for", || {
                let stats = bus.stats();
                stats.processed + stats.faulted == 100
            });
            assert_eq!(faults.numbers(), (0..=last).filter(|n| n % 10 == 9).collect::<Vec<_>>());
            assert_eq!(plan.log.processed(), (0..last).filter(|n| n % 10 != 9).collect::<Vec<_>>());
            assert_eq!(plan.log.read().last(), Some(&Step::Dropped), "the instance is gone");
            assert_eq!(plan.log.count(&Step::ShutDown), 1);
            let processed = plan.log.processed().len() as u64;
            assert_eq!(bus.stats().processed, processed);
            assert_eq!(bus.stats().processors[0].skipped, 99 - last);

            bus.replace_processor("shaky", plan.factory()).expect("it builds");
            emit_all(&bus, 100..105);
            assert_counts(&bus.shutdown(LONG), processed + 5, 100 - processed);
            assert_eq!(other.log.processed(), (0..105).collect::<Vec<_>>(), "others go on");
            assert_eq!(plan.log.count(&Step::ShutDown), 2);
        });
    }
}

#[test]
fn rare_faults_are_no_reason_for_quarantine() {
    mute_deliberate_panics();
    within(60, || {
        let (faults, plan) = (Faults::default(), Plan::new(|_| true));
        // No two faults lie within no time.
        let policy = FaultPolicy::Quarantine { after: 2, within: Duration::ZERO };
        let bus = faults
            .watch(Bus::builder().shards(1).fault_policy(policy))
            .processor("shaky", plan.factory())
            .build()
            .expect("it builds");
        emit_all(&bus, 0..200);
        assert_counts(&bus.shutdown(LONG), 0, 200);
        assert_eq!(faults.all().len(), 200, "each came to the instance");
        assert_eq!(plan.log.made(), 1);
    });
}

// ---- values ----

/// A value that panics in one of its functions.
struct Touchy {
    number: u64,
    on: On,
    /// Large values are boxed, small ones are not.
    _weight: Weight,
}

enum Weight {
    Light,
    #[expect(dead_code)]
    Heavy([u64; 16]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Drop,
    DropWithBomb,
    Debug,
    Serialize,
}

impl Drop for Touchy {
    fn drop(&mut self) {
        match self.on {
            On::Drop => panic!("deliberate: drop of value {}", self.number),
            On::DropWithBomb => panic_any(Bomb),
            On::Debug | On::Serialize => {}
        }
    }
}

impl fmt::Debug for Touchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        assert_ne!(self.on, On::Debug, "deliberate");
        f.write_str("Touchy")
    }
}

impl Serialize for Touchy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert_ne!(self.on, On::Serialize, "deliberate");
        serializer.serialize_u64(self.number)
    }
}

/// Renders every event in every way.
struct Render(Ledger);

impl Processor for Render {
    fn process(&mut self, event: &Event) {
        let text = format!("{event} {event:?} {}", event.value().to_json().expect("JSON"));
        assert!(!text.is_empty());
        if let Some(&number) = event.get::<u64>() {
            self.0.note(number);
        }
    }
}

#[test]
fn values_that_panic_when_they_are_looked_at_or_dropped() {
    mute_deliberate_panics();
    for on in [On::Drop, On::DropWithBomb, On::Debug, On::Serialize] {
        for heavy in [false, true] {
            within(60, move || {
                let (faults, ledger) = (Faults::default(), Ledger::new(300));
                let bus = faults
                    .watch(Bus::builder().shards(1).capacity(16))
                    .processor("render", {
                        let ledger = ledger.clone();
                        move |_: &ShardContext| Render(ledger.clone())
                    })
                    .build()
                    .expect("it builds");
                let emitter = bus.emitter();
                for number in 0..300u64 {
                    if number % 3 == 0 {
                        let _weight = if heavy { Weight::Heavy([0; 16]) } else { Weight::Light };
                        let value = Touchy { number, on, _weight };
                        emitter.emit_blocking(KIND, value, 0).expect("open");
                    } else {
                        emitter.emit_blocking(KIND, number, 0).expect("open");
                    }
                }
                let report = bus.shutdown(LONG);
                let site = match on {
                    On::Drop | On::DropWithBomb => FaultSite::ValueDrop,
                    On::Debug | On::Serialize => FaultSite::Process,
                };
                // An event whose value breaks when it is dropped has been processed.
                let faulted = if site == FaultSite::Process { 100 } else { 0 };
                assert_counts(&report, 300 - faulted, faulted);
                assert_eq!((faults.at(site), faults.all().len()), (100, 100), "{on:?}");
                ledger.assert_exactly((0..300).filter(|number| number % 3 != 0));
                assert_eq!(bus.stats().shards[0].drop_faults, 100 - faulted);
            });
        }
    }
}

#[test]
fn abandoned_values_that_panic_when_they_are_dropped() {
    mute_deliberate_panics();
    within(60, || {
        struct Hold(Latch, Latch);
        impl Processor for Hold {
            fn process(&mut self, _: &Event) {
                self.0.open();
                self.1.wait();
            }
        }
        let (faults, entered, release) = (Faults::default(), Latch::new(), Latch::new());
        let bus = faults
            .watch(Bus::builder().shards(1))
            .processor("hold", {
                let (entered, release) = (entered.clone(), release.clone());
                move |_: &ShardContext| Hold(entered.clone(), release.clone())
            })
            .build()
            .expect("it builds");
        let emitter = bus.emitter();
        std::thread::spawn(move || {
            for number in 0..10u64 {
                let value = Touchy { number, on: On::Drop, _weight: Weight::Light };
                emitter.try_emit(KIND, value, 0).expect("room");
            }
        })
        .join()
        .expect("no panic");
        entered.wait();
        let report = bus.shutdown(Duration::from_millis(10));
        assert_eq!((report.accepted, report.abandoned), (10, 10));
        release.open();
        eventually("all values are dropped", || faults.at(FaultSite::ValueDrop) == 10);
    });
}

// ---- the hook ----

#[test]
fn a_hook_that_panics_changes_nothing() {
    mute_deliberate_panics();
    for payload in [Payload::Text, Payload::Bomb] {
        within(60, move || {
            let calls = Arc::new(AtomicU64::new(0));
            let mut plan = Plan::new(|number| number % 2 == 0);
            (plan.payload, plan.shutdown, plan.drop) = (payload, true, true);
            let bus = Bus::builder()
                .shards(1)
                .fault_policy(FaultPolicy::Restart)
                .on_fault({
                    let calls = calls.clone();
                    move |fault: &Fault| {
                        calls.fetch_add(1, Ordering::Relaxed);
                        payload.throw(&fault.to_string());
                    }
                })
                .processor("shaky", plan.factory())
                .build()
                .expect("it builds");
            emit_all(&bus, 0..100);
            assert_counts(&bus.shutdown(LONG), 50, 50);
            // Fifty events, and the end of fifty-one instances in two ways.
            assert_eq!(calls.load(Ordering::Relaxed), 50 + 2 * 51);
        });
    }
}

#[test]
fn a_fault_prints_without_its_value() {
    mute_deliberate_panics();
    within(60, || {
        let text = Arc::new(Mutex::new(String::new()));
        let bus = Bus::builder()
            .shards(1)
            .on_fault({
                let text = text.clone();
                move |fault: &Fault| {
                    *text.lock().expect("unpoisoned") = format!("{fault} | {fault:?}");
                }
            })
            .processor("render", |_: &ShardContext| Render(Ledger::new(1)))
            .build()
            .expect("it builds");
        let value = Touchy { number: 1, on: On::Debug, _weight: Weight::Light };
        bus.emitter().try_emit(KIND, value, "k").expect("room");
        assert_counts(&bus.shutdown(LONG), 0, 1);
        let text = text.lock().expect("unpoisoned");
        for part in ["shard 0", "\"render\"", "process", "deliberate", "USER(0)"] {
            assert!(text.contains(part), "{text}");
        }
    });
}

/// The hook reports each fault as an event, and that event causes the next fault. The hop limit must end it, also while the
/// bus drains.
#[test]
fn a_hook_that_feeds_the_processor_that_panics() {
    mute_deliberate_panics();
    within(60, || {
        let emitter: Arc<OnceLock<Emitter>> = Arc::default();
        let (accepted, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let bus = Bus::builder()
            .shards(2)
            .hop_limit(5)
            .on_fault({
                let (emitter, accepted, refused) =
                    (emitter.clone(), accepted.clone(), refused.clone());
                move |fault: &Fault| {
                    let emitter = emitter.get().expect("set before the first event");
                    let number: u64 = *fault.event().and_then(|event| event.get()).expect("u64");
                    match emitter.try_emit(OTHER, number, number) {
                        Ok(()) => accepted.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            assert!(error.is_hop_limit());
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            })
            .processor("shaky", Plan::new(|_| true).factory())
            .build()
            .expect("it builds");
        assert!(emitter.set(bus.emitter()).is_ok());
        emit_all(&bus, 0..10);
        let report = bus.shutdown(LONG);
        assert_counts(&report, 0, 60);
        assert_eq!(accepted.load(Ordering::Relaxed), 50, "each event has five descendants");
        assert_eq!(refused.load(Ordering::Relaxed), 10);
    });
}

// ---- callers that panic ----

/// Of a batch whose iterator panics a prefix was accepted; the other values are dropped, at the latest with the producer.
#[test]
fn a_batch_whose_iterator_panics() {
    mute_deliberate_panics();
    #[derive(Debug)]
    struct Ticket(u64, #[expect(dead_code)] Arc<()>);
    impl Serialize for Ticket {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_u64(self.0)
        }
    }
    struct Note(Ledger);
    impl Processor for Note {
        fn process(&mut self, event: &Event) {
            self.0.note(event.get::<Ticket>().expect("a ticket").0);
        }
    }
    within(60, || {
        for (capacity, breaks_at) in [(8, 30), (1024, 30), (1024, 200), (8, 200)] {
            let (ledger, alive) = (Ledger::new(400), Arc::new(()));
            let bus = Bus::builder()
                .shards(2)
                .capacity(capacity)
                .processor("note", {
                    let ledger = ledger.clone();
                    move |_: &ShardContext| Note(ledger.clone())
                })
                .build()
                .expect("it builds");
            let mut producer = bus.producer();
            // Rings are open, so that groups of events can be published together.
            for number in 350..360 {
                producer.emit_blocking(KIND, Ticket(number, alive.clone()), number).expect("open");
            }
            let items = (0..300u64).map(|number| {
                assert_ne!(number, breaks_at, "deliberate");
                (KIND, Ticket(number, alive.clone()).into(), number.into())
            });
            let result = catch_unwind(AssertUnwindSafe(|| producer.emit_batch(items)));
            assert!(result.is_err());
            let items = (300..350u64)
                .map(|number| (KIND, Ticket(number, alive.clone()).into(), number.into()));
            assert_eq!(producer.emit_batch(items).expect("as good as new"), 50);
            drop(producer);
            let report = bus.shutdown(LONG);
            let accepted = report.accepted - 60;
            assert!(accepted <= breaks_at, "{report}");
            assert_counts(&report, accepted + 60, 0);
            ledger.assert_exactly((0..accepted).chain(300..360));
            assert_eq!(Arc::strong_count(&alive), 1, "no value is left");
        }
    });
}

/// A waker is foreign code that runs on the shard.
#[test]
fn a_waker_that_panics() {
    mute_deliberate_panics();
    within(60, || {
        struct Broken;
        impl Wake for Broken {
            fn wake(self: Arc<Self>) {
                panic!("deliberate: waker");
            }
        }
        struct Hold(Latch, Ledger);
        impl Processor for Hold {
            fn process(&mut self, event: &Event) {
                self.0.wait();
                self.1.process(event);
            }
        }
        let (release, ledger) = (Latch::new(), Ledger::new(100));
        let bus = Bus::builder()
            .shards(1)
            .capacity(2)
            .processor("hold", {
                let (release, ledger) = (release.clone(), ledger.clone());
                move |_: &ShardContext| Hold(release.clone(), ledger.clone())
            })
            .build()
            .expect("it builds");
        let emitter = bus.emitter();
        let mut accepted = Vec::new();
        let mut number = 0u64;
        while emitter.try_emit(KIND, number, 0).is_ok() {
            accepted.push(number);
            number += 1;
        }
        let waker = Waker::from(Arc::new(Broken));
        let mut first = pin!(emitter.emit(KIND, 90u64, 0));
        let mut second = pin!(emitter.emit(KIND, 91u64, 0));
        let mut cx = Context::from_waker(&waker);
        assert!(
            first.as_mut().poll(&mut cx).is_pending() && second.as_mut().poll(&mut cx).is_pending()
        );
        release.open();
        // One thread waits in the same line, behind the two.
        emitter.emit_blocking(KIND, 50u64, 0).expect("open");
        accepted.push(50);
        let mut cx = Context::from_waker(Waker::noop());
        for (mut emit, number) in [(first, 90), (second, 91)] {
            eventually("there is room", || emit.as_mut().poll(&mut cx).is_ready());
            accepted.push(number);
        }
        assert_counts(&bus.shutdown(LONG), accepted.len() as u64, 0);
        ledger.assert_exactly(accepted);
    });
}

// ---- all at once ----

#[test]
fn a_storm_of_faults() {
    mute_deliberate_panics();
    for policy in [FaultPolicy::Skip, FaultPolicy::Restart] {
        within(120, move || {
            let faults = Faults::default();
            let bad = |number: u64| Random::new(number).below(9) == 0;
            let mut plan = Plan::new(bad);
            (plan.shutdown, plan.drop) = (true, true);
            let bus = faults
                .watch(Bus::builder().shards(3).capacity(32).fault_policy(policy))
                .processor("shaky", plan.factory())
                .build()
                .expect("it builds");
            std::thread::scope(|scope| {
                for thread in 0..4u64 {
                    let (emitter, mut producer) = (bus.emitter(), bus.producer());
                    scope.spawn(move || {
                        for number in thread * 1000..(thread + 1) * 1000 {
                            if number % 2 == 0 {
                                emitter.emit_blocking(KIND, number, number).expect("open");
                            } else {
                                producer.emit_blocking(KIND, number, number).expect("open");
                            }
                        }
                    });
                }
            });
            let report = bus.shutdown(LONG);
            let (mut lost, mut kept): (Vec<u64>, Vec<u64>) = (0..4000).partition(|&n| bad(n));
            assert_counts(&report, kept.len() as u64, lost.len() as u64);
            let (mut seen, mut panicked) = (plan.log.processed(), faults.numbers());
            for list in [&mut lost, &mut kept, &mut seen, &mut panicked] {
                list.sort_unstable();
            }
            assert_eq!(seen, kept);
            assert_eq!(panicked, lost);
            assert_eq!(plan.log.made(), plan.log.count(&Step::ShutDown));
        });
    }
}
