//! ringbuf's heap ring, one by one and through its iterators.

use ringbuf::traits::{Consumer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};

use super::{CHUNK, Card, Item, Role, Slots, Timed};

pub(super) fn single() -> Timed<Single> {
    Timed::new(Card {
        name: "ringbuf",
        role: Role::Rival,
        package: Some("ringbuf"),
        settings: "HeapRb, split() with cached indices; try_push and try_pop, one item at a time",
    })
}

pub(super) fn iterators() -> Timed<Iterators> {
    Timed::new(Card {
        name: "ringbuf-iter",
        role: Role::Rival,
        package: Some("ringbuf"),
        settings: "HeapRb, split() with cached indices; push_iter of up to 64 items, pop_iter",
    })
}

pub(super) struct Single;

impl Slots for Single {
    type Head<T: Item> = HeapProd<T>;
    type Tail<T: Item> = HeapCons<T>;

    fn open<T: Item>(capacity: usize) -> (Self::Head<T>, Self::Tail<T>) {
        HeapRb::new(capacity).split()
    }

    #[inline]
    fn put<T: Item>(head: &mut Self::Head<T>, from: u64, _until: u64) -> u64 {
        u64::from(head.try_push(T::of(from)).is_ok())
    }

    #[inline]
    fn take<T: Item>(tail: &mut Self::Tail<T>, mut see: impl FnMut(u64)) -> u64 {
        match tail.try_pop() {
            Some(item) => {
                see(item.number());
                1
            }
            None => 0,
        }
    }
}

pub(super) struct Iterators;

impl Slots for Iterators {
    type Head<T: Item> = HeapProd<T>;
    type Tail<T: Item> = HeapCons<T>;

    fn open<T: Item>(capacity: usize) -> (Self::Head<T>, Self::Tail<T>) {
        Single::open(capacity)
    }

    #[inline]
    fn put<T: Item>(head: &mut Self::Head<T>, from: u64, until: u64) -> u64 {
        head.push_iter((from..until).take(CHUNK).map(T::of)) as u64
    }

    #[inline]
    fn take<T: Item>(tail: &mut Self::Tail<T>, mut see: impl FnMut(u64)) -> u64 {
        let mut count = 0;
        // The iterator gives its slots back when it is dropped, all at once.
        for item in tail.pop_iter() {
            see(item.number());
            count += 1;
        }
        count
    }
}
