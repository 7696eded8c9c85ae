//! Memory for one batch: what the C structs of a batch point to and nobody else owns.

use std::fmt;
use std::mem::MaybeUninit;

/// Words of one chunk: 32 KiB.
const CHUNK: usize = 4096;

/// Hands out memory that stays where it is until [`clear`](Self::clear).
#[derive(Default)]
pub(crate) struct Arena {
    /// Chunks of words, so that all is aligned to 8. The last one is being filled.
    chunks: Vec<Box<[MaybeUninit<u64>]>>,
    /// Words used of the last chunk.
    used: usize,
    /// For texts in the making.
    scratch: String,
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("chunks", &self.chunks.len()).finish_non_exhaustive()
    }
}

impl Arena {
    /// Takes everything back. Keeps one chunk for the next batch.
    pub(crate) fn clear(&mut self) {
        if self.chunks.len() > 1 || self.chunks.first().is_some_and(|chunk| chunk.len() > CHUNK) {
            self.chunks.retain(|chunk| chunk.len() == CHUNK);
            self.chunks.truncate(1);
        }
        self.used = 0;
    }

    fn words(&mut self, count: usize) -> *mut u8 {
        let free = self.chunks.last().map_or(0, |chunk| chunk.len() - self.used);
        if free < count {
            let size = count.max(CHUNK);
            self.chunks.push(vec![MaybeUninit::uninit(); size].into_boxed_slice());
            self.used = 0;
        }
        let start = self.used;
        self.used += count;
        let chunk = self.chunks.last_mut().expect("there is one with room");
        chunk[start..start + count].as_mut_ptr().cast()
    }

    /// Stores a struct without a destructor.
    pub(crate) fn store<T: Copy>(&mut self, value: T) -> *const T {
        const { assert!(align_of::<T>() <= align_of::<u64>()) };
        let place = self.words(size_of::<T>().div_ceil(8)).cast::<T>();
        // SAFETY: the words are as many as the struct needs, aligned to 8, and nobody else's.
        unsafe { place.write(value) };
        place
    }

    /// Stores bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> keylane_plugin_abi::Bytes {
        // One word at least: something empty has an address.
        let place = self.words(bytes.len().div_ceil(8).max(1));
        // SAFETY: the words have room for the bytes, and are nobody else's.
        unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        keylane_plugin_abi::Bytes { ptr: place, len: bytes.len() }
    }

    /// Stores what `text` prints.
    pub(crate) fn text(&mut self, text: impl fmt::Display) -> keylane_plugin_abi::Bytes {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        // Writing to a string does not fail; what a `Display` refuses to print ends there.
        let _ = fmt::Write::write_fmt(&mut scratch, format_args!("{text}"));
        let bytes = self.bytes(scratch.as_bytes());
        self.scratch = scratch;
        bytes
    }
}
