//! One processor on one shard: its instance, and the supervision of its faults.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::clock;
use crate::diagnostics;
use crate::emit::Emitter;
use crate::event::Event;
use crate::event::delivery::{deliver, on_behalf_of, turned_to_in};
use crate::processor::{
    BoxError, Fault, FaultPolicy, FaultSite, Flusher, Hook, Make, Processor, Refusal, Refused,
    ShardContext, Track, panic_text, tracked, untracked,
};
use crate::shard::Progress;
use crate::stats::ProcessorCells;

use super::control::Filter;

/// What a shard's stations have in common.
pub(crate) struct Supervisor {
    pub(crate) shard: usize,
    pub(crate) shards: usize,
    pub(crate) policy: FaultPolicy,
    pub(crate) hook: Option<Hook>,
    pub(crate) emitter: Emitter,
    /// For any processor; the name is filled in for each.
    pub(crate) flusher: Flusher,
}

impl Supervisor {
    /// Reports a fault: to `tracing`, and to the hook, whose own panic ends here.
    pub(super) fn report(&self, fault: &Fault<'_>) {
        diagnostics::write(|| {
            tracing::error!(
                shard = fault.shard,
                processor = fault.processor,
                site = %fault.site,
                message = fault.message,
                "fault"
            );
        });
        let Some(hook) = &self.hook else { return };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| hook(fault))) {
            let message = panic_text(payload);
            diagnostics::write(|| tracing::error!(message, "the fault hook panicked"));
        }
    }

    /// Builds an instance on this thread.
    pub(super) fn make(
        &self,
        make: &Make,
        name: &str,
        generation: u64,
    ) -> Result<Box<dyn Processor>, String> {
        let context = ShardContext {
            shard: self.shard,
            shards: self.shards,
            processor: name.to_owned(),
            generation,
            emitter: self.emitter.clone(),
            flusher: Flusher { processor: name.into(), ..self.flusher.clone() },
        };
        let made: Result<Result<_, BoxError>, _> =
            catch_unwind(AssertUnwindSafe(|| untracked(|| make.make(&context))));
        match made {
            Ok(Ok(instance)) => Ok(instance),
            Ok(Err(error)) => Err(error.to_string()),
            Err(payload) => Err(format!("panicked: {}", panic_text(payload))),
        }
    }
}

/// How the delivery of a batch to one processor went.
pub(super) struct Delivery<'a> {
    pub(super) supervisor: &'a Supervisor,
    pub(super) progress: &'a Progress,
    /// What to report there; something only for the last processor in line.
    pub(super) track: Track<'a>,
    /// Called with the index of each event that the processor did not get through; tells whether the event was not lost before.
    pub(super) lost: &'a mut dyn FnMut(usize) -> bool,
}

/// A processor's place on a shard.
pub(crate) struct Station {
    pub(super) name: String,
    pub(super) filter: Filter,
    make: Make,
    generation: u64,
    /// `None` while the processor is in quarantine.
    instance: Option<Box<dyn Processor>>,
    pub(super) cells: Arc<ProcessorCells>,
    /// When faults happened, for the quarantine's period.
    recent_faults: VecDeque<Instant>,
    /// Whether events have come since the last flush.
    dirty: bool,
}

impl Station {
    pub(super) fn open(
        supervisor: &Supervisor,
        name: &str,
        filter: Filter,
        make: Make,
        generation: u64,
    ) -> Result<Self, String> {
        let instance = supervisor.make(&make, name, generation)?;
        Ok(Self {
            name: name.to_owned(),
            filter,
            make,
            generation,
            instance: Some(instance),
            cells: Arc::new(ProcessorCells::new(name.to_owned(), generation)),
            recent_faults: VecDeque::new(),
            dirty: false,
        })
    }

    /// Hands a batch to the instance, and goes on behind every event that it panics on. Takes and returns the time, in ticks.
    pub(super) fn deliver(&mut self, events: &[&Event], began: u64, delivery: Delivery<'_>) -> u64 {
        let Delivery { supervisor, progress, mut track, lost } = delivery;
        let mut start = 0;
        while start < events.len() {
            let rest = &events[start..];
            let Some(instance) = &mut self.instance else {
                self.cells.skipped.add(rest.len() as u64);
                (start..events.len()).for_each(|index| _ = lost(index));
                break;
            };
            self.dirty = true;
            let call = || {
                deliver(rest, || {
                    tracked(progress, track, rest.len(), || instance.process_batch(rest));
                });
                instance.refused()
            };
            let payload = match catch_unwind(AssertUnwindSafe(call)) {
                Ok(None) => {
                    let stopped = progress.stop.load(Relaxed);
                    let through = if stopped {
                        turned_to_in(rest).map_or(0, |last| last + 1)
                    } else {
                        rest.len()
                    };
                    self.cells.events.add(through as u64);
                    break;
                }
                Ok(Some(refusal)) => {
                    let lost = &mut |index| lost(start + index);
                    let Some((next, then)) = self.refused(supervisor, refusal, rest, track, lost)
                    else {
                        break;
                    };
                    (start, track) = (start + next, then);
                    if progress.stop.load(Relaxed) {
                        break;
                    }
                    continue;
                }
                Err(payload) => payload,
            };
            // A panic before the processor turned to any event is put on the first one: something must move on.
            let culprit = turned_to_in(rest).unwrap_or(0);
            self.cells.events.add(culprit as u64);
            self.cells.faults.add(1);
            track = track.behind(culprit, lost(start + culprit));
            start += culprit + 1;
            on_behalf_of(rest[culprit].hops(), || {
                self.fault(supervisor, FaultSite::Process, payload, Some(rest[culprit]));
                self.apply_policy(supervisor);
            });
            if progress.stop.load(Relaxed) {
                break;
            }
        }
        let now = clock::now();
        let nanos = clock::ticks_to_nanos(now.saturating_sub(began));
        let count = events.len() as u64;
        self.cells.time.record(nanos / count, count);
        now
    }

    /// What follows a refusal: where in the batch to go on, if anywhere.
    fn refused<'a>(
        &mut self,
        supervisor: &Supervisor,
        refusal: Refusal,
        rest: &[&Event],
        track: Track<'a>,
        lost: &mut dyn FnMut(usize) -> bool,
    ) -> Option<(usize, Track<'a>)> {
        let Refusal { at, what } = refusal;
        let site = FaultSite::Process;
        match what {
            Refused::Event(message) => {
                let at = at.min(rest.len() - 1);
                self.cells.events.add(at as u64);
                self.cells.faults.add(1);
                let track = track.behind(at, lost(at));
                on_behalf_of(rest[at].hops(), || {
                    self.report(supervisor, site, &message, Some(rest[at]));
                });
                Some((at + 1, track))
            }
            Refused::Call(message) => {
                let at = at.min(rest.len());
                self.cells.events.add(at as u64);
                self.cells.faults.add(1);
                self.report(supervisor, site, &message, None);
                Some((at, track.from(at)))
            }
            Refused::Rest => {
                let at = at.min(rest.len());
                self.cells.events.add(at as u64);
                self.cells.skipped.add((rest.len() - at) as u64);
                (at..rest.len()).for_each(|index| _ = lost(index));
                None
            }
        }
    }

    /// Calls `flush` if there was anything since the last time; whether there was.
    pub(super) fn flush(&mut self, supervisor: &Supervisor) -> bool {
        if !std::mem::take(&mut self.dirty) {
            return false;
        }
        let Some(instance) = &mut self.instance else { return false };
        let call = || {
            untracked(|| instance.flush());
            instance.refused()
        };
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(None) => {}
            Ok(Some(Refusal { what, .. })) => {
                self.cells.faults.add(1);
                if let Refused::Event(message) | Refused::Call(message) = what {
                    self.report(supervisor, FaultSite::Flush, &message, None);
                }
            }
            Err(payload) => {
                self.cells.faults.add(1);
                self.fault(supervisor, FaultSite::Flush, payload, None);
                self.apply_policy(supervisor);
            }
        }
        true
    }

    /// Has the next flush happen although no event has come.
    pub(super) fn want_flush(&mut self) {
        self.dirty = true;
    }

    /// Gives `successor` what the instance hands over; whether there was anything.
    pub(super) fn hand_over_to(&mut self, successor: &mut Self) -> Result<bool, String> {
        let (Some(old), Some(new)) = (&mut self.instance, &mut successor.instance) else {
            return Ok(false);
        };
        let call = || match untracked(|| old.hand_over())? {
            Some(state) => untracked(|| new.take_over(state)).map(|()| true),
            None => Ok(false),
        };
        catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
            self.cells.faults.add(1);
            Err(format!("panicked: {}", panic_text(payload)))
        })
    }

    /// Begins to count anew; returns what has been counted.
    pub(super) fn renew_cells(&mut self) -> Arc<ProcessorCells> {
        let quarantined = self.cells.quarantined.load(Relaxed);
        let cells = ProcessorCells::new(self.name.clone(), self.generation);
        cells.quarantined.store(quarantined, Relaxed);
        std::mem::replace(&mut self.cells, Arc::new(cells))
    }

    /// The factory, and the generation of its instances.
    pub(super) fn origin(&self) -> (Make, u64) {
        (self.make.clone(), self.generation)
    }

    /// Flushes, shuts down and drops the instance.
    pub(super) fn close(mut self, supervisor: &Supervisor) {
        self.flush(supervisor);
        self.end_instance(supervisor);
    }

    fn end_instance(&mut self, supervisor: &Supervisor) {
        let Some(mut instance) = self.instance.take() else { return };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| untracked(|| instance.shutdown()))) {
            self.cells.faults.add(1);
            self.fault(supervisor, FaultSite::Shutdown, payload, None);
        }
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(instance))) {
            self.cells.faults.add(1);
            self.fault(supervisor, FaultSite::ProcessorDrop, payload, None);
        }
    }

    fn fault(
        &self,
        supervisor: &Supervisor,
        site: FaultSite,
        payload: Box<dyn Any + Send>,
        event: Option<&Event>,
    ) {
        let message = panic_text(payload);
        self.report(supervisor, site, &message, event);
    }

    fn report(
        &self,
        supervisor: &Supervisor,
        site: FaultSite,
        message: &str,
        event: Option<&Event>,
    ) {
        let (shard, processor) = (supervisor.shard, self.name.as_str());
        supervisor.report(&Fault { site, shard, processor, message, event });
    }

    /// What follows a panic in `process` or `flush`.
    fn apply_policy(&mut self, supervisor: &Supervisor) {
        match supervisor.policy {
            FaultPolicy::Skip => {}
            FaultPolicy::Restart => self.restart(supervisor),
            FaultPolicy::Quarantine { after, within } => {
                if self.too_many_faults(after, within) {
                    self.quarantine(supervisor);
                }
            }
        }
    }

    fn restart(&mut self, supervisor: &Supervisor) {
        self.end_instance(supervisor);
        match supervisor.make(&self.make, &self.name, self.generation) {
            Ok(instance) => {
                self.cells.restarts.add(1);
                self.instance = Some(instance);
            }
            Err(message) => {
                self.cells.faults.add(1);
                self.report(supervisor, FaultSite::Factory, &message, None);
                self.quarantine(supervisor);
            }
        }
    }

    fn too_many_faults(&mut self, after: u32, within: Duration) -> bool {
        let now = Instant::now();
        self.recent_faults.push_back(now);
        while self.recent_faults.front().is_some_and(|&fault| now.duration_since(fault) > within) {
            self.recent_faults.pop_front();
        }
        self.recent_faults.len() >= after.max(1) as usize
    }

    fn quarantine(&mut self, supervisor: &Supervisor) {
        self.end_instance(supervisor);
        self.recent_faults = VecDeque::new();
        self.cells.quarantined.store(true, Relaxed);
        let (shard, processor) = (supervisor.shard, &self.name);
        diagnostics::write(|| tracing::error!(shard, processor, "processor in quarantine"));
    }
}
