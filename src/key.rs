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

/// The SeaHash of a key, as the documentation of crate `seahash` defines it.
///
/// NB: The crate hands its state from one function to the next through memory. Where the compiler reads it back in larger pieces than
/// it was written in, which depends on what it is inlined into, each emit waits for its own stores: up to 9 ns for a short key. Long keys
/// are faster there. Not inlined, so that what makes an event stays small enough to be.
#[inline(never)]
fn hash(bytes: &[u8]) -> u64 {
    if bytes.len() >= LONG {
        return seahash::hash(bytes);
    }
    let (words, tail) = bytes.as_chunks();
    let (blocks, words) = words.as_chunks();
    let [mut a, mut b, mut c, mut d] = SEED;
    for &[w, x, y, z] in blocks {
        a = diffuse(a ^ u64::from_le_bytes(w));
        b = diffuse(b ^ u64::from_le_bytes(x));
        c = diffuse(c ^ u64::from_le_bytes(y));
        d = diffuse(d ^ u64::from_le_bytes(z));
    }
    for &word in words {
        (a, b, c, d) = (b, c, d, diffuse(a ^ u64::from_le_bytes(word)));
    }
    if !tail.is_empty() {
        a = diffuse(a ^ read_tail(tail));
    }
    diffuse(a ^ b ^ c ^ d ^ bytes.len() as u64)
}

/// Keys from this length on are hashed by the crate.
const LONG: usize = 64;

const SEED: [u64; 4] =
    [0x16f1_1fe8_9b0d_677c, 0xb480_a793_d8e6_c86c, 0x6fe2_e5aa_f078_ebc9, 0x14f9_94a4_c525_9381];

#[inline(always)]
const fn diffuse(mut x: u64) -> u64 {
    x = x.wrapping_mul(0x6eed_0e9d_a4d9_4a4f);
    x ^= (x >> 32) >> (x >> 60);
    x.wrapping_mul(0x6eed_0e9d_a4d9_4a4f)
}

/// One to seven bytes as a number, little end first, in reads that overlap.
#[inline(always)]
fn read_tail(tail: &[u8]) -> u64 {
    let last = tail.len() - 1;
    if let (Some(low), Some(high)) = (tail.first_chunk(), tail.last_chunk()) {
        let (low, high) = (u32::from_le_bytes(*low), u32::from_le_bytes(*high));
        return u64::from(low) | u64::from(high) << (8 * (last - 3));
    }
    let byte = |at: usize| u64::from(tail[at]) << (8 * at);
    byte(0) | byte(tail.len() / 2) | byte(last)
}

impl From<&[u8]> for Key {
    #[inline]
    fn from(bytes: &[u8]) -> Self {
        Self { hash: hash(bytes), present: true }
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn keys_of_all_lengths_have_the_hash_of_the_crate() {
        let bytes: Vec<u8> =
            (0..=LONG as u8).map(|n| n.wrapping_mul(37).wrapping_add(251)).collect();
        for len in 0..=bytes.len() {
            for start in 0..=bytes.len() - len {
                let key = &bytes[start..start + len];
                assert_eq!(hash(key), seahash::hash(key), "{len} bytes from {start}");
            }
        }
    }
}
