//! What a consumer does with an event.

use super::{KEYS, KINDS, Payload};

/// What a consumer found out about its events.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) shard: usize,
    /// Events seen, per type.
    pub(crate) kinds: [u64; KINDS],
    /// Events that were not the next one of their key.
    pub(crate) disordered: u64,
}

/// What every consumer does with an event: count it under its type and check that it is the next
/// one of its key.
#[derive(Debug)]
pub(crate) struct Sink {
    kinds: [u64; KINDS],
    /// The next number of each key, and of the hot key for each producer.
    next: Box<[u32; 2 * KEYS]>,
    disordered: u64,
    left: u64,
    shard: usize,
}

impl Sink {
    /// A sink that expects `quota` events.
    pub(crate) fn new(shard: usize, quota: u64) -> Self {
        Self { kinds: [0; KINDS], next: Box::new([0; 2 * KEYS]), disordered: 0, left: quota, shard }
    }

    /// Takes one event; `true` when it was the last one expected.
    #[inline]
    pub(crate) fn see(&mut self, kind: u16, payload: &Payload) -> bool {
        self.kinds[kind as usize % KINDS] += 1;
        let next = &mut self.next[payload.key_id as usize % (2 * KEYS)];
        self.disordered += u64::from(*next != payload.seq);
        *next = payload.seq.wrapping_add(1);
        self.left = self.left.wrapping_sub(1);
        self.left == 0
    }

    pub(crate) fn verdict(&self) -> Verdict {
        Verdict { shard: self.shard, kinds: self.kinds, disordered: self.disordered }
    }
}
