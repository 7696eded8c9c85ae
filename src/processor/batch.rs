//! Walking through a batch so that the shard knows how far the processor has come.

use std::cell::Cell;
use std::ptr::NonNull;

use crate::event::Event;
use crate::event::delivery;
use crate::shard::Progress;
use crate::sync::{Ordering, light_fence, thread_local};

/// What a walk through a batch reports.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Track<'a> {
    /// Nothing: another processor comes after this one. The stop sign is heeded all the same.
    Nothing,
    /// When the walk has come to event `n`, `base + n` events of the shard are complete.
    From(u64),
    /// When the walk has come to event `n`, `marks[n] - lost` events of the shard are complete.
    Marks { marks: &'a [u64], lost: u64 },
}

impl<'a> Track<'a> {
    /// The track for a batch from the event at `index` on, those before it being complete.
    pub(crate) fn from(self, index: usize) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::From(base) => Self::From(base + index as u64),
            Self::Marks { marks, lost } => Self::Marks { marks: &marks[index..], lost },
        }
    }

    /// The track for what is left of a batch behind the event at `culprit`, which is lost and may have been before.
    pub(crate) fn behind(self, culprit: usize, newly: bool) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::From(base) => Self::From(base + culprit as u64),
            Self::Marks { marks, lost } => {
                Self::Marks { marks: &marks[culprit + 1..], lost: lost + u64::from(newly) }
            }
        }
    }
}

/// A batch in delivery.
#[derive(Debug, Clone, Copy)]
struct Walk {
    progress: NonNull<Progress>,
    track: Track<'static>,
    /// How many of its events have been walked through.
    done: usize,
    len: usize,
}

/// Runs `f`, which delivers `len` events. During it, [`for_each`] on this thread reports to `progress` and heeds its stop sign.
pub(crate) fn tracked<R>(
    progress: &Progress,
    track: Track<'_>,
    len: usize,
    f: impl FnOnce() -> R,
) -> R {
    // SAFETY: the lifetime is stretched for the thread-local only. The guard takes the walk out before this call returns or
    // unwinds, and `for_each` does not let it escape.
    let track = unsafe { std::mem::transmute::<Track<'_>, Track<'static>>(track) };
    let walk = Walk { progress: NonNull::from(progress), track, done: 0, len };
    let _end = EndTracking(TRACKED.replace(Some(walk)));
    f()
}

/// Whether the batch that this thread delivers is to be given up: the deadline of a shutdown has passed.
#[cfg(all(feature = "plugin", target_os = "linux"))]
pub(crate) fn is_stopped() -> bool {
    // SAFETY: `tracked` borrows the progress while it is set, and this thread is inside that call.
    TRACKED.get().is_some_and(|walk| unsafe { walk.progress.as_ref() }.stop.load(Ordering::Relaxed))
}

/// Runs `f`, during which [`for_each`] on this thread reports nowhere.
pub(crate) fn untracked<R>(f: impl FnOnce() -> R) -> R {
    let _end = EndTracking(TRACKED.replace(None));
    f()
}

thread_local! {
    /// `None` as well inside [`for_each`], so that one inside another does not count the same events again.
    static TRACKED: Cell<Option<Walk>> = const { Cell::new(None) };
}

/// Restores the former state, also when a processor panics.
struct EndTracking(Option<Walk>);

impl Drop for EndTracking {
    fn drop(&mut self) {
        TRACKED.set(self.0);
    }
}

/// Calls `f` with each event of a batch, in order. It is what the default [`process_batch`](crate::Processor::process_batch) does;
/// an override that uses it keeps the exact accounting of faults and shutdowns.
///
/// Call it on each event once, on the batch as a whole or on one piece after the other: the walk is what counts events as
/// processed in the middle of a batch. For a look at the events beforehand a plain loop will do.
///
/// ```
/// use keylane::{Event, Processor, for_each};
///
/// struct Count(u64);
///
/// impl Processor for Count {
///     fn process(&mut self, event: &Event) {
///         self.process_batch(&[event]);
///     }
///     fn process_batch(&mut self, events: &[&Event]) {
///         for_each(events, |_event| self.0 += 1);
///     }
/// }
/// ```
#[inline]
pub fn for_each(events: &[&Event], mut f: impl FnMut(&Event)) {
    delivery::walk(|come_to| {
        let f = |event: &Event| {
            come_to(event);
            f(event);
        };
        match TRACKED.take() {
            None => events.iter().copied().for_each(f),
            Some(walk) => TRACKED.set(Some(walk.go_on(events, f))),
        }
    });
}

impl Walk {
    #[inline]
    fn go_on(mut self, events: &[&Event], mut f: impl FnMut(&Event)) -> Self {
        // SAFETY: `tracked` borrows the progress while it is set, and this thread is inside that call.
        let progress = unsafe { self.progress.as_ref() };
        // Whoever gives the stop sign reads the count behind a heavy fence: either this thread sees the sign, or the other
        // sees the count.
        let goes_on = || {
            light_fence();
            !progress.stop.load(Ordering::Relaxed)
        };
        let from = self.done;
        self.done += events.len();
        match self.track {
            Track::From(base) if self.done <= self.len => {
                for (count, event) in (base + from as u64..).zip(events) {
                    progress.processed.store(count, Ordering::Relaxed);
                    if !goes_on() {
                        break;
                    }
                    f(event);
                }
            }
            Track::Marks { marks, lost } if self.done <= self.len => {
                for (mark, event) in marks[from..].iter().zip(events) {
                    progress.processed.store(mark - lost, Ordering::Relaxed);
                    if !goes_on() {
                        break;
                    }
                    f(event);
                }
            }
            // A second walk through the same events counts nothing.
            _ => events.iter().take_while(|_| goes_on()).for_each(|event| f(event)),
        }
        self
    }
}
