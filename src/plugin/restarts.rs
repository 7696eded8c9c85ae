//! When an instance that was given up is followed by another one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::settings::RestartPolicy;

/// The faults of one processor on one shard.
#[derive(Debug)]
pub(crate) struct Restarts {
    policy: RestartPolicy,
    recent: VecDeque<Instant>,
    not_before: Option<Instant>,
    quarantined: bool,
}

/// Whether there may be another instance now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Now,
    Wait,
    Never {
        /// Whether this is the first time that it is said.
        newly: bool,
    },
}

impl Restarts {
    pub(crate) fn new(policy: RestartPolicy) -> Self {
        Self { policy, recent: VecDeque::new(), not_before: None, quarantined: false }
    }

    /// Notes that an instance was given up, or could not be created.
    pub(crate) fn failed(&mut self, now: Instant) {
        let RestartPolicy { within, back_off, back_off_limit, .. } = self.policy;
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|&fault| now.duration_since(fault) > within) {
            self.recent.pop_front();
        }
        let doublings = (self.recent.len() as u32).saturating_sub(2).min(31);
        let wait = match self.recent.len() {
            0 | 1 => Duration::ZERO,
            _ => back_off.saturating_mul(1 << doublings).min(back_off_limit),
        };
        self.not_before = now.checked_add(wait);
    }

    pub(crate) fn next(&mut self, now: Instant) -> Next {
        if self.quarantined {
            return Next::Never { newly: false };
        }
        if self.recent.len() > self.policy.most as usize {
            self.quarantined = true;
            return Next::Never { newly: true };
        }
        match self.not_before {
            Some(not_before) if now < not_before => Next::Wait,
            _ => Next::Now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_at_once_and_the_others_wait_longer_and_longer() {
        let second = Duration::from_secs(1);
        let policy = RestartPolicy::at_most(3, 60 * second).back_off(second, 2 * second);
        let mut restarts = Restarts::new(policy);
        let start = Instant::now();
        restarts.failed(start);
        assert_eq!(restarts.next(start), Next::Now);
        restarts.failed(start);
        assert_eq!(restarts.next(start), Next::Wait);
        assert_eq!(restarts.next(start + second), Next::Now);
        restarts.failed(start + second);
        assert_eq!(restarts.next(start + 2 * second), Next::Wait);
        assert_eq!(restarts.next(start + 3 * second), Next::Now);
        restarts.failed(start + 3 * second);
        assert_eq!(restarts.next(start + 600 * second), Next::Never { newly: true });
        assert_eq!(restarts.next(start + 600 * second), Next::Never { newly: false });
    }

    #[test]
    fn old_faults_are_forgotten() {
        let second = Duration::from_secs(1);
        let mut restarts = Restarts::new(RestartPolicy::at_most(1, 10 * second));
        let start = Instant::now();
        for turn in 0..100 {
            let now = start + 11 * turn * second;
            restarts.failed(now);
            assert_eq!(restarts.next(now), Next::Now);
        }
    }
}
