//! What runs at the end of an event's way: processors, the factories that build them, and their faults.

mod batch;
mod context;
mod factory;
mod fault;
mod noop;
mod refusal;

pub use batch::for_each;
#[cfg(all(feature = "plugin", target_os = "linux"))]
pub(crate) use batch::is_stopped;
pub(crate) use batch::{Track, tracked, untracked};
pub use context::{Flusher, ShardContext, Upcoming};
pub(crate) use factory::{BoxError, Make, erase};
pub use factory::{Fallible, Infallible, Own, ProcessorFactory};
#[cfg(feature = "http")]
pub(crate) use fault::payload_text;
pub(crate) use fault::{Contained, Hook, panic_text};
pub use fault::{Fault, FaultPolicy, FaultSite};
pub use noop::{NoopProcessor, NoopProcessorFactory};
pub use refusal::Refusal;
pub(crate) use refusal::Refused;

use std::any::Any;

use crate::event::Event;

/// Turns events into something: log lines, counters, alarms, other events.
///
/// Each shard has an instance of its own, made by a [`ProcessorFactory`] on the shard's thread and used on that thread only,
/// so a processor needs neither `Send` nor locks. All events with one key come to one instance, in causal order.
///
/// A panic in any method is caught. It costs at most the one event that was being processed; what happens to the instance is
/// the bus's [`FaultPolicy`].
///
/// ```
/// use keylane::{Bus, Event, Processor, ShardContext};
/// use std::time::Duration;
///
/// struct Print;
///
/// impl Processor for Print {
///     fn process(&mut self, event: &Event) {
///         println!("{event}");
///     }
/// }
///
/// let bus = Bus::builder().shards(1).processor("print", |_: &ShardContext| Print).build()?;
/// bus.emitter().emit_blocking(keylane::EventType::user(0), "hello", "key")?;
/// assert!(bus.shutdown(Duration::from_secs(5)).is_clean());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Processor: 'static {
    /// Processes one event. The event is borrowed from the ring: take what should outlive the call.
    ///
    /// A slow processor holds up its shard, and only that; the shard's rings fill, and emits to it wait or are refused.
    fn process(&mut self, event: &Event);

    /// Processes what the shard has read in one round, up to a few hundred events, in order. The default calls
    /// [`process`](Self::process) on each.
    ///
    /// Override it where work can be shared: one write for many lines, one lock for many counts. Walk through the events with
    /// [`for_each`], or touch them one after the other in order: the event touched last is taken for the one that a panic belongs
    /// to, and those behind it are delivered again in a new batch.
    fn process_batch(&mut self, events: &[&Event]) {
        for_each(events, |event| self.process(event));
    }

    /// Called when the shard has nothing more to read right now and events have been processed since the last call; always before
    /// the thread sleeps, and before [`shutdown`](Self::shutdown). The place to write out buffers.
    fn flush(&mut self) {}

    /// Called exactly once, on the shard's thread, after the instance's last event: when the bus shuts down, and when the instance is
    /// replaced, removed or given up. The place to close what is open. Events emitted from here are refused once the bus is down.
    fn shutdown(&mut self) {}

    /// Asked after each [`process_batch`](Self::process_batch) and each [`flush`](Self::flush): whether the call ended early, and why.
    /// It is how a processor reports a [`Fault`] without a panic; see [`Refusal`].
    fn refused(&mut self) -> Option<Refusal> {
        None
    }

    /// Called when the instance is about to be replaced, flushed and between two batches: gives its successor what it has
    /// learnt. The instance has to stay usable, because the replacement may yet be undone.
    ///
    /// # Errors
    /// Text that says why the state cannot be given; the replacement is undone then.
    fn hand_over(&mut self) -> Result<Option<Box<dyn Any>>, String> {
        Ok(None)
    }

    /// Called on an instance that takes another one's place, before its first event, with what that one has
    /// [handed over](Self::hand_over). The default ignores it.
    ///
    /// # Errors
    /// Text that says why the state cannot be used; the replacement is undone then.
    fn take_over(&mut self, state: Box<dyn Any>) -> Result<(), String> {
        drop(state);
        Ok(())
    }
}

impl<P: Processor + ?Sized> Processor for Box<P> {
    fn process(&mut self, event: &Event) {
        (**self).process(event);
    }

    fn process_batch(&mut self, events: &[&Event]) {
        (**self).process_batch(events);
    }

    fn flush(&mut self) {
        (**self).flush();
    }

    fn shutdown(&mut self) {
        (**self).shutdown();
    }

    fn refused(&mut self) -> Option<Refusal> {
        (**self).refused()
    }

    fn hand_over(&mut self) -> Result<Option<Box<dyn Any>>, String> {
        (**self).hand_over()
    }

    fn take_over(&mut self, state: Box<dyn Any>) -> Result<(), String> {
        (**self).take_over(state)
    }
}
