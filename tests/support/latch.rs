//! Waiting for a condition, never for a time.

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Closed at first, opened once, for good.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latch {
    inner: Arc<(Mutex<bool>, Condvar)>,
}

impl Latch {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn open(&self) {
        *self.inner.0.lock().expect("no panic under this lock") = true;
        self.inner.1.notify_all();
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.inner.0.lock().expect("no panic under this lock")
    }

    /// Blocks until the latch is open. Gives up after a minute, so that a failed test does not leave threads behind for ever.
    #[track_caller]
    pub(crate) fn wait(&self) {
        let (open, opened) = &*self.inner;
        let guard = open.lock().expect("no panic under this lock");
        let limit = Duration::from_secs(60) * super::stress() as u32;
        let (_guard, timeout) =
            opened.wait_timeout_while(guard, limit, |open| !*open).expect("no panic under it");
        assert!(!timeout.timed_out(), "a latch stayed closed for {limit:?}");
    }
}

/// Waits until `condition` holds; fails when it never does.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Duration::from_secs(60) * super::stress() as u32;
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < limit, "never happened: {what}");
        thread::yield_now();
    }
}
