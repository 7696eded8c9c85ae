//! A plugin's instance as a processor of the bus: batches in, results out, and what follows from each.
//!
//! | result | what follows |
//! |---|---|
//! | `OK` | all events are done |
//! | `AGAIN` | those before `processed` are done; the shard waits and offers the rest again |
//! | `E_EVENT` | the event at `processed` becomes a fault; delivery goes on behind it |
//! | `E_PANIC` | as `E_EVENT`, and the instance is given up |
//! | `E_FATAL`, unknown | the instance is given up; the events from `processed` on go to its successor |
//!
//! A number of processed events that cannot be is a broken promise and counts as `E_FATAL`. After an instance is given up,
//! [`Restarts`] says when there is another one.

use std::any::Any;
use std::time::{Duration, Instant};

use keylane_plugin_abi::{Status, flush_reason, shutdown_reason};

use super::convert::{Converter, Times};
use super::error::said;
use super::instance::{Home, Instance, Recipe};
use super::restarts::{Next, Restarts};
use crate::emit::Emitter;
use crate::event::Event;
use crate::processor::{Flusher, Processor, Refusal, ShardContext, is_stopped};
use crate::stats::Cell;
use std::sync::Arc;

/// What the shard waits between two offers, at first and at most, when the plugin does not say.
const FIRST_WAIT: Duration = Duration::from_micros(50);
const LONGEST_WAIT: Duration = Duration::from_millis(10);

/// A plugin's instance on one shard, and those that follow it after faults. Made by [`PluginFactory`](super::PluginFactory).
#[derive(Debug)]
pub struct PluginProcessor {
    /// `None` between two instances, and in quarantine.
    instance: Option<Instance>,
    recipe: Arc<Recipe>,
    home: Home,
    converter: Converter,
    emitter: Emitter,
    flusher: Flusher,
    restarts: Restarts,
    /// How many batches were given to instances.
    batches: Arc<Cell>,
    /// The number of the next event in the stream of this processor on this shard.
    seq: u64,
    /// How many of the next events an instance has had before.
    redelivered: usize,
    /// What was not done in the last call.
    refused: Option<Refusal>,
    /// Whether the instance has seen events or a state.
    used: bool,
    /// Whether the state was given to a successor.
    handed_over: bool,
}

/// What one instance leaves to the next.
struct Legacy {
    plugin: String,
    seq: u64,
    redelivered: usize,
    /// The form of the state, and the state.
    state: Option<(u32, Vec<u8>)>,
}

/// How far a batch has come.
enum Step {
    /// All is done.
    Done,
    /// The event at this place in the batch is lost.
    Lost(usize, String),
    /// The instance is given up; its successor goes on at this place in the batch.
    GivenUp(usize, String),
    /// The bus has told the shard to stop.
    Stopped,
}

impl PluginProcessor {
    pub(super) fn new(
        instance: Instance,
        recipe: Arc<Recipe>,
        home: Home,
        wanted: Option<Vec<crate::event::EventType>>,
        cx: &ShardContext,
    ) -> Self {
        let shared = &recipe.shared;
        let mut processor = Self {
            instance: None,
            home,
            converter: Converter::new(shared.conversions.clone(), wanted),
            emitter: cx.emitter(),
            flusher: cx.flusher(),
            restarts: Restarts::new(shared.settings.restarts),
            batches: shared.counts.batches.open(),
            recipe,
            seq: 0,
            redelivered: 0,
            refused: None,
            used: false,
            handed_over: false,
        };
        processor.install(instance);
        processor
    }

    fn install(&mut self, mut instance: Instance) {
        instance.set_hop_limit(self.flusher.hop_limit());
        let _ = instance.context().wish.flusher.set(self.flusher.clone());
        self.instance = Some(instance);
        self.used = false;
    }

    /// Makes sure that there is an instance; false while there is none.
    fn revive(&mut self) -> bool {
        if self.instance.is_some() {
            return true;
        }
        let counts = &self.recipe.shared.counts;
        match self.restarts.next(Instant::now()) {
            Next::Wait => return false,
            Next::Never { newly } => {
                if newly {
                    counts.quarantines.add(1);
                    let Home { processor, shard, .. } = &self.home;
                    tracing::error!(
                        processor,
                        shard,
                        "plugin in quarantine: it was restarted too often; replace it"
                    );
                }
                return false;
            }
            Next::Now => {}
        }
        match self.recipe.create_where_it_belongs(&self.home) {
            Ok(instance) => {
                self.recipe.shared.counts.restarts.add(1);
                self.install(instance);
                true
            }
            Err(error) => {
                self.restarts.failed(Instant::now());
                let Home { processor, shard, .. } = &self.home;
                tracing::error!(processor, shard, "plugin not restarted: {error}");
                false
            }
        }
    }

    /// Parts with the instance after a fault.
    fn give_up(&mut self) {
        let Some(mut instance) = self.instance.take() else { return };
        self.restarts.failed(Instant::now());
        instance.outbox().send(&self.emitter, &self.recipe.shared.counts);
        instance.shutdown(shutdown_reason::FAULT);
    }

    /// Gives the instance the converted events, until something has to be decided.
    fn offer(&mut self, events: &[&Event], times: &Times) -> Step {
        let (mut from, total) = (0, self.converter.converted().len());
        if total == 0 {
            return Step::Done;
        }
        let mut waited = Waiting::new(self.recipe.shared.settings.stall_limit);
        loop {
            let Some(instance) = &mut self.instance else { return Step::GivenUp(0, String::new()) };
            let draining = self.flusher.is_closing();
            let shards = (self.home.shard, self.home.shards);
            let counts = &self.recipe.shared.counts;
            self.batches.add(1);
            self.used = true;
            let answer = instance.process(events, &self.converter, from, shards, draining, times);
            instance.outbox().send(&self.emitter, counts);
            let left = total - from;
            if instance.context().is_violated() && self.recipe.shared.settings.check_threads {
                let done =
                    if answer.status == Status::OK { left } else { answer.processed.min(left) };
                return self.fatal(from, done, "it has called the host on a wrong thread".into());
            }
            if answer.status == Status::OK {
                self.advance(left);
                return Step::Done;
            }
            let done = answer.processed;
            let text = said(&answer.message);
            match answer.status {
                _ if done > left => {
                    let text = format!("{} with {done} of {left} events processed", answer.status);
                    return self.fatal(from, 0, text);
                }
                Status::AGAIN => {
                    counts.again.add(1);
                    self.advance(done);
                    from += done;
                    if from == total {
                        return Step::Done;
                    }
                    if !waited.wait(done > 0, answer.retry_after) {
                        let text = format!("it has taken no event for {:?}: {text}", waited.limit);
                        return self.fatal(from, 0, text);
                    }
                    if is_stopped() {
                        return Step::Stopped;
                    }
                }
                Status::E_EVENT | Status::E_PANIC if done == left => {
                    let text = format!("{} for an event behind the last: {text}", answer.status);
                    return self.fatal(from, done, text);
                }
                Status::E_EVENT => {
                    counts.refused_events.add(1);
                    self.advance(done + 1);
                    return Step::Lost(self.converter.place(from + done), text);
                }
                Status::E_PANIC => {
                    counts.panics.add(1);
                    self.advance(done + 1);
                    self.redelivered = left - done - 1;
                    self.give_up();
                    return Step::Lost(
                        self.converter.place(from + done),
                        format!("panicked: {text}"),
                    );
                }
                status => return self.fatal(from, done, format!("{status}: {text}")),
            }
        }
    }

    fn advance(&mut self, events: usize) {
        self.seq += events as u64;
        self.redelivered = self.redelivered.saturating_sub(events);
    }

    /// The instance is given up, and no event is to blame: those behind the ones that are done go to its successor.
    fn fatal(&mut self, from: usize, done: usize, text: String) -> Step {
        self.recipe.shared.counts.fatal.add(1);
        self.advance(done);
        let from = from + done;
        self.redelivered = self.converter.converted().len() - from;
        self.give_up();
        let all_done = self.redelivered == 0;
        Step::GivenUp(if all_done { usize::MAX } else { self.converter.place(from) }, text)
    }

    /// Flushes the instance; what it says becomes a fault.
    fn flush_with(&mut self, reason: u32) -> Status {
        let Some(instance) = &mut self.instance else { return Status::OK };
        let counts = &self.recipe.shared.counts;
        instance.outbox().send(&self.emitter, counts);
        let (status, message) = instance.flush(reason);
        instance.outbox().send(&self.emitter, counts);
        match status {
            Status::OK | Status::AGAIN => return status,
            Status::E_EVENT | Status::E_WOULD_BLOCK | Status::E_NOMEM => {}
            Status::E_PANIC => {
                counts.panics.add(1);
                self.give_up();
            }
            _ => {
                counts.fatal.add(1);
                self.give_up();
            }
        }
        self.refused = Some(Refusal::call(format!("flush returned {status}: {}", said(&message))));
        status
    }

    /// As [`flush_with`](Self::flush_with), when there is no later flush: waits while the instance says `AGAIN`, to the limit or to the
    /// deadline of the bus's shutdown.
    fn flush_for_good(&mut self, reason: u32) {
        let limit = self.recipe.shared.settings.stall_limit;
        let mut waited = Waiting::new(limit);
        while self.flush_with(reason) == Status::AGAIN {
            if self.flusher.is_abandoned() || !waited.wait(false, Duration::ZERO) {
                let text = "flush returned AGAIN to the end; what it held back is lost";
                self.refused = Some(Refusal::call(text));
                return;
            }
        }
    }
}

/// Waiting for an instance that says `AGAIN`. Blocks the shard: its events stay in their rings, and emits feel it.
struct Waiting {
    limit: Duration,
    /// The first wait since there was progress. `None` before it: most calls never wait, and a look at the clock is much of what a
    /// small batch costs.
    since: Option<Instant>,
    next: Duration,
}

impl Waiting {
    fn new(limit: Duration) -> Self {
        Self { limit, since: None, next: FIRST_WAIT }
    }

    /// Waits for a moment; false when the limit has passed since there was progress last.
    fn wait(&mut self, progress: bool, wish: Duration) -> bool {
        let now = Instant::now();
        if progress {
            self.since = None;
            self.next = FIRST_WAIT;
        } else if now.duration_since(*self.since.get_or_insert(now)) >= self.limit {
            return false;
        }
        let pause = if wish.is_zero() { self.next } else { wish.min(LONGEST_WAIT) };
        self.next = (self.next * 2).min(LONGEST_WAIT);
        std::thread::sleep(pause);
        true
    }
}

impl Drop for PluginProcessor {
    fn drop(&mut self) {
        self.recipe.shared.counts.batches.close(&self.batches);
    }
}

impl Processor for PluginProcessor {
    fn process(&mut self, event: &Event) {
        self.process_batch(&[event]);
    }

    fn process_batch(&mut self, events: &[&Event]) {
        if !self.revive() {
            self.redelivered = 0;
            self.refused = Some(Refusal::rest_from(0));
            return;
        }
        let times = Times::now();
        self.converter.convert(events, self.seq, self.redelivered, &times);
        self.refused = match self.offer(events, &times) {
            Step::Done => None,
            Step::Lost(place, text) => Some(Refusal::event(place, text)),
            Step::GivenUp(place, text) => Some(Refusal::again_from(place, text)),
            Step::Stopped => return,
        };
        // Should the bus stop now, all of these count as done.
        if let Some(last) = events.last() {
            let _ = last.kind();
        }
    }

    fn flush(&mut self) {
        let shared = &self.recipe.shared;
        shared.renew_log_level();
        let Some(instance) = &self.instance else { return };
        let wish = instance.context().wish.clone();
        let reason = if wish.take() { flush_reason::REQUESTED } else { flush_reason::IDLE };
        if self.flush_with(reason) == Status::AGAIN {
            wish.make(&self.recipe.shared.control, LONGEST_WAIT);
        }
        if self.instance.as_mut().is_some_and(|instance| !instance.outbox().is_empty()) {
            // Nothing may come that would send it.
            wish.make(&self.recipe.shared.control, LONGEST_WAIT);
        }
    }

    fn shutdown(&mut self) {
        if !self.handed_over {
            self.flush_for_good(flush_reason::SHUTDOWN);
        }
        let reason = match (self.handed_over, self.flusher.is_closing()) {
            (true, _) => shutdown_reason::SWAP,
            (false, true) => shutdown_reason::BUS,
            (false, false) => shutdown_reason::REMOVED,
        };
        if let Some(mut instance) = self.instance.take() {
            instance.outbox().send(&self.emitter, &self.recipe.shared.counts);
            instance.shutdown(reason);
        }
        if let Some(Refusal { what: crate::processor::Refused::Call(text), .. }) =
            self.refused.take()
        {
            // There is nobody left to ask for it.
            tracing::error!(
                processor = self.home.processor,
                shard = self.home.shard,
                "plugin at its end: {text}"
            );
        }
    }

    fn refused(&mut self) -> Option<Refusal> {
        self.refused.take()
    }

    fn hand_over(&mut self) -> Result<Option<Box<dyn Any>>, String> {
        let began = Instant::now();
        self.flush_for_good(flush_reason::SWAP);
        if let Some(Refusal { what: crate::processor::Refused::Call(text), .. }) =
            self.refused.take()
        {
            tracing::warn!(
                processor = self.home.processor,
                shard = self.home.shard,
                "plugin before its replacement: {text}"
            );
        }
        let descriptor = &self.recipe.library.descriptors[self.recipe.index];
        let counts = &self.recipe.shared.counts;
        let mut state = None;
        if descriptor.is_stateful()
            && let Some(instance) = &mut self.instance
        {
            match instance.save_state(self.recipe.shared.settings.max_state) {
                Ok(bytes) => state = Some((descriptor.state_version, bytes)),
                Err((status, message)) => {
                    return Err(format!("save_state returned {status}: {}", said(&message)));
                }
            }
            counts.hand_overs.add(1);
        }
        counts.longest_hand_over_ns.raise(began.elapsed().as_nanos() as u64);
        self.handed_over = true;
        let plugin = descriptor.id.clone();
        Ok(Some(Box::new(Legacy { plugin, seq: self.seq, redelivered: self.redelivered, state })))
    }

    fn take_over(&mut self, state: Box<dyn Any>) -> Result<(), String> {
        // What another kind of processor leaves is of no use here.
        let Ok(legacy) = state.downcast::<Legacy>() else { return Ok(()) };
        self.handed_over = false;
        self.seq = legacy.seq;
        self.redelivered = legacy.redelivered;
        let descriptor = &self.recipe.library.descriptors[self.recipe.index];
        let Some((version, bytes)) = &legacy.state else { return Ok(()) };
        if legacy.plugin != descriptor.id || !descriptor.is_stateful() || self.used {
            // Another plugin begins anew; an instance that comes back has its own state, and may load one only once.
            tracing::info!(
                processor = self.home.processor,
                from = legacy.plugin,
                to = descriptor.id,
                "the state is not handed over"
            );
            return Ok(());
        }
        let Some(instance) = &mut self.instance else { return Ok(()) };
        self.used = true;
        instance.load_state(bytes, *version).map_err(|(status, message)| {
            format!("load_state returned {status}: {}", said(&message))
        })
    }
}
