//! The numbers of a bus: right at rest, never impossible under load, and readable by others.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use keylane::{
    Bus, Event, EventType, FaultPolicy, NoopProcessor, NoopProcessorFactory, Processor,
    ShardContext, Stats, for_each,
};
use serde_json::Value as Json;
use support::{LONG, Latch, eventually, mute_deliberate_panics, stress, within};

const KIND: EventType = EventType::user(0);
const OTHER: EventType = EventType::user(1);

/// Panics on every tenth number.
struct Tenth;

impl Processor for Tenth {
    fn process(&mut self, event: &Event) {
        assert_ne!(event.get::<u64>().expect("the test emits u64") % 10, 9, "deliberate");
    }
}

#[test]
fn counters_at_rest() {
    mute_deliberate_panics();
    within(60, || {
        let bus = Bus::builder()
            .shards(2)
            .processor("noop", NoopProcessorFactory)
            .processor("tenth", |_: &ShardContext| Tenth)
            .processor_for("other", [OTHER], |_: &ShardContext| NoopProcessor)
            .build()
            .expect("it builds");
        let fresh = bus.stats();
        assert_eq!((fresh.accepted, fresh.refused, fresh.processed, fresh.depth), (0, 0, 0, 0));
        assert_eq!((fresh.latency.count(), fresh.latency.min(), fresh.latency.max()), (0, 0, 0));
        for number in 0..1000u64 {
            let kind = if number < 100 { OTHER } else { KIND };
            bus.emitter().emit_blocking(kind, number, number).expect("open");
        }
        let report = bus.shutdown(LONG);
        assert!(report.is_clean());
        bus.emitter().try_emit(KIND, 1u64, 1).expect_err("closed");

        let stats = bus.stats();
        assert_eq!((stats.accepted, stats.processed, stats.faulted), (1000, 900, 100));
        assert_eq!((stats.depth, stats.refused), (0, 1));
        assert_eq!(stats.shards.len(), 2);
        for (index, shard) in stats.shards.iter().enumerate() {
            assert_eq!(shard.shard, index);
            assert_eq!(shard.accepted, shard.processed + shard.faulted);
            assert_eq!(shard.accepted, report.shards[index].accepted);
            assert!(shard.accepted > 300, "both shards have their part");
            assert_eq!(shard.latency.count(), shard.accepted);
            assert_eq!(shard.batch_size.count(), shard.batches);
            assert!(shard.batch_size.max() <= shard.accepted);
            assert!(shard.high_water >= shard.batch_size.max().min(256));
            assert!(shard.high_water <= shard.accepted);
            assert_eq!(shard.drop_faults, 0);
            assert_eq!(shard.processors.len(), 3);
        }
        let names: Vec<_> = stats.processors.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["noop", "tenth", "other"]);
        let events: Vec<_> = stats.processors.iter().map(|p| (p.events, p.faults)).collect();
        assert_eq!(events, [(1000, 0), (900, 100), (100, 0)]);
        for processor in &stats.processors {
            assert_eq!(processor.time.count(), processor.events + processor.faults);
            assert_eq!((processor.generation, processor.skipped, processor.restarts), (1, 0, 0));
            assert_eq!(processor.quarantined, 0);
        }
        assert_eq!(stats.latency.count(), 1000);
    });
}

#[test]
fn depth_and_refusals_of_a_stalled_shard() {
    struct Stalled(Latch, Latch);
    impl Processor for Stalled {
        fn process(&mut self, _: &Event) {
            self.0.open();
            self.1.wait();
        }
    }
    within(60, || {
        let (entered, release) = (Latch::new(), Latch::new());
        let bus = Bus::builder()
            .shards(1)
            .capacity(16)
            .processor("stalled", {
                let (entered, release) = (entered.clone(), release.clone());
                move |_: &ShardContext| Stalled(entered.clone(), release.clone())
            })
            .build()
            .expect("it builds");
        bus.emitter().try_emit(KIND, 0u64, 0).expect("room");
        entered.wait();
        let refused = (0..50u64).filter(|&n| bus.emitter().try_emit(KIND, n, n).is_err()).count();
        let stats = bus.stats();
        assert_eq!((stats.accepted, stats.depth, stats.processed), (16, 16, 0));
        assert_eq!((stats.refused, refused), (35, 35));
        release.open();
        eventually("it drains", || bus.stats().depth == 0);
        assert!(bus.shutdown(LONG).is_clean());
        assert_eq!(bus.stats().processed, 16);
    });
}

/// How a processor walks: what is counted in the middle of a batch depends on it.
#[derive(Clone, Copy)]
enum Walk {
    Default,
    Pieces,
    ByHand,
}

struct Walker(Walk);

impl Processor for Walker {
    fn process(&mut self, event: &Event) {
        Tenth.process(event);
    }

    fn process_batch(&mut self, events: &[&Event]) {
        match self.0 {
            Walk::Default => for_each(events, |event| self.process(event)),
            Walk::Pieces => events.chunks(5).for_each(|piece| for_each(piece, |e| self.process(e))),
            Walk::ByHand => events.iter().for_each(|event| self.process(event)),
        }
    }
}

/// Fails when a snapshot is impossible by itself, or impossible after the one before.
#[track_caller]
fn assert_possible(stats: &Stats, before: Option<&Stats>) {
    for shard in &stats.shards {
        assert!(shard.processed + shard.faulted <= shard.accepted, "{shard:#?}");
        assert_eq!(shard.depth, shard.accepted - shard.processed - shard.faulted);
        assert!(shard.high_water <= shard.accepted + 256);
    }
    let sum = |field: fn(&keylane::ShardStats) -> u64| stats.shards.iter().map(field).sum::<u64>();
    assert_eq!(stats.accepted, sum(|shard| shard.accepted));
    assert_eq!(stats.processed, sum(|shard| shard.processed));
    assert_eq!(stats.faulted, sum(|shard| shard.faulted));
    assert_eq!(stats.refused, sum(|shard| shard.refused));
    let Some(before) = before else { return };
    for (now, before) in stats.shards.iter().zip(&before.shards) {
        assert!(now.accepted >= before.accepted, "{} < {}", now.accepted, before.accepted);
        assert!(now.processed >= before.processed, "{} < {}", now.processed, before.processed);
        assert!(now.faulted >= before.faulted);
        assert!(now.refused >= before.refused);
        assert!(now.batches >= before.batches);
        assert!(now.parks >= before.parks && now.parked_ns >= before.parked_ns);
        assert!(now.latency.count() >= before.latency.count());
        for (now, before) in now.processors.iter().zip(&before.processors) {
            assert!(now.events >= before.events && now.faults >= before.faults);
            assert!(now.time.count() >= before.time.count());
        }
    }
}

#[test]
fn every_snapshot_under_load_is_possible() {
    mute_deliberate_panics();
    within(120, || {
        for walk in [Walk::Default, Walk::Pieces, Walk::ByHand] {
            let bus = Bus::builder()
                .shards(2)
                .capacity(64)
                .processor("walker", move |_: &ShardContext| Walker(walk))
                .build()
                .expect("it builds");
            let (stop, emitted) = (AtomicBool::new(false), AtomicU64::new(0));
            let snapshots = |count| {
                let mut before = None;
                for _ in 0..count {
                    let stats = bus.stats();
                    assert_possible(&stats, before.as_ref());
                    before = Some(stats);
                }
            };
            thread::scope(|scope| {
                for form in 0..3 {
                    let (emitter, mut producer) = (bus.emitter(), bus.producer());
                    let (stop, emitted, bus) = (&stop, &emitted, &bus);
                    scope.spawn(move || {
                        let mut number = 0;
                        while !stop.load(Ordering::Relaxed) {
                            let accepted = match form {
                                0 => u64::from(emitter.try_emit(KIND, number, number).is_ok()),
                                1 => {
                                    let items =
                                        (0..40).map(|_| (KIND, number.into(), number.into()));
                                    producer.emit_batch(items).expect("open") as u64
                                }
                                // Rings that come and go.
                                _ => {
                                    let sent = bus.producer().emit_blocking(KIND, number, number);
                                    u64::from(sent.is_ok())
                                }
                            };
                            emitted.fetch_add(accepted, Ordering::Relaxed);
                            number += 1;
                        }
                    });
                }
                let result = catch_unwind(AssertUnwindSafe(|| snapshots(300 * stress())));
                stop.store(true, Ordering::Relaxed);
                result.unwrap_or_else(|payload| resume_unwind(payload));
            });
            let report = bus.shutdown(LONG);
            assert!(report.is_clean(), "{report}");
            let stats = bus.stats();
            assert_possible(&stats, None);
            assert_eq!(stats.accepted, emitted.load(Ordering::Relaxed));
            assert_eq!(stats.depth, 0);
            assert!(stats.faulted > 0);
        }
    });
}

#[test]
fn a_swap_keeps_the_counts_and_a_restart_is_counted() {
    mute_deliberate_panics();
    within(60, || {
        let bus = Bus::builder()
            .shards(1)
            .fault_policy(FaultPolicy::Restart)
            .processor("tenth", |_: &ShardContext| Tenth)
            .build()
            .expect("it builds");
        let mut number = 0u64;
        for generation in 1..=4 {
            for _ in 0..100 {
                bus.emitter().emit_blocking(KIND, number, 0).expect("open");
                number += 1;
            }
            eventually("all is processed", || bus.stats().depth == 0);
            let processor = &bus.stats().processors[0];
            assert_eq!(processor.generation, generation);
            assert_eq!(processor.events, 90 * generation);
            assert_eq!(processor.faults, 10 * generation);
            assert_eq!(processor.restarts, 10 * generation);
            assert_eq!(processor.time.count(), 100 * generation);
            bus.replace_processor("tenth", |_: &ShardContext| Tenth).expect("open");
        }
        assert!(bus.shutdown(LONG).is_clean());
    });
}

// ---- for readers of JSON ----

#[test]
fn json_has_every_number() {
    mute_deliberate_panics();
    within(60, || {
        let bus = Bus::builder()
            .shards(2)
            .processor("tenth", |_: &ShardContext| Tenth)
            .build()
            .expect("it builds");
        for number in 0..500u64 {
            bus.emitter().emit_blocking(KIND, number, number).expect("open");
        }
        let report = bus.shutdown(LONG);
        let stats = bus.stats();
        let json = serde_json::to_value(&stats).expect("stats are JSON");
        let keys = |json: &Json| -> Vec<String> {
            let mut keys: Vec<_> = json.as_object().expect("an object").keys().cloned().collect();
            keys.sort();
            keys
        };
        let all = [
            "accepted",
            "depth",
            "faulted",
            "latency",
            "processed",
            "processors",
            "refused",
            "shards",
        ];
        assert_eq!(keys(&json), all);
        assert_eq!(json["accepted"], 500);
        assert_eq!(json["processed"], 450);
        assert_eq!(json["faulted"], 50);
        let summary = ["count", "max", "mean", "min", "p50", "p90", "p99", "p999", "p9999"];
        for place in [
            &json["latency"],
            &json["shards"][0]["latency"],
            &json["shards"][1]["batch_size"],
            &json["processors"][0]["time"],
        ] {
            assert_eq!(keys(place), summary);
            let number = |key: &str| place[key].as_f64().expect("a number");
            let ascending = ["min", "p50", "p90", "p99", "p999", "p9999", "max"].map(number);
            assert!(ascending.is_sorted(), "{place}");
            assert!(number("count") > 0.0 && number("mean") > 0.0, "{place}");
        }
        assert_eq!(json["latency"]["count"], 500);
        let processor = &json["shards"][0]["processors"][0];
        assert_eq!(processor["name"], "tenth");
        assert_eq!(processor["generation"], 1);
        for key in ["events", "faults", "skipped", "restarts", "quarantined"] {
            assert!(processor[key].is_u64(), "{key}: {processor}");
        }
        for key in ["parks", "parked_ns", "batches", "high_water", "rings", "drop_faults"] {
            assert!(json["shards"][0][key].is_u64(), "{key}");
        }

        let json = serde_json::to_value(&report).expect("a report is JSON");
        assert_eq!(json["clean"], true);
        assert_eq!((&json["accepted"], &json["faulted"]), (&500.into(), &50.into()));
        assert_eq!(json["abandoned"], 0);
        assert!(json["elapsed_s"].is_f64());
        assert_eq!(json["shards"][1]["ended"], true);

        let text = stats.to_string();
        for part in ["accepted 500", "processed 450", "faulted 50", "p99"] {
            assert!(text.contains(part), "{text}");
        }
        let text = report.to_string();
        assert!(
            text.starts_with("accepted 500, processed 450, faulted 50, abandoned 0 in "),
            "{text}"
        );
    });
}

/// A snapshot is one thing at one time: it does not change when the bus goes on.
#[test]
fn a_snapshot_stays_as_it_is() {
    within(60, || {
        let bus = Bus::builder()
            .shards(1)
            .processor("noop", NoopProcessorFactory)
            .build()
            .expect("it builds");
        bus.emitter().emit_blocking(KIND, 1u64, 1).expect("open");
        eventually("it is processed", || bus.stats().processed == 1);
        let stats = Arc::new(bus.stats());
        let elsewhere = thread::spawn({
            let stats = stats.clone();
            move || stats.processed
        });
        for number in 0..100u64 {
            bus.emitter().emit_blocking(KIND, number, number).expect("open");
        }
        assert!(bus.shutdown(LONG).is_clean());
        assert_eq!((stats.accepted, stats.latency.count()), (1, 1));
        assert_eq!(elsewhere.join().expect("no panic"), 1);
        assert_eq!(bus.stats().processed, 101);
    });
}
