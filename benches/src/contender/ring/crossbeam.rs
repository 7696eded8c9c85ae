//! crossbeam's `ArrayQueue`, which could do more: any number of producers and consumers.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use super::{Card, Item, Role, Slots, Timed};

pub(super) fn queue() -> Timed<Queue> {
    Timed::new(Card {
        name: "array-queue",
        role: Role::Rival,
        package: Some("crossbeam-queue"),
        settings: "ArrayQueue, push and pop, one item at a time",
    })
}

pub(super) struct Queue;

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
