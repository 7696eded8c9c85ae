//! One place of a ring: a header word that says whose turn it is, and the body behind it.

use std::mem::MaybeUninit;

use crate::sync::{AtomicU64, Ordering, UnsafeCell};

/// A slot: 64 bytes for a body of up to 56.
///
/// The header holds the lap in its upper and a tag in its lower half. The producer stores it last, with Release;
/// the consumer polls it with Acquire. While the header shows the consumer's lap the body is initialised and nobody
/// writes it; otherwise the body belongs to the producer.
#[repr(C, align(64))]
pub(crate) struct Slot<T> {
    header: AtomicU64,
    body: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Slot<T> {
    /// A slot outside any ring, with its body in place.
    pub(crate) fn filled(tag: u32, body: T) -> Self {
        Self {
            header: AtomicU64::new(u64::from(tag)),
            body: UnsafeCell::new(MaybeUninit::new(body)),
        }
    }

    /// An empty slot of a ring: lap 0, which no consumer waits for first.
    #[cfg(loom)]
    pub(crate) fn empty() -> Self {
        Self { header: AtomicU64::new(0), body: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// The tag of a filled slot.
    #[inline(always)]
    pub(crate) fn tag(&self) -> u32 {
        // Whoever may call this has seen the slot filled with Acquire, and nobody writes a filled slot.
        self.header.load(Ordering::Relaxed) as u32
    }

    /// Whether a filled slot is in a ring. (One lap in 2^32 looks as if it were not.)
    #[inline(always)]
    pub(crate) fn is_in_ring(&self) -> bool {
        // As in `tag`.
        self.header.load(Ordering::Relaxed) >> 32 != 0
    }

    /// Whether the slot has been filled on lap `lap`.
    #[inline(always)]
    pub(crate) fn is_filled(&self, lap: u32) -> bool {
        (self.header.load(Ordering::Acquire) >> 32) as u32 == lap
    }

    /// Writes the body, then makes it visible.
    ///
    /// # Safety
    /// The caller is the one producer of the ring, and the consumer has released the slot.
    #[inline(always)]
    pub(crate) unsafe fn fill(&self, lap: u32, tag: u32, body: T) {
        self.body.with_mut(|place| {
            // SAFETY: a released slot belongs to the one producer, so nobody else reads or writes the body.
            unsafe { (*place).write(body) };
        });
        self.header.store(u64::from(lap) << 32 | u64::from(tag), Ordering::Release);
    }

    /// Moves a body in from where it is, lets `patch` change it there, and leaves it invisible; [`show`](Self::show) ends that.
    ///
    /// # Safety
    /// As for [`fill`](Self::fill); and the caller gives up the body at `from`.
    #[inline(always)]
    pub(crate) unsafe fn stage(
        &self,
        lap: u32,
        tag: u32,
        from: *const T,
        patch: impl FnOnce(&mut T),
    ) {
        self.body.with_mut(|place| {
            // NB: A copy from memory to memory becomes four vector moves. Taken by value, a body goes through the stack in
            // words, and the store queue, whose length bounds how many slots are under way at a time, fills up with them.
            // SAFETY: a released slot belongs to the one producer, so nobody else reads or writes the body.
            unsafe {
                (*place).as_mut_ptr().copy_from_nonoverlapping(from, 1);
                patch((*place).assume_init_mut());
            }
        });
        let hidden = u64::from(lap.wrapping_sub(1)) << 32;
        self.header.store(hidden | u64::from(tag), Ordering::Relaxed);
    }

    /// Makes a staged slot visible. For the one producer, after [`stage`](Self::stage).
    #[inline(always)]
    pub(crate) fn show(&self, lap: u32) {
        let tag = self.header.load(Ordering::Relaxed) & u64::from(u32::MAX);
        self.header.store(u64::from(lap) << 32 | tag, Ordering::Release);
    }

    /// The body of a filled slot.
    ///
    /// # Safety
    /// The slot is filled, and stays so while the reference lives.
    #[inline(always)]
    pub(crate) unsafe fn body(&self) -> &T {
        // SAFETY: a filled slot has an initialised body that nobody writes.
        self.body.with(|place| unsafe { (*place).assume_init_ref() })
    }

    /// Moves the body out.
    ///
    /// # Safety
    /// The slot is filled, the caller is its only user, and the body is not used again.
    #[inline(always)]
    pub(crate) unsafe fn take(&self) -> T {
        // SAFETY: as above; the caller gives up the body in the slot.
        self.body.with_mut(|place| unsafe { (*place).assume_init_read() })
    }

    /// Drops the body in place.
    ///
    /// # Safety
    /// As for [`take`](Self::take).
    #[inline(always)]
    pub(crate) unsafe fn drop_body(&self) {
        // SAFETY: as above.
        self.body.with_mut(|place| unsafe { (*place).assume_init_drop() });
    }
}
