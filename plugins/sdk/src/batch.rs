//! Walking through a batch so that the host knows how far the processor has come.

use std::marker::PhantomData;

use keylane_plugin_abi as abi;

use crate::{Cx, Event};

/// A batch of events, borrowed for the call.
///
/// [`iter`](Self::iter), and `for event in batch`, leave a mark at each event that they come to: when processing stops or panics, that
/// event is the one. [`get`](Self::get) leaves none, for looks ahead or back.
#[derive(Debug)]
pub struct Batch<'a> {
    raw: abi::Batch,
    cx: &'a Cx<'a>,
}

impl<'a> Batch<'a> {
    /// # Safety
    /// The batch and all its events are what they say as long as `'a`.
    pub(crate) unsafe fn new(raw: abi::Batch, cx: &'a Cx<'a>) -> Self {
        Self { raw, cx }
    }

    /// How many events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.count == 0
    }

    /// Event `i`, from 0. Leaves no mark.
    #[must_use]
    pub fn get(&self, i: usize) -> Option<Event<'a>> {
        // SAFETY: the index is within the batch.
        (i < self.len()).then(|| unsafe { self.at(i) })
    }

    /// # Safety
    /// `i` is less than the number of events.
    #[inline(always)]
    unsafe fn at(&self, i: usize) -> Event<'a> {
        // SAFETY: the host promises `count` events at this stride, aligned, alive as long as the batch.
        unsafe {
            let event = self.raw.events.byte_add(i * self.raw.event_stride).cast::<abi::Event>();
            Event::new(&*event)
        }
    }

    /// The events in order. Each is the current one until the next is taken; behind the last, all are done.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, 'a> {
        Iter { batch: self, next: 0 }
    }

    /// Says that the first `done` events are done, and that the one behind them is the current one. For processors that do the work at
    /// the end of the batch, and for those that do not keep to the order.
    ///
    /// # Panics
    /// When the batch is shorter.
    pub fn set_done(&self, done: usize) {
        assert!(done <= self.len(), "{done} events are done of {}", self.len());
        self.cx.cursor.set(done as u32);
    }

    /// Whether the bus shuts down, or this instance is about to be replaced.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.raw.flags & abi::batch_flag::DRAINING != 0
    }
}

impl<'b, 'a> IntoIterator for &'b Batch<'a> {
    type Item = Event<'a>;
    type IntoIter = Iter<'b, 'a>;

    fn into_iter(self) -> Iter<'b, 'a> {
        self.iter()
    }
}

/// The events of a batch. See [`Batch::iter`].
#[derive(Debug)]
pub struct Iter<'b, 'a> {
    batch: &'b Batch<'a>,
    next: u32,
}

impl<'a> Iterator for Iter<'_, 'a> {
    type Item = Event<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Event<'a>> {
        let i = self.next;
        self.batch.cx.cursor.set(i);
        if i >= self.batch.raw.count {
            return None;
        }
        self.next = i + 1;
        // SAFETY: the index is within the batch.
        Some(unsafe { self.batch.at(i as usize) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.batch.raw.count - self.next) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_, '_> {}

/// Marks types that must stay on the thread of the call.
pub(crate) type NotSend = PhantomData<*mut ()>;
