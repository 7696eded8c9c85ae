//! The one place that chooses between std and loom.
//!
//! Everything that a promise of the bus rests on (rings, gates, waiters, the stamp counter, life cycle) takes its
//! atomics, cells, locks and threads from here, so that the models in `loom-tests` run the real code.
//! What does not synchronise anything (histogram cells, counters that one thread writes) uses std directly: loom
//! would only multiply states with it.
//!
//! Two containers come from crates that loom cannot see into, `crossbeam-queue` and `arc-swap`. Under loom the queues are
//! replaced by a mutex around a plain container, and the shared value by a list of values with an atomic index.
//! The models therefore check the protocols around them, on the assumption that a queue is linearisable, and that a shared
//! value is what its documentation says: loads acquire, updates acquire and release.

#[cfg(not(loom))]
mod imp {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(crate) use std::thread;
    pub(crate) use std::thread_local;

    /// `std::cell::UnsafeCell` with loom's closure interface.
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        #[inline(always)]
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    /// An unbounded queue for what is not on the hot path: control records to a shard.
    pub(crate) type Queue<T> = crossbeam_queue::SegQueue<T>;

    /// A bounded stack of spare objects.
    #[derive(Debug)]
    pub(crate) struct Spare<T>(crossbeam_queue::ArrayQueue<T>);

    impl<T> Spare<T> {
        pub(crate) fn new(limit: usize) -> Self {
            Self(crossbeam_queue::ArrayQueue::new(limit))
        }

        pub(crate) fn push(&self, item: T) -> Result<(), T> {
            self.0.push(item)
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.0.pop()
        }
    }

    /// A value that is read without waiting and replaced as a whole.
    #[derive(Debug)]
    pub(crate) struct Shared<T>(arc_swap::ArcSwap<T>);

    impl<T> Shared<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(arc_swap::ArcSwap::from_pointee(value))
        }

        pub(crate) fn load(&self) -> Arc<T> {
            self.0.load_full()
        }

        /// Replaces the value by what `change` makes of it; `change` may run more than once.
        pub(crate) fn update(&self, mut change: impl FnMut(&T) -> T) {
            self.0.rcu(|old| change(old));
        }
    }
}

#[cfg(loom)]
#[path = "sync/modelled/mod.rs"]
mod imp;

pub(crate) use imp::*;

/// Locks a mutex whose content stays valid when a holder panics (plain data, no broken invariant in between).
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Asks for the cache line that `place` lies in, to be written soon, and does not wait for it. A hint: it changes nothing, and may be
/// given for any address.
#[inline(always)]
pub(crate) fn fetch_for_writing<T>(place: *mut T) {
    // SAFETY: a prefetch never faults. `prefetchw` is as old as the processors that this is worth it on; older ones of 64 bits take it for
    // a no-op. The intrinsic for it becomes a plain prefetch where the compiler does not know the processor.
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    unsafe {
        std::arch::asm!("prefetchw byte ptr [{}]", in(reg) place, options(nostack, preserves_flags, readonly));
    }
    // SAFETY: as above.
    #[cfg(all(target_arch = "aarch64", not(loom), not(miri)))]
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) place, options(nostack, preserves_flags, readonly));
    }
    let _ = place;
}

/// The cheap side of an asymmetric store-load barrier; pairs with [`heavy_fence`].
///
/// The emit path needs a store (slot published, ring busy) to be visible before a later load (closed? asleep?).
/// A full fence costs more than the rest of the path, so where the kernel offers `membarrier` the rare side pays for
/// both and this is only a compiler barrier.
#[inline(always)]
pub(crate) fn light_fence() {
    #[cfg(all(target_os = "linux", not(loom)))]
    if membarrier::available() {
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
        return;
    }
    fence(Ordering::SeqCst);
}

/// The expensive side of an asymmetric barrier: after it, every thread of the process has executed a full barrier.
pub(crate) fn heavy_fence() {
    #[cfg(all(target_os = "linux", not(loom)))]
    if membarrier::available() {
        membarrier::issue();
        return;
    }
    fence(Ordering::SeqCst);
}

/// Decides once per process whether [`light_fence`] may be light. Must run before the first ring exists.
pub(crate) fn prepare_fences() {
    #[cfg(all(target_os = "linux", not(loom)))]
    membarrier::register();
}

/// `membarrier(2)`, private expedited: an interrupt to every core that runs a thread of this process.
#[cfg(all(target_os = "linux", not(loom)))]
mod membarrier {
    use std::sync::Once;
    use std::sync::atomic::{AtomicBool, Ordering, fence};

    static AVAILABLE: AtomicBool = AtomicBool::new(false);
    static REGISTER: Once = Once::new();

    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    fn call(command: libc::c_int) -> bool {
        // SAFETY: membarrier takes integers only and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    pub(super) fn register() {
        REGISTER.call_once(|| {
            // A filter (seccomp) may allow the registration and refuse the barrier, so both are tried.
            let works = call(REGISTER_PRIVATE_EXPEDITED) && call(PRIVATE_EXPEDITED);
            AVAILABLE.store(works, Ordering::SeqCst);
        });
    }

    #[inline(always)]
    pub(super) fn available() -> bool {
        AVAILABLE.load(Ordering::Relaxed)
    }

    pub(super) fn issue() {
        fence(Ordering::SeqCst);
        // After a successful registration the kernel documents no failure for a plain call; a barrier that
        // did not happen would break promise 3, so it is not ignored.
        assert!(call(PRIVATE_EXPEDITED), "membarrier failed after it was registered");
        fence(Ordering::SeqCst);
    }
}
