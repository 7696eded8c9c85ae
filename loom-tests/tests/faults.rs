//! Faults: a panic costs the one event that it happened on.
//!
//! | model | proves | threads, events, capacity | preemptions |
//! |---|---|---|---|
//! | `a_panic_in_the_middle_of_a_batch` | the events before and behind it are processed once, it is counted once, and a blocked emit gets its slot | 2, 3, 2 | 2 |
//! | `a_panic_with_a_restart` | the same with a new instance behind the panic; the old one is shut down once | 2, 3, 2 | 2 |
//! | `a_value_that_panics_when_it_is_dropped` | its event is processed, its slot comes back | 2, 2, 1 | 2 |
#![cfg(loom)]

use keylane::{Bus, Event, EventType, FaultPolicy, FaultSite, Processor, ShardContext};
use keylane_loom_tests::{Log, Payload, check, fail, finish, start};
use serde_core::{Serialize, Serializer};

const KIND: EventType = EventType::user(0);
/// Logged by an instance that is shut down.
const SHUT_DOWN: u64 = 100;

/// Panics on event 1.
struct Fragile(Log);

impl Processor for Fragile {
    fn process(&mut self, event: &Event) {
        let number = event.get::<Payload>().expect("models emit payloads").number();
        if number == 1 {
            fail();
        }
        self.0.push(number);
    }

    fn shutdown(&mut self) {
        self.0.push(SHUT_DOWN);
    }
}

fn panic_on_one_of_three(policy: FaultPolicy) -> Vec<u64> {
    let (log, faults) = (Log::default(), Log::default());
    let (processors, hook) = (log.clone(), faults.clone());
    let bus = start(
        Bus::builder()
            .shards(1)
            .capacity(2)
            .fault_policy(policy)
            .on_fault(move |fault| {
                assert_eq!(fault.site(), FaultSite::Process);
                let event = fault.event().expect("the fault of an event");
                hook.push(event.get::<Payload>().expect("models emit payloads").number());
            })
            .processor("fragile", move |_: &ShardContext| Fragile(processors.clone())),
    );
    let mut producer = bus.producer();
    for number in 0..3 {
        producer.emit_blocking(KIND, Payload::new(number), 0).unwrap();
    }
    let report = finish(&bus);
    assert_eq!((report.accepted, report.processed, report.faulted), (3, 2, 1));
    assert_eq!(faults.entries(), [1]);
    log.entries()
}

#[test]
fn a_panic_in_the_middle_of_a_batch() {
    check(2, || {
        assert_eq!(panic_on_one_of_three(FaultPolicy::Skip), [0, 2, SHUT_DOWN]);
    });
}

#[test]
fn a_panic_with_a_restart() {
    check(2, || {
        let seen = panic_on_one_of_three(FaultPolicy::Restart);
        assert_eq!(seen, [0, SHUT_DOWN, 2, SHUT_DOWN]);
    });
}

/// Panics when it is dropped, once its payload is gone.
#[derive(Debug)]
struct Bomb(#[expect(dead_code, reason = "held, not used")] Payload);

impl Drop for Bomb {
    fn drop(&mut self) {
        fail();
    }
}

impl Serialize for Bomb {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

#[test]
fn a_value_that_panics_when_it_is_dropped() {
    check(2, || {
        let faults = Log::default();
        let hook = faults.clone();
        let bus = start(Bus::builder().shards(1).capacity(1).on_fault(move |fault| {
            assert_eq!(fault.site(), FaultSite::ValueDrop);
            hook.push(0);
        }));
        let mut producer = bus.producer();
        producer.emit_blocking(KIND, Bomb(Payload::new(0)), 0).unwrap();
        producer.emit_blocking(KIND, Payload::new(1), 0).unwrap();
        let report = finish(&bus);
        assert_eq!((report.accepted, report.processed, report.faulted), (2, 2, 0));
        assert_eq!(faults.entries().len(), 1);
    });
}
