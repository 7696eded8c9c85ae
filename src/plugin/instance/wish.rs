//! A plugin's wish to be flushed at some time although no event comes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::plugin::control::Control;
use crate::processor::Flusher;

/// The most timers that one instance may have running: a wish for an earlier time needs another one.
const MAX_TIMERS: u32 = 16;

/// Shared by an instance and its timers, which may outlive it.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    state: Mutex<State>,
    /// Whether the next flush is the one that was asked for.
    due: AtomicBool,
    /// Set when the instance has come to its shard.
    pub(crate) flusher: OnceLock<Flusher>,
}

#[derive(Debug, Default)]
struct State {
    /// The open wish.
    at: Option<Instant>,
    /// The earliest timer that runs.
    armed: Option<Instant>,
    timers: u32,
}

impl Wish {
    /// Replaces the open wish.
    pub(crate) fn make(self: &Arc<Self>, control: &Arc<Control>, after: Duration) {
        let now = Instant::now();
        let at = now.checked_add(after).unwrap_or(now + Duration::from_secs(86_400 * 365));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.at = Some(at);
        // A timer that comes earlier sets the next one.
        if state.armed.is_none_or(|armed| armed > at) && state.timers < MAX_TIMERS {
            state.armed = Some(at);
            state.timers += 1;
            drop(state);
            self.arm(control, at);
        }
    }

    fn arm(self: &Arc<Self>, control: &Arc<Control>, at: Instant) {
        let (wish, weak) = (self.clone(), Arc::downgrade(control));
        control.post_after(at.saturating_duration_since(Instant::now()), move || {
            let mut state = wish.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.timers -= 1;
            if state.armed == Some(at) {
                state.armed = None;
            }
            let Some(open) = state.at else { return };
            if open <= Instant::now() {
                state.at = None;
                drop(state);
                wish.due.store(true, Ordering::Release);
                if let Some(flusher) = wish.flusher.get() {
                    flusher.request();
                }
            } else if state.armed.is_none_or(|armed| armed > open) {
                state.armed = Some(open);
                state.timers += 1;
                drop(state);
                if let Some(control) = weak.upgrade() {
                    wish.arm(&control, open);
                }
            }
        });
    }

    /// Whether this flush is the one that was asked for; once.
    pub(crate) fn take(&self) -> bool {
        self.due.load(Ordering::Relaxed) && self.due.swap(false, Ordering::Acquire)
    }

    /// Nothing is to come any more.
    pub(crate) fn cancel(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).at = None;
    }
}
