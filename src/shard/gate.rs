//! The word through which a shard and the rest of the process signal each other.

use std::fmt;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU32, Mutex, Ordering, heavy_fence, lock, thread};

/// No emit from outside is accepted any more. Set once, never cleared.
const CLOSED: u32 = 1;
/// The worker is parked or about to park. Set by the worker, cleared by whoever wakes it, or by itself.
const ASLEEP: u32 = 1 << 1;
/// The list of rings has changed, or a ring has lost its producer. Set by anybody, cleared by the worker.
const RINGS: u32 = 1 << 2;
/// A control record waits. Set by anybody, cleared by the worker.
const CONTROL: u32 = 1 << 3;
/// The deadline of a shutdown ran out: process nothing more. Set once, never cleared.
const ABANDONED: u32 = 1 << 4;
/// The worker has ended, or is past its last look at the control records. Set once by the worker.
const EXITED: u32 = 1 << 5;
/// Every event of the whole bus has been processed. Set once, by the worker that finds it out.
const QUIESCENT: u32 = 1 << 6;

/// Flags of one shard. Read by every emit, written rarely, on a line of its own.
pub(crate) struct Gate {
    flags: CachePadded<AtomicU32>,
    worker: Mutex<Option<thread::Thread>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("flags", &self.flags).finish_non_exhaustive()
    }
}

/// What the worker found raised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signals(u32);

impl Signals {
    /// Whether there is anything to act on.
    #[inline(always)]
    pub(crate) fn any(self) -> bool {
        self.0 & !ASLEEP != 0
    }

    pub(crate) fn rings_changed(self) -> bool {
        self.0 & RINGS != 0
    }

    pub(crate) fn has_control(self) -> bool {
        self.0 & CONTROL != 0
    }

    pub(crate) fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    pub(crate) fn is_abandoned(self) -> bool {
        self.0 & ABANDONED != 0
    }

    pub(crate) fn is_quiescent(self) -> bool {
        self.0 & QUIESCENT != 0
    }

    /// Whether there is anything that a worker about to park should turn to.
    fn is_urgent(self, closing: bool) -> bool {
        let news = RINGS | CONTROL | ABANDONED | QUIESCENT | if closing { 0 } else { CLOSED };
        self.0 & news != 0
    }
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { flags: CachePadded::new(AtomicU32::new(0)), worker: Mutex::new(None) }
    }

    /// Introduces the worker; called once by its own thread.
    pub(crate) fn set_worker(&self, thread: thread::Thread) {
        *lock(&self.worker) = Some(thread);
    }

    // ---- the emitting side ----

    /// Whether emits from outside are refused. Exact only after [`Inlet::begin`](crate::ring::Inlet::begin).
    #[inline(always)]
    pub(crate) fn is_closed(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// As [`is_closed`](Self::is_closed), and whoever sees true also sees what was done before the closing.
    pub(crate) fn is_closed_acquire(&self) -> bool {
        self.flags.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Whether not even derived events are accepted any more.
    #[inline(always)]
    pub(crate) fn is_over(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & (ABANDONED | QUIESCENT) != 0
    }

    /// Wakes the worker if it sleeps. Call after [`Inlet::end`](crate::ring::Inlet::end).
    #[inline(always)]
    pub(crate) fn wake_if_asleep(&self) {
        if self.flags.load(Ordering::Relaxed) & ASLEEP != 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if self.flags.fetch_and(!ASLEEP, Ordering::AcqRel) & ASLEEP != 0 {
            let worker = lock(&self.worker).clone();
            if let Some(worker) = worker {
                worker.unpark();
            }
        }
    }

    fn raise(&self, flag: u32) -> u32 {
        let before = self.flags.fetch_or(flag, Ordering::AcqRel);
        if before & ASLEEP != 0 {
            self.wake();
        }
        before
    }

    /// Tells the worker to look at the list of rings. Not urgent when a producer has merely gone.
    pub(crate) fn announce_rings(&self) {
        self.flags.fetch_or(RINGS, Ordering::AcqRel);
    }

    /// Tells the worker of a control record; false when the worker is past its last look at them, or has been abandoned and may
    /// never come to it.
    pub(crate) fn announce_control(&self) -> bool {
        self.raise(CONTROL) & (EXITED | ABANDONED) == 0
    }

    /// Refuses emits from outside from now on. A [`heavy_fence`] must follow before anybody relies on it.
    pub(crate) fn close(&self) {
        self.raise(CLOSED);
    }

    /// Tells the worker to process nothing more.
    pub(crate) fn abandon(&self) {
        self.raise(ABANDONED);
    }

    /// Tells the worker that all work of the bus is done.
    pub(crate) fn declare_quiescent(&self) {
        self.raise(QUIESCENT);
    }

    // ---- the worker's side ----

    /// Reads the signals. Read the watermark first and the rings after.
    #[inline(always)]
    pub(crate) fn signals(&self) -> Signals {
        Signals(self.flags.load(Ordering::Acquire))
    }

    /// Takes note of the signals RINGS and CONTROL; call before acting on them, so that a later one is not lost.
    pub(crate) fn acknowledge(&self) -> Signals {
        Signals(self.flags.fetch_and(!(RINGS | CONTROL), Ordering::AcqRel))
    }

    /// Announces that the worker is about to park, and makes the announcement visible to every producer. The worker now
    /// looks for work once more and then calls [`park`](Self::park) or [`stay_awake`](Self::stay_awake).
    pub(crate) fn prepare_to_park(&self, closing: bool) -> bool {
        let before = self.flags.fetch_or(ASLEEP, Ordering::AcqRel);
        if Signals(before).is_urgent(closing) {
            self.stay_awake();
            return false;
        }
        heavy_fence();
        true
    }

    /// Takes the announcement back.
    pub(crate) fn stay_awake(&self) {
        self.flags.fetch_and(!ASLEEP, Ordering::AcqRel);
    }

    /// Sleeps until somebody clears the announcement.
    pub(crate) fn park(&self) {
        while self.flags.load(Ordering::Acquire) & ASLEEP != 0 {
            thread::park();
        }
    }

    /// Marks the worker as past its last look at the control records.
    pub(crate) fn exit(&self) {
        self.flags.fetch_or(EXITED, Ordering::AcqRel);
    }
}
