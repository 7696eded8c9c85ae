//! Atomics that show loom all their races.
//!
//! NB: loom 0.7.2 compares a store with the last access to the atomic only. When a thread loads and then stores, its own load
//! hides the earlier loads of other threads, and loom never tries the store before those (tokio-rs/loom#166 and #392). The model of
//! a ring list that is read too early was found to hold for that reason. So here the loads of each thread leave a mark
//! of their own besides, and a store that comes behind a load of its own thread touches the marks of the others.

use std::sync::Mutex as StdMutex;
use std::sync::{Arc as StdArc, MutexGuard as StdGuard};

pub(crate) use loom::sync::atomic::{Ordering, fence};
use loom::sync::{Arc, atomic as plain};

use super::thread;

pub(crate) type AtomicBool = Atomic<plain::AtomicBool>;
pub(crate) type AtomicU32 = Atomic<plain::AtomicU32>;
pub(crate) type AtomicU64 = Atomic<plain::AtomicU64>;

#[derive(Debug)]
pub(crate) struct Atomic<A> {
    atomic: A,
    /// No part of the model: says what loom has seen.
    accesses: StdMutex<Accesses>,
}

#[derive(Debug, Default)]
struct Accesses {
    readers: Vec<Reader>,
    /// The thread that made the last access, if that was a load.
    last_load: Option<thread::Index>,
    /// To be dropped with the atomic.
    touched: Vec<Arc<()>>,
}

#[derive(Debug)]
struct Reader {
    thread: thread::Index,
    /// Its count is read with each load, and raised to touch it. To loom that is a race, and it orders nothing.
    mark: StdArc<Arc<()>>,
    /// Whether the thread has loaded since the last store.
    is_fresh: bool,
}

impl<A> Atomic<A> {
    fn around(atomic: A) -> Self {
        Self { atomic, accesses: StdMutex::default() }
    }

    fn accesses(&self) -> StdGuard<'_, Accesses> {
        self.accesses.lock().expect("nothing panics with this lock in hand")
    }

    #[track_caller]
    fn read<R>(&self, load: impl FnOnce(&A) -> R) -> R {
        let thread = thread::index();
        let mark = {
            let mut accesses = self.accesses();
            let known = accesses.readers.iter().find(|reader| reader.thread == thread);
            known.map(|reader| reader.mark.clone()).unwrap_or_else(|| {
                let mark = StdArc::new(Arc::new(()));
                accesses.readers.push(Reader { thread, mark: mark.clone(), is_fresh: false });
                mark
            })
        };
        Arc::strong_count(&mark);
        let value = load(&self.atomic);
        let mut accesses = self.accesses();
        accesses.last_load = Some(thread);
        for reader in &mut accesses.readers {
            reader.is_fresh |= reader.thread == thread;
        }
        value
    }

    #[track_caller]
    fn write<R>(&self, store: impl FnOnce(&A) -> R) -> R {
        let thread = thread::index();
        let hidden: Vec<_> = {
            let accesses = self.accesses();
            let others = accesses.readers.iter().filter(|reader| {
                reader.is_fresh && (reader.thread != thread || thread == thread::ENDING)
            });
            let hides = accesses.last_load == Some(thread);
            others.filter(|_| hides).map(|reader| reader.mark.clone()).collect()
        };
        for mark in hidden {
            let touched = Arc::clone(&mark);
            self.accesses().touched.push(touched);
        }
        let value = store(&self.atomic);
        let mut accesses = self.accesses();
        accesses.last_load = None;
        for reader in &mut accesses.readers {
            reader.is_fresh = false;
        }
        value
    }
}

impl AtomicBool {
    #[track_caller]
    pub(crate) fn new(value: bool) -> Self {
        Self::around(plain::AtomicBool::new(value))
    }

    #[track_caller]
    pub(crate) fn load(&self, order: Ordering) -> bool {
        self.read(|atomic| atomic.load(order))
    }

    #[track_caller]
    pub(crate) fn store(&self, value: bool, order: Ordering) {
        self.write(|atomic| atomic.store(value, order));
    }
}

impl AtomicU32 {
    #[track_caller]
    pub(crate) fn new(value: u32) -> Self {
        Self::around(plain::AtomicU32::new(value))
    }

    #[track_caller]
    pub(crate) fn load(&self, order: Ordering) -> u32 {
        self.read(|atomic| atomic.load(order))
    }

    #[track_caller]
    pub(crate) fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
        self.write(|atomic| atomic.fetch_add(value, order))
    }

    #[track_caller]
    pub(crate) fn fetch_sub(&self, value: u32, order: Ordering) -> u32 {
        self.write(|atomic| atomic.fetch_sub(value, order))
    }

    #[track_caller]
    pub(crate) fn fetch_or(&self, value: u32, order: Ordering) -> u32 {
        self.write(|atomic| atomic.fetch_or(value, order))
    }

    #[track_caller]
    pub(crate) fn fetch_and(&self, value: u32, order: Ordering) -> u32 {
        self.write(|atomic| atomic.fetch_and(value, order))
    }
}

impl AtomicU64 {
    #[track_caller]
    pub(crate) fn new(value: u64) -> Self {
        Self::around(plain::AtomicU64::new(value))
    }

    #[track_caller]
    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.read(|atomic| atomic.load(order))
    }

    #[track_caller]
    pub(crate) fn store(&self, value: u64, order: Ordering) {
        self.write(|atomic| atomic.store(value, order));
    }

    #[track_caller]
    pub(crate) fn compare_exchange_weak(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.write(|atomic| atomic.compare_exchange_weak(current, new, success, failure))
    }
}
