//! What keylane's own part of an emit costs: everything but the way of the cache line to another core.
//!
//! Producer and shard are kept on one core, and the shard stands at a gate inside of its processor while the producer
//! fills most of a ring. So every line that is written is in this core's cache, and nobody is woken.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use keylane::{Bus, Event, EventType, Processor, ShardContext};

use super::nanoseconds;
use crate::affinity::pin;
use crate::measure::Spread;
use crate::workload::{Draw, Keys, Lane, Pace, Shape, Stamp, Work};

const CAPACITY: usize = 1024;
/// Events of one stretch; they fit behind the one that the shard holds.
const STRETCH: u64 = 900;
const STRETCHES: u64 = 200;

#[derive(Debug, Default)]
struct Gate {
    gate: RwLock<()>,
    begun: AtomicU64,
    done: AtomicU64,
}

struct Gated(Arc<Gate>);

impl Processor for Gated {
    fn process(&mut self, _event: &Event) {
        self.0.begun.fetch_add(1, Ordering::Release);
        drop(self.0.gate.read());
        self.0.done.fetch_add(1, Ordering::Release);
    }
}

/// Nanoseconds of one emit, the median over many stretches.
pub(super) fn emit_at_hand(keys: &Keys, cores: &[usize]) -> f64 {
    thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            pin(cores.first());
            stretches(keys).and_then(Spread::of).map_or(f64::NAN, |spread| spread.median)
        });
        measuring.join().unwrap_or(f64::NAN)
    })
}

fn stretches(keys: &Keys) -> Option<Vec<f64>> {
    let gate = Arc::new(Gate::default());
    let shared = Arc::clone(&gate);
    let bus = Bus::builder().shards(1).capacity(CAPACITY).pin_shards(true);
    let bus =
        bus.processor("gated", move |_: &ShardContext| Gated(Arc::clone(&shared))).build().ok()?;
    let mut producer = bus.producer();
    let work = Work {
        shape: Shape { producers: 1, shards: 1 },
        pace: Pace::Single,
        events: STRETCHES * (STRETCH + 1),
        capacity: CAPACITY,
        hot: 0,
        stamp: Stamp::Ordered,
    };
    let mut lane = Lane::new(keys, &work, 0);
    let mut emit = |Draw { key, kind, payload }: Draw<'_>| {
        producer
            .emit_blocking(EventType::user(kind), payload, key)
            .expect("the bus outlives its producer");
    };
    let await_count = |count: &AtomicU64, wanted: u64| {
        while count.load(Ordering::Acquire) < wanted {
            thread::yield_now();
        }
    };
    let mut stretches = Vec::with_capacity(STRETCHES as usize);
    for stretch in 0..STRETCHES {
        let closed = gate.gate.write().ok()?;
        emit(lane.next()?);
        await_count(&gate.begun, stretch * (STRETCH + 1) + 1);
        let start = Instant::now();
        for draw in lane.by_ref().take(STRETCH as usize) {
            emit(draw);
        }
        stretches.push(nanoseconds(start.elapsed()) / STRETCH as f64);
        drop(closed);
        await_count(&gate.done, (stretch + 1) * (STRETCH + 1));
    }
    bus.shutdown(Duration::from_secs(60));
    Some(stretches)
}
