//! The shared handle.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::error::{EmitError, Reason};
use super::local::{self, Lease};
use super::rings::{Refused, Rings, Why};
use super::wait::{Patience, Turn, fail, insist};
use crate::event::{EventType, Parts, RawKind, RawValue, Value, Word};
use crate::key::{Key, route};
use crate::shard::Mesh;
use crate::sync::Arc;

/// What every handle of a bus holds. Dropping the last one shuts the bus down.
pub(crate) struct Link {
    pub(crate) mesh: Arc<Mesh>,
    /// `None` for the emitters of processors, which do not keep their own bus alive.
    pub(crate) on_last_drop: Option<Box<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("bus", &self.mesh.id).finish_non_exhaustive()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(shut_down) = &self.on_last_drop {
            shut_down();
        }
    }
}

/// A shared handle: any number of threads and tasks emit through one emitter or through clones of it.
///
/// Behind it, each thread has rings of its own, so emitting threads do not disturb each other. A clone costs one
/// reference count. Every clone keeps the bus alive. A thread's rings (capacity times 64 bytes for each shard that it emitted to) are given
/// back when it ends, or, once their bus has ended, when it first emits to another one.
///
/// On a thread of the bus's own shards, that is inside a processor, no method waits: see
/// [`ShardContext::emitter`](crate::ShardContext::emitter).
///
/// ```
/// use keylane::{Bus, EventType, NoopProcessorFactory};
/// use std::time::Duration;
///
/// let bus = Bus::builder().shards(2).processor("noop", NoopProcessorFactory).build()?;
/// let emitter = bus.emitter();
/// std::thread::scope(|scope| {
///     for number in 0..4 {
///         let emitter = &emitter;
///         scope.spawn(move || emitter.emit_blocking(EventType::user(0), number, "a key"));
///     }
/// });
/// assert_eq!(bus.shutdown(Duration::from_secs(5)).processed, 4);
/// # Ok::<(), keylane::BuildError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Emitter {
    link: Arc<Link>,
}

impl Emitter {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link }
    }

    /// Emits if there is room. Never waits.
    ///
    /// # Errors
    /// [`Reason::Full`] or [`Reason::Closed`]; the event comes back.
    #[inline(always)]
    pub fn try_emit(
        &self,
        kind: EventType,
        value: impl Into<Value>,
        key: impl Into<Key>,
    ) -> Result<(), EmitError> {
        self.emit_with(kind, value.into().into_raw(), key.into(), Patience::None)
    }

    /// Emits if at least a quarter of the ring stays free. Never waits.
    ///
    /// What matters less goes this way, so that [`try_emit`](Self::try_emit) still finds room for what matters more.
    ///
    /// # Errors
    /// As [`try_emit`](Self::try_emit).
    #[cfg(feature = "http")]
    pub(crate) fn try_emit_sparing(
        &self,
        kind: EventType,
        value: impl Into<Value>,
        key: impl Into<Key>,
    ) -> Result<(), EmitError> {
        let mesh = &self.link.mesh;
        let value = value.into().into_raw();
        local::with(mesh, |rings| rings.try_emit_sparing(kind, value, key.into())).or_else(
            |refused| {
                insist(mesh, refused, Patience::None, |parts| {
                    local::with(mesh, |rings| rings.offer(parts))
                })
            },
        )
    }

    /// Emits, and blocks the thread while there is no room. Inside a task use [`emit`](Self::emit).
    ///
    /// # Errors
    /// [`Reason::Closed`], also when the bus is closed while it blocks; the event comes back.
    #[inline(always)]
    pub fn emit_blocking(
        &self,
        kind: EventType,
        value: impl Into<Value>,
        key: impl Into<Key>,
    ) -> Result<(), EmitError> {
        self.emit_with(kind, value.into().into_raw(), key.into(), Patience::Forever)
    }

    /// Emits, and blocks the thread for at most `timeout` while there is no room.
    ///
    /// # Errors
    /// As [`emit_blocking`](Self::emit_blocking), and [`Reason::Timeout`].
    #[inline(always)]
    pub fn emit_timeout(
        &self,
        kind: EventType,
        value: impl Into<Value>,
        key: impl Into<Key>,
        timeout: Duration,
    ) -> Result<(), EmitError> {
        self.emit_with(kind, value.into().into_raw(), key.into(), Patience::For(timeout))
    }

    /// Emits, and waits without blocking the thread while there is no room. Works on any executor and needs none of its services.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready drops the event with it, which then was never accepted. Nothing that was accepted is
    /// lost, and no waker stays behind. To keep the event, use [`try_emit`](Self::try_emit) first: it returns it.
    ///
    /// # Fairness
    /// Tasks that wait are woken in the order in which they began to wait; a poll out of turn does not change it. A task that does not
    /// need to wait may overtake them, up to 64 times in a row.
    ///
    /// # Errors
    /// [`Reason::Closed`], also when the bus is closed while it waits; the event comes back.
    #[inline]
    pub fn emit(&self, kind: EventType, value: impl Into<Value>, key: impl Into<Key>) -> Emit<'_> {
        Emit {
            mesh: &self.link.mesh,
            state: State::New(kind, value.into(), key.into()),
            turn: None,
        }
    }

    #[inline(always)]
    fn emit_with(
        &self,
        kind: EventType,
        value: RawValue,
        key: Key,
        patience: Patience,
    ) -> Result<(), EmitError> {
        let mesh = &self.link.mesh;
        // NB: Not through `local::with`: a closure with two callers is not inlined, and the value would go through memory.
        let result = match Lease::take(mesh) {
            Some(mut rings) => rings.try_emit(kind, value, key),
            None => {
                let (kind_of_value, a, b, c, d) = value.split();
                emit_through_common(mesh, kind, key, kind_of_value, a, b, c, d)
            }
        };
        match result {
            Ok(()) => Ok(()),
            Err(refused) => insist(mesh, refused, patience, |parts| {
                local::with(mesh, |rings| rings.offer(parts))
            }),
        }
    }
}

/// For emits that find no rings of their thread. Takes the value in words, see [`RawValue`].
#[cold]
#[inline(never)]
#[expect(clippy::too_many_arguments, reason = "a struct would be passed through memory")]
fn emit_through_common(
    mesh: &Arc<Mesh>,
    kind: EventType,
    key: Key,
    kind_of_value: RawKind,
    a: Word,
    b: Word,
    c: Word,
    d: Word,
) -> Result<(), Refused> {
    Rings::common(mesh.clone()).try_emit(kind, RawValue::join(kind_of_value, a, b, c, d), key)
}

/// The future of [`Emitter::emit`].
#[must_use = "an event is emitted when its future is awaited"]
#[derive(Debug)]
pub struct Emit<'a> {
    mesh: &'a Arc<Mesh>,
    state: State,
    /// A place in the line, while this waits.
    turn: Option<Turn>,
}

#[derive(Debug)]
enum State {
    New(EventType, Value, Key),
    Refused(Parts),
    Done,
}

impl Unpin for Emit<'_> {}

impl Emit<'_> {
    /// One try, with the rings of whatever thread polls.
    #[inline(always)]
    fn attempt(&mut self, queued: bool) -> Result<(), Refused> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::New(kind, value, key) => {
                // Not through `local::with`, see `Emitter::emit_with`.
                let value = value.into_raw();
                match Lease::take(self.mesh) {
                    Some(mut rings) => rings.try_emit_in_turn(kind, value, key),
                    None => {
                        let (kind_of_value, a, b, c, d) = value.split();
                        emit_through_common(self.mesh, kind, key, kind_of_value, a, b, c, d)
                    }
                }
            }
            State::Refused(parts) => local::with(self.mesh, |rings| {
                if queued {
                    rings.turn_taken();
                }
                rings.offer(parts)
            }),
            State::Done => panic!("a future was polled after it had returned ready"),
        }
    }

    #[cold]
    fn poll_queued(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EmitError>> {
        if self.is_waiting(cx.waker()) {
            return Poll::Pending;
        }
        match self.attempt(true).or_else(|refused| self.attempt_elsewhere(refused)) {
            Ok(()) => {
                // Wakes the next in the line, if there is room left.
                self.turn = None;
                Poll::Ready(Ok(()))
            }
            Err(refused) => self.poll_refused(refused, cx),
        }
    }

    /// For a task that waited for room on one thread and was woken on another, whose ring is full: it takes the common ring.
    ///
    /// NB: It could join the line of this thread's ring. But then it would pass its turn on here, to a task that is woken on this thread
    /// too, and so on: on a busy runtime whole lines moved from ring to ring, with two polls in vain for each event.
    fn attempt_elsewhere(&mut self, refused: Refused) -> Result<(), Refused> {
        match (&refused.why, &self.turn) {
            (Why::Full(ring), Some(turn)) if !turn.is_for(ring) && !local::is_home(self.mesh) => {
                local::with(self.mesh, |rings| rings.offer_common(refused.parts))
            }
            _ => Err(refused),
        }
    }

    /// After a try that failed: joins the line or takes its place in it again, unless room has been made meanwhile.
    #[cold]
    fn poll_refused(
        &mut self,
        mut refused: Refused,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), EmitError>> {
        loop {
            let Refused { parts, why } = refused;
            let ring = match why {
                Why::Full(ring) => ring,
                Why::Closed => return Poll::Ready(Err(fail(self.mesh, Reason::Closed, parts))),
                Why::HopLimit => {
                    let refused = Refused { parts, why: Why::HopLimit };
                    return Poll::Ready(insist(self.mesh, refused, Patience::None, |_| Ok(())));
                }
            };
            if local::is_home(self.mesh) {
                return Poll::Ready(Err(fail(self.mesh, Reason::Full, parts)));
            }
            let shard = &self.mesh.shards[route(parts.body.key_hash, self.mesh.shards.len())];
            self.state = State::Refused(parts);
            let behind_others = match &self.turn {
                Some(turn) if turn.is_for(&ring) => {
                    turn.renew(cx.waker().clone());
                    false
                }
                _ => {
                    let (turn, behind_others) = Turn::enter(ring.clone(), cx.waker().clone());
                    // Leaves the line of another thread's ring, if it was in one.
                    self.turn = Some(turn);
                    behind_others
                }
            };
            // Somebody ahead in the line is going to be woken, and passes the wake-up on; otherwise room may have been made
            // before this task joined, and nobody would tell.
            let must_look = !behind_others;
            if !(shard.gate.is_closed_acquire() || must_look && ring.has_room()) {
                return Poll::Pending;
            }
            refused = match self.attempt(true) {
                Ok(()) => {
                    self.turn = None;
                    return Poll::Ready(Ok(()));
                }
                Err(refused) => refused,
            };
        }
    }

    /// Whether this still waits for its turn. A poll out of turn (by a `select!` whose other branch woke the task, say) keeps the
    /// place in the line.
    fn is_waiting(&self, waker: &Waker) -> bool {
        let (Some(turn), State::Refused(parts)) = (&self.turn, &self.state) else {
            return false;
        };
        let shard = &self.mesh.shards[route(parts.body.key_hash, self.mesh.shards.len())];
        turn.keep(waker) && !shard.gate.is_closed_acquire()
    }
}

impl Future for Emit<'_> {
    type Output = Result<(), EmitError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.turn.is_none() {
            return match self.attempt(false) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(refused) => self.poll_refused(refused, cx),
            };
        }
        self.poll_queued(cx)
    }
}
