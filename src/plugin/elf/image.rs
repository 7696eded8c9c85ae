//! The library as the dynamic loader will map it: addresses in place of offsets.

use super::bytes::Bytes;
use super::header::{Frame, PT_LOAD, Segment};

const EXECUTE: u32 = 1;
const WRITE: u32 = 2;

/// The segments that are mapped, and the file behind them.
#[derive(Clone, Copy)]
pub(super) struct Image<'a> {
    pub(super) file: Bytes<'a>,
    pub(super) frame: &'a Frame,
}

impl<'a> Image<'a> {
    fn segment(self, address: u64, size: u64) -> Option<&'a Segment> {
        let end = address.checked_add(size)?;
        let mut loads = self.frame.segments.iter().filter(|segment| segment.kind == PT_LOAD);
        loads.find(|load| {
            load.address <= address
                && load.address.checked_add(load.memory_size).is_some_and(|limit| end <= limit)
        })
    }

    /// Where in the file the bytes are that are mapped at `address`; `None` when some of them are not in the file.
    pub(super) fn offset(self, address: u64, size: u64) -> Option<u64> {
        let segment = self.segment(address, size)?;
        let inside = address - segment.address;
        (inside.checked_add(size)? <= segment.file_size)
            .then(|| segment.offset.checked_add(inside))?
    }

    /// The bytes from `address` on to the end of what is in the file of its segment.
    pub(super) fn rest(self, address: u64) -> Option<Bytes<'a>> {
        let segment = self.segment(address, 1)?;
        let inside = address - segment.address;
        let size = segment.file_size.checked_sub(inside)?;
        self.file.slice(segment.offset.checked_add(inside)?, size).map(Bytes)
    }

    /// The `size` bytes at `address`.
    pub(super) fn bytes(self, address: u64, size: u64) -> Option<Bytes<'a>> {
        self.file.slice(self.offset(address, size)?, size).map(Bytes)
    }

    pub(super) fn is_mapped(self, address: u64, size: u64) -> bool {
        self.segment(address, size).is_some()
    }

    /// As [`is_mapped`](Self::is_mapped), to the end of the last page of the segment.
    pub(super) fn is_mapped_in_pages(self, address: u64, size: u64) -> bool {
        let Some(segment) = self.segment(address, 0) else { return false };
        let end = segment.address.checked_add(segment.memory_size);
        let end = end.and_then(|end| end.checked_next_multiple_of(segment.align.max(4096)));
        address.checked_add(size).zip(end).is_some_and(|(last, end)| last <= end)
    }

    pub(super) fn is_writable(self, address: u64, size: u64) -> bool {
        self.segment(address, size).is_some_and(|segment| segment.flags & WRITE != 0)
    }

    pub(super) fn is_executable(self, address: u64) -> bool {
        self.segment(address, 1).is_some_and(|segment| segment.flags & EXECUTE != 0)
    }
}
