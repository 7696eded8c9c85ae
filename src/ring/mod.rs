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
mod slot;
mod waiters;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use crossbeam_utils::CachePadded;

use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering, fetch_for_writing, light_fence};
use buffer::{Buffer, Slots};
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

/// For this many free slots the consumer wakes one waiter, which [passes the wake-up on](Ring::pass_on).
const SLOTS_PER_WAKE_UP: u64 = 64;

/// The producer's end.
#[derive(Debug)]
pub(crate) struct Inlet<T> {
    ring: Arc<Ring<T>>,
    slots: Slots<T>,
    /// Next position to fill.
    tail: u64,
    /// First position that is known not to be free: a past value of the consumer's `head`, plus the capacity. Refreshed only
    /// when the ring looks full.
    limit: u64,
}

impl<T> Inlet<T> {
    /// Takes over a ring whose former producer, if any, is gone.
    pub(crate) fn new(ring: Arc<Ring<T>>) -> Self {
        let tail = ring.published();
        let head = ring.released();
        ring.orphaned.store(false, Ordering::Release);
        let limit = head + ring.capacity();
        let slots = ring.buffer.slots();
        Self { ring, slots, tail, limit }
    }

    pub(crate) fn ring(&self) -> &Arc<Ring<T>> {
        &self.ring
    }

    /// Whether a slot is free.
    #[inline(always)]
    pub(crate) fn has_room(&mut self) -> bool {
        self.tail < self.limit || self.refresh()
    }

    #[cold]
    fn refresh(&mut self) -> bool {
        self.limit = self.ring.head.load(Ordering::Acquire) + self.ring.capacity();
        self.tail < self.limit
    }

    /// Marks the ring busy. The caller now asks whether the bus is closed, then publishes or not, then calls
    /// [`end`](Self::end).
    #[inline(always)]
    pub(crate) fn begin(&mut self) {
        self.ring.state.store(self.tail << 1 | 1, Ordering::Relaxed);
        light_fence();
    }

    /// Publishes an event. Visible to the consumer when this returns.
    ///
    /// # Safety
    /// [`has_room`](Self::has_room) returned true since the last publication.
    #[inline(always)]
    pub(crate) unsafe fn publish(&mut self, tag: u32, body: T) {
        debug_assert!(self.tail < self.limit, "publish without room");
        // SAFETY: the ring is alive, this is its one producer, and the consumer has released the slot: head > tail - capacity.
        unsafe { self.slots.at(self.tail).fill(mark(self.tail), tag, body) };
        self.tail += 1;
    }

    /// Whether `count` slots are free.
    #[inline(always)]
    pub(crate) fn has_room_for(&mut self, count: u64) -> bool {
        if self.tail + count > self.limit {
            self.refresh();
        }
        self.tail + count <= self.limit
    }

    /// Publishes a group of events, given in slots of their own that are filled and in no ring.
    ///
    /// The consumer reads slots in order, so it sees nothing of the group before it sees the first one, which is written last. It then
    /// reads lines that are complete, and takes none away from the producer in the middle of writing. The others are written as one block,
    /// with the widest stores that the processor has: the fewer stores to a line, the more lines are under way between the cores.
    ///
    /// # Safety
    /// [`has_room_for`](Self::has_room_for) returned true for the whole group since the last publication, and what is in its slots is not
    /// used again.
    #[inline(always)]
    pub(crate) unsafe fn publish_group(&mut self, group: &mut [Slot<T>]) {
        debug_assert!(self.tail + group.len() as u64 <= self.limit, "publish without room");
        let mut tags = 0;
        for (position, slot) in (self.tail..).zip(&mut *group) {
            tags |= slot.address_to(mark(position));
        }
        let Some((first, others)) = group.split_first_mut() else { return };
        first.lead(others.len(), tags);
        let in_a_row = self.slots.in_a_row(self.tail + 1).min(others.len());
        let (row, wrapped) = others.split_at(in_a_row);
        // SAFETY: the ring is alive, this is its one producer, and the consumer has released the slots.
        unsafe {
            Slot::move_all(row, self.slots.place(self.tail + 1));
            if !wrapped.is_empty() {
                Slot::move_all(wrapped, self.slots.place(0));
            }
            first.move_to(self.slots.at(self.tail));
        }
        self.tail += group.len() as u64;
    }

    /// Publishes up to `count` items of an iterator as one group, straight into their slots; returns how many there were.
    ///
    /// Bodies come before headers, so an iterator that panics leaves nothing behind that looks filled.
    ///
    /// # Safety
    /// As for [`publish_group`](Self::publish_group), with `count` slots.
    #[cfg(feature = "bare-ring")]
    #[inline(always)]
    pub(crate) unsafe fn publish_from(
        &mut self,
        items: impl Iterator<Item = T>,
        count: usize,
    ) -> usize
    where
        T: Copy,
    {
        /// Lines that are under way at once.
        const AHEAD: u64 = 16 * 64;
        let ahead = AHEAD.div_ceil(size_of::<Slot<T>>() as u64);
        (0..ahead.min(count as u64)).for_each(|place| self.fetch_slot(place));
        let mut len = 0;
        for item in items.take(count) {
            self.fetch_slot(len + ahead);
            // SAFETY: by contract.
            unsafe { self.slots.at(self.tail + len).write_body(item) };
            len += 1;
        }
        for place in (0..len).rev() {
            let tag = if place == 0 { Slot::<T>::leading(len as usize - 1) } else { 0 };
            // SAFETY: by contract.
            unsafe { self.slots.at(self.tail + place).show(mark(self.tail + place), tag) };
        }
        self.tail += len;
        len as usize
    }

    /// Asks for the line of the slot that is `ahead` slots behind the next one, if that slot is known to be free: for a group that is being
    /// gathered, so that its lines are under way meanwhile.
    #[inline(always)]
    pub(crate) fn fetch_slot(&self, ahead: u64) {
        let position = self.tail + ahead;
        if position < self.limit && self.slots.begins_line(position) {
            fetch_for_writing(self.slots.place(position));
        }
    }

    /// Clears the busy mark. After this the caller looks whether the shard sleeps.
    #[inline(always)]
    pub(crate) fn end(&mut self) {
        self.ring.state.store(self.tail << 1, Ordering::Release);
        light_fence();
    }

    /// Declares the producer gone.
    pub(crate) fn orphan(&self) {
        self.ring.orphaned.store(true, Ordering::Release);
    }
}

/// The consumer's end.
#[derive(Debug)]
pub(crate) struct Outlet<T> {
    ring: Arc<Ring<T>>,
    slots: Slots<T>,
    /// Next position to read; `head..next` has been read and not yet released.
    next: u64,
    /// The consumer's copy of `ring.head`.
    head: u64,
    /// The tags of what was read and not yet released, all bits together.
    tags: u32,
}

impl<T> Outlet<T> {
    /// Takes over a ring whose former consumer, if any, is gone.
    pub(crate) fn new(ring: Arc<Ring<T>>) -> Self {
        let head = ring.released();
        let slots = ring.buffer.slots();
        Self { ring, slots, next: head, head, tags: 0 }
    }

    pub(crate) fn ring(&self) -> &Arc<Ring<T>> {
        &self.ring
    }

    /// The next event, if one is published.
    #[inline(always)]
    pub(crate) fn peek(&self) -> Option<&Slot<T>> {
        // SAFETY: the ring is alive.
        let slot = unsafe { self.slots.at(self.next) };
        slot.is_filled(mark(self.next)).then_some(slot)
    }

    /// Moves past the event that [`peek`](Self::peek) returned, whose tag is `tag`: without [`DROPS`] in it its body is forgotten and
    /// not dropped.
    #[inline(always)]
    pub(crate) fn advance(&mut self, tag: u32) {
        self.tags |= tag;
        self.next += 1;
    }

    /// Moves past the rest of the group that begins with the event whose tag is `tag` and which [`advance`](Self::advance) has just moved
    /// past; past `limit` slots of it at most, each of which is handed to `see`. They are filled, though nobody has looked at them.
    ///
    /// All their lines are asked for at once, because one after the other, as they are read, each would take its time; and for
    /// writing, see [`Slot::own_line`].
    #[inline(always)]
    pub(crate) fn advance_group(&mut self, tag: u32, limit: usize, mut see: impl FnMut(&Slot<T>)) {
        let followers = Slot::<T>::followers(tag).min(limit as u64);
        for position in self.next..self.next + followers {
            let place = self.slots.place(position);
            if self.slots.begins_line(position) {
                fetch_for_writing(place);
            }
            // SAFETY: the ring is alive.
            see(unsafe { &*place });
        }
        self.next += followers;
    }

    /// How many events have been read and not yet released.
    #[inline(always)]
    pub(crate) fn unreleased(&self) -> u64 {
        self.next - self.head
    }

    /// Drops the bodies that were read, as their tags say, and gives their slots and lines back; `false` when nothing was read.
    ///
    /// Dropping a body runs user code. A panic in it is passed to `on_panic` and costs nothing else: the index moves first.
    pub(crate) fn release(
        &mut self,
        mut on_panic: impl FnMut(Box<dyn std::any::Any + Send>),
    ) -> bool {
        if self.next == self.head {
            return false;
        }
        // Most events have nothing to drop, and their values need not be asked.
        let mut position = if self.tags & DROPS == 0 { self.next } else { self.head };
        while position < self.next {
            let dropped = catch_unwind(AssertUnwindSafe(|| {
                while position < self.next {
                    position += 1;
                    // SAFETY: the ring is alive, and the slot read and not released, so filled and ours; the position has moved past it.
                    unsafe { self.slots.at(position - 1).drop_body() };
                }
            }));
            if let Err(payload) = dropped {
                // Should `on_panic` panic as well, these slots have been given back, and nobody drops their bodies again.
                self.head = position;
                self.ring.head.store(position, Ordering::Release);
                on_panic(payload);
            }
        }
        for position in self.head..self.next {
            if position == self.head || self.slots.begins_line(position) {
                // SAFETY: the ring is alive.
                unsafe { self.slots.at(position) }.own_line();
            }
        }
        (self.head, self.tags) = (self.next, 0);
        self.ring.head.store(self.head, Ordering::Release);
        true
    }

    /// Wakes waiters when a good part of the ring is free. A full fence must lie between
    /// [`release`](Self::release) and this.
    #[inline(always)]
    pub(crate) fn wake_waiters(&self) {
        if self.ring.waiters.any() {
            self.wake_if_free();
        }
    }

    /// Wakes one waiter if there is room; whether there was one.
    ///
    /// A wake-up is lost on a task that is alive and not polled, for example one of many in a list that nobody awaits at
    /// the moment. Those behind it must not wait for it for ever.
    pub(crate) fn wake_one_more(&self) -> bool {
        let wake = self.ring.waiters.any() && self.ring.has_room();
        if wake {
            self.ring.waiters.wake(1);
        }
        wake
    }

    #[cold]
    fn wake_if_free(&self) {
        let capacity = self.ring.capacity();
        // An event can be seen, and released, before its producer has counted it.
        let free = capacity - self.ring.published().saturating_sub(self.head);
        // A producer that waits found the ring full, so all of it is going to be read and the threshold is reached.
        if free * 2 >= capacity {
            self.ring.waiters.wake((free / SLOTS_PER_WAKE_UP).max(1) as usize);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

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
