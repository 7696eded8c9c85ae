//! The control thread: where libraries are loaded, instances created and destroyed, and flushes come due.
//!
//! What a plugin does there may hang. Whoever waits for it waits for a limited time; then the thread is given up with the call that
//! hangs, and another one takes the work over.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

type Job = Box<dyn FnOnce() + Send>;

/// Handle of the control thread; the thread ends with the last one, after the work that it has got.
pub(crate) struct Control {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    timers: BinaryHeap<Reverse<Timer>>,
    /// Orders timers that are due at the same time.
    timers_set: u64,
    /// The thread with this number does the work.
    current: u64,
    /// Whether it is inside of a job.
    busy: bool,
    ended: bool,
}

struct Timer {
    due: Instant,
    number: u64,
    job: Job,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// What was waited for did not come in time. The thread that it runs on is left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimedOut;

impl Control {
    pub(crate) fn start() -> std::io::Result<Self> {
        let state = State {
            jobs: VecDeque::new(),
            timers: BinaryHeap::new(),
            timers_set: 0,
            current: 0,
            busy: false,
            ended: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        shared.spawn(0)?;
        Ok(Self { shared })
    }

    /// Has `job` done, sooner or later.
    pub(crate) fn post(&self, job: impl FnOnce() + Send + 'static) {
        self.shared.lock().jobs.push_back(Box::new(job));
        self.shared.changed.notify_all();
    }

    /// Has `job` done when `delay` has passed.
    pub(crate) fn post_after(&self, delay: Duration, job: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.lock();
        state.timers_set += 1;
        let now = Instant::now();
        // What is too far away for the clock is far enough.
        let due = now.checked_add(delay).unwrap_or(now + Duration::from_secs(86_400 * 365));
        let timer = Timer { due, number: state.timers_set, job: Box::new(job) };
        state.timers.push(Reverse(timer));
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Has `job` done, and waits for its result, at most as long as `patience`.
    pub(crate) fn run<R: Send + 'static>(
        &self,
        patience: Duration,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, TimedOut> {
        let (answer, result) = mpsc::sync_channel(1);
        // Whoever asked may have gone.
        self.post(move || _ = answer.send(job()));
        result.recv_timeout(patience).map_err(|_| {
            self.shared.replace_thread();
            TimedOut
        })
    }

    /// Waits until there is nothing to do, but for what is due later; false when that takes longer than `patience`.
    pub(crate) fn settle(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.shared.lock();
        while state.busy || !state.jobs.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(self: &Arc<Self>, number: u64) -> std::io::Result<()> {
        let shared = self.clone();
        let name = "keylane-plugins".to_owned();
        thread::Builder::new().name(name).spawn(move || shared.work(number)).map(drop)
    }

    /// Puts a new thread in the place of one that hangs.
    fn replace_thread(self: &Arc<Self>) {
        let mut state = self.lock();
        state.current += 1;
        state.busy = false;
        let number = state.current;
        drop(state);
        if let Err(error) = self.spawn(number) {
            tracing::error!(%error, "no thread for the work on plugins");
        }
    }

    fn work(&self, number: u64) {
        let mut state = self.lock();
        while state.current == number {
            let now = Instant::now();
            let due = state.timers.peek().map(|Reverse(timer)| timer.due);
            let job = if due.is_some_and(|due| due <= now) {
                state.timers.pop().map(|Reverse(timer)| timer.job)
            } else {
                state.jobs.pop_front()
            };
            state = match (job, due) {
                (Some(job), _) => {
                    state.busy = true;
                    drop(state);
                    job();
                    let mut state = self.lock();
                    if state.current == number {
                        state.busy = false;
                        self.changed.notify_all();
                    }
                    state
                }
                (None, _) if state.ended => return,
                (None, None) => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                (None, Some(due)) => {
                    let waited = self.changed.wait_timeout(state, due - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}
