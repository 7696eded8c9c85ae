//! Who waits for room in a ring: the slow path of every emit that may wait.
//!
//! One list serves tasks and blocked threads, because a blocked thread is a waker that unparks it.
//! Two rules keep wake-ups from being lost:
//!
//! * A waiter enters the list, then looks at the ring again; the consumer frees slots, then looks at the list. Both
//!   sides put a full fence in between, so at least one of them sees the other.
//! * A waiter that was woken passes the wake-up on when it is done, see [`Ring::pass_on`](super::Ring::pass_on), whether it has used the
//!   room or not (its future was dropped, or its task moved to a thread with another ring).
//!
//! The consumer therefore wakes a few, and each of them the next one for as long as there is room. Woken by the consumer one for each
//! free slot, most would come in vain: a task that runs emits on, and takes the slots that the others were woken for.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use crate::diagnostics;
use crate::sync::{AtomicBool, Mutex, Ordering, fence, lock};

/// A place in the list of waiters; ids grow, so the oldest waiter is woken first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WaiterId(u64);

#[derive(Debug)]
pub(crate) struct Waiters {
    /// False while the list is empty. Changed under the lock only; read by the consumer once per batch.
    any: AtomicBool,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    next: u64,
    wakers: BTreeMap<WaiterId, Waker>,
}

impl Waiters {
    pub(super) fn new() -> Self {
        Self { any: AtomicBool::new(false), list: Mutex::new(List::default()) }
    }

    /// Enters the list; also tells whether others are in it. The caller must look at the ring again before it waits.
    pub(super) fn enter(&self, waker: Waker) -> (WaiterId, bool) {
        let mut list = lock(&self.list);
        let id = WaiterId(list.next);
        let behind_others = !list.wakers.is_empty();
        list.next += 1;
        list.wakers.insert(id, waker);
        self.any.store(true, Ordering::Relaxed);
        drop(list);
        fence(Ordering::SeqCst);
        (id, behind_others)
    }

    /// Enters the list anew at the place that the waiter had before it was woken. The caller must look at the ring again.
    pub(super) fn reenter(&self, id: WaiterId, waker: Waker) {
        let mut list = lock(&self.list);
        list.wakers.insert(id, waker);
        self.any.store(true, Ordering::Relaxed);
        drop(list);
        fence(Ordering::SeqCst);
    }

    /// Stays in the list with another waker; false when the waiter has been woken before. Whoever wakes it takes the waker out of
    /// the list, so there is no need to look at the ring again: it is either the old waker that was called, or it will be this one.
    pub(super) fn keep(&self, id: WaiterId, waker: &Waker) -> bool {
        // Wakers are foreign code, and run without the lock.
        let mut waker = waker.clone();
        let mut list = lock(&self.list);
        let waits =
            list.wakers.get_mut(&id).map(|place| std::mem::swap(place, &mut waker)).is_some();
        drop(list);
        waits
    }

    /// Leaves the list; false when the waiter had been woken before.
    pub(super) fn leave(&self, id: WaiterId) -> bool {
        let mut list = lock(&self.list);
        let waker = list.wakers.remove(&id);
        if list.wakers.is_empty() {
            self.any.store(false, Ordering::Relaxed);
        }
        drop(list);
        waker.is_some()
    }

    /// Whether somebody waits. A full fence must lie between the event that waiters wait for and this look.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Wakes the `count` oldest of those that wait now.
    ///
    /// NB: A woken thread may preempt this one, use the room up and enter the list again before the loop goes on. Waking it
    /// again would be in vain; it once made one context switch in forty events.
    pub(super) fn wake(&self, count: usize) {
        let mut newest = None;
        for _ in 0..count {
            let mut list = lock(&self.list);
            let newest = *newest.get_or_insert(list.next);
            let Some(entry) = list.wakers.first_entry().filter(|entry| entry.key().0 < newest)
            else {
                return;
            };
            let waker = entry.remove();
            if list.wakers.is_empty() {
                self.any.store(false, Ordering::Relaxed);
            }
            // A waker is foreign code: it runs without the lock, and may not end the thread, which may be the shard's.
            drop(list);
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                diagnostics::write(|| tracing::error!("the waker of an emit that waits panicked"));
                // Its destructor is foreign code as well.
                std::mem::forget(payload);
            }
        }
    }
}
