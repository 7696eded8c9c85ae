//! The disruptor crate: one ring per shard, and the crate's own thread for each consumer.
//!
//! Its user picks the kind of producer when the ring is built, so one producer gets the cheaper kind. Its calls that wait
//! for room and its strategies for waiting all spin; with more threads than cores that means spinning away the
//! time slices of those one waits for. A trait lets the user bring a strategy of his own, and `try_publish` lets him wait
//! for room as he likes; so here both sides spin while there is a core for everyone, and yield otherwise.

use std::sync::Arc;
use std::thread;

use crossbeam_utils::Backoff;
use disruptor::{
    MultiProducer, Producer, Sequence, SingleConsumerBarrier, SingleProducer, build_multi_producer,
    build_single_producer, wait_strategies::WaitStrategy,
};

use super::{Card, Role, Stream, Transport, stream};
use crate::measure::Lap;
use crate::workload::{Keys, RivalEvent, Work};

#[derive(Debug)]
pub(crate) struct Disruptor;

impl Stream for Disruptor {
    fn card(&self) -> Card {
        Card {
            name: "disruptor",
            role: Role::Rival,
            package: Some("disruptor"),
            settings: "a ring per shard, single producer for one and multi producer for more; try_publish, in \
                       batches try_batch_publish; both sides spin while every thread has a core, else they yield",
        }
    }

    fn run(&self, work: &Work, keys: &Arc<Keys>) -> Result<Lap, String> {
        let threads = work.shape.producers + work.shape.shards;
        let crowded = thread::available_parallelism().is_ok_and(|cores| threads > cores.get());
        match (work.shape.producers, crowded) {
            (1, false) => stream::<OneProducer<Spin>>(work, keys),
            (1, true) => stream::<OneProducer<Yield>>(work, keys),
            (_, false) => stream::<Producers<Spin>>(work, keys),
            (_, true) => stream::<Producers<Yield>>(work, keys),
        }
    }
}

/// A strategy of waiting that needs no settings.
pub(crate) trait Wait: WaitStrategy + 'static {
    const STRATEGY: Self;
}

/// The crate's own strategy of the lowest latency, with the hint that hyper-threads like.
pub(crate) type Spin = disruptor::BusySpinWithSpinLoopHint;

impl Wait for Spin {
    const STRATEGY: Self = Self;
}

/// Lets other threads run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Yield;

impl WaitStrategy for Yield {
    fn wait_for(&self, _sequence: Sequence) {
        thread::yield_now();
    }
}

impl Wait for Yield {
    const STRATEGY: Self = Self;
}

/// Publishes as soon as `publish` finds room.
#[inline]
fn until_room<T, E>(mut publish: impl FnMut() -> Result<T, E>) {
    let backoff = Backoff::new();
    while publish().is_err() {
        backoff.snooze();
    }
}

#[inline]
fn send(producer: &mut impl Producer<RivalEvent>, event: RivalEvent) {
    until_room(|| producer.try_publish(|slot| *slot = event));
}

fn send_all(
    producer: &mut impl Producer<RivalEvent>,
    events: &mut Vec<RivalEvent>,
    capacity: usize,
) {
    for part in events.chunks(capacity) {
        until_room(|| {
            producer.try_batch_publish(part.len(), |slots| {
                for (slot, event) in slots.zip(part) {
                    *slot = *event;
                }
            })
        });
    }
    events.clear();
}

/// A producer and the slots of its ring.
#[derive(Debug)]
pub(crate) struct Handle<P> {
    producer: P,
    capacity: usize,
}

pub(crate) struct OneProducer<W>(W);

impl<W: Wait> Transport for OneProducer<W> {
    type Sender = Handle<SingleProducer<RivalEvent, SingleConsumerBarrier>>;
    /// The last producer joins the thread.
    type Consumer = ();

    const SENDS_BATCHES: bool = true;

    fn open(
        senders: usize,
        capacity: usize,
        mut see: impl FnMut(&RivalEvent) + Send + 'static,
    ) -> (Vec<Self::Sender>, ()) {
        debug_assert_eq!(senders, 1, "the flavour has one sender");
        let capacity = capacity.next_power_of_two();
        let producer = build_single_producer(capacity, RivalEvent::default, W::STRATEGY)
            .handle_events_with(move |event: &RivalEvent, _, _| see(event))
            .build();
        (vec![Handle { producer, capacity }], ())
    }

    #[inline]
    fn send(sender: &mut Self::Sender, event: RivalEvent) {
        send(&mut sender.producer, event);
    }

    fn send_all(sender: &mut Self::Sender, events: &mut Vec<RivalEvent>) {
        send_all(&mut sender.producer, events, sender.capacity);
    }
}

pub(crate) struct Producers<W>(W);

impl<W: Wait> Transport for Producers<W> {
    type Sender = Handle<MultiProducer<RivalEvent, SingleConsumerBarrier>>;
    /// The last producer joins the thread.
    type Consumer = ();

    const SENDS_BATCHES: bool = true;

    fn open(
        senders: usize,
        capacity: usize,
        mut see: impl FnMut(&RivalEvent) + Send + 'static,
    ) -> (Vec<Self::Sender>, ()) {
        // The ring of several producers keeps its bookkeeping in words of 64 slots.
        let capacity = capacity.next_power_of_two().max(64);
        let producer = build_multi_producer(capacity, RivalEvent::default, W::STRATEGY)
            .handle_events_with(move |event: &RivalEvent, _, _| see(event))
            .build();
        let handle = || Handle { producer: producer.clone(), capacity };
        ((0..senders).map(|_| handle()).collect(), ())
    }

    #[inline]
    fn send(sender: &mut Self::Sender, event: RivalEvent) {
        send(&mut sender.producer, event);
    }

    fn send_all(sender: &mut Self::Sender, events: &mut Vec<RivalEvent>) {
        send_all(&mut sender.producer, events, sender.capacity);
    }
}
