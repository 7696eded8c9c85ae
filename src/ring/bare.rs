//! The ring by itself, for measurements: not part of the API, and without promises of stability.

use super::{DROPS, Inlet, Outlet, Ring, Slot};
use crate::sync::Arc;

/// The producer's end.
#[derive(Debug)]
pub struct Head<T> {
    inlet: Inlet<T>,
}

/// The consumer's end.
#[derive(Debug)]
pub struct Tail<T>(Outlet<T>);

/// Opens a ring.
///
/// # Panics
/// When `capacity` is not a power of two.
pub fn ring<T: Send>(capacity: usize) -> (Head<T>, Tail<T>) {
    assert!(capacity.is_power_of_two(), "capacity {capacity} is not a power of two");
    let ring = Arc::new(Ring::new(capacity));
    let head = Head { inlet: Inlet::new(ring.clone()) };
    (head, Tail(Outlet::new(ring)))
}

impl<T> Head<T> {
    /// Puts an item in, or returns it when the ring is full.
    ///
    /// # Errors
    /// When the ring is full.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if !self.inlet.has_room() {
            return Err(item);
        }
        // There is no other work here that the way of a line could be hidden behind.
        self.inlet.fetch_slot(const { 8 * 64 / size_of::<Slot<T>>() as u64 });
        // SAFETY: there is room, as asked above.
        unsafe { self.inlet.publish(0, item) };
        Ok(())
    }
}

impl<T: Copy> Head<T> {
    /// Puts up to `count` items in, visible together, or none when there is no room for so many; returns how many.
    #[inline]
    pub fn push_group(&mut self, items: impl Iterator<Item = T>, count: usize) -> usize {
        if !self.inlet.has_room_for(count as u64) {
            return 0;
        }
        // SAFETY: there is room for all.
        unsafe { self.inlet.publish_from(items, count) }
    }
}

impl<T> Drop for Head<T> {
    fn drop(&mut self) {
        // The ring drops what is left in it, and is told how much came.
        self.inlet.end();
    }
}

impl<T> Tail<T> {
    /// Shows up to `limit` items to `see` and gives their slots back; returns how many.
    #[inline]
    pub fn drain(&mut self, limit: usize, mut see: impl FnMut(&T)) -> usize {
        let mut count = 0;
        while count < limit
            && let Some(slot) = self.0.peek()
        {
            let tag = slot.tag();
            // SAFETY: a slot that `peek` shows is filled, and stays so until `release`.
            see(unsafe { slot.body() });
            self.0.advance(tag | if std::mem::needs_drop::<T>() { DROPS } else { 0 });
            count += 1;
            self.0.advance_group(tag, limit - count, |slot| {
                // SAFETY: as above.
                see(unsafe { slot.body() });
                count += 1;
            });
        }
        self.0.release(|payload| std::panic::resume_unwind(payload));
        count
    }
}
