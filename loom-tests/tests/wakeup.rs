//! Wake-ups: of workers that sleep, and of emits that wait for room. A lost one is a deadlock, which loom finds.
//!
//! | model | proves | threads, events, capacity | preemptions |
//! |---|---|---|---|
//! | `a_parking_worker_sees_an_emit` | an event that is published while the worker goes to sleep is processed, at the start of a bus and later | 2, 2, 1 | 3 |
//! | `a_gate_wakes_its_worker` | the same for two producers, with the gate, the rings and the merge of the bus | 3, 2, 1 | 3 |
//! | `a_blocked_emit_is_woken` | full ring: every blocked emit comes in | 2, 3, 1 | 2 |
//! | `blocked_emits_share_a_ring` | the same for two threads that wait for one ring | 3, 3, 1 | 1 |
//! | `a_waiting_task_is_woken` | full ring: every waiting task comes in | 2, 3, 1 | 2 |
//! | `a_waiter_looks_again` | a waiter that comes while the consumer frees the slot is woken, or sees the room | 2, 1, 1 | any |
//!
//! These must fail, and do:
//!
//! | model | what it leaves out |
//! |---|---|
//! | `a_worker_that_does_not_look_again` | the worker's second look, behind the announcement that it sleeps |
//! | `a_waiter_that_does_not_look_again` | the waiter's second look, behind its entry in the list |
#![cfg(loom)]

use keylane::model::{Reader, Ring, Shard};
use keylane::{Bus, EventType};
use keylane_loom_tests::{
    Alarm, Log, Payload, UNBOUNDED, block_on, check, finish, start, violates,
};
use loom::sync::Arc;
use loom::sync::atomic::Ordering::SeqCst;
use loom::sync::atomic::fence;
use loom::thread;

const KIND: EventType = EventType::user(0);

#[test]
fn a_parking_worker_sees_an_emit() {
    check(2, || {
        let log = Log::default();
        let (factory, seen) = log.record_and_tell();
        let bus = Bus::builder().shards(1).capacity(1).processor("log", factory).build().unwrap();
        let mut producer = bus.producer();
        for number in 0..2 {
            producer.emit_blocking(KIND, Payload::new(number), 0).unwrap();
            seen.recv().unwrap();
        }
        finish(&bus);
        assert_eq!(log.entries(), [0, 1]);
    });
}

/// Two producers publish; the worker reads, and sleeps in between.
fn gate(events: u64, looks_again: bool) {
    let shard = Arc::new(Shard::new(1));
    let mut reader = Reader::default();
    shard.set_worker();
    let producers: Vec<_> = (0..events)
        .map(|number| {
            let shard = shard.clone();
            let mut lane = shard.open_ring();
            thread::spawn(move || {
                lane.publish(shard.stamp(), Payload::new(number));
                shard.wake_if_asleep();
            })
        })
        .collect();
    reader.watch(&shard);
    let mut seen = 0;
    while seen < events {
        let watermark = shard.watermark();
        let before = seen;
        reader.round(watermark, |_| seen += 1);
        if seen > before || !shard.prepare_to_park() {
            continue;
        }
        if looks_again && reader.is_ready() {
            shard.stay_awake();
        } else {
            shard.park();
        }
    }
    producers.into_iter().for_each(|producer| producer.join().unwrap());
}

#[test]
fn a_gate_wakes_its_worker() {
    check(UNBOUNDED, || gate(1, true));
    check(3, || gate(2, true));
}

#[test]
fn a_worker_that_does_not_look_again() {
    violates("a_worker_that_does_not_look_again", 3, "deadlock", || gate(1, false));
}

#[test]
fn a_blocked_emit_is_woken() {
    check(2, || {
        let log = Log::default();
        let bus = start(Bus::builder().shards(1).capacity(1).processor("log", log.record()));
        let mut producer = bus.producer();
        for number in 0..3 {
            producer.emit_blocking(KIND, Payload::new(number), 0).unwrap();
        }
        finish(&bus);
        assert_eq!(log.entries(), [0, 1, 2]);
    });
}

#[test]
fn blocked_emits_share_a_ring() {
    check(1, || {
        let log = Log::default();
        let builder = Bus::builder().shards(1).capacity(1).max_rings(0);
        let bus = start(builder.processor("log", log.record()));
        let (mut one, mut two) = (bus.producer(), bus.producer());
        let other = thread::spawn(move || {
            one.emit_blocking(KIND, Payload::new(1), 0).unwrap();
            one
        });
        two.emit_blocking(KIND, Payload::new(2), 0).unwrap();
        two.emit_blocking(KIND, Payload::new(3), 0).unwrap();
        let _one = other.join().unwrap();
        finish(&bus);
        let mut seen = log.entries();
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3]);
    });
}

#[test]
fn a_waiting_task_is_woken() {
    check(2, || {
        let log = Log::default();
        let bus = start(Bus::builder().shards(1).capacity(1).processor("log", log.record()));
        let emitter = bus.emitter();
        for number in 0..3 {
            block_on(emitter.emit(KIND, Payload::new(number), 0)).unwrap();
        }
        finish(&bus);
        assert_eq!(log.entries(), [0, 1, 2]);
    });
}

/// The ring is full; the producer waits for room, while the consumer makes some.
fn waiter(looks_again: bool) {
    let ring = Ring::new(1);
    let mut inlet = ring.inlet();
    inlet.begin();
    inlet.publish(Payload::new(0));
    inlet.end();
    let mut outlet = ring.outlet();
    let consumer = thread::spawn(move || {
        assert!(outlet.read(|_| ()).is_some());
        outlet.release(|payload| std::panic::resume_unwind(payload));
        fence(SeqCst);
        outlet.wake_waiters();
    });
    if !inlet.has_room() {
        let (alarm, waker) = Alarm::new();
        let place = ring.enter_waiters(waker);
        if !(looks_again && ring.has_room()) {
            alarm.wait();
        }
        place.leave();
        assert!(inlet.has_room(), "woken without room");
    }
    consumer.join().unwrap();
}

#[test]
fn a_waiter_looks_again() {
    check(UNBOUNDED, || waiter(true));
}

#[test]
fn a_waiter_that_does_not_look_again() {
    violates("a_waiter_that_does_not_look_again", 3, "deadlock", || waiter(false));
}
