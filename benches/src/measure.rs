//! How a figure comes about: a start line and a finish line for the threads of one round, rounds
//! of different contenders interleaved, and the statistics over them.
//!
//! Wall time runs from the moment the start line opens, with every thread already waiting at it,
//! to the moment the last consumer has seen its last event. CPU time is that of the whole process
//! until all threads of the round are joined: the kernel accounts a thread exactly only once it is
//! off its core, so the few microseconds of tear-down buy the precision.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cpu::process_cpu;
use crate::workload::{KINDS, Keys, Lane, Payload, Sink, Verdict, Work};

/// A round that takes longer has lost an event or a wake-up.
pub(crate) const STALLED: Duration = Duration::from_secs(120);

/// One measured round.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Lap {
    pub(crate) operations: u64,
    pub(crate) wall_ns: f64,
    pub(crate) cpu_ns: f64,
}

impl Lap {
    /// Millions of operations per second of wall time.
    pub(crate) fn rate(&self) -> f64 {
        self.operations as f64 / self.wall_ns * 1e3
    }

    /// Nanoseconds of CPU per operation, over all threads, user and system.
    pub(crate) fn cpu(&self) -> f64 {
        self.cpu_ns / self.operations as f64
    }
}

/// The start line and the finish line of one round's threads.
#[derive(Debug)]
pub(crate) struct Track {
    state: Mutex<TrackState>,
    changed: Condvar,
    /// Parties that have not finished yet; the last one stops the clock.
    running: AtomicUsize,
}

#[derive(Debug)]
struct TrackState {
    awaited: usize,
    open: bool,
    finished: Option<Instant>,
}

impl Track {
    /// A track on which `ready` threads gather at the start and `finishing` parties cross the
    /// finish.
    pub(crate) fn new(ready: usize, finishing: usize) -> Self {
        Self {
            state: Mutex::new(TrackState { awaited: ready, open: false, finished: None }),
            changed: Condvar::new(),
            running: AtomicUsize::new(finishing),
        }
    }

    fn state(&self) -> MutexGuard<'_, TrackState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread is set up, and sleeps until the start.
    pub(crate) fn ready_then_wait(&self) {
        let mut state = self.state();
        state.awaited -= 1;
        self.changed.notify_all();
        while !state.open {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A party has done its share.
    pub(crate) fn finish(&self) {
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.state().finished = Some(Instant::now());
            self.changed.notify_all();
        }
    }

    /// Opens the start line once all threads are ready, and sleeps until the last party has
    /// finished.
    pub(crate) fn time(&self) -> Started {
        let mut state = self.state();
        while state.awaited > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let cpu = process_cpu();
        let start = Instant::now();
        state.open = true;
        self.changed.notify_all();
        loop {
            if let Some(finished) = state.finished {
                return Started { wall: finished.saturating_duration_since(start), cpu };
            }
            let waited;
            (state, waited) =
                self.changed.wait_timeout(state, STALLED).unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() && state.finished.is_none() {
                // The threads of the round hang, so nothing can be unwound; and a contender that
                // loses events must not leave a report behind.
                eprintln!(
                    "error: a round did not finish within {} s: {} of its threads and consumers \
                     are still waiting, so an event or a wake-up is lost",
                    STALLED.as_secs(),
                    self.running.load(Ordering::Acquire)
                );
                std::process::exit(1);
            }
        }
    }
}

/// A round whose wall time is known and whose threads are about to be joined.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started {
    wall: Duration,
    cpu: Duration,
}

impl Started {
    /// The round, once all its threads are joined.
    pub(crate) fn joined(self, operations: u64) -> Lap {
        Lap {
            operations,
            wall_ns: self.wall.as_nanos() as f64,
            cpu_ns: process_cpu().saturating_sub(self.cpu).as_nanos() as f64,
        }
    }
}

/// What a producer does between start and finish, under a name by which `instructions` finds it.
#[inline(never)]
fn at_work<H>(lane: &mut Lane<'_>, emit: impl FnOnce(&mut Lane<'_>) -> H) -> H {
    emit(lane)
}

/// One round of events from producers to shards: the track, the keys, and what must arrive.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) work: Work,
    keys: Arc<Keys>,
    track: Track,
    quotas: Vec<u64>,
    verdicts: Mutex<Vec<Verdict>>,
}

impl Course {
    /// A course that every shard's consumer takes part in.
    pub(crate) fn new(work: &Work, keys: &Arc<Keys>) -> Arc<Self> {
        Self::with_quotas(work, keys, keys.quotas(work))
    }

    /// A course without consumers: nothing arrives anywhere.
    pub(crate) fn without_consumers(work: &Work, keys: &Arc<Keys>) -> Arc<Self> {
        Self::with_quotas(work, keys, Vec::new())
    }

    fn with_quotas(work: &Work, keys: &Arc<Keys>, quotas: Vec<u64>) -> Arc<Self> {
        let producers = work.shape.producers;
        // A shard that no event belongs to never sees a last one.
        let consumers = quotas.iter().filter(|quota| **quota > 0).count();
        Arc::new(Self {
            work: *work,
            keys: Arc::clone(keys),
            track: Track::new(producers, producers + consumers),
            quotas,
            verdicts: Mutex::new(Vec::new()),
        })
    }

    /// Runs `emit` as producer `index` on the calling thread, from the start line on.
    ///
    /// `emit` returns its handles, so that closing them is not part of the time.
    pub(crate) fn produce<H>(&self, index: usize, emit: impl FnOnce(&mut Lane<'_>) -> H) {
        let mut lane = Lane::new(&self.keys, &self.work, index);
        self.track.ready_then_wait();
        let handles = at_work(&mut lane, emit);
        self.track.finish();
        drop(handles);
    }

    /// The consuming end of `shard`.
    pub(crate) fn counter(self: &Arc<Self>, shard: usize) -> Counter {
        Counter { sink: Sink::new(shard, self.quotas[shard]), course: Arc::clone(self) }
    }

    /// Opens the start line and sleeps until every event has been consumed.
    pub(crate) fn time(&self) -> Started {
        self.track.time()
    }

    /// Checks what the consumers saw.
    ///
    /// # Errors
    ///
    /// Says which consumer saw what instead of what it should have seen.
    pub(crate) fn check(&self) -> Result<(), String> {
        let verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kinds = [0; KINDS];
        for (shard, quota) in self.quotas.iter().enumerate() {
            let mut seen = 0;
            for verdict in verdicts.iter().filter(|verdict| verdict.shard == shard) {
                seen += verdict.kinds.iter().sum::<u64>();
                if verdict.disordered > 0 {
                    return Err(format!(
                        "shard {shard} saw {} events out of their key's order",
                        verdict.disordered
                    ));
                }
                for (kind, count) in verdict.kinds.iter().enumerate() {
                    kinds[kind] += count;
                }
            }
            if seen != *quota {
                return Err(format!("shard {shard} saw {seen} events instead of {quota}"));
            }
        }
        if self.quotas.is_empty() {
            return Ok(());
        }
        for (kind, count) in kinds.iter().enumerate() {
            let expected: u64 = (0..self.work.shape.producers)
                .map(|index| self.work.share(index))
                .map(|share| share / KINDS as u64 + u64::from((kind as u64) < share % KINDS as u64))
                .sum();
            if *count != expected {
                return Err(format!("type {kind} was counted {count} times, not {expected}"));
            }
        }
        Ok(())
    }
}

/// A [`Sink`] on a course: stops the clock with its last event, hands in its verdict when dropped.
#[derive(Debug)]
pub(crate) struct Counter {
    sink: Sink,
    course: Arc<Course>,
}

impl Counter {
    /// Takes one event.
    #[inline]
    pub(crate) fn see(&mut self, kind: u16, payload: &Payload) {
        if self.sink.see(kind, payload) {
            self.course.track.finish();
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.course
            .verdicts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.sink.verdict());
    }
}

/// Median, smallest and largest of several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` without a single figure.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<_> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Self { median, min, max })
    }

    /// How many times `ours` is `theirs`, round by round.
    ///
    /// Rounds of one number lie next to each other in time, so a machine that slows down for a
    /// while changes both sides of a ratio and not the ratio.
    pub(crate) fn of_ratios(ours: &[Lap], theirs: &[Lap], figure: fn(&Lap) -> f64) -> Option<Self> {
        Self::of(ours.iter().zip(theirs).map(|(ours, theirs)| figure(ours) / figure(theirs)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_min_max() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(
            Spread::of([4.0, 1.0, 2.0, 3.0]),
            Some(Spread { median: 2.5, min: 1.0, max: 4.0 })
        );
    }
}
