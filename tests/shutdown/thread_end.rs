//! Emits when a thread ends.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::thread::{self};

use crate::support::{LONG, eventually, within};
use keylane::{Bus, Emitter, Producer};

use crate::last_handle::ledger_bus;
use crate::stuck::*;
use crate::waiting::{is_asleep, note_thread};
use crate::{DERIVED, OUTSIDE};

thread_local! {
    static EARLY: RefCell<Option<AtExit>> = const { RefCell::new(None) };
    static LATE: RefCell<Option<AtExit>> = const { RefCell::new(None) };
}

/// Emits when its thread ends.
struct AtExit {
    emitter: Emitter,
    producer: Option<Producer>,
    numbers: std::ops::Range<u64>,
    blocking: bool,
}

impl Drop for AtExit {
    fn drop(&mut self) {
        for number in self.numbers.clone() {
            let result = match (&mut self.producer, self.blocking) {
                (Some(producer), true) => producer.emit_blocking(OUTSIDE, number, number % 5),
                (Some(producer), false) => producer.try_emit(OUTSIDE, number, number % 5),
                (None, true) => self.emitter.emit_blocking(OUTSIDE, number, number % 5),
                (None, false) => self.emitter.try_emit(OUTSIDE, number, number % 5),
            };
            result.expect("there is room, or it waits");
        }
    }
}

#[test]
fn threads_emit_from_destructors_of_thread_locals() {
    within(60, || {
        let (bus, ledger, _) = ledger_bus(2, 8 * 30);
        for case in 0..8u64 {
            let (emitter, own) = (bus.emitter(), (case & 1 == 1).then(|| bus.producer()));
            let numbers = case * 30..(case + 1) * 30;
            let at_exit = AtExit { emitter, producer: own, numbers, blocking: case & 2 == 2 };
            thread::spawn(move || {
                // Destructors run in the reverse order of first use: the bus's own thread-locals are gone when EARLY's
                // runs, and still there when LATE's does.
                if case & 4 == 4 {
                    EARLY.with(|_| ());
                }
                at_exit.emitter.try_emit(DERIVED, case * 30, 0).expect("room");
                let cell = if case & 4 == 4 { &EARLY } else { &LATE };
                cell.set(Some(at_exit));
            })
            .join()
            .expect("no panic");
        }
        let report = bus.shutdown(LONG);
        assert!(report.is_clean(), "{report}");
        let twice = (0..8).map(|case| case * 30);
        ledger.assert_exactly((0..8 * 30).chain(twice));
    });
}

#[test]
fn a_thread_blocks_in_the_destructor_of_a_thread_local() {
    within(60, || {
        let (journal, latches) = (Journal::default(), latches(&[0]));
        let bus = Bus::builder()
            .shards(1)
            .capacity(2)
            .processor("stuck", stuck(&journal, &latches, Walk::Default, None))
            .build()
            .expect("it builds");
        bus.emitter().try_emit(OUTSIDE, 0u64, 0).expect("room");
        latches[&0].0.wait();
        let emitter = bus.emitter();
        let id = Arc::new(OnceLock::new());
        let thread = thread::spawn({
            let id = id.clone();
            move || {
                EARLY.with(|_| ());
                emitter.try_emit(OUTSIDE, 1u64, 0).expect("room");
                note_thread(&id);
                let numbers = 2..20;
                EARLY.set(Some(AtExit { emitter, producer: None, numbers, blocking: true }));
            }
        });
        eventually("the destructor blocks", || is_asleep(&id));
        latches[&0].1.open();
        thread.join().expect("no panic");
        let report = bus.shutdown(LONG);
        assert!(report.is_clean(), "{report}");
        assert_eq!(journal.numbers("stuck"), (0..20).collect::<Vec<_>>());
    });
}

#[test]
fn the_last_handle_drains_in_the_destructor_of_a_thread_local() {
    within(60, || {
        let (bus, ledger, ended) = ledger_bus(2, 60);
        thread::spawn(move || {
            EARLY.with(|_| ());
            bus.emitter().try_emit(OUTSIDE, 0u64, 0).expect("room");
            let numbers = 1..60;
            EARLY.set(Some(AtExit {
                emitter: bus.emitter(),
                producer: None,
                numbers,
                blocking: true,
            }));
        })
        .join()
        .expect("no panic");
        assert_eq!(ended.load(Ordering::Acquire), 2);
        ledger.assert_exactly(0..60);
    });
}
