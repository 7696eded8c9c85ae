//! `floor`: what the machine charges for the parts that no bus can do without.
//!
//! One event costs at least its hash and its stamp on the producer's core; one hand-over costs at
//! least the way of a cache line to the other core; waking a sleeper costs at least an unpark.

mod emit;
mod pings;

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::Plan;
use crate::affinity::allowed_cores;
use crate::measure::Spread;
use crate::report::{Figure, Scenario};
use crate::workload::{
    BATCH, KEYS, Lane, PLAIN_STAMP, Pace, STAMP, Shape, Stamp, Work, hash, plain_stamp, stamp,
};
use emit::emit_at_hand;
use pings::{line_ping, park_ping};

pub(super) fn run(plan: &Plan) -> Result<Scenario, String> {
    let mut scenario = Scenario::new(
        "floor",
        "nanoseconds on this machine for the parts that no bus can do without".to_owned(),
        &[],
    );
    let cores = allowed_cores();
    if cores.len() < 2 {
        scenario
            .note("one core only: the pings measure the scheduler, not the hardware".to_owned());
    }
    let work = Work {
        shape: Shape { producers: 1, shards: 1 },
        pace: Pace::Single,
        events: plan.events(1_000_000),
        capacity: plan.capacity,
        hot: 0,
        stamp: Stamp::Ordered,
    };
    let pings = if plan.quick { 200 } else { 100_000 };
    let wakes = if plan.quick { 50 } else { 10_000 };
    let lane = || Lane::new(&plan.keys, &work, 0);
    type Measured<'a> = (&'static str, String, Box<dyn FnMut() -> f64 + 'a>);
    let mut parts: Vec<Measured<'_>> = vec![
        (
            "hash",
            format!("seahash of a 36-byte key out of {KEYS}"),
            Box::new(|| {
                per_event(work.events, || {
                    for draw in lane() {
                        black_box(hash(draw.key));
                    }
                })
            }),
        ),
        (
            "stamp",
            STAMP.to_owned(),
            Box::new(|| {
                per_event(work.events, || {
                    for _ in 0..work.events {
                        black_box(stamp());
                    }
                })
            }),
        ),
        (
            "plain stamp",
            PLAIN_STAMP.to_owned(),
            Box::new(|| {
                per_event(work.events, || {
                    for _ in 0..work.events {
                        black_box(plain_stamp());
                    }
                })
            }),
        ),
        (
            "hash + stamp",
            "per event, one stamp each: the floor of dispatch".to_owned(),
            Box::new(|| {
                per_event(work.events, || {
                    for draw in lane() {
                        black_box(hash(draw.key));
                        black_box(stamp());
                    }
                })
            }),
        ),
        (
            "hash + plain stamp",
            "per event, where there is one producer".to_owned(),
            Box::new(|| {
                per_event(work.events, || {
                    for draw in lane() {
                        black_box(hash(draw.key));
                        black_box(plain_stamp());
                    }
                })
            }),
        ),
        (
            "hash + stamp / 64",
            format!("per event, one stamp per {BATCH}: the floor of batch"),
            Box::new(|| {
                per_event(work.events, || {
                    let mut lane = lane();
                    while lane.len() > 0 {
                        black_box(stamp());
                        for draw in lane.by_ref().take(BATCH) {
                            black_box(hash(draw.key));
                        }
                    }
                })
            }),
        ),
        (
            "emit, line at hand",
            "hash, plain stamp and keylane's own part, into lines that this core holds; nobody reads meanwhile"
                .to_owned(),
            Box::new(|| emit_at_hand(&plan.keys, &cores)),
        ),
        (
            "cache line ping",
            "one way between two cores, spinning on both".to_owned(),
            Box::new(|| line_ping(pings, &cores)),
        ),
        (
            "park/unpark ping",
            "one way between two threads, both asleep in between".to_owned(),
            Box::new(|| park_ping(wakes, &cores)),
        ),
    ];
    let measured =
        plan.rounds.interleave(parts.len(), |index| Ok::<_, String>((parts[index].2)()))?;
    for ((name, what, _), figures) in parts.into_iter().zip(measured) {
        if let Some(ns) = Spread::of(figures) {
            scenario.figures.push(Figure { name: name.to_owned(), what, ns });
        }
    }
    Ok(scenario.done(plan))
}

/// Nanoseconds that a cache line takes from one core to another, right now: in a virtual machine that changes with where
/// the host runs its cores. `None` with one core only.
pub(super) fn core_distance() -> Option<f64> {
    let cores = allowed_cores();
    (cores.len() > 1).then(|| line_ping(10_000, &cores))
}

fn per_event(events: u64, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    nanoseconds(start.elapsed()) / events as f64
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_nanos() as f64
}
