//! The stamp that orders events, and the wall time that it stands for.
//!
//! A stamp must be *strictly consistent with happens-before*: if one emit returned before another began, on whatever
//! threads, the second has the larger stamp. Two sources give that:
//!
//! * **TSC.** `lfence; rdtsc` on x86-64 when the processor has an invariant time stamp counter and the kernel itself uses
//!   it (it watches the counters of all cores for warps and gives them up on the first). The fence makes the read wait for all
//!   earlier loads, so a thread that has seen another's event reads a later time. A plain `rdtsc` runs ahead of
//!   earlier loads and was seen to invert causally related stamps millions of times in 20 M hand-overs.
//! * **Counted clock.** Elsewhere, `max(monotonic nanoseconds, last + 1)` by compare-and-swap on one word per shard.
//!   The chain of read-modify-writes makes it strict whatever the resolution of the system's clock.
//!
//! Under loom the second one runs without a clock: a plain counter per shard.
//!
//! Where a single ring leads to each shard nothing is merged, and a stamp only says when: then it is a plain `rdtsc`, which is 6 to 10 ns less,
//! and lets the core begin the next event meanwhile. See [`Merging`](crate::shard::Merging).
//!
//! The stamp is also the event's time, so the clock is read once per event. A process-wide anchor (a pair of stamp and wall
//! time, renewed when it is older than a millisecond) turns stamps into [`SystemTime`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Ordering};

/// The clock of one shard.
#[derive(Debug)]
pub(crate) struct Clock {
    tsc: bool,
    /// The last stamp given, when stamps are counted. Never decreases.
    last: CachePadded<AtomicU64>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { tsc: source::tsc_is_ordered(), last: CachePadded::new(AtomicU64::new(0)) }
    }

    /// Whether a stamp taken for one shard serves for the others too.
    #[inline(always)]
    pub(crate) fn is_global(&self) -> bool {
        self.tsc
    }

    /// A stamp for an event that is about to be published. It is later than everything that this thread has seen, or, when it does not
    /// have to be `ordered`, not later than now.
    #[inline(always)]
    pub(crate) fn stamp(&self, ordered: bool) -> u64 {
        if self.tsc {
            global_stamp(ordered)
        } else if cfg!(loom) && !ordered {
            // As old as the model allows it to be.
            self.last.load(Ordering::Relaxed)
        } else {
            self.counted()
        }
    }

    #[cold]
    fn counted(&self) -> u64 {
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let stamp = source::coarse_ticks().max(last + 1);
            match self.last.compare_exchange_weak(last, stamp, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return stamp,
                Err(now) => last = now,
            }
        }
    }

    /// A bound for one round of the worker: what is read after this call contains every event that a visible event with a
    /// smaller stamp depends on.
    #[inline(always)]
    pub(crate) fn watermark(&self) -> u64 {
        if self.tsc { source::ticks_before_loads() } else { self.last.load(Ordering::Acquire) + 1 }
    }
}

/// As [`Clock::stamp`], for an event to any shard, where [`Clock::is_global`].
#[inline(always)]
pub(crate) fn global_stamp(ordered: bool) -> u64 {
    if ordered { source::ordered_ticks() } else { source::unordered_ticks() }
}

/// Now, in ticks, without any order: for measuring durations.
#[inline(always)]
pub(crate) fn now() -> u64 {
    source::ticks()
}

/// Keeps this thread busy with nothing for a while, measured by the clock: a spin hint takes from 10 to 140 cycles.
pub(crate) fn pause(time: Duration) {
    let end = now().saturating_add(rate().to_ticks(time.as_nanos() as u64));
    while now() < end {
        std::hint::spin_loop();
    }
}

/// Converts a difference of ticks to nanoseconds.
#[inline]
pub(crate) fn ticks_to_nanos(ticks: u64) -> u64 {
    source::rate().to_nanos(ticks)
}

/// The wall time at which a stamp was taken. It lies behind the system's clock, by less than a microsecond as a rule, and not
/// ahead of it, unless that clock is set back or slowed down meanwhile.
pub(crate) fn wall_time(stamp: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(source::wall_nanos_at(stamp, source::ticks()))
}

/// As [`wall_time`], for a stamp that was taken just now, in nanoseconds since the Unix epoch.
#[cfg(all(feature = "plugin", target_os = "linux"))]
pub(crate) fn wall_nanos_of_now(now: u64) -> u64 {
    source::wall_nanos_at(now, now)
}

/// Nanoseconds per tick as a fixed-point number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// Nanoseconds per tick, times 2^32.
    scale: u64,
}

impl Rate {
    #[inline]
    pub(crate) fn to_nanos(self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.scale)) >> 32) as u64
    }

    /// Ticks for a duration; for thresholds.
    pub(crate) fn to_ticks(self, nanos: u64) -> u64 {
        ((u128::from(nanos) << 32) / u128::from(self.scale)) as u64
    }
}

/// The rate of the process's clock.
#[inline]
pub(crate) fn rate() -> Rate {
    source::rate()
}

#[cfg(not(loom))]
mod source {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering, fence};
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    use super::Rate;

    /// What is found out once per process.
    struct Source {
        tsc: bool,
        rate: Rate,
        start: Instant,
        anchor: Anchor,
    }

    /// A moment by both clocks.
    #[derive(Clone, Copy)]
    struct Pair {
        ticks: u64,
        /// Nanoseconds since the Unix epoch.
        wall: u64,
    }

    /// The pair that wall times are reckoned from, readable without a lock: a sequence lock as in H.-J. Boehm, "Can Seqlocks
    /// Get Along with Programming Language Memory Models?", MSPC 2012.
    struct Anchor {
        /// Odd while a writer is at work.
        version: AtomicU64,
        ticks: AtomicU64,
        wall: AtomicU64,
    }

    static SOURCE: OnceLock<Source> = OnceLock::new();

    fn source() -> &'static Source {
        SOURCE.get_or_init(Source::find)
    }

    impl Source {
        fn find() -> Self {
            let start = Instant::now();
            let tsc = tsc_usable();
            let rate = if tsc { tsc_rate() } else { Rate { scale: 1 << 32 } };
            let source = Self {
                tsc,
                rate,
                start,
                anchor: Anchor {
                    version: AtomicU64::new(0),
                    ticks: AtomicU64::new(0),
                    wall: AtomicU64::new(0),
                },
            };
            source.anchor.offer(source.pair());
            source
        }

        fn now(&self) -> u64 {
            if self.tsc { raw_ticks() } else { self.start.elapsed().as_nanos() as u64 }
        }

        /// A pair of now. The ticks are read behind the system's clock, so a wall time that is reckoned from them is late rather
        /// than early; being preempted in between would make it later by that time, so the narrowest of a few tries counts.
        fn pair(&self) -> Pair {
            const NARROW: Duration = Duration::from_micros(1);
            const TRIES: usize = 4;
            let narrow = self.rate.to_ticks(NARROW.as_nanos() as u64);
            let mut best = None;
            for _ in 0..TRIES {
                let before = self.now();
                let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                let ticks = self.now();
                let width = ticks.saturating_sub(before);
                if best.is_none_or(|(least, _)| width < least) {
                    best = Some((width, Pair { ticks, wall: wall.as_nanos() as u64 }));
                }
                if width < narrow {
                    break;
                }
            }
            best.expect("there is a first try").1
        }

        /// The anchor, or a pair of now if that is too old, or being renewed by somebody else: nobody waits for it.
        fn pair_at(&self, now: u64) -> Pair {
            const MAX_AGE: Duration = Duration::from_millis(1);
            let max_age = MAX_AGE.as_nanos() as u64;
            let young = |pair: &Pair| self.rate.to_nanos(now.saturating_sub(pair.ticks)) <= max_age;
            self.anchor.read().filter(young).unwrap_or_else(|| {
                let pair = self.pair();
                self.anchor.offer(pair);
                pair
            })
        }
    }

    impl Anchor {
        /// Takes the pair, unless somebody else is about to renew the anchor.
        fn offer(&self, pair: Pair) {
            let version = self.version.load(Ordering::Relaxed);
            let claimed = version.is_multiple_of(2)
                && self
                    .version
                    .compare_exchange(version, version + 1, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok();
            if claimed {
                fence(Ordering::Release);
                self.ticks.store(pair.ticks, Ordering::Relaxed);
                self.wall.store(pair.wall, Ordering::Relaxed);
                self.version.store(version + 2, Ordering::Release);
            }
        }

        fn read(&self) -> Option<Pair> {
            let before = self.version.load(Ordering::Acquire);
            let pair = Pair {
                ticks: self.ticks.load(Ordering::Relaxed),
                wall: self.wall.load(Ordering::Relaxed),
            };
            fence(Ordering::Acquire);
            let after = self.version.load(Ordering::Relaxed);
            (before == after && before.is_multiple_of(2)).then_some(pair)
        }
    }

    pub(super) fn tsc_is_ordered() -> bool {
        source().tsc
    }

    pub(super) fn rate() -> Rate {
        source().rate
    }

    #[inline(always)]
    pub(super) fn ticks() -> u64 {
        let source = source();
        if source.tsc { raw_ticks() } else { source.now() }
    }

    /// A stamp that may be read before what this thread loads before it.
    #[inline(always)]
    pub(super) fn unordered_ticks() -> u64 {
        raw_ticks()
    }

    pub(super) fn coarse_ticks() -> u64 {
        source().now()
    }

    /// The wall time of a stamp, at `now`, in nanoseconds since the Unix epoch.
    pub(super) fn wall_nanos_at(stamp: u64, now: u64) -> u64 {
        let source = source();
        let Pair { ticks, wall } = source.pair_at(now);
        if stamp >= ticks {
            wall.saturating_add(source.rate.to_nanos(stamp - ticks))
        } else {
            wall.saturating_sub(source.rate.to_nanos(ticks - stamp))
        }
    }

    #[cfg(target_arch = "x86_64")]
    mod x86 {
        use std::arch::x86_64::{__cpuid, _mm_lfence, _rdtsc};
        use std::time::Instant;

        use super::super::Rate;

        #[inline(always)]
        pub(in super::super) fn raw_ticks() -> u64 {
            // SAFETY: rdtsc is part of every x86-64 processor; where the kernel forbids it we do not get here.
            unsafe { _rdtsc() }
        }

        /// A stamp that is later than everything this thread has seen.
        #[inline(always)]
        pub(in super::super) fn ordered_ticks() -> u64 {
            // SAFETY: as above; lfence belongs to SSE2, which x86-64 includes.
            unsafe {
                _mm_lfence();
                _rdtsc()
            }
        }

        /// A stamp that is earlier than everything this thread loads from here on. Without the fence behind it the
        /// loads of slot headers run before the counter is read, and the watermark would come after the snapshot.
        #[inline(always)]
        pub(in super::super) fn ticks_before_loads() -> u64 {
            // SAFETY: as above.
            unsafe {
                let ticks = _rdtsc();
                _mm_lfence();
                ticks
            }
        }

        /// Invariant TSC, in use by the kernel, and finer than the fastest pair of reads.
        pub(in super::super) fn tsc_usable() -> bool {
            invariant() && kernel_uses_it() && never_ties()
        }

        fn invariant() -> bool {
            __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0
        }

        fn kernel_uses_it() -> bool {
            const CURRENT: &str =
                "/sys/devices/system/clocksource/clocksource0/current_clocksource";
            std::fs::read_to_string(CURRENT).is_ok_and(|name| name.trim() == "tsc")
        }

        /// Counters that step in large units could give two events of one thread the same stamp.
        fn never_ties() -> bool {
            let mut last = ordered_ticks();
            (0..10_000).all(|_| {
                let ticks = ordered_ticks();
                let grew = ticks > last;
                last = ticks;
                grew
            })
        }

        /// Ticks against the monotonic clock over 5 ms: good to about 20 ppm; wall times are anchored anew every
        /// millisecond, so they are off by 20 ns.
        pub(in super::super) fn tsc_rate() -> Rate {
            let pair = || {
                // The narrowest of a few tries, so that a preemption between the reads does not count.
                (0..16)
                    .map(|_| {
                        let before = ordered_ticks();
                        let instant = Instant::now();
                        let after = ordered_ticks();
                        (after - before, before + (after - before) / 2, instant)
                    })
                    .min_by_key(|&(width, ..)| width)
                    .map(|(_, ticks, instant)| (ticks, instant))
                    .expect("there is a first try")
            };
            let (ticks, start) = pair();
            std::thread::sleep(std::time::Duration::from_millis(5));
            let (later, end) = pair();
            let nanos = (end - start).as_nanos();
            Rate { scale: ((nanos << 32) / u128::from(later - ticks)) as u64 }
        }
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) use x86::{ordered_ticks, ticks_before_loads};
    #[cfg(target_arch = "x86_64")]
    use x86::{raw_ticks, tsc_rate, tsc_usable};

    #[cfg(not(target_arch = "x86_64"))]
    mod other {
        use super::super::Rate;

        pub(in super::super) fn raw_ticks() -> u64 {
            super::coarse_ticks()
        }

        pub(in super::super) fn ordered_ticks() -> u64 {
            super::coarse_ticks()
        }

        pub(in super::super) fn ticks_before_loads() -> u64 {
            super::coarse_ticks()
        }

        pub(in super::super) fn tsc_usable() -> bool {
            false
        }

        pub(in super::super) fn tsc_rate() -> Rate {
            Rate { scale: 1 << 32 }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(super) use other::{ordered_ticks, ticks_before_loads};
    #[cfg(not(target_arch = "x86_64"))]
    use other::{raw_ticks, tsc_rate, tsc_usable};
}

#[cfg(loom)]
mod source {
    use super::Rate;

    pub(super) fn tsc_is_ordered() -> bool {
        false
    }

    pub(super) fn rate() -> Rate {
        Rate { scale: 1 << 32 }
    }

    pub(super) fn ticks() -> u64 {
        0
    }

    pub(super) fn coarse_ticks() -> u64 {
        0
    }

    pub(super) fn ordered_ticks() -> u64 {
        unreachable!("the model counts its stamps")
    }

    pub(super) fn unordered_ticks() -> u64 {
        unreachable!("the model counts its stamps")
    }

    pub(super) fn ticks_before_loads() -> u64 {
        unreachable!("the model counts its stamps")
    }

    pub(super) fn wall_nanos_at(stamp: u64, _now: u64) -> u64 {
        stamp
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    /// Hands a token back and forth as fast as two cores can, and counts the stamps that are not larger than the one that
    /// was taken before the token was passed on. With a plain `rdtsc` in place of the fenced one a release build finds some in
    /// half a million; a debug build has so many instructions in between that it finds none.
    fn inversions(clock: &Clock, rounds: u64) -> u64 {
        let token = AtomicU64::new(0);
        let last = AtomicU64::new(0);
        let side = |parity: u64| {
            let mut inverted = 0;
            for number in (parity..rounds).step_by(2) {
                let mut looks = 0u32;
                while token.load(Ordering::Acquire) != number {
                    looks += 1;
                    if looks.is_multiple_of(1000) {
                        thread::yield_now();
                    }
                }
                let stamp = clock.stamp(true);
                inverted += u64::from(stamp <= last.load(Ordering::Relaxed));
                last.store(stamp, Ordering::Relaxed);
                token.store(number + 1, Ordering::Release);
            }
            inverted
        };
        thread::scope(|scope| {
            let other = scope.spawn(|| side(1));
            side(0) + other.join().expect("no panic")
        })
    }

    #[test]
    fn stamps_follow_happens_before() {
        assert_eq!(inversions(&Clock::new(), 500_000), 0);
    }

    #[test]
    fn wall_times_keep_to_the_system_s_clock() {
        use std::time::Instant;
        // What a system may slow its clock down by in a millisecond, and twice that.
        const AHEAD: Duration = Duration::from_micros(1);
        const BEHIND: Duration = Duration::from_micros(5);
        let clock = Clock::new();
        let lag = |_| {
            let before = SystemTime::now();
            let time = wall_time(if clock.is_global() { clock.stamp(true) } else { now() });
            let ahead = time.duration_since(SystemTime::now()).unwrap_or_default();
            assert!(ahead < AHEAD, "{ahead:?} ahead of the system's clock");
            before.duration_since(time).unwrap_or_default()
        };
        // All of a second, so that anchors of every age are met. A thread that is held up between two reads tells nothing, but
        // most are not.
        let begun = Instant::now();
        let going = |_: &u32| begun.elapsed() < Duration::from_secs(1);
        let mut lags: Vec<Duration> = (0..).take_while(going).map(lag).collect();
        lags.sort_unstable();
        let behind = lags[lags.len() / 2];
        assert!(behind < BEHIND, "{behind:?} behind the system's clock");
    }

    #[test]
    fn counted_stamps_follow_happens_before() {
        let clock = Clock { tsc: false, ..Clock::new() };
        assert_eq!(inversions(&clock, 100_000), 0);
        assert!(clock.watermark() > clock.last.load(Ordering::Relaxed));
    }
}
