//! Values that panic when they are looked at or dropped.

use std::fmt;
use std::panic::panic_any;
use std::time::Duration;

use crate::support::{LONG, Latch, Ledger, eventually, mute_deliberate_panics, within};
use keylane::{Bus, Event, FaultSite, Processor, ShardContext};
use serde::{Serialize, Serializer};

use crate::KIND;
use crate::shaky::*;

/// A value that panics in one of its functions.
pub(crate) struct Touchy {
    pub(crate) number: u64,
    pub(crate) on: On,
    /// Large values are boxed, small ones are not.
    pub(crate) _weight: Weight,
}

pub(crate) enum Weight {
    Light,
    #[expect(dead_code)]
    Heavy([u64; 16]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Drop,
    DropWithBomb,
    Debug,
    Serialize,
}

impl Drop for Touchy {
    fn drop(&mut self) {
        match self.on {
            On::Drop => panic!("deliberate: drop of value {}", self.number),
            On::DropWithBomb => panic_any(Bomb),
            On::Debug | On::Serialize => {}
        }
    }
}

impl fmt::Debug for Touchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        assert_ne!(self.on, On::Debug, "deliberate");
        f.write_str("Touchy")
    }
}

impl Serialize for Touchy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert_ne!(self.on, On::Serialize, "deliberate");
        serializer.serialize_u64(self.number)
    }
}

/// Renders every event in every way.
pub(crate) struct Render(pub(crate) Ledger);

impl Processor for Render {
    fn process(&mut self, event: &Event) {
        let text = format!("{event} {event:?} {}", event.value().to_json().expect("JSON"));
        assert!(!text.is_empty());
        if let Some(&number) = event.get::<u64>() {
            self.0.note(number);
        }
    }
}

#[test]
fn values_that_panic_when_they_are_looked_at_or_dropped() {
    mute_deliberate_panics();
    for on in [On::Drop, On::DropWithBomb, On::Debug, On::Serialize] {
        for heavy in [false, true] {
            within(60, move || {
                let (faults, ledger) = (Faults::default(), Ledger::new(300));
                let bus = faults
                    .watch(Bus::builder().shards(1).capacity(16))
                    .processor("render", {
                        let ledger = ledger.clone();
                        move |_: &ShardContext| Render(ledger.clone())
                    })
                    .build()
                    .expect("it builds");
                let emitter = bus.emitter();
                for number in 0..300u64 {
                    if number % 3 == 0 {
                        let _weight = if heavy { Weight::Heavy([0; 16]) } else { Weight::Light };
                        let value = Touchy { number, on, _weight };
                        emitter.emit_blocking(KIND, value, 0).expect("open");
                    } else {
                        emitter.emit_blocking(KIND, number, 0).expect("open");
                    }
                }
                let report = bus.shutdown(LONG);
                let site = match on {
                    On::Drop | On::DropWithBomb => FaultSite::ValueDrop,
                    On::Debug | On::Serialize => FaultSite::Process,
                };
                // An event whose value breaks when it is dropped has been processed.
                let faulted = if site == FaultSite::Process { 100 } else { 0 };
                assert_counts(&report, 300 - faulted, faulted);
                assert_eq!((faults.at(site), faults.all().len()), (100, 100), "{on:?}");
                ledger.assert_exactly((0..300).filter(|number| number % 3 != 0));
                assert_eq!(bus.stats().shards[0].drop_faults, 100 - faulted);
            });
        }
    }
}

#[test]
fn abandoned_values_that_panic_when_they_are_dropped() {
    mute_deliberate_panics();
    within(60, || {
        struct Hold(Latch, Latch);
        impl Processor for Hold {
            fn process(&mut self, _: &Event) {
                self.0.open();
                self.1.wait();
            }
        }
        let (faults, entered, release) = (Faults::default(), Latch::new(), Latch::new());
        let bus = faults
            .watch(Bus::builder().shards(1))
            .processor("hold", {
                let (entered, release) = (entered.clone(), release.clone());
                move |_: &ShardContext| Hold(entered.clone(), release.clone())
            })
            .build()
            .expect("it builds");
        let emitter = bus.emitter();
        std::thread::spawn(move || {
            for number in 0..10u64 {
                let value = Touchy { number, on: On::Drop, _weight: Weight::Light };
                emitter.try_emit(KIND, value, 0).expect("room");
            }
        })
        .join()
        .expect("no panic");
        entered.wait();
        let report = bus.shutdown(Duration::from_millis(10));
        assert_eq!((report.accepted, report.abandoned), (10, 10));
        release.open();
        eventually("all values are dropped", || faults.at(FaultSite::ValueDrop) == 10);
    });
}
