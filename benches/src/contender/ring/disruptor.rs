//! The disruptor crate's ring with one producer and one consumer that polls.

use disruptor::{
    BusySpin, EventPoller, Producer, SingleConsumerBarrier, SingleProducer, SingleProducerBarrier,
    build_single_producer,
};

use super::{CHUNK, Card, Item, Role, Slots, Timed};

pub(super) fn single() -> Timed<Single> {
    Timed::new(Card {
        name: "disruptor",
        role: Role::Rival,
        package: Some("disruptor"),
        settings: "build_single_producer; try_publish one item at a time; an event poller takes all that is there",
    })
}

pub(super) fn batches() -> Timed<Batches> {
    Timed::new(Card {
        name: "disruptor-batch",
        role: Role::Rival,
        package: Some("disruptor"),
        settings: "build_single_producer; try_batch_publish of 64 items; an event poller takes all that is there",
    })
}

type Head<T> = SingleProducer<T, SingleConsumerBarrier>;
type Tail<T> = EventPoller<T, SingleProducerBarrier>;

pub(super) struct Single;

impl Slots for Single {
    type Head<T: Item> = Head<T>;
    type Tail<T: Item> = Tail<T>;

    fn open<T: Item>(capacity: usize) -> (Head<T>, Tail<T>) {
        // Nobody waits by the strategy: the poller returns when there is nothing.
        let capacity = capacity.next_power_of_two();
        let (tail, builder) =
            build_single_producer(capacity, || T::of(0), BusySpin).new_event_poller();
        (builder.build(), tail)
    }

    #[inline]
    fn put<T: Item>(head: &mut Head<T>, from: u64, _until: u64) -> u64 {
        u64::from(head.try_publish(|slot| *slot = T::of(from)).is_ok())
    }

    #[inline]
    fn take<T: Item>(tail: &mut Tail<T>, mut see: impl FnMut(u64)) -> u64 {
        let mut count = 0;
        if let Ok(mut items) = tail.poll() {
            for item in &mut items {
                see(item.number());
                count += 1;
            }
        }
        count
    }
}

pub(super) struct Batches;

impl Slots for Batches {
    type Head<T: Item> = Head<T>;
    type Tail<T: Item> = Tail<T>;

    fn open<T: Item>(capacity: usize) -> (Head<T>, Tail<T>) {
        Single::open(capacity)
    }

    #[inline]
    fn put<T: Item>(head: &mut Head<T>, from: u64, until: u64) -> u64 {
        let count = (until - from).min(CHUNK as u64);
        let published = head.try_batch_publish(count as usize, |slots| {
            for (slot, number) in slots.zip(from..) {
                *slot = T::of(number);
            }
        });
        match published {
            Ok(_) => count,
            // All or nothing: in a ring smaller than a batch, and at its end, one by one.
            Err(_) => Single::put(head, from, until),
        }
    }

    #[inline]
    fn take<T: Item>(tail: &mut Tail<T>, see: impl FnMut(u64)) -> u64 {
        Single::take(tail, see)
    }
}
