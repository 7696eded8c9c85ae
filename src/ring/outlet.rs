//! The consumer's end of a ring.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::buffer::Slots;
use super::{DROPS, Ring, Slot, mark};
use crate::sync::{Arc, Ordering, fetch_for_writing};

/// For this many free slots the consumer wakes one waiter, which [passes the wake-up on](Ring::pass_on).
const SLOTS_PER_WAKE_UP: u64 = 64;

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
