//! What processors can do beside processing: refuse events, give their state to their successors, be replaced one shard first, ask for a
//! flush; and what factories do before their instances are built.

mod support;

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keylane::{
    BuildError, Bus, Event, EventType, FaultPolicy, FaultSite, Flusher, Key, Processor,
    ProcessorFactory, Refusal, Rollout, ShardContext, SwapError, Upcoming,
};
use support::{DELIBERATE, LONG, eventually, mute_deliberate_panics, within};

const KIND: EventType = EventType::user(0);

// ---- refusals ----

/// Processes numbers; refuses those that a rule names.
struct Picky {
    rule: fn(u64) -> Option<Rule>,
    seen: Arc<Mutex<Vec<u64>>>,
    refused: Option<Refusal>,
}

#[derive(Clone, Copy)]
enum Rule {
    Event,
    /// The call ends before this event, the first time.
    Again,
    RestFrom,
    /// The call has failed as a whole, with all its events done.
    Call,
}

impl Processor for Picky {
    fn process(&mut self, event: &Event) {
        self.process_batch(&[event]);
    }

    fn process_batch(&mut self, events: &[&Event]) {
        let mut seen = self.seen.lock().unwrap();
        for (index, event) in events.iter().enumerate() {
            let number = *event.get::<u64>().expect("the test emits u64");
            let again = seen.last() == Some(&(number + 1_000_000));
            match (self.rule)(number) {
                Some(Rule::Event) => {
                    self.refused = Some(Refusal::event(index, format!("not {number}")));
                    return;
                }
                Some(Rule::Again) if !again => {
                    // Noted, so that it is let through the next time.
                    seen.push(number + 1_000_000);
                    self.refused =
                        Some(Refusal::again_from(index, format!("once more from {number}")));
                    return;
                }
                Some(Rule::RestFrom) => {
                    self.refused = Some(Refusal::rest_from(index));
                    return;
                }
                Some(Rule::Call) => self.refused = Some(Refusal::call("all the same")),
                _ => {}
            }
            seen.push(number);
        }
    }

    fn refused(&mut self) -> Option<Refusal> {
        self.refused.take()
    }
}

/// Where a fault happened, its message, and the number of its event.
type Seen = (FaultSite, String, Option<u64>);
type Faults = Arc<Mutex<Vec<Seen>>>;

/// Emits 0 to 99 to a processor with a rule, between two others. Returns what it saw, the faults, and the report's processed and faulted.
fn picky(rule: fn(u64) -> Option<Rule>) -> (Vec<u64>, Vec<Seen>, (u64, u64)) {
    let (seen, faults) = (Arc::new(Mutex::new(Vec::new())), Faults::default());
    let (kept, kept_faults) = (seen.clone(), faults.clone());
    let all = Arc::new(AtomicU64::new(0));
    let counted = all.clone();
    let bus = Bus::builder()
        .shards(1)
        .fault_policy(FaultPolicy::Restart)
        .processor_for("picky", [KIND], move |_: &ShardContext| Picky {
            rule,
            seen: kept.clone(),
            refused: None,
        })
        .processor("all", move |_: &ShardContext| CountAll(counted.clone()))
        .on_fault(move |fault| {
            let event = fault.event().and_then(|event| event.get().copied());
            kept_faults.lock().unwrap().push((fault.site(), fault.message().to_owned(), event));
        })
        .build()
        .expect("a bus");
    let mut producer = bus.producer();
    for number in 0..100_u64 {
        producer.emit_blocking(KIND, number, "key").expect("open");
        producer.emit_blocking(EventType::user(1), number, "key").expect("open");
    }
    let report = bus.shutdown(LONG);
    assert!(report.is_clean(), "{report}");
    assert_eq!(all.load(Relaxed), 200, "other processors get every event once");
    assert_eq!(bus.stats().processors[0].restarts, 0, "a refusal is no panic");
    let seen = seen.lock().unwrap().clone();
    let faults = faults.lock().unwrap().clone();
    (seen, faults, (report.processed, report.faulted))
}

struct CountAll(Arc<AtomicU64>);

impl Processor for CountAll {
    fn process(&mut self, _: &Event) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn refused_events_are_faults_and_the_rest_goes_on() {
    within(60, || {
        let (seen, faults, report) = picky(|number| (number % 10 == 3).then_some(Rule::Event));
        assert_eq!(seen, (0..100).filter(|number| number % 10 != 3).collect::<Vec<_>>());
        assert_eq!(report, (190, 10));
        let expected: Vec<_> = (0..10)
            .map(|n| (FaultSite::Process, format!("not {}", n * 10 + 3), Some(n * 10 + 3)))
            .collect();
        assert_eq!(faults, expected);
    });
}

#[test]
fn a_call_that_ends_early_goes_on_where_it_ended() {
    within(60, || {
        let (mut seen, faults, report) = picky(|number| (number % 25 == 7).then_some(Rule::Again));
        seen.retain(|number| *number < 1_000_000);
        assert_eq!(seen, (0..100).collect::<Vec<_>>(), "each once, in order");
        assert_eq!(report, (200, 0));
        let expected: Vec<_> = [7, 32, 57, 82]
            .map(|n| (FaultSite::Process, format!("once more from {n}"), None))
            .into();
        assert_eq!(faults, expected);
    });
}

#[test]
fn who_is_out_of_service_skips_in_silence() {
    within(60, || {
        let (seen, faults, report) = picky(|number| (number >= 40).then_some(Rule::RestFrom));
        assert_eq!(seen, (0..40).collect::<Vec<_>>());
        assert_eq!((faults, report), (vec![], (140, 60)));
    });
}

#[test]
fn a_failed_call_costs_no_event() {
    within(60, || {
        let (seen, faults, report) = picky(|number| (number == 50).then_some(Rule::Call));
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert_eq!(
            (faults, report),
            (vec![(FaultSite::Process, "all the same".to_owned(), None)], (200, 0))
        );
    });
}

// ---- state ----

/// Adds numbers up, and gives the sum to its successor.
struct Sum {
    sum: u64,
    /// By shard, what the instances have come to at their ends.
    ends: Arc<Mutex<Vec<(u64, usize, u64)>>>,
    place: (u64, usize),
    gives: Gives,
}

#[derive(Clone, Copy, PartialEq)]
enum Gives {
    State,
    Nothing,
    /// On this shard.
    Error(usize),
    Panic(usize),
    TakesNone(usize),
}

impl Processor for Sum {
    fn process(&mut self, event: &Event) {
        self.sum += event.get::<u64>().expect("the test emits u64");
    }

    fn shutdown(&mut self) {
        self.ends.lock().unwrap().push((self.place.0, self.place.1, self.sum));
    }

    fn hand_over(&mut self) -> Result<Option<Box<dyn Any>>, String> {
        match self.gives {
            Gives::Nothing => Ok(None),
            Gives::Error(shard) if shard == self.place.1 => Err("the disk is full".into()),
            Gives::Panic(shard) if shard == self.place.1 => panic!("{DELIBERATE}"),
            _ => Ok(Some(Box::new(self.sum))),
        }
    }

    fn take_over(&mut self, state: Box<dyn Any>) -> Result<(), String> {
        if self.gives == Gives::TakesNone(self.place.1) {
            return Err("of another form".into());
        }
        self.sum = *state.downcast::<u64>().map_err(|_| "no sum")?;
        Ok(())
    }
}

type Ends = Arc<Mutex<Vec<(u64, usize, u64)>>>;

fn summing(gives: Gives, ends: &Ends) -> impl Fn(&ShardContext) -> Sum + Send + Sync + 'static {
    let ends = ends.clone();
    move |cx: &ShardContext| Sum {
        sum: 0,
        ends: ends.clone(),
        place: (cx.generation(), cx.shard()),
        gives,
    }
}

fn emit(bus: &Bus, numbers: std::ops::Range<u64>) {
    for number in numbers {
        bus.emitter().emit_blocking(KIND, number, number).expect("open");
    }
}

/// Replaces a processor of `old` by one of `new` between two runs of numbers. Returns the error, and the sum that the last instances had.
fn swapped(old: Gives, new: Gives) -> (Option<SwapError>, u64) {
    mute_deliberate_panics();
    let ends = Ends::default();
    let bus =
        Bus::builder().shards(4).processor("sum", summing(old, &ends)).build().expect("a bus");
    emit(&bus, 0..100);
    let error = bus.replace_processor("sum", summing(new, &ends)).err();
    emit(&bus, 100..200);
    assert!(bus.shutdown(LONG).is_clean());
    let ends = ends.lock().unwrap();
    let mut last = [0; 4];
    for &(_, shard, sum) in &*ends {
        last[shard] = sum;
    }
    assert_eq!(ends.len(), 8, "every instance is shut down once: {ends:?}");
    (error, last.iter().sum())
}

#[test]
fn a_state_goes_from_the_old_instance_to_the_new_one() {
    within(60, || {
        assert_eq!(swapped(Gives::State, Gives::State), (None, (0..200).sum()));
    });
}

#[test]
fn a_hand_over_that_fails_on_one_shard_leaves_all_as_they_were() {
    within(60, || {
        for (old, new, text) in [
            (Gives::Error(2), Gives::State, "the disk is full"),
            (Gives::Panic(1), Gives::State, "panicked: deliberate"),
            (Gives::State, Gives::TakesNone(3), "of another form"),
            (Gives::State, Gives::TakesNone(0), "of another form"),
        ] {
            let (error, sum) = swapped(old, new);
            let Some(SwapError::HandOver { message, .. }) = error else { panic!("{error:?}") };
            assert_eq!(message, text);
            assert_eq!(sum, (0..200).sum::<u64>(), "what was summed up is not lost");
        }
    });
}

#[test]
fn who_has_no_state_and_must_come_back_is_built_anew() {
    within(60, || {
        // The old ones give nothing but on shard 3, which fails: the others were shut down at once, and are built again.
        let ends = Ends::default();
        let make = {
            let ends = ends.clone();
            move |cx: &ShardContext| {
                let gives = if cx.shard() == 3 { Gives::Error(3) } else { Gives::Nothing };
                Sum { sum: 0, ends: ends.clone(), place: (cx.generation(), cx.shard()), gives }
            }
        };
        let bus = Bus::builder().shards(4).processor("sum", make).build().expect("a bus");
        let error =
            bus.replace_processor("sum", summing(Gives::State, &ends)).expect_err("shard 3");
        assert!(matches!(error, SwapError::HandOver { shard: 3, .. }), "{error}");
        emit(&bus, 0..100);
        assert!(bus.shutdown(LONG).is_clean());
        let ends = ends.lock().unwrap();
        let last: Vec<_> = ends.iter().rev().take(4).collect();
        assert!(last.iter().all(|end| end.0 == 1), "the old factory's generation: {ends:?}");
        assert_eq!(last.iter().map(|end| end.2).sum::<u64>(), (0..100).sum::<u64>());
    });
}

#[test]
fn a_canary_shard_goes_first_and_back_when_it_does_badly() {
    within(60, || {
        mute_deliberate_panics();
        let ends = Ends::default();
        let bus = Bus::builder()
            .shards(2)
            .processor("sum", summing(Gives::State, &ends))
            .build()
            .expect("a bus");
        emit(&bus, 0..100);
        let stop = AtomicBool::new(false);
        let (error, accepted) = std::thread::scope(|scope| {
            let emitting = scope.spawn(|| {
                let mut number = 100;
                while !stop.load(Relaxed) {
                    emit(&bus, number..number + 1);
                    number += 1;
                }
                number
            });
            let bad = |_: &ShardContext| Panics;
            let rollout = Rollout::canary(0).events(u64::MAX).within(LONG).allowed_faults(10);
            let error =
                bus.replace_processor_gradually("sum", bad, rollout).expect_err("it panics");
            stop.store(true, Relaxed);
            (error, emitting.join().expect("no panic"))
        });
        let SwapError::Canary { shard: 0, faults, events: 0, allowed: 10, .. } = error else {
            panic!("{error}")
        };
        let report = bus.shutdown(LONG);
        assert!(report.is_clean() && faults > 10);
        assert_eq!((report.accepted, report.shards[1].faulted), (accepted, 0), "{report}");
        assert_eq!(bus.stats().processors[0].generation, 1);
        assert_eq!(
            ends.lock().unwrap().len(),
            2,
            "the old instances ended with the bus, not before"
        );
    });
}

struct Panics;

impl Processor for Panics {
    fn process(&mut self, _: &Event) {
        panic!("{DELIBERATE}");
    }
}

#[test]
fn a_canary_that_sees_few_events_is_followed_in_the_end() {
    within(60, || {
        let ends = Ends::default();
        let bus = Bus::builder()
            .shards(3)
            .processor("sum", summing(Gives::State, &ends))
            .build()
            .expect("a bus");
        emit(&bus, 0..100);
        let rollout = Rollout::canary(1).events(1000).within(Duration::from_millis(20));
        bus.replace_processor_gradually("sum", summing(Gives::State, &ends), rollout)
            .expect("followed");
        assert_eq!(ends.lock().unwrap().len(), 3, "the old ones have gone");
        emit(&bus, 100..200);
        assert!(bus.shutdown(LONG).is_clean());
        let ends = ends.lock().unwrap();
        let sum: u64 = ends.iter().filter(|end| end.0 == 2).map(|end| end.2).sum();
        assert_eq!(sum, (0..200).sum::<u64>());
    });
}

#[test]
fn a_shutdown_in_the_middle_of_a_gradual_replacement_ends_both() {
    within(60, || {
        let ends = Ends::default();
        let bus = Bus::builder()
            .shards(2)
            .processor("sum", summing(Gives::State, &ends))
            .build()
            .expect("a bus");
        emit(&bus, 0..100);
        std::thread::scope(|scope| {
            let swap = scope.spawn(|| {
                let rollout = Rollout::canary(0).events(u64::MAX).within(LONG);
                bus.replace_processor_gradually("sum", summing(Gives::State, &ends), rollout)
            });
            eventually("the canary", || bus.stats().shards[0].processors[0].generation == 2);
            assert!(bus.shutdown(LONG).is_clean());
            assert_eq!(swap.join().expect("no panic"), Err(SwapError::Closed));
        });
        let mut ended: Vec<_> = ends.lock().unwrap().iter().map(|end| (end.0, end.1)).collect();
        ended.sort_unstable();
        assert_eq!(ended, [(1, 0), (1, 1), (2, 0), (2, 1)], "each instance once");
    });
}

// ---- flushes that are asked for ----

struct Flushed {
    flushes: Arc<AtomicU64>,
}

impl Processor for Flushed {
    fn process(&mut self, _: &Event) {}

    fn flush(&mut self) {
        self.flushes.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_flush_comes_when_it_is_asked_for_although_no_event_does() {
    within(60, || {
        let flushes = Arc::new(AtomicU64::new(0));
        let flusher: Arc<Mutex<Option<Flusher>>> = Arc::default();
        let (counted, kept) = (flushes.clone(), flusher.clone());
        let bus = Bus::builder()
            .shards(1)
            .processor("flushed", move |cx: &ShardContext| {
                *kept.lock().unwrap() = Some(cx.flusher());
                Flushed { flushes: counted.clone() }
            })
            .build()
            .expect("a bus");
        let flusher = flusher.lock().unwrap().clone().expect("it was built");
        for number in 1..=10 {
            flusher.request();
            eventually("the flush", || flushes.load(Relaxed) == number);
        }
        assert!(bus.shutdown(LONG).is_clean());
        flusher.request();
        drop(bus);
        flusher.request();
        assert_eq!(flushes.load(Relaxed), 10);
    });
}

// ---- preparing ----

struct Prepared {
    calls: Arc<Mutex<Vec<String>>>,
    fails: &'static str,
}

impl ProcessorFactory for Prepared {
    type Processor = CountAll;
    type Error = String;

    fn prepare(&self, upcoming: &Upcoming<'_>) -> Result<(), String> {
        let Upcoming { processor, generation, shards, .. } = upcoming;
        self.calls.lock().unwrap().push(format!("prepare {processor} {generation} {shards}"));
        match self.fails {
            "" => Ok(()),
            DELIBERATE => panic!("{DELIBERATE}"),
            text => Err(text.to_owned()),
        }
    }

    fn create(&self, cx: &ShardContext) -> Result<CountAll, String> {
        self.calls.lock().unwrap().push(format!("create {} {}", cx.processor(), cx.generation()));
        Ok(CountAll(Arc::default()))
    }
}

#[test]
fn factories_are_prepared_once_before_their_instances() {
    within(60, || {
        mute_deliberate_panics();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let factory = |fails| Prepared { calls: calls.clone(), fails };
        let bus = Bus::builder().shards(2).processor("it", factory("")).build().expect("a bus");
        bus.replace_processor("it", factory("")).expect("a swap");
        let expected = [
            "prepare it 1 2",
            "create it 1",
            "create it 1",
            "prepare it 2 2",
            "create it 2",
            "create it 2",
        ];
        assert_eq!(*calls.lock().unwrap(), expected);
        calls.lock().unwrap().clear();

        let error = bus.replace_processor("it", factory("no room")).expect_err("it fails");
        assert_eq!(
            error.to_string(),
            r#"the factory of processor "it" failed, nothing was changed: no room"#
        );
        let error = bus.add_processor("other", factory(DELIBERATE)).expect_err("it panics");
        assert!(
            matches!(&error, SwapError::Prepare { message, .. } if message == "panicked: deliberate"),
            "{error}"
        );
        let error = Bus::builder()
            .shards(1)
            .processor("new", factory("no room"))
            .build()
            .expect_err("it fails");
        assert!(
            matches!(&error, BuildError::Prepare { message, .. } if message == "no room"),
            "{error}"
        );
        assert!(
            calls.lock().unwrap().iter().all(|call| call.starts_with("prepare")),
            "nothing was created"
        );
        bus.emitter().emit_blocking(KIND, 1, Key::NONE).expect("open");
        assert_eq!(bus.shutdown(LONG).processed, 1);
    });
}
