//! kanal, bounded and blocking.
//!
//! `drain_into` takes all that is there under one lock, which is the library's batch receive;
//! batches cannot be sent. Both ways of receiving take part, as each was ahead in some cells. The
//! feature `std-mutex` made no consistent difference, so the library's own mutex stays.

use kanal::{Receiver, Sender};

use super::{Card, Channel, HandSharded, Role};
use crate::workload::RivalEvent;

pub(crate) fn receiving() -> HandSharded<Recv> {
    HandSharded::new(Card {
        name: "kanal",
        role: Role::Rival,
        package: Some("kanal"),
        settings: "bounded; send blocks; recv()",
    })
}

pub(crate) fn draining() -> HandSharded<Drain> {
    HandSharded::new(Card {
        name: "kanal-drain",
        role: Role::Rival,
        package: Some("kanal"),
        settings: "bounded; send blocks; drain_into(), recv() when empty",
    })
}

#[derive(Debug)]
pub(crate) struct Drain;

impl Channel for Drain {
    type Sender = Sender<RivalEvent>;
    type Receiver = Receiver<RivalEvent>;

    fn open(senders: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        let (sender, receiver) = kanal::bounded(capacity);
        (vec![sender; senders], receiver)
    }

    #[inline]
    fn send(sender: &mut Self::Sender, event: RivalEvent) {
        sender.send(event).expect("the consumer outlives its producers");
    }

    fn consume(receiver: Self::Receiver, mut see: impl FnMut(&RivalEvent)) {
        let mut events = Vec::with_capacity(receiver.capacity());
        while let Ok(event) = receiver.recv() {
            see(&event);
            while receiver.drain_into(&mut events).is_ok_and(|count| count > 0) {
                for event in events.drain(..) {
                    see(&event);
                }
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
        while let Ok(event) = receiver.recv() {
            see(&event);
        }
    }
}
