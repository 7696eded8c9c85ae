//! How many events there were within a sliding window, in constant memory.
//!
//! Two fixed windows are counted, the current one and the one before; what of the latter lies in the sliding window is estimated by its
//! share of time, as if its events had been spread evenly. This is the "sliding window counter" of rate limiters. The estimate is
//! exact for an even stream, and is off by at most the count of the former window.

use serde::{Deserialize, Serialize};

/// The counts of one key.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rate {
    /// When the current window began.
    start: i64,
    current: u32,
    former: u32,
}

impl Rate {
    /// Without events; the first window begins with the first event.
    pub(crate) fn new(now: i64) -> Self {
        Self { start: now, current: 0, former: 0 }
    }

    /// The beginning of the current window.
    pub(crate) fn latest(&self) -> i64 {
        self.start
    }

    /// Counts an event, and says how many there are in the window that ends with it. An event from before the current window, when a
    /// clock was set back, counts as one of its beginning.
    pub(crate) fn add(&mut self, now: i64, window: i64) -> f64 {
        let passed = now.saturating_sub(self.start).max(0);
        let windows = passed / window;
        if windows > 0 {
            self.former = if windows == 1 { self.current } else { 0 };
            self.current = 0;
            self.start = self.start.saturating_add(windows.saturating_mul(window));
        }
        self.current = self.current.saturating_add(1);
        let into = (passed % window) as f64 / window as f64;
        f64::from(self.current) + f64::from(self.former) * (1.0 - into)
    }

    /// Whether both windows are over, so that nothing is lost with the counts.
    pub(crate) fn is_over(&self, now: i64, window: i64) -> bool {
        now.saturating_sub(self.start) >= window.saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_former_window_counts_by_its_share() {
        let mut rate = Rate::new(0);
        for now in 0..10 {
            assert_eq!(rate.add(now, 10), (now + 1) as f64);
        }
        assert_eq!(rate.add(10, 10), 11.0, "all of the former window");
        assert_eq!(rate.add(15, 10), 2.0 + 5.0, "half of it");
        assert_eq!(rate.add(19, 10), 3.0 + 1.0);
        assert_eq!(rate.add(40, 10), 1.0, "nothing after a gap");
    }

    #[test]
    fn times_that_go_back_and_far_ahead_are_survived() {
        let mut rate = Rate::new(100);
        assert_eq!(rate.add(50, 10), 1.0);
        assert_eq!(rate.add(i64::MAX, 10), 1.0);
        assert_eq!(rate.add(i64::MIN, 10), 2.0);
        assert!(!rate.is_over(i64::MIN, 10));
    }
}
