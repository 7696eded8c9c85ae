//! Request ids: a random prefix for the process, and a counter.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_core::{Serialize, Serializer};

use crate::key::Key;

/// The id of a request: 128 bits, unique in this process and, as far as 64 random bits go, among all others.
///
/// The upper half is chosen at random when the process makes its first id, the lower half counts. An id is therefore neither a secret
/// nor hard to guess. It prints short, in the base-32 alphabet of Douglas Crockford (no `i`, `l`, `o`, `u`): thirteen characters for
/// the process, a dash, and the number without leading zeros.
///
/// ```
/// use keylane::http::RequestId;
///
/// let id = RequestId::from_u128(0xfedc_ba98_7654_3210_0000_0000_0000_0025);
/// assert_eq!(id.to_string(), "fxq5tk1v58cgg-15");
/// assert_ne!(RequestId::next(), RequestId::next());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u128);

/// Characters of an id: 13 for each half, and the dash.
const MAX_LEN: usize = 27;

impl RequestId {
    /// The next id of this process.
    #[must_use]
    pub fn next() -> Self {
        static PREFIX: OnceLock<u64> = OnceLock::new();
        static COUNTER: AtomicU64 = AtomicU64::new(1);
        // The standard library seeds its hash maps from the system's source of random numbers.
        let prefix = *PREFIX.get_or_init(|| RandomState::new().hash_one(std::process::id()));
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self(u128::from(prefix) << 64 | u128::from(number))
    }

    /// The id with these bits.
    #[must_use]
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits of the id.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// The key of all events of the request: that of the id's sixteen bytes, big end first.
    ///
    /// ```
    /// # use keylane::{Key, http::RequestId};
    /// let id = RequestId::from_u128(1);
    /// assert_eq!(id.key(), Key::from(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
    /// ```
    #[must_use]
    pub fn key(self) -> Key {
        Key::from(&self.0.to_be_bytes())
    }

    /// Writes the text of the id to the end of `out`.
    fn write(self, out: &mut [u8; MAX_LEN]) -> &str {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let digit = |bits: u64| ALPHABET[(bits & 31) as usize];
        let mut at = MAX_LEN;
        let mut put = |byte| {
            at -= 1;
            out[at] = byte;
        };
        let mut number = self.0 as u64;
        loop {
            put(digit(number));
            number >>= 5;
            if number == 0 {
                break;
            }
        }
        put(b'-');
        let prefix = (self.0 >> 64) as u64;
        for place in 0..13 {
            put(digit(prefix >> (5 * place)));
        }
        std::str::from_utf8(&out[at..]).expect("the alphabet is ASCII")
    }

    /// Calls `f` with the text of the id, without an allocation.
    pub(crate) fn with_text<R>(self, f: impl FnOnce(&str) -> R) -> R {
        f(self.write(&mut [0; MAX_LEN]))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.pad(text))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

/// A string, the same as it prints.
impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_id_fits() {
        assert_eq!(RequestId::from_u128(u128::MAX).to_string(), "fzzzzzzzzzzzz-fzzzzzzzzzzzz");
        assert_eq!(RequestId::from_u128(0).to_string(), "0000000000000-0");
    }

    #[test]
    fn ids_of_a_process_share_a_prefix_and_grow() {
        let (a, b) = (RequestId::next(), RequestId::next());
        assert_eq!(a.as_u128() >> 64, b.as_u128() >> 64);
        assert_ne!(a.as_u128() >> 64, 0);
        assert!(a < b);
    }
}
