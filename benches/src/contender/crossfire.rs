//! crossfire, bounded and blocking.
//!
//! The library has a cheaper flavour for a single producer; a user with one producer would take it,
//! so the rival does. There is no batch call on either side.

use std::sync::Arc;

use crossfire::{MTx, Rx, Tx, mpsc, spsc};

use super::{Card, Channel, Role, Stream, stream};
use crate::measure::Lap;
use crate::workload::{Keys, RivalEvent, Work};

#[derive(Debug)]
pub(crate) struct Crossfire;

impl Stream for Crossfire {
    fn card(&self) -> Card {
        Card {
            name: "crossfire",
            role: Role::Rival,
            package: Some("crossfire"),
            settings: "bounded_blocking, spsc for one producer and mpsc for more; send blocks; \
                       recv(); detect_backoff_cfg",
        }
    }

    fn run(&self, work: &Work, keys: &Arc<Keys>) -> Result<Lap, String> {
        // On a single core the library asks for this call, and is twice as fast with it.
        crossfire::detect_backoff_cfg();
        if work.shape.producers == 1 {
            stream::<OneProducer>(work, keys)
        } else {
            stream::<Producers>(work, keys)
        }
    }
}

pub(super) struct OneProducer;

impl Channel for OneProducer {
    type Sender = Tx<spsc::Array<RivalEvent>>;
    type Receiver = Rx<spsc::Array<RivalEvent>>;

    fn open(senders: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        debug_assert_eq!(senders, 1, "the flavour has one sender");
        let (sender, receiver) = spsc::bounded_blocking(capacity);
        (vec![sender], receiver)
    }

    #[inline]
    fn send(sender: &mut Self::Sender, event: RivalEvent) {
        sender.send(event).expect("the consumer outlives its producers");
    }

    fn consume(receiver: Self::Receiver, mut see: impl FnMut(&RivalEvent)) {
        while let Ok(event) = receiver.recv() {
            see(&event);
        }
    }
}

pub(super) struct Producers;

impl Channel for Producers {
    type Sender = MTx<mpsc::Array<RivalEvent>>;
    type Receiver = Rx<mpsc::Array<RivalEvent>>;

    fn open(senders: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        let (sender, receiver) = mpsc::bounded_blocking(capacity);
        (vec![sender; senders], receiver)
    }

    #[inline]
    fn send(sender: &mut Self::Sender, event: RivalEvent) {
        sender.send(event).expect("the consumer outlives its producers");
    }

    fn consume(receiver: Self::Receiver, mut see: impl FnMut(&RivalEvent)) {
        while let Ok(event) = receiver.recv() {
            see(&event);
        }
    }
}
