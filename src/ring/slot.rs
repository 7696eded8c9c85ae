//! One place of a ring: a header word that says whose turn it is, and the body behind it.

use std::mem::MaybeUninit;

use crate::sync::{AtomicU64, Ordering, UnsafeCell};

/// The bit of a tag that says that the body behind it has something to drop.
pub(crate) const DROPS: u32 = 1 << 31;

/// Where in a tag the ring writes how many slots of the same group follow, see [`Slot::lead`]. Its six bits are 0 in a tag that comes from
/// outside.
const FOLLOWERS_SHIFT: u32 = 25;
const MOST_FOLLOWERS: u32 = 0x3f;

/// A slot: 64 bytes for a body of 56.
///
/// The header holds a mark of the position in its upper and a tag in its lower half. The producer stores it last, with Release;
/// the consumer polls it with Acquire. While the header shows the mark of the consumer's position the body is initialised and nobody
/// writes it; otherwise the body belongs to the producer.
#[repr(C)]
pub(crate) struct Slot<T> {
    header: AtomicU64,
    body: UnsafeCell<MaybeUninit<T>>,
}

impl<T> std::fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<T> Slot<T> {
    /// A slot outside any ring, with its body in place.
    pub(crate) fn filled(tag: u32, body: T) -> Self {
        Self {
            header: AtomicU64::new(u64::from(tag)),
            body: UnsafeCell::new(MaybeUninit::new(body)),
        }
    }

    /// An empty slot of a ring: a mark that no consumer waits for first.
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

    /// Whether a filled slot is in a ring. (One event in 2^32 looks as if it were not.)
    #[inline(always)]
    pub(crate) fn is_in_ring(&self) -> bool {
        // As in `tag`.
        self.header.load(Ordering::Relaxed) >> 32 != 0
    }

    /// Whether the slot has been filled for the position whose mark is `mark`.
    #[inline(always)]
    pub(crate) fn is_filled(&self, mark: u32) -> bool {
        (self.header.load(Ordering::Acquire) >> 32) as u32 == mark
    }

    /// Writes the body, then makes it visible.
    ///
    /// # Safety
    /// The caller is the one producer of the ring, and the consumer has released the slot.
    #[inline(always)]
    pub(crate) unsafe fn fill(&self, mark: u32, tag: u32, body: T) {
        // SAFETY: by contract.
        unsafe {
            self.write_body(body);
            self.show(mark, tag);
        }
    }

    /// The first half of [`fill`](Self::fill).
    ///
    /// # Safety
    /// As for the whole.
    #[inline(always)]
    pub(crate) unsafe fn write_body(&self, body: T) {
        self.body.with_mut(|place| {
            // SAFETY: a released slot belongs to the one producer, so nobody else reads or writes the body.
            unsafe { (*place).write(body) };
        });
    }

    /// The second half of [`fill`](Self::fill).
    ///
    /// # Safety
    /// As for the whole, and the body has been written.
    #[inline(always)]
    pub(crate) unsafe fn show(&self, mark: u32, tag: u32) {
        self.header.store(u64::from(mark) << 32 | u64::from(tag), Ordering::Release);
    }

    /// Makes the slot's cache line the consumer's own, by writing to it what it says already; for the consumer, before it releases the slot.
    ///
    /// NB: A line that the consumer has only read is in both cores' caches. To write it again the producer has to have the consumer's copy
    /// invalidated, and that takes longer than to fetch a line that is in the consumer's cache alone.
    #[inline(always)]
    pub(crate) fn own_line(&self) {
        self.header.store(self.header.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Says which position this slot, which is in no ring yet, is going to. Returns its tag.
    #[inline(always)]
    pub(crate) fn address_to(&mut self, mark: u32) -> u32 {
        let tag = self.header.load(Ordering::Relaxed) as u32;
        self.header.store(u64::from(mark) << 32 | u64::from(tag), Ordering::Relaxed);
        tag
    }

    /// Makes this slot, which is in no ring yet, speak for the others of its group, so that nobody has to look at them: how many follow, or
    /// 63 if there are more, and whether any of them has something to drop. `tags` are all their tags together.
    #[inline(always)]
    pub(crate) fn lead(&mut self, followers: usize, tags: u32) {
        let leading = Self::leading(followers) | tags & DROPS;
        self.header
            .store(self.header.load(Ordering::Relaxed) | u64::from(leading), Ordering::Relaxed);
    }

    /// What the tag of a group's first slot says beyond its own.
    #[inline(always)]
    pub(crate) fn leading(followers: usize) -> u32 {
        (followers as u32).min(MOST_FOLLOWERS) << FOLLOWERS_SHIFT
    }

    /// How many slots behind one with this tag were filled before it was.
    #[inline(always)]
    pub(crate) fn followers(tag: u32) -> u64 {
        u64::from(tag >> FOLLOWERS_SHIFT & MOST_FOLLOWERS)
    }

    /// Moves filled slots into the ring, without an order among them: none of them must be in sight of the consumer.
    ///
    /// # Safety
    /// `place` is the first of as many slots that lie in a row and are released, the caller is the ring's one producer, and what was
    /// moved is not used again.
    #[inline(always)]
    pub(crate) unsafe fn move_all(from: &[Self], place: *mut Self) {
        // Nobody reads the headers meanwhile, so they need not be written as atomics.
        #[cfg(not(loom))]
        // SAFETY: by contract.
        unsafe {
            place.copy_from_nonoverlapping(from.as_ptr(), from.len());
        }
        #[cfg(loom)]
        for (index, slot) in from.iter().enumerate() {
            // SAFETY: by contract.
            unsafe { slot.move_to(&*place.add(index)) };
        }
    }

    /// Moves a filled slot into the ring, and makes it visible.
    ///
    /// # Safety
    /// As for [`fill`](Self::fill), and this slot is not used again.
    #[inline(always)]
    pub(crate) unsafe fn move_to(&self, place: &Self) {
        // SAFETY: by contract.
        let body = unsafe { self.take() };
        place.body.with_mut(|place| {
            // SAFETY: a released slot belongs to the one producer, so nobody else reads or writes the body.
            unsafe { (*place).write(body) };
        });
        place.header.store(self.header.load(Ordering::Relaxed), Ordering::Release);
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

    /// The body of a filled slot.
    ///
    /// # Safety
    /// The slot is filled.
    #[inline(always)]
    pub(crate) unsafe fn body_mut(&mut self) -> &mut T {
        // SAFETY: a filled slot has an initialised body, and this is the only reference to it.
        self.body.with_mut(|place| unsafe { (*place).assume_init_mut() })
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
