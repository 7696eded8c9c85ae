//! Panics in the code of those who emit: iterators, wakers.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use crate::support::{LONG, Latch, Ledger, eventually, mute_deliberate_panics, within};
use keylane::{Bus, Event, Processor, ShardContext};
use serde::{Serialize, Serializer};

use crate::KIND;
use crate::shaky::*;

/// Of a batch whose iterator panics a prefix was accepted; the other values are dropped, at the latest with the producer.
#[test]
fn a_batch_whose_iterator_panics() {
    mute_deliberate_panics();
    #[derive(Debug)]
    struct Ticket(u64, #[expect(dead_code)] Arc<()>);
    impl Serialize for Ticket {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_u64(self.0)
        }
    }
    struct Note(Ledger);
    impl Processor for Note {
        fn process(&mut self, event: &Event) {
            self.0.note(event.get::<Ticket>().expect("a ticket").0);
        }
    }
    within(60, || {
        for (capacity, breaks_at) in [(8, 30), (1024, 30), (1024, 200), (8, 200)] {
            let (ledger, alive) = (Ledger::new(400), Arc::new(()));
            let bus = Bus::builder()
                .shards(2)
                .capacity(capacity)
                .processor("note", {
                    let ledger = ledger.clone();
                    move |_: &ShardContext| Note(ledger.clone())
                })
                .build()
                .expect("it builds");
            let mut producer = bus.producer();
            // Rings are open, so that groups of events can be published together.
            for number in 350..360 {
                producer.emit_blocking(KIND, Ticket(number, alive.clone()), number).expect("open");
            }
            let items = (0..300u64).map(|number| {
                assert_ne!(number, breaks_at, "deliberate");
                (KIND, Ticket(number, alive.clone()).into(), number.into())
            });
            let result = catch_unwind(AssertUnwindSafe(|| producer.emit_batch(items)));
            assert!(result.is_err());
            let items = (300..350u64)
                .map(|number| (KIND, Ticket(number, alive.clone()).into(), number.into()));
            assert_eq!(producer.emit_batch(items).expect("as good as new"), 50);
            drop(producer);
            let report = bus.shutdown(LONG);
            let accepted = report.accepted - 60;
            assert!(accepted <= breaks_at, "{report}");
            assert_counts(&report, accepted + 60, 0);
            ledger.assert_exactly((0..accepted).chain(300..360));
            assert_eq!(Arc::strong_count(&alive), 1, "no value is left");
        }
    });
}

/// A waker is foreign code that runs on the shard.
#[test]
fn a_waker_that_panics() {
    mute_deliberate_panics();
    within(60, || {
        struct Broken;
        impl Wake for Broken {
            fn wake(self: Arc<Self>) {
                panic!("deliberate: waker");
            }
        }
        struct Hold(Latch, Ledger);
        impl Processor for Hold {
            fn process(&mut self, event: &Event) {
                self.0.wait();
                self.1.process(event);
            }
        }
        let (release, ledger) = (Latch::new(), Ledger::new(100));
        let bus = Bus::builder()
            .shards(1)
            .capacity(2)
            .processor("hold", {
                let (release, ledger) = (release.clone(), ledger.clone());
                move |_: &ShardContext| Hold(release.clone(), ledger.clone())
            })
            .build()
            .expect("it builds");
        let emitter = bus.emitter();
        let mut accepted = Vec::new();
        let mut number = 0u64;
        while emitter.try_emit(KIND, number, 0).is_ok() {
            accepted.push(number);
            number += 1;
        }
        let waker = Waker::from(Arc::new(Broken));
        let mut first = pin!(emitter.emit(KIND, 90u64, 0));
        let mut second = pin!(emitter.emit(KIND, 91u64, 0));
        let mut cx = Context::from_waker(&waker);
        assert!(
            first.as_mut().poll(&mut cx).is_pending() && second.as_mut().poll(&mut cx).is_pending()
        );
        release.open();
        // One thread waits in the same line, behind the two.
        emitter.emit_blocking(KIND, 50u64, 0).expect("open");
        accepted.push(50);
        let mut cx = Context::from_waker(Waker::noop());
        for (mut emit, number) in [(first, 90), (second, 91)] {
            eventually("there is room", || emit.as_mut().poll(&mut cx).is_ready());
            accepted.push(number);
        }
        assert_counts(&bus.shutdown(LONG), accepted.len() as u64, 0);
        ledger.assert_exactly(accepted);
    });
}
