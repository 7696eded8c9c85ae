//! Panics in flush, at the end and in factories, and the policies after a fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{LONG, eventually, mute_deliberate_panics, within};
use keylane::{Bus, FaultPolicy, FaultSite, ShardContext};

use crate::shaky::*;

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
