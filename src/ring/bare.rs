//! The ring by itself, for measurements: not part of the API, and without promises of stability.

use super::{DROPS, Inlet, Outlet, Ring};
use crate::sync::Arc;

/// The producer's end.
#[derive(Debug)]
pub struct Head<T>(Inlet<T>);

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
    (Head(Inlet::new(ring.clone())), Tail(Outlet::new(ring)))
}

impl<T> Head<T> {
    /// Puts an item in, or returns it when the ring is full.
    ///
    /// # Errors
    /// When the ring is full.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if !self.0.has_room() {
            return Err(item);
        }
        // SAFETY: there is room, as asked above.
        unsafe { self.0.publish(0, item) };
        Ok(())
    }
}

impl<T: Copy> Head<T> {
    /// Puts all items in, visible together, or none when there is no room for all of them.
    #[inline]
    pub fn push_group(&mut self, items: &[T]) -> bool {
        if items.is_empty() || !self.0.has_room_for(items.len() as u64) {
            return items.is_empty();
        }
        for item in items {
            // SAFETY: there is room for all, and nothing here panics.
            unsafe { self.0.stage(0, |place| place.write(*item)) };
        }
        self.0.show_group();
        true
    }
}

impl<T> Drop for Head<T> {
    fn drop(&mut self) {
        // The ring drops what is left in it, and is told how much came.
        self.0.end();
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
            // SAFETY: a slot that `peek` shows is filled, and stays so until `release`.
            see(unsafe { slot.body() });
            self.0.advance(if std::mem::needs_drop::<T>() { DROPS } else { 0 });
            count += 1;
        }
        self.0.release(|payload| std::panic::resume_unwind(payload));
        count
    }
}
