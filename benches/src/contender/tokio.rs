//! tokio's bounded mpsc, from plain threads: no runtime takes part, so none slows it down.
//!
//! `blocking_recv_many` is the library's batch receive. Its batch send is `reserve_many`, which
//! takes all permits in one step; it is async, so a sender that finds too few of them polls it on a
//! parked thread, as `blocking_send` does.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Card, Channel, HandSharded, Role};
use crate::workload::RivalEvent;

pub(crate) fn rival() -> HandSharded<ReserveMany> {
    HandSharded::new(Card {
        name: "tokio",
        role: Role::Rival,
        package: Some("tokio"),
        settings: "mpsc::channel on plain threads; blocking_send, in batches reserve_many; \
                   blocking_recv_many of up to 256",
    })
}

pub(crate) fn alternate() -> HandSharded<OneByOne> {
    HandSharded::new(Card {
        name: "tokio-one-by-one",
        role: Role::Alternate,
        package: Some("tokio"),
        settings: "mpsc::channel on plain threads; blocking_send; blocking_recv",
    })
}

/// Large enough to spread the cost of a receive, small enough to stay in the first-level cache.
const RECEIVED_AT_ONCE: usize = 256;

#[derive(Debug)]
pub(crate) struct ReserveMany;

impl Channel for ReserveMany {
    type Sender = Sender<RivalEvent>;
    type Receiver = Receiver<RivalEvent>;

    const SENDS_BATCHES: bool = true;

    fn open(senders: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        let (sender, receiver) = channel(capacity);
        (vec![sender; senders], receiver)
    }

    #[inline]
    fn send(sender: &mut Self::Sender, event: RivalEvent) {
        sender.blocking_send(event).expect("the consumer outlives its producers");
    }

    fn send_all(sender: &mut Self::Sender, events: &mut Vec<RivalEvent>) {
        // A channel smaller than a batch could never grant the permits of one.
        let at_once = sender.max_capacity();
        while !events.is_empty() {
            let count = events.len().min(at_once);
            let permits = match sender.try_reserve_many(count) {
                Ok(permits) => permits,
                Err(_) => block_on(sender.reserve_many(count))
                    .expect("the consumer outlives its producers"),
            };
            for (permit, event) in permits.zip(events.drain(..count)) {
                permit.send(event);
            }
        }
    }

    fn consume(receiver: Self::Receiver, see: impl FnMut(&RivalEvent)) {
        receive_many(receiver, see);
    }
}

/// Receives until all senders are gone, as many at once as there are.
pub(super) fn receive_many(mut receiver: Receiver<RivalEvent>, mut see: impl FnMut(&RivalEvent)) {
    let mut events = Vec::with_capacity(RECEIVED_AT_ONCE);
    while receiver.blocking_recv_many(&mut events, RECEIVED_AT_ONCE) > 0 {
        for event in events.drain(..) {
            see(&event);
        }
    }
}

#[derive(Debug)]
pub(crate) struct OneByOne;

impl Channel for OneByOne {
    type Sender = Sender<RivalEvent>;
    type Receiver = Receiver<RivalEvent>;

    fn open(senders: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        ReserveMany::open(senders, capacity)
    }

    #[inline]
    fn send(sender: &mut Self::Sender, event: RivalEvent) {
        ReserveMany::send(sender, event);
    }

    fn consume(mut receiver: Self::Receiver, mut see: impl FnMut(&RivalEvent)) {
        while let Some(event) = receiver.blocking_recv() {
            see(&event);
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    // Made once per thread: an allocation per wait would be held against the rival.
    static WAKER: Waker = Waker::from(Arc::new(Unpark(thread::current())));
}

/// Polls `future` on this thread, parked in between.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    WAKER.with(|waker| {
        let mut context = Context::from_waker(waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            thread::park();
        }
    })
}
