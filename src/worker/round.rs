//! One round's batch: delivered to each processor in turn, counted, and given back.

use std::any::Any;

use super::control::Filter;
use super::station::{Delivery, Supervisor};
use super::{MAX_BATCH, Scratch, Worker};
use crate::clock;
use crate::event::Event;
use crate::event::delivery::on_behalf_of;
use crate::processor::{Fault, FaultSite, Track, panic_text};
use crate::ring::Outlet;
use crate::shard::Shard;
use crate::stats::Cells;
use crate::sync::{Ordering, fence};

/// Batches of up to this many events are recorded event by event.
const LATENCIES_OF_BATCH: usize = 32;

impl Worker {
    pub(super) fn process_round(&mut self) {
        let count = self.scratch.batch.len();
        let last_stamp = self.deliver();
        let (fewest, most) = self.hops_of_batch();
        self.hops_since_flush = Some(self.hops_since_flush.map_or(fewest, |hops| hops.min(fewest)));
        // The destructor of a value may derive events.
        on_behalf_of(most, || self.release());
        self.scratch.batch.clear();
        if self.orphans {
            self.retire_rings();
        }
        self.waiting.after_round(count, last_stamp, self.merge.found_groups());
    }

    /// The fewest and the most hops of an event in the batch.
    fn hops_of_batch(&self) -> (u8, u8) {
        if !self.internal.contains(&true) {
            return (0, 0);
        }
        let hops = borrow(&self.scratch.batch).iter().map(|event| event.hops());
        (hops.clone().min().unwrap_or(0), hops.max().unwrap_or(0))
    }

    /// Hands the batch to every processor, and counts. Returns the last event's stamp.
    fn deliver(&mut self) -> u64 {
        let shard = &self.mesh.shards[self.index];
        let Scratch { batch, admitted, places, marks, lost, .. } = &mut self.scratch;
        let events = borrow(batch);
        let last_stamp = events.last().map_or(0, |event| event.body().stamp);
        let mut now = clock::now();
        record_latency(&shard.cells.latency, events, now);
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
                now = station.deliver(events, now, Delivery { supervisor, progress, track, lost });
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
                now = station.deliver(borrow(admitted), now, delivery);
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
        self.derived_unflushed += derived;
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

/// Records how long the events of a batch have waited until `now`, in ticks.
///
/// They are in the order of their stamps, so neighbours have waited about equally long: in a large batch some of them are recorded
/// together, as the first of them, which has waited longest. The last event, which has waited shortest, is recorded by itself.
fn record_latency(latency: &Cells, events: &[&Event], now: u64) {
    let age = |event: &Event| clock::ticks_to_nanos(now.saturating_sub(event.body().stamp));
    let Some((last, others)) = events.split_last() else { return };
    for neighbours in others.chunks(events.len().div_ceil(LATENCIES_OF_BATCH)) {
        latency.record(age(neighbours[0]), neighbours.len() as u64);
    }
    latency.record(age(last), 1);
}

/// Counts and reports a panic in the destructor of a value.
#[cold]
pub(super) fn value_drop_fault(
    shard: &Shard,
    supervisor: &Supervisor,
    payload: Box<dyn Any + Send>,
) {
    shard.cells.drop_faults.add(1);
    let (message, site) = (panic_text(payload), FaultSite::ValueDrop);
    let fault =
        Fault { site, shard: supervisor.shard, processor: "", message: &message, event: None };
    supervisor.report(&fault);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::event::{Body, EventType, Parts, Tag, Value};
    use crate::stats::Summary;

    #[test]
    fn the_latencies_of_a_batch_are_all_counted_and_have_their_bounds() {
        for len in [1, 2, 31, 32, 33, 34, 255, 256] {
            // One event a microsecond; the last one has waited for one.
            let stamp = |index: u64| clock::rate().to_ticks(index * 1000);
            let tag = Tag::new(EventType::user(0), 0, true);
            let body = |index| Body { stamp: stamp(index), key_hash: 0, value: Value::none() };
            let events: Vec<Event> =
                (0..len).map(|index| Event::from_parts(Parts { tag, body: body(index) })).collect();
            let events: Vec<&Event> = events.iter().collect();
            let cells = Cells::new();
            record_latency(&cells, &events, stamp(len));
            let mut latency = Summary::empty();
            cells.add_to(&mut latency);
            assert_eq!(latency.count(), len);
            assert!(latency.min().abs_diff(1000) <= 2, "{} of {len}", latency.min());
            assert!(latency.max().abs_diff(len * 1000) <= 2, "{} of {len}", latency.max());
            // Of eight neighbours none is seven behind the first.
            let (median, exact) = (latency.quantile(0.5), len.div_ceil(2) * 1000);
            assert!(
                median * 100 >= exact * 98 && median * 100 <= (exact + 7000) * 102,
                "{median} of {len}"
            );
        }
    }
}
