//! Reading numbers out of untrusted bytes: every read is checked, every sum can fail.

/// A file's bytes, little end first.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn len(self) -> u64 {
        self.0.len() as u64
    }

    /// `size` bytes from `at` on, if they are there.
    pub(super) fn slice(self, at: u64, size: u64) -> Option<&'a [u8]> {
        let end = at.checked_add(size)?;
        self.0.get(usize::try_from(at).ok()?..usize::try_from(end).ok()?)
    }

    fn array<const N: usize>(self, at: u64) -> Option<[u8; N]> {
        self.slice(at, N as u64)?.try_into().ok()
    }

    pub(super) fn u8(self, at: u64) -> Option<u8> {
        self.array::<1>(at).map(|[byte]| byte)
    }

    pub(super) fn u16(self, at: u64) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(super) fn u32(self, at: u64) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(super) fn u64(self, at: u64) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// The text at `at` up to a NUL, which must come within `limit` bytes.
    pub(super) fn text(self, at: u64, limit: u64) -> Option<&'a [u8]> {
        let rest = self.slice(at, self.len().checked_sub(at)?.min(limit))?;
        rest.iter().position(|&byte| byte == 0).map(|end| &rest[..end])
    }
}
