//! The standard library's `sync_channel`, which is crossbeam's array flavour at heart.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Card, Channel, HandSharded, Role};
use crate::workload::RivalEvent;

pub(crate) fn rival() -> HandSharded<SyncChannel> {
    HandSharded::new(Card {
        name: "std",
        role: Role::Rival,
        package: None,
        settings: "sync_channel; send blocks; recv by iter()",
    })
}

#[derive(Debug)]
pub(crate) struct SyncChannel;

impl Channel for SyncChannel {
    type Sender = SyncSender<RivalEvent>;
    type Receiver = Receiver<RivalEvent>;

    fn open(senders: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        let (sender, receiver) = sync_channel(capacity);
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
