//! Defects that a review found, each with the misuse or the interleaving that showed it.

mod support;

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keylane::{
    Bus, Event, EventType, Key, NoopProcessor, Processor, ShardContext, SwapError, WaitStrategy,
};
use support::{DELIBERATE, LONG, Latch, mute_deliberate_panics, stress, within};

const KIND: EventType = EventType::user(0);

/// Counts the numbers that come after a larger one.
struct Growing {
    last: u64,
    inversions: Arc<AtomicU64>,
}

impl Processor for Growing {
    fn process(&mut self, event: &Event) {
        let number = *event.get::<u64>().expect("all are numbers");
        self.inversions.fetch_add(u64::from(number < self.last), Ordering::Relaxed);
        self.last = self.last.max(number);
    }
}

/// A thread that emits through two sets of rings is ahead of its own stores: the first event was still in the core's store buffer
/// when the second was stamped, and a round whose watermark lay in between found the second only. The rings of others lie between
/// the two, so that the worker takes a moment from the one to the other; stores to cold memory keep the store buffer full.
/// An unoptimised build has so many instructions in between that it hardly ever fails.
#[test]
fn one_thread_emits_through_an_emitter_and_a_producer() {
    within(60, || {
        let inversions = Arc::new(AtomicU64::new(0));
        let bus = Bus::builder()
            .shards(1)
            .wait(WaitStrategy::BusySpin)
            .processor("growing", {
                let inversions = inversions.clone();
                move |_: &ShardContext| Growing { last: 0, inversions: inversions.clone() }
            })
            .build()
            .expect("it builds");
        let key = Key::from("k");
        let emitter = bus.emitter();
        emitter.emit_blocking(KIND, 0u64, key).expect("open");
        let mut producers: Vec<_> = (0..65).map(|_| bus.producer()).collect();
        for producer in &mut producers {
            producer.emit_blocking(KIND, 0u64, key).expect("open");
        }
        let producer = producers.last_mut().expect("there are some");

        let cold: Vec<_> = (0..1 << 22).map(|_| AtomicU64::new(0)).collect();
        let mut place = 1u64;
        let pairs = 500_000 * stress();
        for number in (1..2 * pairs).step_by(2) {
            for _ in 0..32 {
                place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                cold[(place >> 42) as usize].store(number, Ordering::Relaxed);
            }
            emitter.emit_blocking(KIND, number, key).expect("open");
            producer.emit_blocking(KIND, number + 1, key).expect("open");
            // The worker is to find the rings empty most of the time.
            for _ in 0..place >> 58 {
                spin_loop();
            }
        }

        let report = bus.shutdown(LONG);
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.processed, 2 * pairs + 66);
        assert_eq!(inversions.load(Ordering::Relaxed), 0, "of {pairs} pairs");
    });
}

/// Panics when it is dropped.
struct Fragile;

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("{DELIBERATE}: the destructor of what a factory has captured");
    }
}

/// A factory that has been replaced is dropped on the last shard that lets go of it. A panic in the destructor of something
/// it had captured ended that shard's thread, and `replace_processor` waited for its answer for ever.
#[test]
fn a_factory_that_panics_when_it_is_dropped() {
    mute_deliberate_panics();
    within(30, || {
        let fragile = Fragile;
        let bus = Bus::builder()
            .shards(2)
            .processor("p", move |_: &ShardContext| {
                let _ = &fragile;
                NoopProcessor
            })
            .build()
            .expect("it builds");
        bus.replace_processor("p", |_: &ShardContext| NoopProcessor).expect("it is replaced");
        let emitter = bus.emitter();
        for number in 0..100u64 {
            emitter.emit_blocking(KIND, number, number).expect("open");
        }
        let report = bus.shutdown(LONG);
        assert!(report.is_clean() && report.processed == 100, "{report}");
    });
}

/// The same at the end of a bus, for the hook: the shard never said that it had ended.
#[test]
fn a_hook_that_panics_when_it_is_dropped() {
    mute_deliberate_panics();
    within(30, || {
        let fragile = Fragile;
        let bus =
            Bus::builder().shards(2).on_fault(move |_| _ = &fragile).build().expect("it builds");
        let report = bus.shutdown(std::time::Duration::from_secs(5));
        assert!(report.is_clean(), "{report}");
    });
}

/// Holds its shard up until the latch is open.
struct Stuck(Latch);

impl Processor for Stuck {
    fn process(&mut self, _event: &Event) {
        self.0.wait();
    }
}

/// A shutdown whose deadline ran out leaves a shard behind in a stuck processor. A change of processors after that waited for the
/// shard's answer, instead of telling that the bus is closed.
#[test]
fn no_change_of_processors_waits_for_a_shard_that_was_left_behind() {
    within(30, || {
        let latch = Latch::new();
        let bus = Bus::builder()
            .shards(1)
            .processor("stuck", {
                let latch = latch.clone();
                move |_: &ShardContext| Stuck(latch.clone())
            })
            .build()
            .expect("it builds");
        bus.emitter().try_emit(KIND, 0u64, 0).expect("there is room");
        let report = bus.shutdown(std::time::Duration::from_millis(50));
        assert_eq!(report.abandoned, 1, "{report}");
        let noop = |_: &ShardContext| NoopProcessor;
        assert_eq!(bus.replace_processor("stuck", noop), Err(SwapError::Closed));
        assert_eq!(bus.add_processor("other", noop), Err(SwapError::Closed));
        assert_eq!(bus.remove_processor("stuck"), Err(SwapError::Closed));
        latch.open();
    });
}
