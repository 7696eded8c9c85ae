//! The sharding key, and the shard that it leads to.

/// What an event is ordered by: all events with one key are processed by one processor instance, in causal order.
///
/// A key is the 64-bit SeaHash (crate `seahash`) of its bytes, taken when the key is made; the bytes themselves do not
/// travel. Two different byte strings that hash alike simply share their order.
///
/// Any machine can compute the shard of a key, see [`Key::shard`].
///
/// ```
/// use keylane::Key;
///
/// let by_name = Key::from("order-17");
/// assert_eq!(by_name, Key::from(b"order-17"));
/// assert_eq!(by_name.hash(), Some(0xbb14_2dd4_2d81_5b17));
/// assert_eq!(by_name.shard(8), Some(5));
///
/// // A number is the key of its eight bytes, little end first.
/// assert_eq!(Key::from(17), Key::from(&17u64.to_le_bytes()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    hash: u64,
    present: bool,
}

impl Key {
    /// No key: each event goes to some shard, evenly spread, and no order is promised between such events.
    pub const NONE: Self = Self { hash: 0, present: false };

    /// A key from a hash that was computed elsewhere, for example read from [`Event::key_hash`](crate::Event::key_hash).
    pub const fn from_hash(hash: u64) -> Self {
        Self { hash, present: true }
    }

    /// The key's hash; `None` for [`Key::NONE`].
    pub const fn hash(self) -> Option<u64> {
        if self.present { Some(self.hash) } else { None }
    }

    /// The shard that the key leads to on a bus with that many shards: the upper half of `hash * shards`.
    /// `None` for [`Key::NONE`].
    ///
    /// The product spreads hashes as evenly as a remainder does and needs no division (Lemire, "Fast Random Integer Generation in
    /// an Interval", 2019). The test vectors in `tests/routing.rs` are part of the contract.
    pub const fn shard(self, shards: usize) -> Option<usize> {
        if self.present { Some(route(self.hash, shards)) } else { None }
    }

    #[inline(always)]
    pub(crate) const fn hash_or(self, otherwise: u64) -> u64 {
        if self.present { self.hash } else { otherwise }
    }

    pub(crate) const fn is_present(self) -> bool {
        self.present
    }
}

/// The shard of a hash.
#[inline(always)]
pub(crate) const fn route(hash: u64, shards: usize) -> usize {
    ((hash as u128 * shards as u128) >> 64) as usize
}

impl From<&[u8]> for Key {
    #[inline]
    fn from(bytes: &[u8]) -> Self {
        Self { hash: seahash::hash(bytes), present: true }
    }
}

impl<const N: usize> From<&[u8; N]> for Key {
    #[inline]
    fn from(bytes: &[u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl From<&Vec<u8>> for Key {
    fn from(bytes: &Vec<u8>) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl From<&str> for Key {
    #[inline]
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<&String> for Key {
    #[inline]
    fn from(text: &String) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::from(text.as_bytes())
    }
}

// NB: The only integer on purpose. With a second one, the type of a literal (`Key::from(17)`) would be ambiguous.
impl From<u64> for Key {
    #[inline]
    fn from(number: u64) -> Self {
        Self::from(&number.to_le_bytes())
    }
}

impl From<Option<&str>> for Key {
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self::NONE, Self::from)
    }
}
