//! The ring by itself: one producer, one consumer, slots that publish themselves.
//!
//! | model | proves | threads, events, capacity | preemptions |
//! |---|---|---|---|
//! | `fifo_within_a_lap` | events come out in order, once, and complete | 2, 2, 2 | 3 |
//! | `fifo_across_the_wrap` | the same when slots are used again while the consumer reads | 2, 3, 2 | 3 |
//! | `fifo_through_one_slot` | the same when every event waits for the slot of the one before it | 2, 3, 1 | 3 |
//! | `slots_come_back_by_the_batch` | a slot that was read and not released is not written | 2, 3, 2 | 3 |
//! | `groups_across_the_wrap` | events of groups come out in order, once, and complete, and a group is there as soon as its first event is | 2, 6, 4 | 3 |
//! | `a_ring_drops_what_is_inside` | events that nobody reads are dropped once, on either side of the head | 2, 2, 2 | 3 |
//! | `a_ring_changes_hands` | a second producer and a second consumer go on where the first ones stopped | 3, 2, 1 | 3 |
#![cfg(loom)]

use keylane::model::{Inlet, Outlet, Ring};
use keylane_loom_tests::{Payload, UNBOUNDED, check};
use loom::thread;

fn send(inlet: &mut Inlet<Payload>, number: u64) {
    while !inlet.has_room() {
        thread::yield_now();
    }
    inlet.begin();
    inlet.publish(Payload::new(number));
    inlet.end();
}

fn receive(outlet: &mut Outlet<Payload>) -> u64 {
    loop {
        if let Some(number) = outlet.read(Payload::number) {
            return number;
        }
        thread::yield_now();
    }
}

fn release(outlet: &mut Outlet<Payload>) {
    outlet.release(|payload| std::panic::resume_unwind(payload));
}

/// One thread sends `events` numbers, the other one receives them and releases each at once.
fn fifo(capacity: usize, events: u64) {
    let ring = Ring::new(capacity);
    let mut inlet = ring.inlet();
    let producer = thread::spawn(move || (0..events).for_each(|number| send(&mut inlet, number)));
    let mut outlet = ring.outlet();
    for number in 0..events {
        assert_eq!(receive(&mut outlet), number, "out of order");
        release(&mut outlet);
    }
    assert!(!outlet.is_ready(), "one too many");
    producer.join().unwrap();
}

#[test]
fn fifo_within_a_lap() {
    check(UNBOUNDED, || fifo(2, 2));
}

#[test]
fn fifo_across_the_wrap() {
    check(UNBOUNDED, || fifo(2, 3));
}

#[test]
fn fifo_through_one_slot() {
    check(UNBOUNDED, || fifo(1, 3));
}

#[test]
fn groups_across_the_wrap() {
    check(UNBOUNDED, || {
        let ring = Ring::new(4);
        let mut inlet = ring.inlet();
        let producer = thread::spawn(move || {
            for first in [0, 3] {
                while !inlet.has_room_for(3) {
                    thread::yield_now();
                }
                inlet.begin();
                inlet.publish_group((first..first + 3).map(Payload::new));
                inlet.end();
            }
        });
        let mut outlet = ring.outlet();
        for first in [0, 3] {
            assert_eq!(receive(&mut outlet), first, "out of order");
            for number in first + 1..first + 3 {
                assert_eq!(outlet.read(Payload::number), Some(number), "a group in pieces");
            }
            release(&mut outlet);
        }
        producer.join().unwrap();
    });
}

#[test]
fn slots_come_back_by_the_batch() {
    check(UNBOUNDED, || {
        let ring = Ring::new(2);
        let mut inlet = ring.inlet();
        let producer = thread::spawn(move || (0..3).for_each(|number| send(&mut inlet, number)));
        let mut outlet = ring.outlet();
        assert_eq!(receive(&mut outlet), 0);
        assert_eq!(receive(&mut outlet), 1);
        release(&mut outlet);
        assert_eq!(receive(&mut outlet), 2);
        // The last event is dropped with the ring, unread or read.
        producer.join().unwrap();
    });
}

#[test]
fn a_ring_drops_what_is_inside() {
    check(UNBOUNDED, || {
        let ring = Ring::new(2);
        let mut inlet = ring.inlet();
        let producer = thread::spawn(move || (0..2).for_each(|number| send(&mut inlet, number)));
        let mut outlet = ring.outlet();
        drop(ring);
        if outlet.read(|_| ()).is_some() {
            release(&mut outlet);
        }
        drop(outlet);
        producer.join().unwrap();
    });
}

#[test]
fn a_ring_changes_hands() {
    check(3, || {
        let ring = Ring::new(1);
        let consumer = {
            let ring = ring.clone();
            thread::spawn(move || {
                let mut outlet = ring.outlet();
                assert_eq!(receive(&mut outlet), 0);
                release(&mut outlet);
                drop(outlet);
                assert_eq!(receive(&mut ring.outlet()), 1);
            })
        };
        let mut first = ring.inlet();
        send(&mut first, 0);
        first.orphan();
        drop(first);
        let second = thread::spawn(move || {
            let mut second = ring.inlet();
            assert!(!ring.is_orphaned(), "a ring with a producer");
            send(&mut second, 1);
        });
        second.join().unwrap();
        consumer.join().unwrap();
    });
}
