//! Request ids: a random prefix for the process, and a counter.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use ::http::HeaderValue;
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

/// Characters of one half.
const HALF: usize = 13;
/// Characters of an id: those of both halves, and the dash.
const MAX_LEN: usize = 2 * HALF + 1;

/// The half that all ids of this process share.
struct Prefix {
    bits: u64,
    text: [u8; HALF],
}

impl Prefix {
    fn of_this_process() -> &'static Self {
        static PREFIX: OnceLock<Prefix> = OnceLock::new();
        PREFIX.get_or_init(|| {
            // The standard library seeds its hash maps from the system's source of random numbers.
            let bits = RandomState::new().hash_one(std::process::id());
            Self { bits, text: all_digits(bits) }
        })
    }
}

/// The digit for the lowest five bits.
fn digit(bits: u64) -> u8 {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    ALPHABET[(bits & 31) as usize]
}

/// All digits of a half, leading zeros included.
fn all_digits(bits: u64) -> [u8; HALF] {
    std::array::from_fn(|place| digit(bits >> (5 * (HALF - 1 - place))))
}

impl RequestId {
    /// The next id of this process.
    #[must_use]
    pub fn next() -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(1);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self(u128::from(Prefix::of_this_process().bits) << 64 | u128::from(number))
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
    fn write(self, out: &mut [u8; MAX_LEN]) -> &[u8] {
        let mut at = MAX_LEN;
        let mut number = self.0 as u64;
        loop {
            at -= 1;
            out[at] = digit(number);
            number >>= 5;
            if number == 0 {
                break;
            }
        }
        at -= 1;
        out[at] = b'-';
        let bits = (self.0 >> 64) as u64;
        let ours = Prefix::of_this_process();
        let prefix = if bits == ours.bits { ours.text } else { all_digits(bits) };
        out[at - HALF..at].copy_from_slice(&prefix);
        &out[at - HALF..]
    }

    /// Calls `f` with the text of the id, without an allocation.
    fn with_text<R>(self, f: impl FnOnce(&str) -> R) -> R {
        let mut out = [0; MAX_LEN];
        f(std::str::from_utf8(self.write(&mut out)).expect("the alphabet is ASCII"))
    }

    /// The id as the value of a header.
    pub(crate) fn header_value(self) -> HeaderValue {
        HeaderValue::from_bytes(self.write(&mut [0; MAX_LEN])).expect("the alphabet is visible")
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
        // The prefix that is kept as text is the one that would be written.
        let with_a_zero = RequestId::from_u128(a.as_u128() >> 64 << 64);
        let prefix = all_digits((a.as_u128() >> 64) as u64);
        assert_eq!(with_a_zero.to_string().as_bytes(), [&prefix[..], b"-0"].concat());
        assert_eq!(a.header_value(), a.to_string().as_str());
    }
}
