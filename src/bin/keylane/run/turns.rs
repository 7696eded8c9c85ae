//! Turns: work that several threads take in order, do at once, and finish in the order in which they took it.
//!
//! Every piece of work comes with a [`Ticket`], numbered as the work was taken. A ticket's turn comes when all earlier ones have been
//! dropped; a thread that panics drops its ticket like any other, so nobody waits for ever.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::chunks::ReadError;

/// How the reading ended.
#[derive(Debug)]
pub(crate) enum End {
    /// All of the input was read.
    Complete,
    /// It was asked to end: by a signal, a failed output, or a bus that is closed.
    Stopped,
    /// A bad line under `--strict`.
    Strict,
    /// The input could not be read on.
    Failed(ReadError),
    /// A reader thread panicked: the lines of its chunk are lost.
    Panicked,
}

/// Gives out tickets and calls them up.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    /// Signalled when a turn has passed.
    passed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Tickets given out.
    given: u64,
    /// The ticket whose turn it is.
    current: u64,
    /// No ticket is given out any more.
    over: bool,
    /// Why, until it is asked for.
    end: Option<End>,
    /// Work whose turn has not come yet is to be dropped.
    cut: bool,
}

impl Turns {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives out the next ticket; `None` after the end. Tickets have the order of the work if they are taken under the lock that
    /// the work is taken under.
    pub(crate) fn give(&self) -> Option<Ticket<'_>> {
        let mut state = self.state();
        if state.over {
            return None;
        }
        state.given += 1;
        Some(Ticket { turns: self, number: state.given - 1 })
    }

    /// Ends the giving out, unless it has ended already. Tickets that are out keep their turns.
    pub(crate) fn end(&self, end: End) {
        let mut state = self.state();
        if !state.over {
            state.over = true;
            state.end = Some(end);
        }
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.state().over
    }

    /// How it ended, if it has. Told once.
    pub(crate) fn take_end(&self) -> Option<End> {
        self.state().end.take()
    }

    /// Waits until all tickets are back; false if that takes longer than `timeout`.
    pub(crate) fn settle(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        while state.current < state.given {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .passed
                .wait_timeout(state, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
        true
    }
}

/// A place in the order.
#[derive(Debug)]
pub(crate) struct Ticket<'a> {
    turns: &'a Turns,
    number: u64,
}

impl<'a> Ticket<'a> {
    fn wait_for_turn(&self) -> MutexGuard<'a, State> {
        let mut state = self.turns.state();
        while state.current < self.number {
            state = self.turns.passed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Waits for the turn, which lasts until the ticket is dropped; false if the work is to be dropped.
    pub(crate) fn wait(&self) -> bool {
        !self.wait_for_turn().cut
    }

    /// Ends everything with this turn: the work of later tickets is to be dropped.
    pub(crate) fn cut(&self, end: End) {
        self.wait_for_turn().cut(end);
    }
}

impl State {
    fn cut(&mut self, end: End) {
        // What happens in a turn comes before what was found ahead of it, such as the end of the input.
        if !matches!(self.end, Some(End::Stopped)) {
            self.end = Some(end);
        }
        self.over = true;
        self.cut = true;
    }
}

impl Drop for Ticket<'_> {
    /// Passes the turn on, in order, whatever happened to the thread.
    fn drop(&mut self) {
        let mut state = self.wait_for_turn();
        if std::thread::panicking() {
            state.cut(End::Panicked);
        }
        state.current += 1;
        self.turns.passed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Runs four threads that take numbers up to 1000 in order and do `work` with each, in its turn.
    fn in_turn(turns: &Turns, work: impl Fn(u64, &Ticket<'_>) + Sync) {
        let next = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                // A panic of one thread is looked at by nobody.
                let _ = scope.spawn(|| {
                    loop {
                        let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                        if *next == 1000 {
                            turns.end(End::Complete);
                        }
                        let Some(ticket) = turns.give() else { return };
                        let number = *next;
                        *next += 1;
                        drop(next);
                        if ticket.wait() {
                            work(number, &ticket);
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn work_is_finished_in_the_order_in_which_it_was_taken() {
        let (turns, next, done) = (Turns::default(), Mutex::new(0), Mutex::new(Vec::new()));
        let together = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let mut next = next.lock().unwrap();
                        let (number, ticket) = (*next, turns.give().unwrap());
                        *next += 1;
                        drop(next);
                        // All four are ready now, and without turns any of them could be first.
                        together.wait();
                        if ticket.wait() {
                            done.lock().unwrap().push(number);
                        }
                    }
                });
            }
        });
        assert_eq!(done.into_inner().unwrap(), (0..4000).collect::<Vec<_>>());
        assert!(turns.settle(Duration::ZERO));
    }

    #[test]
    fn nothing_is_done_after_a_cut() {
        let (turns, done) = (Turns::default(), AtomicU64::new(0));
        in_turn(&turns, |number, ticket| {
            done.fetch_add(1, Ordering::Relaxed);
            if number == 500 {
                ticket.cut(End::Strict);
            }
        });
        assert_eq!(done.into_inner(), 501);
        assert!(matches!(turns.take_end(), Some(End::Strict)));
    }

    #[test]
    fn a_panic_passes_the_turn_on() {
        let (turns, done) = (Turns::default(), AtomicU64::new(0));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            in_turn(&turns, |number, _| {
                assert!(number < 500, "on purpose");
                done.fetch_add(1, Ordering::Relaxed);
            });
        }));
        assert!(outcome.is_err());
        assert_eq!(done.into_inner(), 500);
        assert!(turns.settle(Duration::ZERO));
        assert!(matches!(turns.take_end(), Some(End::Panicked)));
    }

    #[test]
    fn a_stop_lets_what_was_taken_be_finished() {
        let turns = Turns::default();
        let ticket = turns.give().unwrap();
        turns.end(End::Stopped);
        turns.end(End::Complete);
        assert!(turns.give().is_none());
        assert!(!turns.settle(Duration::ZERO));
        assert!(ticket.wait());
        drop(ticket);
        assert!(turns.settle(Duration::ZERO));
        assert!(matches!(turns.take_end(), Some(End::Stopped)));
        assert!(turns.is_over() && turns.give().is_none(), "also after it has been told why");
    }
}
