//! Closing: what is accepted is processed, what is refused comes back, and nobody is left waiting.
//!
//! | model | proves | threads, events, capacity | preemptions |
//! |---|---|---|---|
//! | `a_bus_starts_and_ends` | starting and shutting down, explored from the first thread on | 2, 0, 1 | 3 |
//! | `close_against_an_emit` | an emit is accepted and processed, or refused and returned | 3, 1, 1 | 2 |
//! | `close_against_a_first_emit` | the same for an emitter whose thread has no ring yet | 3, 1, 1 | 2 |
//! | `close_against_a_batch` | a batch is accepted to some point, and processed to the same point | 3, 3, 2 | 2 |
//! | `close_against_a_blocked_emit` | an emit that waits for room comes in, or is woken and refused | 3, 2, 1 | 2 |
//! | `close_against_a_waiting_task` | the same for a task | 3, 2, 1 | 2 |
//! | `a_deadline_against_an_emit` | a shutdown that does not wait counts every accepted event, and drops each once | 3, 2, 2 | 2 |
//! | `the_last_handle_shuts_down` | two handles dropped at once, while the worker may be going to sleep: one shutdown, every event | 3, 1, 1 | 2 |
//! | `a_processor_drops_the_last_handle` | a shutdown that begins on the shard's own thread ends | 2, 1, 1 | 2 |
//! | `two_shutdowns_at_once` | both get the same report | 3, 1, 1 | 2 |
//! | `events_derived_while_closing` | shards wait for what others may still derive | 3, 2, 1 | 1 |
//! | `events_derived_by_a_flush` | the same when a flush derives an event, and a shard seems to be done before it | 3, 3, 1 | 1 |
//! | `a_busy_mark_comes_first` | the closing handshake by itself | 2, 1, 1 | any |
//!
//! This one must fail, and does:
//!
//! | model | what it does wrong |
//! |---|---|
//! | `a_busy_mark_that_comes_second` | asks whether the gate is closed before it marks the ring busy |
#![cfg(loom)]

use std::time::Duration;

use keylane::model::{Ring, Shard};
use keylane::{Builder, Bus, Emitter, Event, EventType, Key, Processor, Reason, ShardContext};
use keylane_loom_tests::{Log, Payload, UNBOUNDED, block_on, check, start, violates};
use loom::sync::Arc;
use loom::sync::atomic::Ordering::SeqCst;
use loom::sync::atomic::fence;
use loom::thread;
use serde_core::{Serialize, Serializer};

const KIND: EventType = EventType::user(0);
const SHARD_0: Key = Key::from_hash(0);
const SHARD_1: Key = Key::from_hash(u64::MAX);

fn one_shard(capacity: usize, log: &Log) -> Builder {
    Bus::builder().shards(1).capacity(capacity).processor("log", log.record())
}

#[test]
fn a_bus_starts_and_ends() {
    check(3, || {
        let bus = Bus::builder().shards(1).capacity(1).build().unwrap();
        assert!(bus.shutdown(Duration::MAX).is_clean());
    });
}

/// Shuts a bus down while another thread emits, and compares the books. `emit` returns how many events were accepted; their
/// numbers count from 0.
fn close_against(capacity: usize, emit: impl FnOnce(&Bus) -> thread::JoinHandle<u64>) {
    let log = Log::default();
    let bus = start(one_shard(capacity, &log));
    let emits = emit(&bus);
    let report = bus.shutdown(Duration::MAX);
    let accepted = emits.join().unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.accepted, report.processed), (accepted, accepted));
    assert_eq!(log.entries(), (0..accepted).collect::<Vec<_>>());
}

#[test]
fn close_against_an_emit() {
    check(2, || {
        close_against(1, |bus| {
            let mut producer = bus.producer();
            thread::spawn(move || match producer.try_emit(KIND, Payload::new(0), 0) {
                Ok(()) => 1,
                Err(refused) => {
                    assert_eq!(refused.reason(), Reason::Closed);
                    let payload = refused.into_event().into_value().downcast::<Payload>();
                    assert_eq!(payload.expect("the value comes back").number(), 0);
                    0
                }
            })
        });
    });
}

#[test]
fn close_against_a_first_emit() {
    check(2, || {
        close_against(1, |bus| {
            let emitter = bus.emitter();
            thread::spawn(move || emitter.try_emit(KIND, Payload::new(0), 0).is_ok().into())
        });
    });
}

#[test]
fn close_against_a_batch() {
    check(2, || {
        close_against(2, |bus| {
            let mut producer = bus.producer();
            thread::spawn(move || {
                let item = |number| (KIND, Payload::new(number).into(), Key::from(0));
                // The ring is opened first: a group goes through rings that exist.
                if producer.try_emit(KIND, Payload::new(0), 0).is_err() {
                    return 0;
                }
                match producer.emit_batch((1..3).map(item)) {
                    Ok(accepted) => 1 + accepted as u64,
                    Err(error) => {
                        let accepted = error.accepted();
                        assert_eq!(error.into_rest().len(), 2 - accepted);
                        1 + accepted as u64
                    }
                }
            })
        });
    });
}

#[test]
fn close_against_a_blocked_emit() {
    check(2, || {
        close_against(1, |bus| {
            let mut producer = bus.producer();
            thread::spawn(move || {
                let mut emit = |number| producer.emit_blocking(KIND, Payload::new(number), 0);
                (0..2).take_while(|&number| emit(number).is_ok()).count() as u64
            })
        });
    });
}

#[test]
fn close_against_a_waiting_task() {
    check(2, || {
        close_against(1, |bus| {
            let emitter = bus.emitter();
            thread::spawn(move || {
                let emit = |number| block_on(emitter.emit(KIND, Payload::new(number), 0));
                (0..2).take_while(|&number| emit(number).is_ok()).count() as u64
            })
        });
    });
}

#[test]
fn a_deadline_against_an_emit() {
    check(2, || {
        let log = Log::default();
        let bus = start(one_shard(2, &log));
        let mut producer = bus.producer();
        producer.try_emit(KIND, Payload::new(0), 0).unwrap();
        let emit = thread::spawn(move || producer.try_emit(KIND, Payload::new(1), 0).is_ok());
        let report = bus.shutdown(Duration::ZERO);
        let accepted = 1 + u64::from(emit.join().unwrap());
        assert_eq!(report.accepted, accepted);
        assert_eq!(report.processed + report.abandoned, accepted);
        // The one that the shard was at may go on.
        let processed = log.entries().len() as u64;
        assert!((report.processed..=report.processed + 1).contains(&processed), "{report}");
    });
}

/// Logs 100 when it is shut down.
struct Last(Log);

impl Processor for Last {
    fn process(&mut self, event: &Event) {
        if let Some(payload) = event.get::<Payload>() {
            self.0.push(payload.number());
        }
    }

    fn shutdown(&mut self) {
        self.0.push(100);
    }
}

#[test]
fn the_last_handle_shuts_down() {
    check(2, || {
        let log = Log::default();
        let processor = log.clone();
        let builder = Bus::builder().shards(1).capacity(1).drain_on_drop(Duration::MAX);
        let bus = start(builder.processor("last", move |_: &ShardContext| Last(processor.clone())));
        let mut producer = bus.producer();
        let other = thread::spawn(move || {
            producer.try_emit(KIND, Payload::new(1), 0).unwrap();
        });
        drop(bus);
        other.join().unwrap();
        assert_eq!(log.entries(), [1, 100]);
    });
}

/// A value that keeps the bus alive until it is dropped.
#[derive(Debug)]
struct Parting(#[expect(dead_code, reason = "held, not used")] Emitter);

impl Serialize for Parting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

#[test]
fn a_processor_drops_the_last_handle() {
    check(2, || {
        let log = Log::default();
        let processor = log.clone();
        let bus = start(
            Bus::builder()
                .shards(1)
                .capacity(1)
                .drain_on_drop(Duration::MAX)
                .processor("last", move |_: &ShardContext| Last(processor.clone())),
        );
        let mut producer = bus.producer();
        producer.try_emit(KIND, Parting(bus.emitter()), 0).unwrap();
        drop(bus);
        // This handle or the one in the event is the last, and nobody waits for the shard when it is that.
        drop(producer);
    });
}

#[test]
fn two_shutdowns_at_once() {
    check(2, || {
        let log = Log::default();
        let bus = Arc::new(start(one_shard(1, &log)));
        bus.producer().try_emit(KIND, Payload::new(0), 0).unwrap();
        let other = {
            let bus = bus.clone();
            thread::spawn(move || bus.shutdown(Duration::MAX))
        };
        let reports = [bus.shutdown(Duration::MAX), other.join().unwrap()];
        for report in reports {
            assert!(report.is_clean(), "{report}");
            assert_eq!((report.accepted, report.processed), (1, 1));
        }
        assert_eq!(log.entries(), [0]);
    });
}

/// Event 0, on shard 0, derives event 1 for shard 1; that one derives event 2 for shard 0 in the next flush, if it is to.
struct Relay {
    log: Log,
    emitter: Emitter,
    flush_derives: bool,
    unflushed: bool,
}

impl Processor for Relay {
    fn process(&mut self, event: &Event) {
        let number = event.get::<Payload>().expect("models emit payloads").number();
        self.log.push(number);
        if number == 0 {
            self.emitter.try_emit(KIND, Payload::new(1), SHARD_1).unwrap();
        }
        self.unflushed |= number == 1 && self.flush_derives;
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.unflushed) {
            self.emitter.try_emit(KIND, Payload::new(2), SHARD_0).unwrap();
        }
    }
}

fn relay(flush_derives: bool) {
    let log = Log::default();
    let processors = log.clone();
    let bus =
        start(Bus::builder().shards(2).capacity(1).processor("relay", move |cx: &ShardContext| {
            Relay {
                log: processors.clone(),
                emitter: cx.emitter(),
                flush_derives,
                unflushed: false,
            }
        }));
    bus.producer().try_emit(KIND, Payload::new(0), SHARD_0).unwrap();
    let report = bus.shutdown(Duration::MAX);
    assert!(report.is_clean(), "{report}");
    let events = if flush_derives { 3 } else { 2 };
    assert_eq!((report.accepted, report.processed), (events, events));
    assert_eq!(log.entries(), (0..events).collect::<Vec<_>>());
}

#[test]
fn events_derived_while_closing() {
    check(1, || relay(false));
}

#[test]
fn events_derived_by_a_flush() {
    check(1, || relay(true));
}

/// The producer asks whether the gate is closed; the other thread closes it, waits until the ring is not busy, and
/// drains.
fn handshake(mark_first: bool) {
    let shard = Arc::new(Shard::new(1));
    let ring = Ring::new(1);
    let mut outlet = ring.outlet();
    let producer = {
        let (shard, mut inlet) = (shard.clone(), ring.inlet());
        thread::spawn(move || {
            let mut asked = None;
            if !mark_first {
                asked = Some(shard.is_closed());
            }
            inlet.begin();
            let closed = asked.unwrap_or_else(|| shard.is_closed());
            if !closed {
                inlet.publish(Payload::new(0));
            }
            inlet.end();
            !closed
        })
    };
    shard.close();
    fence(SeqCst);
    while ring.is_busy() {
        thread::yield_now();
    }
    let seen = outlet.read(|_| ()).is_some();
    let accepted = producer.join().unwrap();
    assert_eq!(accepted, seen, "accepted and not seen");
}

#[test]
fn a_busy_mark_comes_first() {
    check(UNBOUNDED, || handshake(true));
}

#[test]
fn a_busy_mark_that_comes_second() {
    violates("a_busy_mark_that_comes_second", 3, "accepted and not seen", || handshake(false));
}
