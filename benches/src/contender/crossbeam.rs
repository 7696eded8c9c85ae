//! crossbeam-channel, bounded (the array flavour).
//!
//! There is no batch call on either side: `try_iter` is a `try_recv` per event, so a plain blocking
//! iterator does the same work with one branch less.

use crossbeam_channel::{Receiver, Sender};

use super::{Card, Channel, HandSharded, Role};
use crate::workload::RivalEvent;

pub(crate) fn rival() -> HandSharded<Iter> {
    HandSharded::new(Card {
        name: "crossbeam",
        role: Role::Rival,
        package: Some("crossbeam-channel"),
        settings: "bounded; send blocks; recv by iter()",
    })
}

pub(crate) fn alternate() -> HandSharded<TryIter> {
    HandSharded::new(Card {
        name: "crossbeam-try-iter",
        role: Role::Alternate,
        package: Some("crossbeam-channel"),
        settings: "bounded; send blocks; recv() for the first, then try_iter()",
    })
}

#[derive(Debug)]
pub(crate) struct Iter;

impl Channel for Iter {
    type Sender = Sender<RivalEvent>;
    type Receiver = Receiver<RivalEvent>;

    fn open(senders: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        let (sender, receiver) = crossbeam_channel::bounded(capacity);
        (vec![sender; senders], receiver)
    }

    #[inline]
    fn send(sender: &mut Self::Sender, event: RivalEvent) {
        sender.send(event).expect("the consumer outlives its producers");
    }

    fn consume(receiver: Self::Receiver, mut see: impl FnMut(&RivalEvent)) {
        for event in receiver.iter() {
            see(&event);
        }
    }
}

#[derive(Debug)]
pub(crate) struct TryIter;

impl Channel for TryIter {
    type Sender = Sender<RivalEvent>;
    type Receiver = Receiver<RivalEvent>;

    fn open(senders: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        Iter::open(senders, capacity)
    }

    #[inline]
    fn send(sender: &mut Self::Sender, event: RivalEvent) {
        Iter::send(sender, event);
    }

    fn consume(receiver: Self::Receiver, mut see: impl FnMut(&RivalEvent)) {
        while let Ok(event) = receiver.recv() {
            see(&event);
            for event in receiver.try_iter() {
                see(&event);
            }
        }
    }
}
