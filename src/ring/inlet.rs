//! The producer's end of a ring.

use super::buffer::Slots;
use super::{Ring, Slot, mark};
use crate::sync::{Arc, Ordering, fetch_for_writing, light_fence};

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
