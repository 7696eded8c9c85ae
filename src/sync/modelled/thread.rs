//! loom's threads, with a token for `park` that is kept until the thread parks, as the standard library keeps it.
//!
//! NB: loom 0.7.2 makes a thread runnable in `unpark` whatever it is blocked on. A thread that waits for a mutex then panics,
//! because the mutex is still held.

pub(crate) use loom::thread::{Builder, JoinHandle, yield_now};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool as Plain, AtomicU64, Ordering};

use super::thread_local;
use loom::sync::atomic::AtomicBool;

/// Tells threads apart.
pub(super) type Index = u64;

/// Stands for every thread whose thread-locals are gone.
pub(super) const ENDING: Index = 0;

thread_local! {
    static INDEX: Index = {
        static NEXT: AtomicU64 = AtomicU64::new(ENDING + 1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// The calling thread's index.
pub(super) fn index() -> Index {
    INDEX.try_with(|&index| index).unwrap_or(ENDING)
}

#[derive(Debug)]
struct Token {
    set: AtomicBool,
    /// No part of the model: says whether loom's own `unpark` would find the thread in loom's own `park`.
    parked: Plain,
}

thread_local! {
    static TOKEN: Arc<Token> =
        Arc::new(Token { set: AtomicBool::new(false), parked: Plain::new(false) });
}

#[derive(Debug, Clone)]
pub(crate) struct Thread {
    thread: loom::thread::Thread,
    token: Arc<Token>,
}

pub(crate) fn current() -> Thread {
    Thread { thread: loom::thread::current(), token: TOKEN.with(Arc::clone) }
}

pub(crate) fn park() {
    let token = TOKEN.with(Arc::clone);
    if !token.set.swap(false, Ordering::AcqRel) {
        token.parked.store(true, Ordering::Relaxed);
        loom::thread::park();
        token.set.swap(false, Ordering::AcqRel);
    }
}

impl Thread {
    pub(crate) fn unpark(&self) {
        self.token.set.swap(true, Ordering::AcqRel);
        if self.token.parked.swap(false, Ordering::Relaxed) {
            self.thread.unpark();
        }
    }
}
