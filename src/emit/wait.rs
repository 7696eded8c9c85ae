//! Waiting for room.

use std::sync::Arc as StdArc;
use std::task::{Wake, Waker};
use std::time::Instant;

use super::error::{EmitError, Reason};
use super::local;
use super::rings::{Refused, Why};
use crate::event::{Body, Parts};
use crate::key::route;
use crate::ring::{Ring, WaiterId};
use crate::shard::Mesh;
use crate::sync::{Arc, AtomicBool, Ordering, thread};

/// A place in the line of those that wait for room in one ring. Leaving it, in whatever way, never swallows a wake-up: keep it until the
/// room has been used, and the next in the line is woken for what is left.
#[derive(Debug)]
pub(super) struct Turn {
    ring: Arc<Ring<Body>>,
    id: WaiterId,
}

impl Turn {
    /// Joins the line; also tells whether there was one.
    pub(super) fn enter(ring: Arc<Ring<Body>>, waker: Waker) -> (Self, bool) {
        let (id, behind_others) = ring.enter_waiters(waker);
        (Self { ring, id }, behind_others)
    }

    /// Stays in the line, to be woken by this waker from now on; false when the turn has come already.
    pub(super) fn keep(&self, waker: &Waker) -> bool {
        self.ring.keep_waiter(self.id, waker)
    }

    /// The place is for this ring.
    pub(super) fn is_for(&self, ring: &Arc<Ring<Body>>) -> bool {
        Arc::ptr_eq(&self.ring, ring)
    }

    /// After a turn that found no room: takes the same place again.
    pub(super) fn renew(&self, waker: Waker) {
        self.ring.reenter_waiters(self.id, waker);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.ring.leave_waiters(self.id) {
            // Woken: one slot has been used, or none when this is a cancellation. The next one may have the rest.
            self.ring.pass_on();
        }
    }
}

/// Looks for room this often at once.
const SPINS: usize = if cfg!(loom) { 0 } else { 16 };

/// Then this often, letting other threads run in between, before the thread sleeps. On a busy machine the shard may be one of them,
/// and a thread that only let it run comes back sooner, and on the same core, than one that has to be woken.
pub(super) const YIELDS: usize = if cfg!(loom) { 0 } else { 64 };

/// Unparks a thread that waits.
struct Parker {
    woken: AtomicBool,
    thread: thread::Thread,
}

impl Wake for Parker {
    fn wake(self: StdArc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// The deadline of an emit has passed.
struct TimedOut;

/// Blocks the thread until the ring has room or the bus is closed. A former turn that had no room is taken again; what is returned is to
/// be kept until the room has been used.
fn wait(
    ring: Arc<Ring<Body>>,
    former: Option<Turn>,
    deadline: Option<Instant>,
    closed: impl Fn() -> bool,
) -> Result<Option<Turn>, TimedOut> {
    for _ in std::iter::repeat_n((), SPINS) {
        if ring.has_room() || closed() {
            return Ok(former);
        }
        std::hint::spin_loop();
    }
    for _ in std::iter::repeat_n((), YIELDS) {
        thread::yield_now();
        if ring.has_room() || closed() {
            return Ok(former);
        }
        // Others may have had long turns.
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(TimedOut);
        }
    }
    let parker = StdArc::new(Parker { woken: AtomicBool::new(false), thread: thread::current() });
    let turn = match former {
        Some(former) if former.is_for(&ring) => {
            former.renew(parker.clone().into());
            former
        }
        _ => Turn::enter(ring, parker.clone().into()).0,
    };
    if turn.ring.has_room() || closed() {
        return Ok(Some(turn));
    }
    while !parker.woken.load(Ordering::Acquire) {
        match deadline {
            None => thread::park(),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(TimedOut);
                }
                park_timeout(left);
            }
        }
    }
    Ok(Some(turn))
}

fn park_timeout(left: std::time::Duration) {
    #[cfg(not(loom))]
    thread::park_timeout(left);
    // There is no time in a model.
    #[cfg(loom)]
    let _ = left;
    #[cfg(loom)]
    thread::park();
}

/// How long an emit waits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    None,
    Forever,
    For(std::time::Duration),
}

/// Brings a refused event in after all, as long as patience lasts.
#[cold]
pub(super) fn insist(
    mesh: &Mesh,
    mut refused: Refused,
    patience: Patience,
    mut offer: impl FnMut(Parts) -> Result<(), Refused>,
) -> Result<(), EmitError> {
    let mut deadline = None;
    let mut turn = None;
    loop {
        let Refused { parts, why } = refused;
        let ring = match why {
            Why::Full(ring) => ring,
            Why::Closed => return Err(fail(mesh, Reason::Closed, parts)),
            Why::HopLimit => {
                count_refusal(mesh, &parts);
                return Err(EmitError::hop_limit(parts));
            }
        };
        match patience {
            // A shard that waited for another, or for itself, might wait for ever.
            _ if local::is_home(mesh) => return Err(fail(mesh, Reason::Full, parts)),
            Patience::None => return Err(fail(mesh, Reason::Full, parts)),
            Patience::Forever => {}
            // A period beyond the clock's range is for ever.
            Patience::For(time) => deadline = deadline.or(Instant::now().checked_add(time)),
        }
        let gate = &mesh.shards[route(parts.body.key_hash, mesh.shards.len())].gate;
        match wait(ring, turn.take(), deadline, || gate.is_closed_acquire()) {
            Ok(mine) => turn = mine,
            Err(TimedOut) => return Err(fail(mesh, Reason::Timeout, parts)),
        }
        refused = match offer(parts) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
    }
}

/// Counts a refusal and turns it into an error.
pub(super) fn fail(mesh: &Mesh, reason: Reason, parts: Parts) -> EmitError {
    count_refusal(mesh, &parts);
    EmitError::new(reason, parts)
}

fn count_refusal(mesh: &Mesh, parts: &Parts) {
    let shard = &mesh.shards[route(parts.body.key_hash, mesh.shards.len())];
    shard.cells.refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}
