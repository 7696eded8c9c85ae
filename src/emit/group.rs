//! Events of a batch on their way into the rings.

use crate::event::{Body, Event, Parts, Tag, Value};

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

    /// How many events go through a lane.
    #[inline(always)]
    pub(super) fn share(&self, index: usize) -> usize {
        self.lanes[index].len()
    }

    /// Adds an event that goes through the lane at `index`.
    #[inline(always)]
    pub(super) fn push(&mut self, index: usize, tag: Tag, key_hash: u64, value: Value) {
        let lane = &mut self.lanes[index];
        if lane.is_empty() {
            self.touched.push(index);
            lane.reserve(GROUP);
        }
        assert!(self.len < GROUP as u64, "a group was overfilled");
        // SAFETY: a lane has no more than the group, so there is capacity for one more.
        unsafe { write_behind(lane, lane.len(), tag, key_hash, self.len, value) };
        // SAFETY: written just now.
        unsafe { lane.set_len(lane.len() + 1) };
        self.len += 1;
    }

    /// For a group with a single lane, which is empty: takes up to `most` events, told by `next` to be of this tag, hash and value.
    ///
    /// With [`push`](Self::push) there is a choice of lanes and two lengths in memory for each event, 3 ns.
    #[inline(always)]
    pub(super) fn fill<I>(
        &mut self,
        items: impl Iterator<Item = I>,
        mut next: impl FnMut(usize, I) -> (Tag, u64, Value),
    ) {
        /// Keeps what has been written when an iterator panics.
        struct Filled<'a> {
            group: &'a mut Group,
            len: usize,
        }

        impl Drop for Filled<'_> {
            fn drop(&mut self) {
                // SAFETY: so many have been written.
                unsafe { self.group.lanes[0].set_len(self.len) };
                self.group.len = self.len as u64;
                if self.len > 0 {
                    self.group.touched.push(0);
                }
            }
        }

        debug_assert!(self.len == 0 && self.lanes.len() == 1);
        self.lanes[0].reserve(GROUP);
        let lane: *mut Vec<Event> = &mut self.lanes[0];
        let mut filled = Filled { group: self, len: 0 };
        items.take(GROUP).for_each(|item| {
            let (tag, key_hash, value) = next(filled.len, item);
            // SAFETY: the lane has capacity for a group.
            unsafe {
                write_behind(&mut *lane, filled.len, tag, key_hash, filled.len as u64, value)
            };
            filled.len += 1;
        });
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

/// Writes an event to the place `at` of a lane.
///
/// NB: `Vec::push` may have to grow, and so passes the event through memory once more.
///
/// # Safety
/// The lane has capacity for it.
#[inline(always)]
unsafe fn write_behind(
    lane: &mut Vec<Event>,
    at: usize,
    tag: Tag,
    key_hash: u64,
    place_in_group: u64,
    value: Value,
) {
    let tag = tag.dropping(value.needs_drop());
    let body = Body { stamp: place_in_group, key_hash, value };
    // SAFETY: by contract.
    unsafe { lane.as_mut_ptr().add(at).write(Event::from_parts(Parts { tag, body })) };
}
