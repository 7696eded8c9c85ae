//! Whether stamps order events, or only say when they were emitted.

use crossbeam_utils::CachePadded;

use crate::sync::{Arc, AtomicU32, Ordering};

/// Counts, for all shards of a bus together, the rings beyond each shard's first.
///
/// Where one ring leads to a shard, its events come in the order of the ring, and their stamps decide nothing. So while that is so of every
/// shard, an emit takes a stamp that need not wait for what the thread has seen before.
///
/// # Why this keeps causal order
///
/// A stamp that does not wait may be older than it should be, never younger: it is read before the slot is published. Let A's emit
/// have returned before B's began, both to one shard.
///
/// * **A is in another ring than B, and that ring is still there.** Both rings had been counted before A was published, so B's emit,
///   which asks after it has learnt of A, finds a number above 0, and waits as ever.
/// * **A's ring is gone.** Then A has been processed: a ring is no longer counted when the worker has drained it.
/// * **A's stamp did not wait, B's did.** A's stamp, and that of whatever is before A in its ring, was read before A was
///   published, and so before B's.
/// * **One ring.** It keeps the order of its own, whatever the stamps say.
///
/// The models `order_*` in `loom-tests` check this with stamps that are as old as they can be.
#[derive(Debug)]
pub(crate) struct Merging(CachePadded<AtomicU32>);

impl Default for Merging {
    fn default() -> Self {
        Self(CachePadded::new(AtomicU32::new(0)))
    }
}

impl Merging {
    /// Whether some shard reads several rings.
    #[inline(always)]
    pub(crate) fn any(&self) -> bool {
        // Relaxed is enough: who has learnt of an event has learnt of the counting before it.
        self.0.load(Ordering::Relaxed) != 0
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn take(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The number of rings that lead to one shard.
#[derive(Debug)]
pub(super) struct RingCount {
    rings: AtomicU32,
    merging: Arc<Merging>,
}

impl RingCount {
    pub(super) fn new(merging: Arc<Merging>) -> Self {
        Self { rings: AtomicU32::new(0), merging }
    }

    pub(super) fn merging(&self) -> &Arc<Merging> {
        &self.merging
    }

    /// Counts a ring. Call before anything is published in it.
    pub(super) fn add(&self) {
        // Beyond the first or not, it is counted at first, so that whatever is taken off has been added by the same shard before:
        // the sum over the shards must not hide one behind another.
        self.merging.add();
        if self.rings.fetch_add(1, Ordering::AcqRel) == 0 {
            self.merging.take();
        }
    }

    /// Counts a ring no more. Call when all that was published in it has been processed.
    pub(super) fn remove(&self) {
        if self.rings.fetch_sub(1, Ordering::AcqRel) > 1 {
            self.merging.take();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_rings_beyond_a_shard_s_first_count() {
        let merging = Arc::new(Merging::default());
        let (one, two) = (RingCount::new(merging.clone()), RingCount::new(merging.clone()));
        one.add();
        two.add();
        assert!(!merging.any());
        one.add();
        two.add();
        one.remove();
        assert!(merging.any());
        two.remove();
        assert!(!merging.any());
        one.remove();
        two.remove();
        one.add();
        assert!(!merging.any());
    }
}
