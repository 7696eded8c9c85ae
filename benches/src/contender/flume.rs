//! flume, bounded and blocking.
//!
//! `drain` takes the whole queue under one lock, and with it the queue's memory, which then has to
//! grow again; receiving one by one was faster. Batches cannot be sent.

use flume::{Receiver, Sender};

use super::{Card, Channel, HandSharded, Role};
use crate::workload::RivalEvent;

pub(crate) fn rival() -> HandSharded<Recv> {
    HandSharded::new(Card {
        name: "flume",
        role: Role::Rival,
        package: Some("flume"),
        settings: "bounded; send blocks; recv by iter()",
    })
}

pub(crate) fn alternate() -> HandSharded<Drain> {
    HandSharded::new(Card {
        name: "flume-drain",
        role: Role::Alternate,
        package: Some("flume"),
        settings: "bounded; send blocks; recv() for the first, then drain()",
    })
}

#[derive(Debug)]
pub(crate) struct Drain;

impl Channel for Drain {
    type Sender = Sender<RivalEvent>;
    type Receiver = Receiver<RivalEvent>;

    fn open(senders: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        let (sender, receiver) = flume::bounded(capacity);
        (vec![sender; senders], receiver)
    }

    #[inline]
    fn send(sender: &mut Self::Sender, event: RivalEvent) {
        sender.send(event).expect("the consumer outlives its producers");
    }

    fn consume(receiver: Self::Receiver, mut see: impl FnMut(&RivalEvent)) {
        while let Ok(event) = receiver.recv() {
            see(&event);
            for event in receiver.drain() {
                see(&event);
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Recv;

impl Channel for Recv {
    type Sender = Sender<RivalEvent>;
    type Receiver = Receiver<RivalEvent>;

    fn open(senders: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        Drain::open(senders, capacity)
    }

    #[inline]
    fn send(sender: &mut Self::Sender, event: RivalEvent) {
        Drain::send(sender, event);
    }

    fn consume(receiver: Self::Receiver, mut see: impl FnMut(&RivalEvent)) {
        for event in receiver.iter() {
            see(&event);
        }
    }
}
