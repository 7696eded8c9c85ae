//! How many lines a plugin may write into the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many lines in each second; what is left out is counted and told with the next line that passes.
#[derive(Debug)]
pub(super) struct LogLimit {
    per_second: u32,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    dropped: u64,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It passes, and so many before it did not.
    Pass {
        dropped_before: u64,
    },
    Drop,
}

impl LogLimit {
    pub(super) fn new(per_second: u32) -> Self {
        let window = Window { began: Instant::now(), lines: 0, dropped: 0 };
        Self { per_second, window: Mutex::new(window) }
    }

    pub(super) fn line(&self) -> Verdict {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now.duration_since(window.began) >= Duration::from_secs(1) {
            window.began = now;
            window.lines = 0;
        }
        if window.lines >= self.per_second {
            window.dropped += 1;
            return Verdict::Drop;
        }
        window.lines += 1;
        Verdict::Pass { dropped_before: std::mem::take(&mut window.dropped) }
    }
}
