//! `floor`: what the machine charges for the parts that no bus can do without.
//!
//! One event costs at least its hash and its stamp on the producer's core; one hand-over costs at
//! least the way of a cache line to the other core; waking a sleeper costs at least an unpark.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use super::Plan;
use crate::measure::Spread;
use crate::report::{Figure, Scenario};
use crate::workload::{BATCH, KEYS, Lane, Pace, STAMP, Shape, Work, hash, stamp};

pub(super) fn run(plan: &Plan) -> Result<Scenario, String> {
    let mut scenario = Scenario::new(
        "floor",
        "nanoseconds on this machine for the parts that no bus can do without".to_owned(),
        Vec::new(),
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
    let mut measured = vec![Vec::with_capacity(plan.rounds); parts.len()];
    for round in 0..=plan.rounds {
        for ((_, _, measure), figures) in parts.iter_mut().zip(&mut measured) {
            let figure = measure();
            if round > 0 {
                figures.push(figure);
            }
        }
    }
    for ((name, what, _), figures) in parts.into_iter().zip(measured) {
        if let Some(ns) = Spread::of(figures) {
            scenario.figures.push(Figure { name, what, ns });
        }
    }
    Ok(scenario.done())
}

fn per_event(events: u64, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    nanoseconds(start.elapsed()) / events as f64
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_nanos() as f64
}

/// Two threads hand one cache line back and forth.
fn line_ping(round_trips: u64, cores: &[usize]) -> f64 {
    let line = CachePadded::new(AtomicU64::new(0));
    // A neighbour may take one of the cores away for a while; yielding then ends the wait where
    // spinning would last the whole time slice.
    let wait_for = |value: u64| {
        let mut spins = 0_u32;
        while line.load(Ordering::Acquire) != value {
            spins += 1;
            if spins.is_multiple_of(1 << 14) {
                thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(cores.get(1));
            for trip in 0..round_trips {
                wait_for(2 * trip + 1);
                line.store(2 * trip + 2, Ordering::Release);
            }
        });
        let measuring = scope.spawn(|| {
            pin(cores.first());
            // The median of many short stretches: one preemption would spoil a mean.
            let stretch = (round_trips / 100).max(1);
            let mut stretches = Vec::new();
            let mut start = Instant::now();
            for trip in 0..round_trips {
                line.store(2 * trip + 1, Ordering::Release);
                wait_for(2 * trip + 2);
                if (trip + 1).is_multiple_of(stretch) {
                    let now = Instant::now();
                    stretches.push(nanoseconds(now - start) / (2 * stretch) as f64);
                    start = now;
                }
            }
            Spread::of(stretches).map_or(f64::NAN, |spread| spread.median)
        });
        measuring.join().unwrap_or(f64::NAN)
    })
}

/// Two threads wake each other in turn.
fn park_ping(round_trips: u64, cores: &[usize]) -> f64 {
    let (ping, pong) = (AtomicBool::new(false), AtomicBool::new(false));
    let wait_for = |flag: &AtomicBool| {
        while !flag.swap(false, Ordering::Acquire) {
            thread::park();
        }
    };
    let caller = thread::current();
    thread::scope(|scope| {
        let echo = scope.spawn(|| {
            pin(cores.get(1));
            for _ in 0..round_trips {
                wait_for(&ping);
                pong.store(true, Ordering::Release);
                caller.unpark();
            }
        });
        let mut trips = Vec::with_capacity(round_trips as usize);
        for _ in 0..round_trips {
            let start = Instant::now();
            ping.store(true, Ordering::Release);
            echo.thread().unpark();
            wait_for(&pong);
            trips.push(nanoseconds(start.elapsed()) / 2.0);
        }
        Spread::of(trips).map_or(f64::NAN, |spread| spread.median)
    })
}

/// Cores that this process may run on.
#[cfg(target_os = "linux")]
fn allowed_cores() -> Vec<usize> {
    // SAFETY: a `cpu_set_t` is a bit field, for which zeroes are a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is valid for writes of its own size.
    let failed = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } != 0;
    if failed {
        return Vec::new();
    }
    // SAFETY: the index stays below the number of bits in the set.
    (0..libc::CPU_SETSIZE as usize).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

/// Keeps the calling thread on `core`: two threads on one core would not ping through the cache.
#[cfg(target_os = "linux")]
fn pin(core: Option<&usize>) {
    let Some(core) = core else { return };
    // SAFETY: a `cpu_set_t` is a bit field, for which zeroes are a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` came out of a set of the same size.
    unsafe { libc::CPU_SET(*core, &mut set) };
    // SAFETY: `set` is valid for reads of its own size. A refusal leaves the thread where it is,
    // and then the figure is higher and still true.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
}

#[cfg(not(target_os = "linux"))]
fn allowed_cores() -> Vec<usize> {
    (0..thread::available_parallelism().map_or(1, usize::from)).collect()
}

#[cfg(not(target_os = "linux"))]
fn pin(_core: Option<&usize>) {}
