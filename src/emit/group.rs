//! Events of a batch on their way into the rings.

use crate::event::{Body, Event, Parts, Tag, Value};
use crate::key::route;

/// The most events of a batch that are published together.
pub(super) const GROUP: usize = 64;

/// Events that are to be published together, sorted by the lane that each goes through.
///
/// They are gathered here and not in their slots: written one after another, slots are under way between the cores many at a time,
/// and with the work of making the next event in between they come one by one.
#[derive(Debug)]
pub(super) struct Group {
    /// For each lane what goes through it, with its place in the group as a stamp.
    pub(super) lanes: Box<[Vec<Event>]>,
    /// The lanes that something goes through.
    pub(super) touched: Vec<usize>,
    len: u64,
}

impl Group {
    pub(super) fn new(lanes: usize) -> Self {
        let lanes = std::iter::repeat_with(Vec::new).take(lanes).collect();
        Self { lanes, touched: Vec::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Adds an event.
    #[inline(always)]
    pub(super) fn push(&mut self, tag: Tag, key_hash: u64, value: Value) {
        let index = route(key_hash, self.lanes.len());
        let lane = &mut self.lanes[index];
        if lane.is_empty() {
            self.touched.push(index);
            lane.reserve(GROUP);
        }
        assert!(self.len < GROUP as u64, "a group was overfilled");
        let tag = tag.dropping(value.needs_drop());
        // SAFETY: a lane has no more than the group, so there is capacity for one more.
        //
        // NB: `Vec::push` may have to grow, and so passes the event through memory once more.
        unsafe {
            let body = Body { stamp: self.len, key_hash, value };
            lane.as_mut_ptr().add(lane.len()).write(Event::from_parts(Parts { tag, body }));
            lane.set_len(lane.len() + 1);
        }
        self.len += 1;
    }

    /// Takes everything out, in the order in which it came.
    pub(super) fn take(&mut self) -> Vec<Parts> {
        let mut all = Vec::with_capacity(self.len());
        for index in self.touched.drain(..) {
            all.extend(self.lanes[index].drain(..).map(Event::into_whole));
        }
        all.sort_unstable_by_key(|parts: &Parts| parts.body.stamp);
        self.len = 0;
        all
    }

    /// Forgets what has been moved elsewhere.
    pub(super) fn forget(&mut self) {
        for index in self.touched.drain(..) {
            // SAFETY: 0 is not more than the length; the caller has moved everything out.
            unsafe { self.lanes[index].set_len(0) };
        }
        self.len = 0;
    }
}
