//! thingbuf's blocking mpsc channel.
//!
//! Its point are slots that are filled and read in place, so that is how it takes part. The default recycling writes a
//! fresh value over each slot that was read, for the sake of buffers that could be used again; an event has none, so a
//! user would switch that off. Sending by value is kept to check the choice. Batches can neither be sent nor received.

use thingbuf::mpsc::blocking::{Receiver, Sender, with_recycle};
use thingbuf::recycling::Recycle;

use super::{Card, Channel, HandSharded, Role};
use crate::workload::RivalEvent;

pub(crate) fn rival() -> HandSharded<InPlace> {
    HandSharded::new(Card {
        name: "thingbuf",
        role: Role::Rival,
        package: Some("thingbuf"),
        settings: "mpsc::blocking; send_ref and recv_ref in place; slots are not cleared",
    })
}

pub(crate) fn alternate() -> HandSharded<ByValue> {
    HandSharded::new(Card {
        name: "thingbuf-by-value",
        role: Role::Alternate,
        package: Some("thingbuf"),
        settings: "mpsc::blocking; send and recv; slots are not cleared",
    })
}

/// Leaves a slot as it is: the next event overwrites all of it.
#[derive(Debug)]
pub(crate) struct Overwritten;

impl Recycle<RivalEvent> for Overwritten {
    fn new_element(&self) -> RivalEvent {
        RivalEvent::default()
    }

    fn recycle(&self, _event: &mut RivalEvent) {}
}

#[derive(Debug)]
pub(crate) struct InPlace;

impl Channel for InPlace {
    type Sender = Sender<RivalEvent, Overwritten>;
    type Receiver = Receiver<RivalEvent, Overwritten>;

    fn open(senders: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        let (sender, receiver) = with_recycle(capacity, Overwritten);
        ((0..senders).map(|_| sender.clone()).collect(), receiver)
    }

    #[inline]
    fn send(sender: &mut Self::Sender, event: RivalEvent) {
        *sender.send_ref().expect("the consumer outlives its producers") = event;
    }

    fn consume(receiver: Self::Receiver, mut see: impl FnMut(&RivalEvent)) {
        while let Some(event) = receiver.recv_ref() {
            see(&event);
        }
    }
}

#[derive(Debug)]
pub(crate) struct ByValue;

impl Channel for ByValue {
    type Sender = Sender<RivalEvent, Overwritten>;
    type Receiver = Receiver<RivalEvent, Overwritten>;

    fn open(senders: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        InPlace::open(senders, capacity)
    }

    #[inline]
    fn send(sender: &mut Self::Sender, event: RivalEvent) {
        sender.send(event).expect("the consumer outlives its producers");
    }

    fn consume(receiver: Self::Receiver, mut see: impl FnMut(&RivalEvent)) {
        while let Some(event) = receiver.recv_ref() {
            see(&event);
        }
    }
}
