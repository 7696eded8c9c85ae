//! Memory for what a plugin is lent: read-only while a call lasts, and out of reach ever after.
//!
//! A plugin that writes into an event, or looks at one after the call, does not read rubbish here: it stops with SIGSEGV, in the call
//! that did it.

use std::io;
use std::ptr::{self, NonNull};

/// Pages that are filled, sealed, and in the end forbidden. They are never given back, so that their addresses stay out of reach.
#[derive(Debug)]
pub(crate) struct Pages {
    base: NonNull<u8>,
    size: usize,
    used: usize,
}

/// The largest alignment that anything in here needs.
const ALIGN: usize = 16;

impl Pages {
    /// Writable pages of at least `size` bytes.
    pub(crate) fn new(size: usize) -> io::Result<Self> {
        let size = size.max(1).next_multiple_of(4096);
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => {
                Ok(Self { base, size, used: 0 })
            }
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Room for `size` bytes.
    ///
    /// # Panics
    /// When the pages are full: whoever made them had to know.
    pub(crate) fn room(&mut self, size: usize) -> *mut u8 {
        let at = self.used.next_multiple_of(ALIGN);
        assert!(at + size <= self.size, "the pages of a batch were measured wrongly");
        self.used = at + size;
        // SAFETY: the place lies in the mapping, as was just checked.
        unsafe { self.base.as_ptr().add(at) }
    }

    /// How many bytes `size` bytes take at most.
    pub(crate) fn cost(size: usize) -> usize {
        size + ALIGN
    }

    /// Copies bytes in.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> *const u8 {
        let place = self.room(bytes.len());
        // SAFETY: the room is as large as the bytes, and nobody else has it.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        place
    }

    /// Copies a struct in.
    pub(crate) fn put_value<T: Copy>(&mut self, value: T) -> *const T {
        let place = self.room(size_of::<T>()).cast::<T>();
        // SAFETY: the room is large enough, and aligned for everything of the ABI.
        unsafe { place.write(value) };
        place
    }

    fn protect(&self, how: libc::c_int) {
        // SAFETY: the mapping is this one's own.
        let done = unsafe { libc::mprotect(self.base.as_ptr().cast(), self.size, how) };
        assert_eq!(done, 0, "mprotect: {}", io::Error::last_os_error());
    }

    /// From now on it can only be read.
    pub(crate) fn seal(&self) {
        self.protect(libc::PROT_READ);
    }

    /// From now on nothing in it can be reached. The memory goes back, the addresses do not.
    pub(crate) fn forbid(self) {
        // SAFETY: the mapping is this one's own; what was in it is not needed any more.
        unsafe { libc::madvise(self.base.as_ptr().cast(), self.size, libc::MADV_DONTNEED) };
        self.protect(libc::PROT_NONE);
    }
}
