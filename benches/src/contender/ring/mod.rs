//! Bare rings: one producer, one consumer, a number in, a number out, no key and no stamp.
//!
//! Each of keylane's slots has a header of 8 bytes. In the cell of 64 bytes its item therefore has 56, and 64 with the
//! header travel, as for an event; in the other one a slot is two words.

mod crossbeam;
mod disruptor;
mod keylane;
mod ringbuf;
mod rtrb;

use std::thread;

use crossbeam_utils::Backoff;

use super::{Card, Role};
use crate::measure::{Lap, Track};

/// What travels through a ring.
pub(crate) trait Item: Copy + Send + Sync + 'static {
    /// The item in a slot that has a header of 8 bytes besides.
    type Body: Item;

    fn of(number: u64) -> Self;
    fn number(&self) -> u64;
}

impl Item for u64 {
    type Body = Self;

    #[inline]
    fn of(number: u64) -> Self {
        number
    }

    #[inline]
    fn number(&self) -> u64 {
        *self
    }
}

/// An item as large as an event.
pub(crate) type Line = [u64; 8];

impl Item for Line {
    type Body = [u64; 7];

    #[inline]
    fn of(number: u64) -> Self {
        [number, !number, number, !number, number, !number, number, !number]
    }

    #[inline]
    fn number(&self) -> u64 {
        self[6]
    }
}

impl Item for [u64; 7] {
    type Body = Self;

    #[inline]
    fn of(number: u64) -> Self {
        [number, !number, number, !number, number, !number, number]
    }

    #[inline]
    fn number(&self) -> u64 {
        self[6]
    }
}

/// Sizes of the items, each a cell of the scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Word,
    Line,
}

/// A contender of the `ring` scenario.
pub(crate) trait Ring {
    fn card(&self) -> Card;

    /// One round of `items` through a ring of `capacity` slots.
    ///
    /// # Errors
    ///
    /// Says how many items came out wrong.
    fn run(&self, size: Size, items: u64, capacity: usize) -> Result<Lap, String>;
}

/// Everyone with a ring.
pub(crate) fn rings() -> Vec<Box<dyn Ring>> {
    vec![
        Box::new(keylane::ring()),
        Box::new(keylane::groups()),
        Box::new(rtrb::single()),
        Box::new(rtrb::chunks()),
        Box::new(ringbuf::single()),
        Box::new(ringbuf::iterators()),
        Box::new(disruptor::single()),
        Box::new(disruptor::batches()),
        Box::new(crossbeam::queue()),
    ]
}

/// A ring that neither sleeps nor spins by itself: each call does what is possible at once.
trait Slots: 'static {
    type Head<T: Item>: Send;
    type Tail<T: Item>: Send;

    fn open<T: Item>(capacity: usize) -> (Self::Head<T>, Self::Tail<T>);

    /// Puts in items numbered from `from` on, fewer than `until`; returns how many.
    fn put<T: Item>(head: &mut Self::Head<T>, from: u64, until: u64) -> u64;

    /// Takes items out and shows each to `see`; returns how many.
    fn take<T: Item>(tail: &mut Self::Tail<T>, see: impl FnMut(u64)) -> u64;
}

struct Timed<S> {
    card: Card,
    slots: std::marker::PhantomData<S>,
}

impl<S: Slots> Timed<S> {
    fn new(card: Card) -> Self {
        Self { card, slots: std::marker::PhantomData }
    }
}

impl<S: Slots> Ring for Timed<S> {
    fn card(&self) -> Card {
        self.card.clone()
    }

    fn run(&self, size: Size, items: u64, capacity: usize) -> Result<Lap, String> {
        match size {
            Size::Word => transfer::<S, u64>(items, capacity),
            Size::Line => transfer::<S, Line>(items, capacity),
        }
    }
}

fn transfer<S: Slots, T: Item>(items: u64, capacity: usize) -> Result<Lap, String> {
    let track = Track::new(2, 2);
    let (mut head, mut tail) = S::open::<T>(capacity);
    let (started, wrong) = thread::scope(|scope| {
        let track = &track;
        scope.spawn(move || {
            track.ready_then_wait();
            let mut sent = 0;
            // Backs off to a yield: on a single core a spinning producer would only delay the
            // consumer that it waits for.
            let backoff = Backoff::new();
            while sent < items {
                match S::put(&mut head, sent, items) {
                    0 => backoff.snooze(),
                    count => {
                        sent += count;
                        backoff.reset();
                    }
                }
            }
            track.finish();
        });
        let consumer = scope.spawn(move || {
            track.ready_then_wait();
            let (mut seen, mut wrong) = (0, 0);
            let backoff = Backoff::new();
            while seen < items {
                let mut next = seen;
                let count = S::take::<T>(&mut tail, |number| {
                    wrong += u64::from(number != next);
                    next += 1;
                });
                seen += count;
                if count == 0 {
                    backoff.snooze();
                } else {
                    backoff.reset();
                }
            }
            track.finish();
            wrong
        });
        (track.time(), consumer.join())
    });
    match wrong {
        Ok(0) => Ok(started.joined(items)),
        Ok(wrong) => Err(format!("{wrong} of {items} items came out wrong")),
        Err(_) => Err("the consumer panicked".to_owned()),
    }
}

/// Items that a contender moves per call if it moves several, as many as a batch of events has.
const CHUNK: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ring_delivers_everything_in_order() {
        for ring in rings() {
            for size in [Size::Word, Size::Line] {
                for capacity in [1, 64, 1000] {
                    let lap = ring.run(size, 10_007, capacity);
                    assert!(lap.is_ok(), "{} {size:?} {capacity}: {lap:?}", ring.card().name);
                }
            }
        }
    }
}
