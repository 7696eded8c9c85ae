//! What processors emit themselves: never waits, comes back when there is no room, ends after a number of hops, and is drained
//! like everything else.

mod support;

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use keylane::{
    BuildError, Bus, EmitError, Emitter, Event, EventType, Key, NoopProcessor, Processor, Producer,
    Reason, ShardContext, Value,
};
use serde::Serialize;
use support::{LONG, Latch, Ledger, Random, eventually, stress, within};

const SEED: EventType = EventType::user(0);
const DERIVED: EventType = EventType::user(1);

/// A key that leads to the shard.
fn key_to(shard: usize, shards: usize) -> u64 {
    (0..).find(|&key: &u64| Key::from(key).shard(shards) == Some(shard)).expect("there is one")
}

// ---- cycles ----

/// Sends every event on to the next shard, for ever if nobody stops it.
struct Relay {
    shard: usize,
    shards: usize,
    copies: u64,
    emitter: Emitter,
    hops: Arc<Mutex<HashMap<u8, u64>>>,
    refused: Arc<AtomicU64>,
}

impl Processor for Relay {
    fn process(&mut self, event: &Event) {
        *self.hops.lock().expect("unpoisoned").entry(event.hops()).or_insert(0) += 1;
        let next = key_to((self.shard + 1) % self.shards, self.shards);
        let &number: &u64 = event.get().expect("the test emits u64");
        for _ in 0..self.copies {
            if let Err(error) = self.emitter.try_emit(DERIVED, number, next) {
                assert!(error.is_hop_limit(), "{error}");
                assert_eq!(error.reason(), Reason::Full);
                assert_eq!(error.into_event().get::<u64>(), Some(&number), "it comes back");
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn the_hop_limit_ends_cycles() {
    within(120, || {
        // (shards, limit asked for, limit that holds, copies)
        for (shards, asked, limit, copies) in
            [(1, 8, 8, 1), (2, 8, 8, 1), (3, 1, 1, 1), (2, 0, 1, 1), (2, 255, 254, 1), (2, 7, 7, 2)]
        {
            let hops = Arc::new(Mutex::new(HashMap::new()));
            let refused = Arc::new(AtomicU64::new(0));
            let bus = Bus::builder()
                .shards(shards)
                .capacity(1 << 14)
                .hop_limit(asked)
                .processor("relay", {
                    let (hops, refused) = (hops.clone(), refused.clone());
                    move |cx: &ShardContext| Relay {
                        shard: cx.shard(),
                        shards: cx.shards(),
                        copies,
                        emitter: cx.emitter(),
                        hops: hops.clone(),
                        refused: refused.clone(),
                    }
                })
                .build()
                .expect("it builds");
            for number in 0..20u64 {
                bus.emitter().emit_blocking(SEED, number, number).expect("open");
            }
            let report = bus.shutdown(LONG);
            assert!(report.is_clean(), "{report}");
            let hops = hops.lock().expect("unpoisoned");
            let expected: HashMap<u8, u64> =
                (0..=limit).map(|hop| (hop, 20 * copies.pow(hop.into()))).collect();
            assert_eq!(*hops, expected, "{shards} shards, limit {asked}");
            assert_eq!(refused.load(Ordering::Relaxed), 20 * copies.pow(u32::from(limit) + 1));
            assert_eq!(report.processed, expected.values().sum::<u64>());
            assert_eq!(bus.stats().refused, refused.load(Ordering::Relaxed));
        }
    });
}

#[test]
fn the_hop_limit_ends_cycles_through_flushes() {
    struct Echo(Emitter, bool);
    impl Processor for Echo {
        fn process(&mut self, _: &Event) {
            self.1 = true;
        }
        fn flush(&mut self) {
            // Flushed because there was an event, and so there is another one.
            if std::mem::take(&mut self.1) {
                let _ = self.0.try_emit(DERIVED, 1u64, Key::NONE);
            }
        }
    }
    within(60, || {
        for shards in [1, 2] {
            let bus = Bus::builder()
                .shards(shards)
                .hop_limit(10)
                .processor("echo", |cx: &ShardContext| Echo(cx.emitter(), false))
                .build()
                .expect("it builds");
            bus.emitter().try_emit(SEED, 1u64, 1).expect("room");
            eventually("the cycle ends", || bus.stats().refused == 1);
            assert_eq!(bus.stats().accepted, 11, "the seed and ten hops");
            bus.emitter().try_emit(SEED, 1u64, 1).expect("room");
            let report = bus.shutdown(LONG);
            assert!(report.is_clean(), "{report}");
            assert_eq!((report.accepted, bus.stats().refused), (22, 2));
        }
    });
}

#[test]
fn the_hop_limit_ends_cycles_through_destructors() {
    struct Hydra(Arc<OnceLock<Emitter>>);
    impl Drop for Hydra {
        fn drop(&mut self) {
            let emitter = self.0.get().expect("set before the first event");
            // What is refused would be dropped here, and try again: it is forgotten instead.
            if let Err(error) = emitter.try_emit(DERIVED, Hydra(self.0.clone()), 0) {
                std::mem::forget(error);
            }
        }
    }
    impl std::fmt::Debug for Hydra {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Hydra")
        }
    }
    impl Serialize for Hydra {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_unit()
        }
    }
    within(60, || {
        let cell = Arc::new(OnceLock::new());
        let bus = Bus::builder()
            .shards(1)
            .hop_limit(10)
            .processor("noop", |_: &ShardContext| NoopProcessor)
            .build()
            .expect("it builds");
        assert!(cell.set(bus.emitter()).is_ok());
        bus.emitter().try_emit(SEED, Hydra(cell.clone()), 0).expect("room");
        let report = bus.shutdown(LONG);
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.processed, 11);
    });
}

// ---- no room ----

/// What one call of `process` found out by emitting until there was no room.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Outcome {
    accepted: u64,
    refused: Vec<(Reason, Option<u64>)>,
}

/// Which method a processor uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Try,
    Blocking,
    Timeout,
    Future,
    OwnProducer,
    OwnProducerBatch,
}

struct Burst {
    way: Way,
    emitter: Emitter,
    producer: Option<Producer>,
    cell: Arc<OnceLock<Bus>>,
    outcome: Arc<Mutex<Outcome>>,
}

impl Burst {
    fn emit(&mut self, number: u64) -> Result<(), EmitError> {
        match self.way {
            Way::Try => self.emitter.try_emit(DERIVED, number, 0),
            Way::Blocking => self.emitter.emit_blocking(DERIVED, number, 0),
            Way::Timeout => self.emitter.emit_timeout(DERIVED, number, 0, LONG),
            Way::Future => {
                let emit = pin!(self.emitter.emit(DERIVED, number, 0));
                match emit.poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(result) => result,
                    Poll::Pending => panic!("a shard waits for itself"),
                }
            }
            Way::OwnProducer | Way::OwnProducerBatch => {
                let cell = &self.cell;
                let producer =
                    self.producer.get_or_insert_with(|| cell.get().expect("set").producer());
                if self.way == Way::OwnProducer {
                    producer.emit_blocking(DERIVED, number, 0)
                } else {
                    let item = (DERIVED, Value::new(number), Key::from(0));
                    match producer.emit_batch([item]) {
                        Ok(_) => Ok(()),
                        Err(error) => {
                            assert_eq!(error.reason(), Reason::Full);
                            let (kind, value, key) = error.into_rest().remove(0);
                            // There is no other way to an `EmitError`, and it says the same.
                            producer.emit_timeout(kind, value, key, Duration::MAX)
                        }
                    }
                }
            }
        }
    }
}

impl Processor for Burst {
    fn process(&mut self, event: &Event) {
        if event.kind() != SEED {
            return;
        }
        for number in 0..20u64 {
            let result = self.emit(number);
            let mut outcome = self.outcome.lock().expect("unpoisoned");
            match result {
                Ok(()) => outcome.accepted += 1,
                Err(error) => {
                    let reason = error.reason();
                    outcome.refused.push((reason, error.into_event().get().copied()));
                }
            }
        }
    }

    fn shutdown(&mut self) {
        // A producer keeps its bus alive.
        self.producer = None;
    }
}

#[test]
fn a_full_ring_is_told_and_never_waited_for() {
    for way in [
        Way::Try,
        Way::Blocking,
        Way::Timeout,
        Way::Future,
        Way::OwnProducer,
        Way::OwnProducerBatch,
    ] {
        within(60, move || {
            let outcome = Arc::new(Mutex::new(Outcome::default()));
            let cell = Arc::new(OnceLock::new());
            let bus = Bus::builder()
                .shards(1)
                .capacity(8)
                .processor("burst", {
                    let (outcome, cell) = (outcome.clone(), cell.clone());
                    move |cx: &ShardContext| Burst {
                        way,
                        emitter: cx.emitter(),
                        producer: None,
                        cell: cell.clone(),
                        outcome: outcome.clone(),
                    }
                })
                .build()
                .expect("it builds");
            let bus = cell.get_or_init(|| bus);
            bus.emitter().try_emit(SEED, 0u64, 0).expect("room");
            // A draining bus takes nothing from a producer, wherever that is.
            eventually("the burst is over", || bus.stats().processed == 9);
            let report = bus.shutdown(LONG);
            assert!(report.is_clean(), "{report}");
            let refused = (8..20).map(|number| (Reason::Full, Some(number))).collect();
            let expected = Outcome { accepted: 8, refused };
            assert_eq!(*outcome.lock().expect("unpoisoned"), expected, "{way:?}");
            let again = if way == Way::OwnProducerBatch { 2 } else { 1 };
            assert_eq!(bus.stats().refused, 12 * again, "{way:?}");
        });
    }
}

/// Two shards that send to each other more than there is room for, with methods that would wait anywhere else.
#[test]
fn two_shards_that_flood_each_other() {
    struct Flood {
        to: u64,
        emitter: Emitter,
        tally: Arc<[AtomicU64; 2]>,
    }
    impl Processor for Flood {
        fn process(&mut self, event: &Event) {
            let &number: &u64 = event.get().expect("the test emits u64");
            for _ in 0..5 {
                let sent = self.emitter.emit_blocking(DERIVED, number, self.to).is_ok();
                self.tally[usize::from(sent)].fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    within(60, || {
        for capacity in [1, 2, 16] {
            let tally = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
            let bus = Bus::builder()
                .shards(2)
                .capacity(capacity)
                .processor("flood", {
                    let tally = tally.clone();
                    move |cx: &ShardContext| Flood {
                        to: key_to(1 - cx.shard(), 2),
                        emitter: cx.emitter(),
                        tally: tally.clone(),
                    }
                })
                .build()
                .expect("it builds");
            let emitter = bus.emitter();
            for number in 0..2_000u64 {
                emitter.emit_blocking(SEED, number, number).expect("open");
            }
            let report = bus.shutdown(LONG);
            assert!(report.is_clean(), "{report}");
            let [refused, sent] = [0, 1].map(|index| tally[index].load(Ordering::Relaxed));
            assert_eq!(report.processed, 2_000 + sent);
            assert_eq!(report.processed * 5, sent + refused, "each event tried five times");
            assert_eq!(bus.stats().refused, refused);
            assert!(refused > 0 && sent > 0);
        }
    });
}

// ---- order ----

#[test]
fn derived_events_keep_the_order_of_their_key() {
    struct Split(usize, Emitter, Arc<Mutex<HashMap<u64, Vec<u64>>>>);
    impl Processor for Split {
        fn process(&mut self, event: &Event) {
            let &number: &u64 = event.get().expect("the test emits u64");
            if event.kind() == DERIVED {
                self.2
                    .lock()
                    .expect("unpoisoned")
                    .entry(event.key_hash())
                    .or_default()
                    .push(number);
                return;
            }
            for key in 0..4u64 {
                let mut value = Value::new(number);
                while let Err(error) = self.1.try_emit(DERIVED, value, key) {
                    // Another shard drains its ring by itself; our own does not while we are here.
                    assert_ne!(Key::from(key).shard(3), Some(self.0), "the ring is large enough");
                    value = error.into_event().into_value();
                }
            }
        }
    }
    within(60, || {
        let lists = Arc::new(Mutex::new(HashMap::<u64, Vec<u64>>::new()));
        let bus = Bus::builder()
            .shards(3)
            .capacity(1 << 14)
            .processor("split", {
                let lists = lists.clone();
                move |cx: &ShardContext| Split(cx.shard(), cx.emitter(), lists.clone())
            })
            .build()
            .expect("it builds");
        let emitter = bus.emitter();
        for number in 0..3_000u64 {
            emitter.emit_blocking(SEED, number, "one source").expect("open");
        }
        assert!(bus.shutdown(LONG).is_clean());
        let lists = lists.lock().expect("unpoisoned");
        assert_eq!(lists.len(), 4);
        for list in lists.values() {
            assert_eq!(*list, (0..3_000).collect::<Vec<_>>());
        }
    });
}

// ---- the drain ----

/// Derives in `process` or at the next flush, to a random shard, as long as the hop limit lets it.
struct Wanderer {
    emitter: Emitter,
    random: Random,
    by_flush: bool,
    held: Vec<u64>,
    accepted: Arc<AtomicU64>,
    closed: Arc<AtomicU64>,
}

impl Wanderer {
    fn emit(&mut self, number: u64) {
        match self.emitter.try_emit(DERIVED, number, self.random.next()) {
            Ok(()) => _ = self.accepted.fetch_add(1, Ordering::Relaxed),
            Err(error) if error.reason() == Reason::Closed => {
                self.closed.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => assert_eq!(error.reason(), Reason::Full),
        }
    }
}

impl Processor for Wanderer {
    fn process(&mut self, event: &Event) {
        let &number: &u64 = event.get().expect("the test emits u64");
        if self.by_flush && self.random.below(2) == 0 {
            self.held.push(number);
        } else {
            self.emit(number);
        }
    }

    fn flush(&mut self) {
        for number in std::mem::take(&mut self.held) {
            self.emit(number);
        }
    }
}

/// Chains of derived events are longer than the shutdown's first look: all of them are walked to their end.
#[test]
fn a_shutdown_waits_for_chains_of_derived_events() {
    within(200, || {
        for round in 0..400 * stress() {
            let shards = 1 + (round % 3) as usize;
            let by_flush = round % 2 == 1;
            let (accepted, closed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
            let bus = Bus::builder()
                .shards(shards)
                .hop_limit(40)
                .processor("wanderer", {
                    let (accepted, closed) = (accepted.clone(), closed.clone());
                    move |cx: &ShardContext| Wanderer {
                        emitter: cx.emitter(),
                        random: Random::new(round ^ cx.shard() as u64),
                        by_flush,
                        held: Vec::new(),
                        accepted: accepted.clone(),
                        closed: closed.clone(),
                    }
                })
                .build()
                .expect("it builds");
            let emitter = bus.emitter();
            for number in 0..5u64 {
                emitter.try_emit(SEED, number, number).expect("room");
            }
            let report = bus.shutdown(LONG);
            assert!(report.is_clean(), "round {round}: {report}");
            assert_eq!(report.processed, 5 + accepted.load(Ordering::Relaxed), "round {round}");
            assert_eq!(
                closed.load(Ordering::Relaxed),
                0,
                "round {round}: a draining bus takes them"
            );
            // A flush may hold several events, and what it derives counts from the shortest line: more hops, never fewer.
            assert!(report.processed >= 5 * 41, "round {round}: chains were cut short: {report}");
        }
    });
}

#[test]
fn what_the_last_flush_derives_is_processed() {
    /// Passes on at each flush how many events there were since the last one.
    struct Sum {
        emitter: Emitter,
        count: u64,
        sums: Arc<AtomicU64>,
        refused: Arc<AtomicU64>,
    }
    impl Processor for Sum {
        fn process(&mut self, event: &Event) {
            if event.kind() == SEED {
                self.count += 1;
            } else {
                let &sum: &u64 = event.get().expect("the test emits u64");
                self.sums.fetch_add(sum, Ordering::Relaxed);
            }
        }
        fn flush(&mut self) {
            if self.count > 0 {
                let sent = self.emitter.try_emit(DERIVED, self.count, Key::NONE);
                self.refused.fetch_add(u64::from(sent.is_err()), Ordering::Relaxed);
                self.count = 0;
            }
        }
    }
    within(120, || {
        for round in 0..300 * stress() {
            let (sums, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
            let bus = Bus::builder()
                .shards(1 + (round % 3) as usize)
                .processor("sum", {
                    let (sums, refused) = (sums.clone(), refused.clone());
                    move |cx: &ShardContext| Sum {
                        emitter: cx.emitter(),
                        count: 0,
                        sums: sums.clone(),
                        refused: refused.clone(),
                    }
                })
                .build()
                .expect("it builds");
            let emitter = bus.emitter();
            for number in 0..100u64 {
                emitter.try_emit(SEED, number, number).expect("room");
            }
            let report = bus.shutdown(LONG);
            assert!(report.is_clean(), "{report}");
            assert_eq!(refused.load(Ordering::Relaxed), 0, "round {round}");
            assert_eq!(sums.load(Ordering::Relaxed), 100, "round {round}: {report}");
        }
    });
}

/// A derived event, processed at the very end of the drain, leaves something to flush, and that flush derives the next.
#[test]
fn a_flush_behind_the_last_derived_event_is_processed_too() {
    struct Slow {
        emitter: Emitter,
        other: u64,
        held: Option<u64>,
        seen: Ledger,
        refused: Arc<AtomicU64>,
    }
    impl Processor for Slow {
        fn process(&mut self, event: &Event) {
            let &number: &u64 = event.get().expect("the test emits u64");
            self.seen.note(number);
            self.held = Some(number + 1);
        }
        fn flush(&mut self) {
            let Some(number) = self.held.take().filter(|&number| number < 6) else { return };
            // Long enough for the other shard to look around meanwhile.
            for _ in 0..2_000 {
                std::hint::spin_loop();
            }
            let sent = self.emitter.try_emit(DERIVED, number, self.other);
            self.refused.fetch_add(u64::from(sent.is_err()), Ordering::Relaxed);
        }
    }
    within(120, || {
        for round in 0..500 * stress() {
            let (seen, refused) = (Ledger::new(10), Arc::new(AtomicU64::new(0)));
            let bus = Bus::builder()
                .shards(2)
                .processor("slow", {
                    let (seen, refused) = (seen.clone(), refused.clone());
                    move |cx: &ShardContext| Slow {
                        emitter: cx.emitter(),
                        other: key_to(1 - cx.shard(), 2),
                        held: None,
                        seen: seen.clone(),
                        refused: refused.clone(),
                    }
                })
                .build()
                .expect("it builds");
            bus.emitter().try_emit(SEED, 0u64, 0).expect("room");
            let report = bus.shutdown(LONG);
            assert!(report.is_clean(), "{report}");
            assert_eq!(refused.load(Ordering::Relaxed), 0, "round {round}: {report}");
            seen.assert_exactly(0..6);
        }
    });
}

// ---- odd places to emit from ----

#[test]
fn factories_and_last_words_may_emit() {
    struct Talker(Emitter, Ledger, Arc<Mutex<Vec<Option<Reason>>>>);
    impl Talker {
        fn say(&self, number: u64) {
            let result = self.0.try_emit(DERIVED, number, number);
            self.2.lock().expect("unpoisoned").push(result.err().map(|error| error.reason()));
        }
    }
    impl Processor for Talker {
        fn process(&mut self, event: &Event) {
            self.1.process(event);
        }
        fn shutdown(&mut self) {
            self.say(2);
        }
    }
    impl Drop for Talker {
        fn drop(&mut self) {
            self.say(3);
        }
    }
    within(60, || {
        let (ledger, said) = (Ledger::new(10), Arc::new(Mutex::new(Vec::new())));
        let factory = |number: u64| {
            let (ledger, said) = (ledger.clone(), said.clone());
            move |cx: &ShardContext| {
                let talker = Talker(cx.emitter(), ledger.clone(), said.clone());
                talker.say(number);
                talker
            }
        };
        let bus =
            Bus::builder().shards(2).processor("talker", factory(0)).build().expect("it builds");
        // While the bus is open, what an instance says in its end is heard by the next one.
        bus.replace_processor("talker", factory(1)).expect("open");
        eventually("all is said", || bus.stats().processed == 8);
        ledger.assert_exactly([0, 0, 1, 1, 2, 2, 3, 3]);
        let report = bus.shutdown(LONG);
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.accepted, 8);
        // When it is down, it is too late.
        let said = said.lock().expect("unpoisoned");
        assert_eq!(said[..8], [None; 8]);
        assert_eq!(said[8..], [Some(Reason::Closed); 4]);
    });
}

#[test]
fn a_build_that_fails_after_a_factory_has_emitted() {
    within(60, || {
        let alive = Arc::new(());
        let built = Bus::builder()
            .shards(2)
            .processor("talker", |cx: &ShardContext| {
                for number in 0..10u64 {
                    cx.emitter().try_emit(DERIVED, vec![number; 100], number).expect("room");
                }
                NoopProcessor
            })
            .processor("broken", {
                let alive = alive.clone();
                move |cx: &ShardContext| {
                    let _ = &alive;
                    if cx.shard() == 1 { Err("broken") } else { Ok(NoopProcessor) }
                }
            })
            .build();
        assert!(matches!(built, Err(BuildError::Factory { shard: 1, .. })));
        assert_eq!(Arc::strong_count(&alive), 1, "the factories are gone");
    });
}

/// An emitter of one bus, used on a shard of another, is an emitter like any other: it may wait.
#[test]
fn a_processor_that_emits_to_another_bus() {
    struct Bridge(Emitter);
    impl Processor for Bridge {
        fn process(&mut self, event: &Event) {
            let &number: &u64 = event.get().expect("the test emits u64");
            self.0.emit_blocking(DERIVED, number, event.key()).expect("the other bus is open");
        }
    }
    within(60, || {
        let (ledger, gate) = (Ledger::new(1000), Latch::new());
        struct Held(Latch, Ledger);
        impl Processor for Held {
            fn process(&mut self, event: &Event) {
                self.0.wait();
                assert_eq!(event.hops(), 0, "it comes from outside of this bus");
                self.1.process(event);
            }
        }
        let second = Bus::builder()
            .shards(2)
            .capacity(2)
            .processor("held", {
                let (ledger, gate) = (ledger.clone(), gate.clone());
                move |_: &ShardContext| Held(gate.clone(), ledger.clone())
            })
            .build()
            .expect("it builds");
        let first = Bus::builder()
            .shards(2)
            .processor("bridge", {
                let emitter = second.emitter();
                move |_: &ShardContext| Bridge(emitter.clone())
            })
            .build()
            .expect("it builds");
        let emitter = first.emitter();
        for number in 0..1000u64 {
            emitter.emit_blocking(SEED, number, number).expect("open");
        }
        gate.open();
        assert!(first.shutdown(LONG).is_clean());
        assert!(second.shutdown(LONG).is_clean());
        ledger.assert_exactly(0..1000);
    });
}
