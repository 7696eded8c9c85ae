//! The least that a hand-over takes: one word in one cache line, and a receiver that spins or parks.
//!
//! It takes one event at a time and carries nothing but the moment that the event was due, so it is no rival but the
//! floor of the `latency` scenario.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};

use crossbeam_utils::CachePadded;

use super::{Joined, Transport};
use crate::workload::{Payload, RivalEvent};

/// No event; nothing is due at the beginning of time.
const EMPTY: u64 = 0;
const CLOSED: u64 = u64::MAX;

/// A receiver that spins.
#[derive(Debug)]
pub(crate) struct LinePing;

/// A receiver that parks.
#[derive(Debug)]
pub(crate) struct ParkPing;

/// The sending end; closes when dropped.
#[derive(Debug)]
pub(crate) struct Mailbox {
    word: Arc<CachePadded<AtomicU64>>,
    receiver: Thread,
}

impl Mailbox {
    #[inline]
    fn put(&self, word: u64) {
        while self.word.load(Ordering::Acquire) != EMPTY {
            spin_loop();
        }
        self.word.store(word, Ordering::Release);
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.put(CLOSED);
        self.receiver.unpark();
    }
}

fn open(mut see: impl FnMut(&RivalEvent) + Send + 'static, wait: fn()) -> (Vec<Mailbox>, Joined) {
    let word = Arc::new(CachePadded::new(AtomicU64::new(EMPTY)));
    let shared = Arc::clone(&word);
    let thread = Joined::spawn(move || {
        loop {
            match shared.load(Ordering::Acquire) {
                EMPTY => wait(),
                CLOSED => return,
                due => {
                    shared.store(EMPTY, Ordering::Release);
                    let payload = Payload { body: [due, 0, 0], ..Payload::default() };
                    see(&RivalEvent { payload, ..RivalEvent::default() });
                }
            }
        }
    });
    let receiver = thread.thread().cloned().expect("it was started just now");
    (vec![Mailbox { word, receiver }], thread)
}

impl Transport for LinePing {
    type Sender = Mailbox;
    type Consumer = Joined;

    fn open(
        senders: usize,
        _capacity: usize,
        see: impl FnMut(&RivalEvent) + Send + 'static,
    ) -> (Vec<Mailbox>, Joined) {
        debug_assert_eq!(senders, 1, "a mailbox has one sender");
        open(see, spin_loop)
    }

    #[inline]
    fn send(sender: &mut Mailbox, event: RivalEvent) {
        sender.put(event.payload.body[0]);
    }
}

impl Transport for ParkPing {
    type Sender = Mailbox;
    type Consumer = Joined;

    fn open(
        senders: usize,
        _capacity: usize,
        see: impl FnMut(&RivalEvent) + Send + 'static,
    ) -> (Vec<Mailbox>, Joined) {
        debug_assert_eq!(senders, 1, "a mailbox has one sender");
        open(see, thread::park)
    }

    #[inline]
    fn send(sender: &mut Mailbox, event: RivalEvent) {
        sender.put(event.payload.body[0]);
        sender.receiver.unpark();
    }
}
