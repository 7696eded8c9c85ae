//! The memory of a ring: a power-of-two array of slots that starts as zeroes.

use std::fmt;
use std::ptr::NonNull;

use super::slot::Slot;

pub(crate) use imp::Buffer;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Where the slots of a ring are, for those who keep the ring alive: each end has this at hand, and need not ask the ring.
pub(crate) struct Slots<T> {
    first: NonNull<Slot<T>>,
    /// Their number, a power of two, less one.
    mask: u64,
}

impl<T> Clone for Slots<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slots<T> {}

// SAFETY: a reference to slots; see the buffer's.
unsafe impl<T: Send> Send for Slots<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> fmt::Debug for Slots<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("mask", &self.mask).finish_non_exhaustive()
    }
}

impl<T> Slots<T> {
    /// How many there are.
    #[inline(always)]
    pub(crate) fn capacity(self) -> u64 {
        self.mask + 1
    }

    /// How many slots from a position on lie in a row.
    #[inline(always)]
    pub(crate) fn in_a_row(self, position: u64) -> usize {
        (self.capacity() - (position & self.mask)) as usize
    }

    /// Where the slot of a position is.
    #[inline(always)]
    pub(crate) fn place(self, position: u64) -> *mut Slot<T> {
        self.first.as_ptr().wrapping_add((position & self.mask) as usize)
    }

    /// Whether the slot of a position is the first in its cache line, or fills lines of its own.
    #[inline(always)]
    pub(crate) fn begins_line(self, position: u64) -> bool {
        size_of::<Slot<T>>() >= LINE
            || self.place(position).addr() & (LINE - 1) < size_of::<Slot<T>>()
    }

    /// The slot of a position.
    ///
    /// # Safety
    /// The buffer is alive while the reference is.
    #[inline(always)]
    pub(crate) unsafe fn at<'a>(self, position: u64) -> &'a Slot<T> {
        // SAFETY: masked by the length that the buffer was made with; a zeroed slot is valid: its header is 0 and its body may be
        // uninitialised.
        unsafe { &*self.place(position) }
    }
}

#[cfg(not(loom))]
mod imp {
    use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
    use std::marker::PhantomData;
    use std::ptr::NonNull;

    use super::{LINE, Slot, Slots};

    /// `len` slots, aligned to a cache line, all headers zero.
    ///
    /// NB: The memory is asked for zeroed and with malloc's own alignment, and the alignment to a line is done
    /// here. An allocation that is both zeroed and over-aligned is cleared by hand, which touches every
    /// page; this way a ring that carried one event costs one page, and a mesh of 64 x 64 rings stays small.
    pub(crate) struct Buffer<T> {
        slots: Slots<T>,
        allocation: NonNull<u8>,
        layout: Layout,
        owns: PhantomData<Slot<T>>,
    }

    // SAFETY: the buffer owns its slots; sending it sends the bodies, hence `T: Send`.
    unsafe impl<T: Send> Send for Buffer<T> {}
    // SAFETY: shared access goes through the slots' headers, which hand every body to one side at a time.
    unsafe impl<T: Send> Sync for Buffer<T> {}

    const MALLOC_ALIGN: usize = 16;

    impl<T> Buffer<T> {
        pub(crate) fn new(len: usize) -> Self {
            let align = LINE.max(align_of::<Slot<T>>());
            let size = size_of::<Slot<T>>()
                .checked_mul(len)
                .and_then(|size| size.checked_add(align))
                .expect("the builder bounds a ring's capacity");
            let layout = Layout::from_size_align(size, MALLOC_ALIGN)
                .expect("the builder bounds a ring's capacity");
            // SAFETY: the layout is not empty, `align` alone is at least 64.
            let Some(allocation) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
                handle_alloc_error(layout)
            };
            let offset = allocation.align_offset(align);
            // SAFETY: `offset` is below `align`, and the allocation is `align` longer than the slots.
            let first = unsafe { allocation.add(offset) }.cast::<Slot<T>>();
            let slots = Slots { first, mask: len as u64 - 1 };
            Self { slots, allocation, layout, owns: PhantomData }
        }

        pub(crate) fn slots(&self) -> Slots<T> {
            self.slots
        }
    }

    impl<T> Drop for Buffer<T> {
        fn drop(&mut self) {
            // SAFETY: allocated in `new` with this layout. Bodies are dropped by the ring, which knows which are filled.
            unsafe { dealloc(self.allocation.as_ptr(), self.layout) };
        }
    }
}

#[cfg(loom)]
mod imp {
    use super::{Slot, Slots};

    pub(crate) struct Buffer<T>(Box<[Slot<T>]>);

    // SAFETY: as for the real buffer; here loom checks every access to a body.
    unsafe impl<T: Send> Sync for Buffer<T> {}

    impl<T> Buffer<T> {
        pub(crate) fn new(len: usize) -> Self {
            Self((0..len).map(|_| Slot::empty()).collect())
        }

        pub(crate) fn slots(&self) -> Slots<T> {
            let first = std::ptr::NonNull::from(&*self.0).cast();
            Slots { first, mask: self.0.len() as u64 - 1 }
        }
    }
}
