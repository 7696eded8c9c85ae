//! Order: if one emit returned before another began, on whatever threads, and both lead to one shard, the first event comes
//! first.
//!
//! | model | proves | threads, events, capacity | preemptions |
//! |---|---|---|---|
//! | `causal_order` | order across two rings that exist, with the ring, the clock, the list and the merge of the bus | 3, 2, 1 | any |
//! | `causal_order_of_new_rings` | the same when both rings are opened by the emits themselves | 3, 2, 1 | 3 |
//! | `causal_order_in_a_bus` | the same in a whole bus, with producers | 3, 2, 1 | 2 |
//! | `causal_order_of_emitters` | the same with one emitter that moves from thread to thread | 3, 2, 1 | 2 |
//! | `causal_order_when_a_second_ring_comes` | order where the first ring was alone, and its stamps unordered, until the cause was emitted | 3, 3, 2 | 2 |
//! | `causal_order_when_a_ring_goes` | order where a ring is alone again since the other's producer is gone | 3, 3, 2 | 2 |
//! | `two_producers_each_event_once` | two producers that know nothing of each other: every event once, each producer's in order | 3, 3, 2 | 2 |
//!
//! And that each condition of the rule is needed. These must fail, and do:
//!
//! | model | what it leaves out |
//! |---|---|
//! | `without_a_watermark` | one pass over the rings takes whatever is there |
//! | `with_a_relaxed_clock` | stamps from a counter that orders nothing |
//! | `with_unordered_stamps` | several rings, and stamps as for a single one |
//! | `with_ties` | two stamps may be equal |
//! | `with_an_old_list_of_rings` | the list of rings is read before the watermark |
//! | `with_a_buffer_in_the_producer` | an emit returns before its event is in the ring |
#![cfg(loom)]

use keylane::model::{Lane, Reader, Shard};
use keylane::{Bus, EventType};
use keylane_loom_tests::{Log, Payload, UNBOUNDED, check, finish, start, violates};
use loom::sync::Arc;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use loom::sync::atomic::{AtomicBool, AtomicU64};
use loom::thread;

/// The conditions under which a merge keeps causal order.
#[derive(Debug, Clone, Copy)]
struct Rules {
    /// A round takes only events below a watermark that was read first.
    watermark: bool,
    /// Stamps are taken with acquire and release.
    ordered_clock: bool,
    /// Where there are several rings, stamps are later than what the thread has seen.
    ordered_stamps: bool,
    /// No two stamps are equal.
    strict_clock: bool,
    /// The list of rings is read after the watermark.
    list_after_watermark: bool,
    /// An event is in its ring when its emit returns.
    published_on_return: bool,
    /// The ring of the first event, of the cause, is opened by its emit.
    first_ring_is_new: bool,
    /// So is that of the second one, of the effect.
    second_ring_is_new: bool,
    /// A round looks at the ring of the effect before it looks at the ring of the cause.
    effect_first: bool,
}

/// What the bus does.
const KEPT: Rules = Rules {
    watermark: true,
    ordered_clock: true,
    ordered_stamps: true,
    strict_clock: true,
    list_after_watermark: true,
    published_on_return: true,
    first_ring_is_new: false,
    second_ring_is_new: false,
    effect_first: false,
};

struct Scene {
    rules: Rules,
    shard: Shard,
    relaxed_clock: AtomicU64,
    /// The first emit has returned.
    returned: AtomicBool,
}

impl Scene {
    fn stamp(&self) -> u64 {
        let stamp = if !self.rules.ordered_stamps {
            self.shard.unordered_stamp()
        } else if self.rules.ordered_clock {
            self.shard.stamp()
        } else {
            self.relaxed_clock.fetch_add(1, Relaxed) + 1
        };
        if self.rules.strict_clock { stamp } else { stamp / 4 }
    }

    fn watermark(&self) -> u64 {
        if !self.rules.watermark {
            u64::MAX
        } else if self.rules.ordered_clock {
            self.shard.watermark()
        } else {
            self.relaxed_clock.load(Acquire) + 1
        }
    }

    fn emit(&self, lane: Option<Lane>, number: u64) -> Lane {
        let mut lane = lane.unwrap_or_else(|| self.shard.open_ring());
        lane.publish(self.stamp(), Payload::new(number));
        lane
    }

    fn round(&self, reader: &mut Reader, seen: &mut Vec<u64>) {
        let watermark = if self.rules.list_after_watermark {
            let watermark = self.watermark();
            reader.watch(&self.shard);
            watermark
        } else {
            reader.watch(&self.shard);
            self.watermark()
        };
        reader.round(watermark, |event| {
            seen.push(event.get::<Payload>().expect("the models emit payloads").number());
        });
    }
}

/// Event 1 is emitted on one thread, then event 2 on another one, which has learnt that 1 was emitted. The worker makes one round
/// meanwhile and one at the end.
fn scene(rules: Rules) {
    let shard = Shard::new(1);
    let open = |is_new: bool| (!is_new).then(|| shard.open_ring());
    let (first, second);
    if rules.effect_first {
        second = open(rules.second_ring_is_new);
        first = open(rules.first_ring_is_new);
    } else {
        first = open(rules.first_ring_is_new);
        second = open(rules.second_ring_is_new);
    }
    let scene = Arc::new(Scene {
        rules,
        shard,
        relaxed_clock: AtomicU64::new(0),
        returned: AtomicBool::new(false),
    });
    let one = {
        let scene = scene.clone();
        thread::spawn(move || {
            if scene.rules.published_on_return {
                let _lane = scene.emit(first, 1);
                scene.returned.store(true, Release);
            } else {
                scene.returned.store(true, Release);
                let _lane = scene.emit(first, 1);
            }
        })
    };
    let two = {
        let scene = scene.clone();
        thread::spawn(move || {
            if scene.returned.load(Acquire) {
                let _lane = scene.emit(second, 2);
            }
        })
    };
    let mut reader = Reader::default();
    let mut seen = Vec::new();
    scene.round(&mut reader, &mut seen);
    one.join().unwrap();
    two.join().unwrap();
    scene.round(&mut reader, &mut seen);
    assert!(seen == [1] || seen == [1, 2], "out of order: {seen:?}");
}

#[test]
fn causal_order() {
    check(UNBOUNDED, || scene(KEPT));
    check(UNBOUNDED, || scene(Rules { effect_first: true, ..KEPT }));
}

#[test]
fn causal_order_of_new_rings() {
    check(3, || scene(Rules { first_ring_is_new: true, ..KEPT }));
    check(3, || scene(Rules { first_ring_is_new: true, second_ring_is_new: true, ..KEPT }));
}

#[test]
fn without_a_watermark() {
    violates("without_a_watermark", 3, "out of order", || {
        scene(Rules { watermark: false, ..KEPT });
    });
}

#[test]
fn with_a_relaxed_clock() {
    violates("with_a_relaxed_clock", 3, "out of order", || {
        scene(Rules { ordered_clock: false, ..KEPT });
    });
}

#[test]
fn with_unordered_stamps() {
    violates("with_unordered_stamps", 3, "out of order", || {
        scene(Rules { ordered_stamps: false, ..KEPT });
    });
}

#[test]
fn with_ties() {
    violates("with_ties", 3, "out of order", || scene(Rules { strict_clock: false, ..KEPT }));
}

#[test]
fn with_an_old_list_of_rings() {
    violates("with_an_old_list_of_rings", 3, "out of order", || {
        scene(Rules { list_after_watermark: false, first_ring_is_new: true, ..KEPT });
    });
}

#[test]
fn with_a_buffer_in_the_producer() {
    violates("with_a_buffer_in_the_producer", 3, "out of order", || {
        scene(Rules { published_on_return: false, ..KEPT });
    });
}

fn one_shard() -> (Bus, Log) {
    let log = Log::default();
    let bus = Bus::builder().shards(1).capacity(2).processor("log", log.record());
    (start(bus), log)
}

const KIND: EventType = EventType::user(0);

#[test]
fn causal_order_in_a_bus() {
    check(2, || {
        let (bus, log) = one_shard();
        let returned = Arc::new(AtomicBool::new(false));
        let (mut first, mut second) = (bus.producer(), bus.producer());
        let one = {
            let returned = returned.clone();
            thread::spawn(move || {
                first.try_emit(KIND, Payload::new(1), 0).unwrap();
                returned.store(true, Release);
                first
            })
        };
        let caused = returned.load(Acquire);
        if caused {
            second.try_emit(KIND, Payload::new(2), 0).unwrap();
        }
        let _first = one.join().unwrap();
        finish(&bus);
        assert_eq!(log.entries(), if caused { vec![1, 2] } else { vec![1] }, "out of order");
    });
}

/// Event 0 through a ring that is alone, then event 1 through a second ring on another thread, and then, if 1 is known to have been
/// emitted, event 2 through the first ring. The second producer goes or stays.
fn a_second_ring(goes: bool) {
    let (bus, log) = one_shard();
    let returned = Arc::new(AtomicBool::new(false));
    let (mut first, mut second) = (bus.producer(), bus.producer());
    first.try_emit(KIND, Payload::new(0), 0).unwrap();
    let other = {
        let returned = returned.clone();
        thread::spawn(move || {
            second.try_emit(KIND, Payload::new(1), 0).unwrap();
            let kept = if goes {
                drop(second);
                None
            } else {
                Some(second)
            };
            returned.store(true, Release);
            kept
        })
    };
    let caused = returned.load(Acquire);
    if caused {
        first.try_emit(KIND, Payload::new(2), 0).unwrap();
    }
    let _second = other.join().unwrap();
    finish(&bus);
    let seen: Vec<_> = log.entries().into_iter().filter(|&number| number > 0).collect();
    assert_eq!(seen, if caused { vec![1, 2] } else { vec![1] }, "out of order");
}

#[test]
fn causal_order_when_a_second_ring_comes() {
    check(2, || a_second_ring(false));
}

#[test]
fn causal_order_when_a_ring_goes() {
    check(2, || a_second_ring(true));
}

#[test]
fn causal_order_of_an_emitter() {
    check(2, || {
        let (bus, log) = one_shard();
        let returned = Arc::new(AtomicBool::new(false));
        let emitter = bus.emitter();
        let one = {
            let (emitter, returned) = (emitter.clone(), returned.clone());
            thread::spawn(move || {
                emitter.try_emit(KIND, Payload::new(1), 0).unwrap();
                returned.store(true, Release);
            })
        };
        let caused = returned.load(Acquire);
        if caused {
            emitter.try_emit(KIND, Payload::new(2), 0).unwrap();
        }
        one.join().unwrap();
        finish(&bus);
        assert_eq!(log.entries(), if caused { vec![1, 2] } else { vec![1] }, "out of order");
    });
}

#[test]
fn two_producers_each_event_once() {
    check(2, || {
        let (bus, log) = one_shard();
        let (mut a, mut b) = (bus.producer(), bus.producer());
        let other = thread::spawn(move || {
            a.try_emit(KIND, Payload::new(1), 0).unwrap();
            a
        });
        b.try_emit(KIND, Payload::new(2), 0).unwrap();
        let _a = other.join().unwrap();
        let report = finish(&bus);
        assert_eq!((report.accepted, report.processed), (2, 2));
        let mut seen = log.entries();
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
    });
}
