//! Events of a batch on their way into the rings.

use super::rings::Rings;
use crate::event::{Body, Event, EventType, Parts, Tag, Value};
use crate::key::Key;

/// The most events of a batch that are published together.
pub(super) const GROUP: usize = 64;

/// Events that are to be published together, sorted by the lane that each goes through.
///
/// They are gathered here and not in their slots: the iterator that they come from is foreign code, which may panic or emit
/// itself. Meanwhile the lines of their slots are on their way to this core.
#[derive(Debug)]
pub(super) struct Group {
    /// For each lane what goes through it, with its place in the group as a stamp.
    pub(super) lanes: Box<[Vec<Event>]>,
    /// The lanes that something goes through.
    pub(super) touched: Vec<usize>,
}

impl Group {
    pub(super) fn new(lanes: usize) -> Self {
        let lanes = std::iter::repeat_with(Vec::new).take(lanes).collect();
        Self { lanes, touched: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.touched.iter().map(|&index| self.lanes[index].len()).sum()
    }

    /// Takes all that the iterator has, which with what is here already is no more than [`GROUP`].
    #[inline(always)]
    pub(super) fn gather(
        &mut self,
        rings: &mut Rings,
        items: impl Iterator<Item = (EventType, Value, Key)>,
    ) {
        let first = self.len();
        if self.lanes.len() == 1 && first == 0 {
            self.fill(rings, items);
        } else {
            self.prepare();
            // Not a loop: passed on from inside of the iterator, an item need not go through memory.
            items.enumerate().for_each(|(place, (kind, value, key))| {
                let key_hash = rings.hash(key);
                let index = rings.route(key_hash);
                let lane = &mut self.lanes[index];
                rings.fetch_slot(index, lane.len());
                let tag = Tag::new(kind, 0, key.is_present());
                push(lane, tag, key_hash, first + place, value);
            });
            self.note_touched();
        }
    }

    /// Puts back what was [taken](Self::take) out.
    pub(super) fn put_back(&mut self, rings: &Rings, events: impl Iterator<Item = Parts>) {
        self.prepare();
        for (place, Parts { tag, body }) in events.enumerate() {
            let lane = &mut self.lanes[rings.route(body.key_hash)];
            push(lane, tag, body.key_hash, place, body.value);
        }
        self.note_touched();
    }

    /// As [`gather`](Self::gather), with a single lane and nothing in it yet: there is no lane to choose and its length is in a
    /// register, which is 3 ns less an event.
    #[inline(always)]
    fn fill(&mut self, rings: &mut Rings, items: impl Iterator<Item = (EventType, Value, Key)>) {
        /// Keeps what has been written when an iterator panics.
        struct Filled<'a> {
            lane: &'a mut Vec<Event>,
            len: usize,
        }

        impl Drop for Filled<'_> {
            fn drop(&mut self) {
                // SAFETY: so many have been written.
                unsafe { self.lane.set_len(self.len) };
            }
        }

        self.prepare();
        let mut filled = Filled { lane: &mut self.lanes[0], len: 0 };
        items.take(GROUP).for_each(|(kind, value, key)| {
            rings.fetch_slot(0, filled.len);
            let (tag, key_hash) = (Tag::new(kind, 0, key.is_present()), rings.hash(key));
            // SAFETY: the lane has capacity for a group, and the iterator ends with that.
            unsafe { write(filled.lane, filled.len, tag, key_hash, filled.len, value) };
            filled.len += 1;
        });
        drop(filled);
        self.note_touched();
    }

    /// Makes sure that each lane has capacity for the whole group.
    #[inline(always)]
    fn prepare(&mut self) {
        if self.lanes[0].capacity() < GROUP {
            self.lanes.iter_mut().for_each(|lane| lane.reserve_exact(GROUP));
        }
    }

    #[inline(always)]
    fn note_touched(&mut self) {
        self.touched.clear();
        let lanes = self.lanes.iter().enumerate();
        self.touched.extend(lanes.filter(|(_, lane)| !lane.is_empty()).map(|(index, _)| index));
    }

    /// Takes everything out, in the order in which it came.
    pub(super) fn take(&mut self) -> Vec<Parts> {
        self.touched.clear();
        // All lanes: after a panic of an iterator nobody has noted which were touched.
        let lanes = self.lanes.iter_mut().flat_map(|lane| lane.drain(..));
        let mut all: Vec<Parts> = lanes.map(Event::into_whole).collect();
        all.sort_unstable_by_key(|parts: &Parts| parts.body.stamp);
        all
    }

    /// Forgets what has been moved elsewhere.
    pub(super) fn forget(&mut self) {
        for index in self.touched.drain(..) {
            // SAFETY: 0 is not more than the length; the caller has moved everything out.
            unsafe { self.lanes[index].set_len(0) };
        }
    }
}

/// Adds an event to a lane.
#[inline(always)]
fn push(lane: &mut Vec<Event>, tag: Tag, key_hash: u64, place: usize, value: Value) {
    let len = lane.len();
    assert!(len < lane.capacity(), "a group was overfilled");
    // SAFETY: there is capacity for one more, which is written before it is counted.
    unsafe {
        write(lane, len, tag, key_hash, place, value);
        lane.set_len(len + 1);
    }
}

/// Writes an event to the position `at` of a lane.
///
/// NB: `Vec::push` may have to grow, and so passes the event through memory once more.
///
/// # Safety
/// The lane has capacity for it.
#[inline(always)]
unsafe fn write(
    lane: &mut Vec<Event>,
    at: usize,
    tag: Tag,
    key_hash: u64,
    place: usize,
    value: Value,
) {
    let tag = tag.dropping(value.needs_drop());
    let body = Body { stamp: place as u64, key_hash, value };
    // SAFETY: by contract.
    unsafe { lane.as_mut_ptr().add(at).write(Event::from_parts(Parts { tag, body })) };
}
