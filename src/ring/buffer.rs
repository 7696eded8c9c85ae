//! The memory of a ring: a power-of-two array of slots that starts as zeroes.

use super::slot::Slot;

pub(crate) use imp::Buffer;

#[cfg(not(loom))]
mod imp {
    use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
    use std::marker::PhantomData;
    use std::ptr::NonNull;

    use super::Slot;

    /// `len` slots, aligned to a cache line, all headers zero.
    ///
    /// NB: The memory is asked for zeroed and with malloc's own alignment, and the alignment to a line is done
    /// here. An allocation that is both zeroed and over-aligned is cleared by hand, which touches every
    /// page; this way a ring that carried one event costs one page, and a mesh of 64 x 64 rings stays small.
    pub(crate) struct Buffer<T> {
        slots: NonNull<Slot<T>>,
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
            let align = align_of::<Slot<T>>();
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
            let slots = unsafe { allocation.add(offset) }.cast::<Slot<T>>();
            Self { slots, allocation, layout, owns: PhantomData }
        }

        /// The slot at `index`.
        ///
        /// # Safety
        /// `index` is below the length that the buffer was made with.
        #[inline(always)]
        pub(crate) unsafe fn get(&self, index: usize) -> &Slot<T> {
            // SAFETY: in bounds by contract; a zeroed slot is valid: its header is 0 and its body may be uninitialised.
            unsafe { self.slots.add(index).as_ref() }
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
    use super::Slot;

    pub(crate) struct Buffer<T>(Box<[Slot<T>]>);

    // SAFETY: as for the real buffer; here loom checks every access to a body.
    unsafe impl<T: Send> Sync for Buffer<T> {}

    impl<T> Buffer<T> {
        pub(crate) fn new(len: usize) -> Self {
            Self((0..len).map(|_| Slot::empty()).collect())
        }

        /// # Safety
        /// None here; the contract is that of the real buffer.
        pub(crate) unsafe fn get(&self, index: usize) -> &Slot<T> {
            &self.0[index]
        }
    }
}
