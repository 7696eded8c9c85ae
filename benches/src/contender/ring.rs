//! Bare rings: one producer, one consumer, a number in, a number out, no key and no stamp.
//!
//! keylane's slots are a cache line each: a header of 8 bytes and up to 56 bytes of body. In the cell of
//! 64 bytes its item therefore has 56, and 64 with the header travel, as for an event.

use std::sync::Arc;
use std::thread;

use crossbeam_queue::ArrayQueue;
use crossbeam_utils::Backoff;

use super::{Card, Role};
use crate::measure::{Lap, Track};

/// What travels through a ring.
pub(crate) trait Item: Send + 'static {
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
        Box::new(Timed::<Keylane>::new(Card {
            name: "keylane",
            role: Role::Keylane,
            package: Some("keylane"),
            settings: "the ring of a producer: publish one at a time, read up to 256, release once",
        })),
        Box::new(Timed::<RtrbSingle>::new(Card {
            name: "rtrb",
            role: Role::Rival,
            package: Some("rtrb"),
            settings: "push and pop, one item at a time",
        })),
        Box::new(Timed::<RtrbChunks>::new(Card {
            name: "rtrb-chunks",
            role: Role::Rival,
            package: Some("rtrb"),
            settings: "write_chunk_uninit and read_chunk of up to 64 items",
        })),
        Box::new(Timed::<Queue>::new(Card {
            name: "array-queue",
            role: Role::Rival,
            package: Some("crossbeam-queue"),
            settings: "ArrayQueue, push and pop, one item at a time",
        })),
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

/// Items that a chunked contender moves per call, as many as a batch of events has.
const CHUNK: usize = 64;

struct Keylane;

impl Slots for Keylane {
    type Head<T: Item> = keylane::bare_ring::Head<T::Body>;
    type Tail<T: Item> = keylane::bare_ring::Tail<T::Body>;

    fn open<T: Item>(capacity: usize) -> (Self::Head<T>, Self::Tail<T>) {
        keylane::bare_ring::ring(capacity.next_power_of_two())
    }

    #[inline]
    fn put<T: Item>(head: &mut Self::Head<T>, from: u64, _until: u64) -> u64 {
        u64::from(head.push(T::Body::of(from)).is_ok())
    }

    #[inline]
    fn take<T: Item>(tail: &mut Self::Tail<T>, mut see: impl FnMut(u64)) -> u64 {
        tail.drain(256, |item| see(item.number())) as u64
    }
}

struct RtrbSingle;

impl Slots for RtrbSingle {
    type Head<T: Item> = rtrb::Producer<T>;
    type Tail<T: Item> = rtrb::Consumer<T>;

    fn open<T: Item>(capacity: usize) -> (Self::Head<T>, Self::Tail<T>) {
        rtrb::RingBuffer::new(capacity)
    }

    #[inline]
    fn put<T: Item>(head: &mut Self::Head<T>, from: u64, _until: u64) -> u64 {
        u64::from(head.push(T::of(from)).is_ok())
    }

    #[inline]
    fn take<T: Item>(tail: &mut Self::Tail<T>, mut see: impl FnMut(u64)) -> u64 {
        match tail.pop() {
            Ok(item) => {
                see(item.number());
                1
            }
            Err(_) => 0,
        }
    }
}

struct RtrbChunks;

impl Slots for RtrbChunks {
    type Head<T: Item> = rtrb::Producer<T>;
    type Tail<T: Item> = rtrb::Consumer<T>;

    fn open<T: Item>(capacity: usize) -> (Self::Head<T>, Self::Tail<T>) {
        rtrb::RingBuffer::new(capacity)
    }

    #[inline]
    fn put<T: Item>(head: &mut Self::Head<T>, from: u64, until: u64) -> u64 {
        let wanted = CHUNK.min((until - from) as usize);
        // The cached count first: the exact one reads the consumer's line on every call.
        let room = match head.cached_slots() {
            cached if cached >= wanted => cached,
            _ => head.slots(),
        };
        match head.write_chunk_uninit(room.min(wanted)) {
            Ok(chunk) => chunk.fill_from_iter((from..until).map(T::of)) as u64,
            Err(_) => 0,
        }
    }

    #[inline]
    fn take<T: Item>(tail: &mut Self::Tail<T>, mut see: impl FnMut(u64)) -> u64 {
        let filled = match tail.cached_slots() {
            cached if cached >= CHUNK => cached,
            _ => tail.slots(),
        };
        let Ok(chunk) = tail.read_chunk(filled.min(CHUNK)) else { return 0 };
        let (first, second) = chunk.as_slices();
        for item in first.iter().chain(second) {
            see(item.number());
        }
        let count = chunk.len() as u64;
        chunk.commit_all();
        count
    }
}

struct Queue;

impl Slots for Queue {
    type Head<T: Item> = Arc<ArrayQueue<T>>;
    type Tail<T: Item> = Arc<ArrayQueue<T>>;

    fn open<T: Item>(capacity: usize) -> (Self::Head<T>, Self::Tail<T>) {
        let queue = Arc::new(ArrayQueue::new(capacity));
        (Arc::clone(&queue), queue)
    }

    #[inline]
    fn put<T: Item>(head: &mut Self::Head<T>, from: u64, _until: u64) -> u64 {
        u64::from(head.push(T::of(from)).is_ok())
    }

    #[inline]
    fn take<T: Item>(tail: &mut Self::Tail<T>, mut see: impl FnMut(u64)) -> u64 {
        match tail.pop() {
            Some(item) => {
                see(item.number());
                1
            }
            None => 0,
        }
    }
}

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
