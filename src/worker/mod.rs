//! A shard's thread: it reads the rings, delivers to the processors, and waits.
//!
//! # One round
//!
//! 1. Read the watermark, then the signals; act on the signals (rings that came or went, control records, closing).
//! 2. Merge the rings by stamp up to the watermark, see [`merge`].
//! 3. Deliver the batch to each processor in turn, see [`station`].
//! 4. Count, drop the values, give the slots back, wake emits that wait for room.
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
mod station;

use std::any::Any;

pub(crate) use control::{Control, Desk, Edit, Filter, Order, Replies, Reply};
pub use idle::WaitStrategy;
use idle::{Step, Waiting};
use merge::Merge;
pub(crate) use station::Supervisor;
use station::{Delivery, Station};

use crate::clock;
use crate::event::{Body, Event};
use crate::processor::{Fault, FaultSite, Make, Track, panic_text};
use crate::ring::Outlet;
use crate::shard::{Mesh, Shard, Signals, is_quiescent};
use crate::sync::{Arc, Ordering, fence, heavy_fence, thread};

/// The most events of one batch.
const MAX_BATCH: usize = if cfg!(loom) { 4 } else { 256 };

/// What a worker is made from, on its own thread.
pub(crate) struct Setup {
    pub(crate) index: usize,
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) supervisor: Supervisor,
    pub(crate) strategy: WaitStrategy,
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
    outlets: Vec<Outlet<Body>>,
    /// For each outlet, whether its producer is a shard.
    internal: Vec<bool>,
    /// Whether some outlet's producer is gone, so that the ring can be retired once it is drained.
    orphans: bool,
    closing: bool,
    drained: bool,
    merge: Merge,
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
        let Setup { index, mesh, desk, supervisor, strategy, processors } = setup;
        mesh.shards[index].gate.set_worker(thread::current());
        let mut worker = Self {
            index,
            mesh,
            desk,
            supervisor,
            waiting: Waiting::new(strategy),
            stations: Vec::new(),
            staged: None,
            outlets: Vec::new(),
            internal: Vec::new(),
            orphans: false,
            closing: false,
            drained: false,
            merge: Merge::default(),
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
                self.note_waiting(false);
                self.carry_out(control);
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
    }

    // ---- events ----

    fn process_round(&mut self) {
        let count = self.scratch.batch.len();
        let last_stamp = self.deliver();
        self.release();
        self.scratch.batch.clear();
        if self.orphans {
            self.retire_rings();
        }
        self.waiting.after_round(count, last_stamp);
    }

    /// Hands the batch to every processor, and counts. Returns the last event's stamp.
    fn deliver(&mut self) -> u64 {
        let shard = &self.mesh.shards[self.index];
        let Scratch { batch, admitted, places, marks, lost, .. } = &mut self.scratch;
        let events = borrow(batch);
        let last_stamp = record_latency(shard, events);
        shard.cells.batches.add(1);
        shard.cells.batch_size.record(events.len() as u64, 1);

        let mut losses = Losses::new(shard, lost, events.len());
        let progress = &*shard.progress;
        let before = progress.processed.load(Ordering::Relaxed);
        let in_line = self.stations.len();
        for (number, station) in self.stations.iter_mut().enumerate() {
            if progress.stop.load(Ordering::Relaxed) {
                break;
            }
            let supervisor = &self.supervisor;
            // Only the last in line completes events.
            let is_last = number + 1 == in_line;
            if matches!(station.filter, Filter::All) && losses.count == 0 {
                let track = if is_last { Track::From(before) } else { Track::Nothing };
                let lost = &mut |place| losses.note(place);
                station.deliver(events, Delivery { supervisor, progress, track, lost });
                continue;
            }
            admitted.clear();
            places.clear();
            marks.clear();
            let mut complete = before;
            for (place, event) in events.iter().enumerate() {
                if station.filter.admits(event.kind()) {
                    admitted.push(std::ptr::from_ref(*event));
                    places.push(place);
                    marks.push(complete);
                }
                complete += u64::from(!losses.contain(place));
            }
            if !admitted.is_empty() {
                let track = if is_last { Track::Marks { marks, lost: 0 } } else { Track::Nothing };
                let lost = &mut |index: usize| losses.note(places[index]);
                let delivery = Delivery { supervisor, progress, track, lost };
                station.deliver(borrow(admitted), delivery);
            }
        }
        // Abandoned in the middle of a batch: what was not processed is not counted, and the report says so.
        if !progress.stop.load(Ordering::Relaxed) {
            let processed = before + events.len() as u64 - losses.count;
            progress.processed.store(processed, Ordering::Release);
        }
        last_stamp
    }

    /// Drops the batch's values, gives the slots back, and wakes emits that wait for room.
    fn release(&mut self) {
        let shard = &self.mesh.shards[self.index];
        let count = self.scratch.batch.len() as u64;
        shard.cells.high_water.raise(if count == MAX_BATCH as u64 { self.depth() } else { count });
        let touched = &mut self.scratch.touched;
        touched.clear();
        let mut derived = 0;
        for (index, outlet) in self.outlets.iter_mut().enumerate() {
            let unreleased = outlet.unreleased();
            if unreleased == 0 {
                continue;
            }
            if self.internal[index] {
                derived += unreleased;
            }
            let supervisor = &self.supervisor;
            outlet.release(|payload| value_drop_fault(shard, supervisor, payload));
            touched.push(index);
        }
        if derived > 0 {
            shard.count_derived_done(derived);
        }
        // Pairs with the fence of a waiter that has just entered the list.
        fence(Ordering::SeqCst);
        for &index in &*touched {
            self.outlets[index].wake_waiters();
        }
    }

    /// Events in the shard's rings, as far as its worker knows them, including those being processed.
    fn depth(&self) -> u64 {
        let rings = self.outlets.iter().map(Outlet::ring);
        rings.map(|ring| ring.published().saturating_sub(ring.released())).sum()
    }

    // ---- waiting and ending ----

    /// Flushes the processors that have something to flush; whether there were any.
    fn flush(&mut self) -> bool {
        let mut flushed = false;
        for station in &mut self.stations {
            flushed |= station.flush(&self.supervisor);
        }
        flushed
    }

    /// Before sleeping, with nothing left to read: lets one more waiter have the room that those before it do not use.
    fn wake_one_more(&mut self) -> bool {
        let mut any = false;
        for outlet in &self.outlets {
            any |= outlet.wake_one_more();
        }
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
        shard.gate.park();
        shard.cells.parks.add(1);
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
                outlet.advance();
            }
            outlet.release(|payload| value_drop_fault(shard, supervisor, payload));
        }
    }

    fn close_stations(&mut self) {
        for station in std::mem::take(&mut self.stations) {
            station.close(&self.supervisor);
        }
    }

    // ---- control records ----

    fn carry_out(&mut self, control: Control) {
        match control {
            Control::Prepare(order) => {
                let reply = self.prepare(&order);
                order.replies.send(reply);
            }
            Control::Commit(order) => {
                self.commit(&order);
                order.replies.send(Reply::Done);
            }
            Control::Abort(order) => {
                if let Some(staged) = self.staged.take() {
                    staged.close(&self.supervisor);
                }
                order.replies.send(Reply::Done);
            }
        }
    }

    fn prepare(&mut self, order: &Order) -> Reply {
        let (filter, make) = match &order.edit {
            Edit::Add(filter, make) => (filter.clone(), make),
            Edit::Replace(make) => {
                let old = self.stations.iter().find(|station| station.name == order.name);
                (old.map_or(Filter::All, |old| old.filter.clone()), make)
            }
            Edit::Remove => return Reply::Done,
        };
        let opened =
            Station::open(&self.supervisor, &order.name, filter, make.clone(), order.generation);
        match opened {
            Ok(station) => {
                self.staged = Some(station);
                Reply::Done
            }
            Err(message) => Reply::Failed { shard: self.index, message },
        }
    }

    /// Switches at a batch boundary: the old instance has seen exactly what came before, the new one sees the rest.
    fn commit(&mut self, order: &Order) {
        let place = self.stations.iter().position(|station| station.name == order.name);
        let old = match (self.staged.take(), place) {
            (Some(new), Some(place)) => Some(std::mem::replace(&mut self.stations[place], new)),
            (Some(new), None) => {
                self.stations.push(new);
                None
            }
            (None, Some(place)) => Some(self.stations.remove(place)),
            (None, None) => None,
        };
        if let Some(old) = old {
            if let Some(new) = self.stations.iter().find(|station| station.name == order.name) {
                new.cells.take_over(&old.cells);
            }
            old.close(&self.supervisor);
        }
        self.publish_cells();
    }

    fn publish_cells(&self) {
        let cells = self.stations.iter().map(|station| station.cells.clone()).collect();
        self.shard().cells.processors.store(std::sync::Arc::new(cells));
    }
}

/// The events of a batch that some processor did not get through.
struct Losses<'a> {
    shard: &'a Shard,
    /// What the shard had lost before the batch.
    before: u64,
    count: u64,
    len: usize,
    /// For each event of the batch, whether it is lost; empty while none is.
    lost: &'a mut Vec<bool>,
}

impl<'a> Losses<'a> {
    fn new(shard: &'a Shard, lost: &'a mut Vec<bool>, len: usize) -> Self {
        lost.clear();
        Self { shard, before: shard.faulted.load(Ordering::Relaxed), count: 0, len, lost }
    }

    /// Notes a loss; false when the event was lost to an earlier processor already. Counts it at once: the processor may get
    /// stuck in the next event, and then a report is made.
    fn note(&mut self, place: usize) -> bool {
        self.lost.resize(self.len, false);
        if std::mem::replace(&mut self.lost[place], true) {
            return false;
        }
        self.count += 1;
        self.shard.faulted.store(self.before + self.count, Ordering::Release);
        true
    }

    fn contain(&self, place: usize) -> bool {
        self.lost.get(place).is_some_and(|&lost| lost)
    }
}

/// The events behind pointers that a round has collected.
fn borrow(events: &[*const Event]) -> &[&Event] {
    // SAFETY: a reference has the layout of a pointer. The pointers come from filled slots that this worker has read and not
    // released; they are released only after the last use of the result, in the same round.
    unsafe { std::slice::from_raw_parts(events.as_ptr().cast::<&Event>(), events.len()) }
}

/// Records how long each event of a batch waited; returns the last one's stamp.
#[inline]
fn record_latency(shard: &Shard, events: &[&Event]) -> u64 {
    let now = clock::now();
    let age = |event: &&Event| now.saturating_sub(event.body().stamp);
    let mut rest = events;
    while let Some(first) = rest.first() {
        // Neighbours mostly fall into one bucket of the histogram; they are recorded together.
        let oldest = age(first);
        let same = oldest - (oldest >> 6)..=oldest;
        let run = rest.iter().take_while(|event| same.contains(&age(event))).count();
        shard.cells.latency.record(clock::ticks_to_nanos(oldest), run as u64);
        rest = &rest[run..];
    }
    events.last().map_or(0, |event| event.body().stamp)
}

#[cold]
fn value_drop_fault(shard: &Shard, supervisor: &Supervisor, payload: Box<dyn Any + Send>) {
    shard.cells.drop_faults.add(1);
    let (message, site) = (panic_text(payload), FaultSite::ValueDrop);
    let fault =
        Fault { site, shard: supervisor.shard, processor: "", message: &message, event: None };
    supervisor.report(&fault);
}
