//! What a hand-over between two threads costs at least.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_utils::CachePadded;

use super::nanoseconds;
use crate::affinity::pin;
use crate::measure::Spread;

/// Two threads hand one cache line back and forth.
pub(super) fn line_ping(round_trips: u64, cores: &[usize]) -> f64 {
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
pub(super) fn park_ping(round_trips: u64, cores: &[usize]) -> f64 {
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
