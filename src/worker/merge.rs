//! Reading several rings as one stream, ordered by stamp.
//!
//! A round reads the watermark, then the list of rings, then this merge, which takes events with a stamp below the watermark and
//! nothing else. Why this keeps causal order: let A's emit have returned before B's began. A's ring was in the list and A's
//! slot was filled before B was stamped. If the round takes B, then B's stamp, and all the more A's, is below the
//! watermark; A was visible when the watermark was read, so the round sees A, and the smaller stamp goes first. (That A
//! is visible to all when B is stamped is not a matter of course where one thread emits both, see `Rings::take_thread`.) The models
//! `order_*` in `loom-tests` check the rule and that each of its conditions is needed.

use crate::event::{Body, Event};
use crate::ring::{Outlet, Slot};

/// A ring whose next event is below the watermark.
#[derive(Debug, Clone, Copy)]
struct Head {
    stamp: u64,
    outlet: usize,
}

/// A binary heap of rings by the stamp of their next event. Its memory is reused from round to round.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    heads: Vec<Head>,
    found_groups: bool,
}

/// The stamp of an event in a slot.
#[inline(always)]
fn stamp(slot: &Slot<Body>) -> u64 {
    Event::in_slot(slot).body().stamp
}

/// The outlet's next event, if its stamp is below `limit`.
#[inline(always)]
fn next_below(outlet: &Outlet<Body>, limit: u64) -> Option<&Slot<Body>> {
    outlet.peek().filter(|slot| stamp(slot) < limit)
}

impl Merge {
    /// Appends to `batch`, up to its capacity, the events with stamps below `watermark`, in order of their stamps.
    #[inline]
    pub(crate) fn read(
        &mut self,
        outlets: &mut [Outlet<Body>],
        watermark: u64,
        batch: &mut Vec<*const Event>,
    ) {
        self.found_groups = match outlets {
            [] => false,
            [outlet] => run(outlet, watermark, batch),
            _ => self.read_many(outlets, watermark, batch),
        };
    }

    /// Whether what was read last came in groups, at least in part.
    pub(crate) fn found_groups(&self) -> bool {
        self.found_groups
    }

    fn read_many(
        &mut self,
        outlets: &mut [Outlet<Body>],
        watermark: u64,
        batch: &mut Vec<*const Event>,
    ) -> bool {
        let mut found_groups = false;
        self.heads.clear();
        for (index, outlet) in outlets.iter().enumerate() {
            if let Some(slot) = next_below(outlet, watermark) {
                self.heads.push(Head { stamp: stamp(slot), outlet: index });
            }
        }
        for root in (0..self.heads.len() / 2).rev() {
            self.sift_down(root);
        }
        while let Some(&Head { outlet, .. }) = self.heads.first()
            && batch.len() < batch.capacity()
        {
            // Everything in this ring up to the next ring's first event is taken in one run.
            let limit = self.second_stamp().map_or(watermark, |second| second + 1);
            let outlet = &mut outlets[outlet];
            found_groups |= run(outlet, limit, batch);
            match next_below(outlet, watermark) {
                Some(slot) => self.heads[0].stamp = stamp(slot),
                None => {
                    self.heads.swap_remove(0);
                }
            }
            self.sift_down(0);
        }
        found_groups
    }

    /// The smallest stamp but one.
    fn second_stamp(&self) -> Option<u64> {
        self.heads.get(1..3.min(self.heads.len()))?.iter().map(|head| head.stamp).min()
    }

    fn sift_down(&mut self, mut root: usize) {
        loop {
            let left = 2 * root + 1;
            let Some(mut child) = self.heads.get(left).map(|_| left) else { return };
            if self.heads.get(left + 1).is_some_and(|right| right.stamp < self.heads[left].stamp) {
                child = left + 1;
            }
            if self.heads[root].stamp <= self.heads[child].stamp {
                return;
            }
            self.heads.swap(root, child);
            root = child;
        }
    }
}

/// Takes from one ring while stamps are below `limit` and the batch has room; whether there were groups.
#[inline(always)]
fn run(outlet: &mut Outlet<Body>, limit: u64, batch: &mut Vec<*const Event>) -> bool {
    let mut tags = 0;
    while batch.len() < batch.capacity()
        && let Some(slot) = next_below(outlet, limit)
    {
        let (event, tag) = (std::ptr::from_ref(Event::in_slot(slot)), slot.tag());
        batch.push(event);
        outlet.advance(tag);
        tags |= tag;
        // The events of a group have one stamp, so those behind the first need not be looked at.
        outlet.advance_group(tag, batch.capacity() - batch.len(), |slot| {
            batch.push(Event::in_slot(slot));
        });
    }
    Slot::<Body>::followers(tags) > 0
}
