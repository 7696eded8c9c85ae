//! Dropping the last handle.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self};

use crate::support::{Latch, Ledger, within};
use keylane::{Bus, Emitter, Event, Processor, ShardContext};
use serde::{Serialize, Serializer};

use crate::OUTSIDE;

/// A bus whose processors fill a ledger and open a latch when they have been shut down.
pub(crate) fn ledger_bus(shards: usize, numbers: usize) -> (Bus, Ledger, Arc<AtomicU64>) {
    struct Ended(Ledger, Arc<AtomicU64>);
    impl Processor for Ended {
        fn process(&mut self, event: &Event) {
            self.0.process(event);
        }
        fn shutdown(&mut self) {
            self.1.fetch_add(1, Ordering::Release);
        }
    }
    let (ledger, ended) = (Ledger::new(numbers), Arc::new(AtomicU64::new(0)));
    let bus = Bus::builder()
        .shards(shards)
        .processor("ledger", {
            let (ledger, ended) = (ledger.clone(), ended.clone());
            move |_: &ShardContext| Ended(ledger.clone(), ended.clone())
        })
        .build()
        .expect("it builds");
    (bus, ledger, ended)
}

#[test]
fn the_last_handle_drains_on_a_thread() {
    within(120, || {
        for round in 0..60u64 {
            let (bus, ledger, ended) = ledger_bus(2, 500);
            let (emitter, mut producer) = (bus.emitter(), bus.producer());
            for number in 0..250u64 {
                emitter.emit_blocking(OUTSIDE, number, number).expect("open");
                producer.emit_blocking(OUTSIDE, 250 + number, number).expect("open");
            }
            assert_eq!(ended.load(Ordering::Acquire), 0, "three handles are left");
            // Whichever is dropped last.
            let mut handles: Vec<Box<dyn Send>> =
                vec![Box::new(bus), Box::new(emitter), Box::new(producer)];
            let last = handles.remove(round as usize % 3);
            drop(handles);
            if round % 2 == 0 {
                drop(last);
            } else {
                thread::spawn(move || drop(last)).join().expect("no panic");
            }
            assert_eq!(ended.load(Ordering::Acquire), 2, "the drop came back after the drain");
            ledger.assert_exactly(0..500);
        }
    });
}

#[test]
fn the_last_handle_drains_in_a_task() {
    within(60, || {
        for flavour in ["current", "multi"] {
            let runtime = match flavour {
                "current" => tokio::runtime::Builder::new_current_thread().build(),
                _ => tokio::runtime::Builder::new_multi_thread().worker_threads(1).build(),
            };
            let (bus, ledger, ended) = ledger_bus(2, 300);
            let emitter = bus.emitter();
            drop(bus);
            runtime.expect("a runtime").block_on(async {
                let task = tokio::spawn(async move {
                    for number in 0..300u64 {
                        emitter.emit(OUTSIDE, number, number).await.expect("open");
                    }
                    drop(emitter);
                });
                task.await.expect("no panic");
            });
            assert_eq!(ended.load(Ordering::Acquire), 2);
            ledger.assert_exactly(0..300);
        }
    });
}

/// Events carry the last handle into a processor, which drops it with the event, or in the middle of processing it.
#[test]
fn the_last_handle_drains_on_a_shard() {
    within(60, || {
        #[derive(Debug)]
        struct Carrier(Mutex<Option<Emitter>>);
        impl Serialize for Carrier {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_unit()
            }
        }
        struct Taker {
            take: bool,
            ledger: Ledger,
            ended: Latch,
        }
        impl Processor for Taker {
            fn process(&mut self, event: &Event) {
                if let Some(carrier) = event.get::<Carrier>() {
                    if self.take {
                        drop(carrier.0.lock().expect("unpoisoned").take());
                    }
                } else {
                    self.ledger.process(event);
                }
            }
            fn shutdown(&mut self) {
                self.ended.open();
            }
        }
        for take in [true, false] {
            let (ledger, ended) = (Ledger::new(300), Latch::new());
            let bus = Bus::builder()
                .shards(1)
                .processor("taker", {
                    let (ledger, ended) = (ledger.clone(), ended.clone());
                    move |_: &ShardContext| Taker {
                        take,
                        ledger: ledger.clone(),
                        ended: ended.clone(),
                    }
                })
                .build()
                .expect("it builds");
            let mut producer = bus.producer();
            let emitter = bus.emitter();
            drop(bus);
            for number in 0..150u64 {
                producer.emit_blocking(OUTSIDE, number, 0).expect("open");
            }
            producer.emit_blocking(OUTSIDE, Carrier(Mutex::new(Some(emitter))), 0).expect("open");
            for number in 150..300u64 {
                producer.emit_blocking(OUTSIDE, number, 0).expect("open");
            }
            drop(producer);
            ended.wait();
            ledger.assert_exactly(0..300);
        }
    });
}
