//! How a shard waits: how long it looks again, and when it sleeps.

use std::hint::spin_loop;
use std::time::Duration;

use crate::clock;
use crate::sync::thread;

/// How a shard waits for events when its rings are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WaitStrategy {
    /// Never sleeps: the lowest latency, for one core per shard. On a machine with fewer cores than busy threads it slows everything
    /// down.
    BusySpin,
    /// Looks again for some microseconds, then lets other threads run, then sleeps until it is woken. Where shards and emitting threads
    /// are more than cores it lets others run at once. An idle bus costs nothing.
    #[default]
    Adaptive,
    /// Sleeps as soon as there is nothing to do: the least processor time, at the price of a wake-up for the first event after a pause.
    Park,
    /// Looks again every 100 to 200 microseconds while events come, and sleeps until it is woken after some milliseconds without any.
    ///
    /// While events come nobody is woken, so an emit never pays for a wake-up; in turn an event may wait for the next look, and a ring
    /// should hold what comes in between. For events about requests, of which many are to be logged and counted and none is urgent. The idea is
    /// that of the LMAX Disruptor's `SleepingWaitStrategy`.
    Sleeping,
}

/// A round that found at least this many events is followed by the next at once: three groups of a batch.
const FULL_ROUND: usize = 192;
/// The pause after a round that found few events.
const PAUSE: Duration = Duration::from_micros(3);
/// The same when they came in groups: the producer writes all but one line of a group while nobody looks.
const PAUSE_OF_GROUPS: Duration = Duration::from_nanos(700);
/// Events that come more slowly than one in this many nanoseconds are not worth waiting for.
const DENSE_NANOS: u64 = 250;

/// How long a nap is, in microseconds; the system adds some 50.
const NAP_MICROS: u64 = 100;
/// Empty rounds with a nap in between, before the worker sleeps until it is woken.
const NAPS: u32 = 20;
/// Naps without an event before processors are flushed.
const FLUSH_AFTER_NAPS: u32 = 3;

/// Empty rounds with a spin hint in between, before other threads are let run.
const SPINS: u32 = 300;
/// Empty rounds with a yield in between, before the worker sleeps.
const YIELDS: u32 = 64;
/// Empty rounds between two nudges, for a shard that never sleeps.
const NUDGE_EVERY: u32 = 1024;
/// Empty rounds before processors are flushed, so that a stream with small gaps does not flush at every gap.
const FLUSH_AFTER: u32 = 16;

/// What to do after a round that found nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Look again.
    Again,
    /// Flush the processors, then look again.
    Flush,
    /// Let one more waiting emit have its turn, then look again.
    Nudge,
    /// Sleep.
    Park,
}

/// The state of waiting of one worker.
#[derive(Debug)]
pub(crate) struct Waiting {
    strategy: WaitStrategy,
    cores: usize,
    /// There are more threads at work for this bus than cores. Whoever is to fill a ring may be waiting for this very core, so it is
    /// given away instead of spinning.
    crowded: bool,
    empty_rounds: u32,
    dense_ticks: u64,
    last_stamp: u64,
    /// The last round that found something was a full one.
    full: bool,
}

impl Waiting {
    /// For a machine with `cores` cores for this process; a shard that is bound to one of them must not count by itself.
    pub(crate) fn new(strategy: WaitStrategy, cores: usize) -> Self {
        Self {
            strategy,
            cores,
            crowded: false,
            empty_rounds: 0,
            dense_ticks: clock::rate().to_ticks(DENSE_NANOS).max(1),
            last_stamp: 0,
            full: false,
        }
    }

    /// Takes note of how many threads keep this bus busy: its shards, and those that emit to this one.
    pub(super) fn shared_by(&mut self, threads: usize) {
        self.crowded = threads > self.cores;
    }

    /// After a round that read `events` events, the last one stamped `stamp`, some of them in groups or not.
    ///
    /// A consumer that looks at the very next slot at once takes the cache line away from the producer that is about to
    /// write it, for every single event; a pause in which a few dozen events gather triples the rate of both. In a crowd the
    /// pause is somebody else's turn. The stamps tell a dense stream, which is worth a pause, from single events, which are not
    /// kept waiting.
    #[inline]
    pub(super) fn after_round(&mut self, events: usize, stamp: u64, in_groups: bool) {
        self.empty_rounds = 0;
        self.full = events >= FULL_ROUND;
        let elapsed = stamp.saturating_sub(self.last_stamp);
        self.last_stamp = stamp;
        if events < FULL_ROUND && elapsed < self.dense_ticks * events as u64 && !cfg!(loom) {
            if self.crowded {
                thread::yield_now();
            } else {
                clock::pause(if in_groups { PAUSE_OF_GROUPS } else { PAUSE });
            }
        }
    }

    /// After a round that found nothing.
    #[inline]
    pub(super) fn after_nothing(&mut self) -> Step {
        self.empty_rounds = self.empty_rounds.saturating_add(1);
        if cfg!(loom) {
            // Every look at an unchanged ring is a state to explore; the model goes to sleep at once.
            return Step::Park;
        }
        match self.strategy {
            WaitStrategy::Park => return Step::Park,
            WaitStrategy::Sleeping => return self.nap(),
            WaitStrategy::BusySpin => spin_loop(),
            WaitStrategy::Adaptive => {
                let spins = if self.crowded { 0 } else { SPINS };
                match self.empty_rounds {
                    round if round <= spins => spin_loop(),
                    round if round <= spins + YIELDS => thread::yield_now(),
                    _ => return Step::Park,
                }
            }
        }
        if self.empty_rounds == FLUSH_AFTER {
            Step::Flush
        } else if self.empty_rounds.is_multiple_of(NUDGE_EVERY) {
            Step::Nudge
        } else {
            Step::Again
        }
    }

    /// As [`after_nothing`](Self::after_nothing), with naps.
    #[cold]
    fn nap(&mut self) -> Step {
        if self.full && self.empty_rounds <= SPINS {
            // Between full rounds a nap would be long enough for a ring to fill up.
            spin_loop();
            return Step::Again;
        }
        if self.full {
            (self.full, self.empty_rounds) = (false, 1);
        }
        match self.empty_rounds {
            FLUSH_AFTER_NAPS => return Step::Flush,
            NAPS.. => return Step::Park,
            // Not the modelled one: nothing is synchronised by a nap.
            _ => std::thread::sleep(Duration::from_micros(NAP_MICROS)),
        }
        Step::Again
    }

    /// After a nudge: there will be events soon, or another nudge is due.
    pub(super) fn after_nudge(&mut self) {
        // Processors have been flushed.
        self.empty_rounds = FLUSH_AFTER;
    }

    /// After a sleep.
    pub(super) fn after_park(&mut self) {
        self.empty_rounds = 0;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_more_threads_than_the_process_has_cores() {
        // On a thread that is bound to one core, as a shard may be.
        let mut waiting = Waiting::new(WaitStrategy::Adaptive, 2);
        waiting.shared_by(2);
        assert!(!waiting.crowded);
        assert_eq!(waiting.after_nothing(), Step::Again);
        waiting.shared_by(3);
        assert!(waiting.crowded);
    }
}
