//! A bounded buffer from one producer to one consumer that publishes in the slot.
//!
//! # Algorithm
//!
//! Positions count up for ever; position `p` lives in slot `p mod capacity`. The producer writes the body and stores the mark of
//! the position, which is `p + 1` in 32 bits, into the slot's header, with Release, last. The consumer polls the header of the
//! slot that it will read anyway, so one cache line travels per event and there is no shared tail. Slots are
//! given back by one store of `head` per batch. The idea is that of FastFlow's and MCRingBuffer's queues (Giacomoni,
//! Moseley, Vachharajani, "FastForward for Efficient Pipeline Parallelism", PPoPP 2008; Lee, Bu, Chandranmenon, "A
//! Lock-Free, Cache-Efficient Multi-Core Synchronization Mechanism", ANCS 2009), with the position in place of an
//! empty mark so that any body can be carried.
//!
//! # Invariants
//!
//! * `head <= tail <= head + capacity`.
//! * Slots in `head..tail` are filled and belong to the consumer, all others belong to the producer.
//! * There is one [`Inlet`] and one [`Outlet`] at a time; a ring that changes owner does so through a structure that
//!   orders the old owner's accesses before the new owner's.
//! * Between the claim of a slot and its publication no user code runs.
//!
//! # Closing
//!
//! The producer marks the ring busy before it asks whether the bus is closed and clears the mark after it has published.
//! Whoever closes sets its flag, issues the heavy half of the barrier, waits until the ring is not busy, and then knows
//! every event that was accepted. See [`Inlet::begin`].

#[cfg(feature = "bare-ring")]
pub mod bare;
mod buffer;
mod inlet;
mod outlet;
mod slot;
mod waiters;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicBool, AtomicU64, Ordering};
use buffer::Buffer;
pub(crate) use inlet::Inlet;
pub(crate) use outlet::Outlet;
pub(crate) use slot::{DROPS, Slot};
pub(crate) use waiters::WaiterId;
use waiters::Waiters;

/// The part of a ring that both sides share.
pub(crate) struct Ring<T> {
    /// `tail << 1 | busy`. Written by the producer only: it doubles as its event count and its busy mark.
    state: CachePadded<AtomicU64>,
    /// First position not released. Written by the consumer only, once per batch.
    head: CachePadded<AtomicU64>,
    /// Set when the producer is gone for good, cleared when a new one takes over.
    orphaned: AtomicBool,
    waiters: Waiters,
    buffer: Buffer<T>,
}

impl<T> std::fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

impl<T> Ring<T> {
    /// A ring of `capacity` slots, a power of two.
    pub(crate) fn new(capacity: usize) -> Self {
        debug_assert!(capacity.is_power_of_two(), "the builder checks the capacity");
        Self {
            state: CachePadded::new(AtomicU64::new(0)),
            head: CachePadded::new(AtomicU64::new(0)),
            orphaned: AtomicBool::new(false),
            waiters: Waiters::new(),
            buffer: Buffer::new(capacity),
        }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.buffer.slots().capacity()
    }

    /// How many events were ever published. Never decreases.
    pub(crate) fn published(&self) -> u64 {
        self.state.load(Ordering::Acquire) >> 1
    }

    /// How many events were ever released by the consumer. Read this before [`published`](Self::published) to see
    /// `released <= published`.
    pub(crate) fn released(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Whether the producer is between "is it closed?" and the end of its publication.
    pub(crate) fn is_busy(&self) -> bool {
        self.state.load(Ordering::Acquire) & 1 != 0
    }

    /// Whether the producer is gone. Everything it published is visible to a caller that sees true.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.orphaned.load(Ordering::Acquire)
    }

    /// Enters the list of those that wait for room; also tells whether others are in it. Look for room again after this.
    pub(crate) fn enter_waiters(&self, waker: Waker) -> (WaiterId, bool) {
        self.waiters.enter(waker)
    }

    /// Enters the list anew at the place that the waiter had before it was woken. Look for room again after this.
    pub(crate) fn reenter_waiters(&self, id: WaiterId, waker: Waker) {
        self.waiters.reenter(id, waker);
    }

    /// Stays in the list with another waker; false when the waiter has been woken.
    pub(crate) fn keep_waiter(&self, id: WaiterId, waker: &Waker) -> bool {
        self.waiters.keep(id, waker)
    }

    /// Leaves the list; false when the waiter had been woken.
    pub(crate) fn leave_waiters(&self, id: WaiterId) -> bool {
        self.waiters.leave(id)
    }

    /// Whether somebody waits for room. A hint: it may change at any time.
    pub(crate) fn has_waiters(&self) -> bool {
        self.waiters.any()
    }

    /// Whether there is room at the moment. A hint for everybody but the producer.
    pub(crate) fn has_room(&self) -> bool {
        self.free() > 0
    }

    fn free(&self) -> u64 {
        let released = self.released();
        self.capacity().saturating_sub(self.published().saturating_sub(released))
    }

    /// Wakes the next waiter if there is room: for one that was woken and is done.
    pub(crate) fn pass_on(&self) {
        if self.waiters.any() && self.has_room() {
            self.waiters.wake(1);
        }
    }

    /// Wakes everybody that waits for room: the bus has been closed.
    pub(crate) fn wake_all(&self) {
        self.waiters.wake(usize::MAX);
    }
}

/// What the header of a position's slot shows when it is filled. Repeats after 2^32 positions; only the former content of the same slot
/// must differ, which is of the position `capacity` before, and does. Memory that was never written shows 0, which no slot waits for on
/// its first lap.
#[inline(always)]
fn mark(position: u64) -> u32 {
    (position as u32).wrapping_add(1)
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        let head = self.head.load(Ordering::Relaxed);
        let tail = self.state.load(Ordering::Relaxed) >> 1;
        for position in head..tail {
            // Only a shutdown that ran out of time leaves events behind. A destructor of theirs that panics would panic in
            // whatever thread drops the last handle.
            let dropped = catch_unwind(AssertUnwindSafe(|| {
                // SAFETY: slots in head..tail are filled, and nobody else is left.
                unsafe { self.buffer.slots().at(position).drop_body() };
            }));
            // The payload's own destructor is as foreign as the one that panicked.
            std::mem::forget(dropped);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::Arc;

    /// The consumer may see, process and release an event while its producer, interrupted, has not counted it yet.
    #[test]
    fn waiters_are_woken_in_the_middle_of_a_publication() {
        struct Woken(AtomicBool);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let ring = Arc::new(Ring::new(2));
        let mut inlet = Inlet::new(ring.clone());
        let mut outlet = Outlet::new(ring.clone());
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        ring.enter_waiters(woken.clone().into());

        assert!(inlet.has_room());
        inlet.begin();
        // SAFETY: there is room.
        unsafe { inlet.publish(0, 7) };
        assert!(outlet.peek().is_some());
        outlet.advance(DROPS);
        assert!(outlet.release(|_| unreachable!("a number has no destructor")));
        outlet.wake_waiters();
        assert!(woken.0.load(Ordering::Relaxed));
        inlet.end();
        assert_eq!((ring.published(), ring.released()), (1, 1));
    }

    /// `on_panic` may panic itself; the bare ring's does.
    #[test]
    fn a_body_is_dropped_once_even_when_its_destructor_panics() {
        struct Fragile<'a>(&'a AtomicU64);
        impl Drop for Fragile<'_> {
            fn drop(&mut self) {
                if self.0.fetch_add(1, Ordering::Relaxed) == 1 {
                    panic!("the second one");
                }
            }
        }
        let drops = AtomicU64::new(0);
        let ring = Arc::new(Ring::new(4));
        let mut inlet = Inlet::new(ring.clone());
        let mut outlet = Outlet::new(ring);
        for _ in 0..3 {
            assert!(inlet.has_room());
            inlet.begin();
            // SAFETY: there is room.
            unsafe { inlet.publish(0, Fragile(&drops)) };
            inlet.end();
            assert!(outlet.peek().is_some());
            outlet.advance(DROPS);
        }
        let release = || outlet.release(|payload| std::panic::resume_unwind(payload));
        assert!(catch_unwind(AssertUnwindSafe(release)).is_err());
        assert_eq!(drops.load(Ordering::Relaxed), 2);
        drop((inlet, outlet));
        assert_eq!(drops.load(Ordering::Relaxed), 3);
    }

    /// Counts its drops.
    struct Counted<'a>(u64, &'a AtomicU64);

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn groups_go_around_the_end() {
        let drops = AtomicU64::new(0);
        let ring = Arc::new(Ring::new(8));
        let mut inlet = Inlet::new(ring.clone());
        let mut outlet = Outlet::new(ring);
        let mut sent = 0;
        for len in [1, 8, 5, 6, 7, 8, 2, 8] {
            let numbers = sent..sent + len;
            let mut group: Vec<_> = numbers
                .clone()
                .map(|number| Slot::filled(DROPS, Counted(number, &drops)))
                .collect();
            assert!(inlet.has_room_for(len));
            inlet.begin();
            // SAFETY: there is room, and the slots are forgotten: they drop nothing.
            unsafe { inlet.publish_group(&mut group) };
            inlet.end();
            for number in numbers {
                let slot = outlet.peek().expect("an event of the group");
                // SAFETY: the slot is filled, and released below.
                assert_eq!(unsafe { slot.body() }.0, number);
                let tag = slot.tag();
                outlet.advance(tag);
            }
            assert!(outlet.peek().is_none());
            outlet.release(|_| unreachable!("nothing panics"));
            sent += len;
            assert_eq!(drops.load(Ordering::Relaxed), sent);
        }
    }

    #[test]
    fn a_group_is_read_by_its_first_slot() {
        let drops = AtomicU64::new(0);
        let ring = Arc::new(Ring::new(8));
        let mut inlet = Inlet::new(ring.clone());
        let mut outlet = Outlet::new(ring);
        let mut sent = 0;
        // The last number of each group has something to drop, the others say that they have not.
        for (len, limit) in [(1, 9), (5, 9), (8, 9), (6, 3), (7, 0), (8, 6), (2, 1)] {
            let last = sent + len - 1;
            let tag = |number| if number == last { DROPS } else { 0 };
            let numbers = (sent..=last).map(|number| (number, Counted(number, &drops)));
            let mut group: Vec<_> =
                numbers.map(|(number, body)| Slot::filled(tag(number), body)).collect();
            inlet.begin();
            assert!(inlet.has_room_for(len));
            // SAFETY: there is room, and the slots are forgotten: they drop nothing.
            unsafe { inlet.publish_group(&mut group) };
            inlet.end();
            let mut seen = Vec::new();
            while let Some(slot) = outlet.peek() {
                // SAFETY: the slot is filled, and released below.
                seen.push(unsafe { slot.body() }.0);
                let tag = slot.tag();
                outlet.advance(tag);
                // SAFETY: as above.
                outlet.advance_group(tag, limit, |slot| seen.push(unsafe { slot.body() }.0));
            }
            assert_eq!(seen, (sent..sent + len).collect::<Vec<_>>(), "limit {limit}");
            outlet.release(|_| unreachable!("nothing panics"));
            sent += len;
            assert_eq!(drops.load(Ordering::Relaxed), sent, "limit {limit}");
        }
    }

    #[test]
    fn what_has_nothing_to_drop_is_not_looked_at_again() {
        let drops = AtomicU64::new(0);
        let ring = Arc::new(Ring::new(4));
        let mut inlet = Inlet::new(ring.clone());
        let mut outlet = Outlet::new(ring);
        for (tag, dropped) in [(0, 0), (DROPS, 1)] {
            assert!(inlet.has_room());
            // SAFETY: there is room.
            unsafe { inlet.publish(tag, Counted(0, &drops)) };
            let tag = outlet.peek().expect("an event").tag();
            outlet.advance(tag);
            outlet.release(|_| unreachable!("nothing panics"));
            assert_eq!(drops.load(Ordering::Relaxed), dropped);
        }
        inlet.end();
    }
}
