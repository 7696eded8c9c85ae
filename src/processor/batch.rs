//! Walking through a batch so that the shard knows how far the processor has come.

use std::cell::Cell;
use std::ptr::NonNull;

use crate::event::Event;
use crate::event::delivery::touch;
use crate::shard::Progress;
use crate::sync::Ordering;

/// Runs `f`, during which [`for_each`] on this thread reports to `progress` and heeds its stop sign. `base` is the count
/// of processed events before the batch.
pub(crate) fn tracked<R>(progress: &Progress, base: u64, f: impl FnOnce() -> R) -> R {
    let _end = EndTracking(TRACKED.replace(Some((NonNull::from(progress), base))));
    f()
}

/// Runs `f`, during which [`for_each`] on this thread reports nowhere.
pub(crate) fn untracked<R>(f: impl FnOnce() -> R) -> R {
    let _end = EndTracking(TRACKED.replace(None));
    f()
}

thread_local! {
    static TRACKED: Cell<Option<(NonNull<Progress>, u64)>> = const { Cell::new(None) };
}

/// Restores the former state, also when a processor panics.
struct EndTracking(Option<(NonNull<Progress>, u64)>);

impl Drop for EndTracking {
    fn drop(&mut self) {
        TRACKED.set(self.0);
    }
}

/// Calls `f` with each event of a batch, in order. It is what the default [`process_batch`](crate::Processor::process_batch) does;
/// an override that uses it keeps the exact accounting of faults and shutdowns.
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
    match TRACKED.get() {
        None => {
            for event in events {
                touch(event);
                f(event);
            }
        }
        Some((progress, base)) => {
            // SAFETY: `tracked` borrows the progress while it is set, and this thread is inside that call.
            let progress = unsafe { progress.as_ref() };
            for (count, event) in (base..).zip(events) {
                progress.processed.store(count, Ordering::Relaxed);
                if progress.stop.load(Ordering::Relaxed) {
                    return;
                }
                touch(event);
                f(event);
            }
        }
    }
}
