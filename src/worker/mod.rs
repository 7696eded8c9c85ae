//! A shard's thread: it reads the rings, delivers to the processors, and waits.
//!
//! # One round
//!
//! 1. Read the watermark, then the signals; act on the signals (rings that came or went, control records, closing).
//! 2. Merge the rings by stamp up to the watermark, see [`merge`].
//! 3. Deliver the batch to each processor in turn, count, drop the values, give the slots back, and wake emits that wait
//!    for room, see [`round`] and [`station`].
//!
//! After a round that found nothing the processors are flushed and the thread waits, see [`idle`].
//!
//! # Closing
//!
//! Once it sees that its gate is closed the worker issues the heavy half of the barrier. From then on a ring that is neither busy nor
//! holding events stays so, except for the rings of other shards: processors that still drain may derive events. The
//! worker ends when the whole bus is [quiescent](crate::shard::is_quiescent), or when it is told to abandon.

mod control;
mod idle;
mod merge;
mod round;
mod station;
mod swap;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) use control::{Control, Desk, Edit, Filter, Order, Replies, Reply};
use idle::Step;
pub use idle::WaitStrategy;
pub(crate) use idle::Waiting;
pub(crate) use merge::Merge;
use round::value_drop_fault;
use station::Station;
pub(crate) use station::Supervisor;
use swap::Former;

use crate::clock;
use crate::diagnostics;
use crate::event::delivery::on_behalf_of;
use crate::event::{Body, Event};
use crate::processor::{Make, panic_text};
use crate::ring::{DROPS, Outlet};
use crate::shard::{Mesh, Shard, Signals, is_quiescent};
use crate::sync::{Arc, Ordering, fence, heavy_fence, thread};

/// The most events of one batch.
const MAX_BATCH: usize = if cfg!(loom) { 4 } else { 256 };

/// A worker that is never idle nudges its waiters this often.
const ROUNDS_PER_NUDGE: u64 = 64;

/// What a worker is made from, on its own thread.
pub(crate) struct Setup {
    pub(crate) index: usize,
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) supervisor: Supervisor,
    pub(crate) waiting: Waiting,
    pub(crate) processors: Vec<(String, Filter, Make)>,
}

/// The state of a shard's thread.
pub(crate) struct Worker {
    index: usize,
    mesh: Arc<Mesh>,
    desk: Arc<Desk>,
    supervisor: Supervisor,
    waiting: Waiting,
    stations: Vec<Station>,
    /// What a control record has prepared and not yet switched to.
    staged: Option<Station>,
    /// What an order that is not finished can still be undone to.
    former: Option<Former>,
    outlets: Vec<Outlet<Body>>,
    /// For each outlet, whether its producer is a shard.
    internal: Vec<bool>,
    /// Whether some outlet's producer is gone, so that the ring can be retired once it is drained.
    orphans: bool,
    closing: bool,
    drained: bool,
    /// Derived events processed since the last time that there was nothing to flush. They are not done before that: what a flush
    /// derives must not come from a shard that seemed to be done.
    derived_unflushed: u64,
    /// The fewest hops of an event since the last flush. What a flush derives descends from that event: a cycle through flushes
    /// has to end, and one event from outside is reason enough for a flush.
    hops_since_flush: Option<u8>,
    merge: Merge,
    /// Rounds that found something; wraps around.
    rounds: u64,
    scratch: Scratch,
}

/// Memory that is reused from round to round.
#[derive(Default)]
struct Scratch {
    batch: Vec<*const Event>,
    /// The events of the batch that a filter admits, and their places in the batch.
    admitted: Vec<*const Event>,
    places: Vec<usize>,
    /// For each admitted event, how many of the shard are complete when it begins.
    marks: Vec<u64>,
    /// For each event of the batch, whether some processor did not get through it.
    lost: Vec<bool>,
    /// Outlets that the batch was read from.
    touched: Vec<usize>,
}

impl Worker {
    /// Builds the processors. Fails with the name of the first whose factory fails, and the reason.
    pub(crate) fn new(setup: Setup) -> Result<Self, (String, String)> {
        let Setup { index, mesh, desk, supervisor, waiting, processors } = setup;
        mesh.shards[index].gate.set_worker(thread::current());
        let mut worker = Self {
            index,
            mesh,
            desk,
            supervisor,
            waiting,
            stations: Vec::new(),
            staged: None,
            former: None,
            outlets: Vec::new(),
            internal: Vec::new(),
            orphans: false,
            closing: false,
            drained: false,
            derived_unflushed: 0,
            hops_since_flush: None,
            merge: Merge::default(),
            rounds: 0,
            scratch: Scratch { batch: Vec::with_capacity(MAX_BATCH), ..Scratch::default() },
        };
        for (name, filter, make) in processors {
            match Station::open(&worker.supervisor, &name, filter, make, 1) {
                Ok(station) => worker.stations.push(station),
                Err(message) => {
                    worker.close_stations();
                    return Err((name, message));
                }
            }
        }
        worker.publish_cells();
        Ok(worker)
    }

    fn shard(&self) -> &Shard {
        &self.mesh.shards[self.index]
    }

    /// Works until the bus is shut down.
    pub(crate) fn run(mut self) {
        // Foreign code is contained where it is called, so a panic that arrives here is a fault of this crate. In a model it has to
        // reach the checker.
        if cfg!(loom) {
            self.work();
        } else if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.work())) {
            self.collapse(panic_text(payload));
        }
    }

    /// Gives the shard up after a panic of the worker's own: it accepts nothing any more and leaves nobody waiting, and the report
    /// counts what is in its rings as abandoned. Its processors get their last words; the other shards go on.
    #[cold]
    fn collapse(&mut self, message: String) {
        let shard = &self.mesh.shards[self.index];
        shard.gate.close();
        shard.gate.abandon();
        shard.gate.exit();
        heavy_fence();
        shard.wait_for_publications();
        shard.wake_waiting();
        while let Some(control) = self.desk.pop() {
            control.decline();
        }
        diagnostics::write(|| {
            tracing::error!(
                shard = self.index,
                message,
                "a shard collapsed; this is a bug in keylane"
            );
        });
        self.close_stations();
        // The others need not wait for this one.
        self.shard().set_drained();
    }

    fn work(&mut self) {
        loop {
            let shard = &self.mesh.shards[self.index];
            // The watermark comes first: see `merge`.
            let watermark = shard.clock.watermark();
            let signals = shard.gate.signals();
            if signals.any() && !self.attend(signals) {
                break;
            }
            self.merge.read(&mut self.outlets, watermark, &mut self.scratch.batch);
            if !self.scratch.batch.is_empty() {
                if self.closing {
                    self.note_waiting(false);
                }
                self.process_round();
                self.rounds = self.rounds.wrapping_add(1);
                if self.rounds.is_multiple_of(ROUNDS_PER_NUDGE) {
                    self.nudge();
                }
                continue;
            }
            match self.waiting.after_nothing() {
                Step::Again => {}
                Step::Flush => _ = self.flush(),
                Step::Nudge => _ = self.wake_one_more(),
                Step::Park => {
                    // What a processor emits in `flush` may be for this shard, so there is another look before sleeping.
                    if !self.flush() && !self.wake_one_more() {
                        self.park();
                    }
                }
            }
            if self.closing && !self.flush() {
                if self.settle() {
                    break;
                }
                self.note_waiting(self.drained);
            }
        }
        self.end();
    }

    fn note_waiting(&self, waiting: bool) {
        self.shard().progress.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Acts on signals; false when the worker is to end.
    #[cold]
    fn attend(&mut self, signals: Signals) -> bool {
        if signals.is_abandoned() || signals.is_quiescent() {
            return false;
        }
        if signals.is_closed() && !self.closing {
            self.closing = true;
            // Every producer that found the gate open has, from here on, visibly marked its ring busy, and that ring is in
            // the list. See the module's head.
            heavy_fence();
            self.reload_rings();
        }
        if signals.rings_changed() || signals.has_control() {
            let signals = self.shard().gate.acknowledge();
            if signals.rings_changed() {
                self.reload_rings();
            }
            while let Some(control) = self.desk.pop() {
                // A shard that is done must not derive anything any more, and factories and last words may.
                if self.drained {
                    control.decline();
                } else {
                    self.note_waiting(false);
                    self.carry_out(control);
                }
            }
        }
        true
    }

    // ---- rings ----

    fn reload_rings(&mut self) {
        for (ring, internal) in self.shard().rings() {
            if !self.outlets.iter().any(|outlet| Arc::ptr_eq(outlet.ring(), &ring)) {
                self.outlets.push(Outlet::new(ring));
                self.internal.push(internal);
            }
        }
        self.retire_rings();
    }

    /// Lets go of drained rings whose producer is gone.
    fn retire_rings(&mut self) {
        self.orphans = false;
        for index in (0..self.outlets.len()).rev() {
            let outlet = &self.outlets[index];
            if !outlet.ring().is_orphaned() {
                continue;
            }
            // Orphaned was read first, so everything that was published is visible to this look.
            if outlet.peek().is_some() {
                self.orphans = true;
                continue;
            }
            let outlet = self.outlets.swap_remove(index);
            self.internal.swap_remove(index);
            self.shard().retire_ring(outlet.ring());
        }
        self.waiting.shared_by(self.mesh.shards.len() + self.outlets.len());
    }

    // ---- waiting and ending ----

    /// Flushes the processors that have something to flush; whether there were any.
    fn flush(&mut self) -> bool {
        let flushed = on_behalf_of(self.hops_since_flush.take().unwrap_or(0), || {
            let mut flushed = false;
            for station in &mut self.stations {
                flushed |= station.flush(&self.supervisor);
            }
            flushed
        });
        if !flushed {
            let done = std::mem::take(&mut self.derived_unflushed);
            if done > 0 {
                self.shard().count_derived_done(done);
            }
        }
        flushed
    }

    /// Wakes one more waiter in each ring that has room; whether there were any. A woken task that nobody polls passes nothing on.
    fn nudge(&self) -> bool {
        self.outlets.iter().fold(false, |any, outlet| outlet.wake_one_more() | any)
    }

    /// Before sleeping, with nothing left to read: lets one more waiter have the room that those before it do not use.
    fn wake_one_more(&mut self) -> bool {
        let any = self.nudge();
        if any {
            // It may take a moment until its event comes.
            thread::yield_now();
            self.waiting.after_nudge();
        }
        any
    }

    fn park(&mut self) {
        let shard = &self.mesh.shards[self.index];
        if !shard.gate.prepare_to_park(self.closing) {
            return;
        }
        // The announcement is visible to all; now look once more. Whoever publishes after this look sees it.
        let mut idle = self.outlets.iter().all(|outlet| outlet.peek().is_none());
        if self.closing {
            // There is something to settle when the shard has drained unnoticed, or when all shards are done.
            idle &= if self.drained { !is_quiescent(&self.mesh) } else { !self.is_drained() };
        }
        if !idle {
            shard.gate.stay_awake();
            return;
        }
        let began = clock::now();
        // Counted now, or a shard that sleeps for an hour would not seem to.
        shard.cells.parks.add(1);
        shard.gate.park();
        shard.cells.parked_ns.add(clock::ticks_to_nanos(clock::now().saturating_sub(began)));
        self.waiting.after_park();
    }

    /// Whether no event from outside is left and none can come.
    fn is_drained(&self) -> bool {
        let outside = self.outlets.iter().zip(&self.internal).filter(|(_, internal)| !**internal);
        // Busy is read first: a ring that is not busy publishes nothing any more.
        outside.into_iter().all(|(outlet, _)| !outlet.ring().is_busy() && outlet.peek().is_none())
    }

    /// While closing, after a round that found nothing and left nothing to flush: whether the whole bus is done.
    fn settle(&mut self) -> bool {
        if self.outlets.iter().any(|outlet| outlet.peek().is_some()) {
            return false;
        }
        if !self.drained && self.is_drained() {
            self.drained = true;
            self.shard().set_drained();
        }
        // Of two shards that become idle at once, at least one sees the other's counts.
        fence(Ordering::SeqCst);
        if !(self.drained && is_quiescent(&self.mesh)) {
            return false;
        }
        for shard in &self.mesh.shards {
            shard.gate.declare_quiescent();
        }
        true
    }

    fn end(&mut self) {
        let abandoned = self.shard().gate.signals().is_abandoned();
        if !abandoned {
            // From here on the shard is at work again; a report that has abandoned it is to see what it did before.
            self.note_waiting(false);
        }
        self.shard().gate.exit();
        while let Some(control) = self.desk.pop() {
            control.decline();
        }
        if let Some(staged) = self.staged.take() {
            staged.close(&self.supervisor);
        }
        if let Some(Former::Kept(old)) = self.former.take() {
            old.close(&self.supervisor);
        }
        self.close_stations();
        if abandoned {
            self.discard();
        }
    }

    /// Drops what a deadline has left in the rings. Rings live as long as the threads that have emitted to them, and somebody may
    /// wait for a value to be dropped.
    fn discard(&mut self) {
        // Shards are told one after another, and those that are not yet may derive events for this one.
        while !self.mesh.is_over() {
            thread::yield_now();
        }
        // From here on, whoever is to publish has visibly begun to, or finds the gate closed.
        heavy_fence();
        self.reload_rings();
        let (mesh, supervisor) = (&self.mesh, &self.supervisor);
        let shard = &mesh.shards[self.index];
        shard.wait_for_publications();
        for outlet in &mut self.outlets {
            while outlet.peek().is_some() {
                outlet.advance(DROPS);
            }
            outlet.release(|payload| value_drop_fault(shard, supervisor, payload));
        }
    }

    fn close_stations(&mut self) {
        for station in std::mem::take(&mut self.stations) {
            station.close(&self.supervisor);
        }
    }
}
