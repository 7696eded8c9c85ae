//! Panics in `process` and `process_batch`.

use std::collections::BTreeMap;

use crate::support::{LONG, Ledger, mute_deliberate_panics, within};
use keylane::{
    Bus, Emitter, Event, FaultPolicy, FaultSite, Key, Processor, ShardContext, for_each,
};

use crate::shaky::*;
use crate::{KIND, OTHER};

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
