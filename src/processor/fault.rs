//! Faults: panics that the shard has caught, and what it does about them.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::diagnostics;
use crate::event::Event;

/// What becomes of a processor's instance after it panicked. In every case the event that it panicked on is lost to this
/// processor and counted, and the shard goes on with the next event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum FaultPolicy {
    /// Keep the instance, with whatever state the panic left it in.
    #[default]
    Skip,
    /// Shut the instance down and let the factory build a new one. When the factory fails, the processor is given up as in a
    /// quarantine.
    Restart,
    /// Keep the instance as long as faults are rare. With the `after`th fault within `within`, give the processor up on this
    /// shard: it is shut down, its further events are counted as faulted, and
    /// [`replace_processor`](crate::Bus::replace_processor) brings it back.
    Quarantine {
        /// How many faults are one too many; at least 1.
        after: u32,
        /// The period in which they count.
        within: Duration,
    },
}

/// Where a panic happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultSite {
    /// In [`Processor::process`](crate::Processor::process) or `process_batch`.
    Process,
    /// In [`Processor::flush`](crate::Processor::flush).
    Flush,
    /// In [`Processor::shutdown`](crate::Processor::shutdown).
    Shutdown,
    /// In the factory, or the factory returned an error, when an instance had to be restarted.
    Factory,
    /// In the destructor of the processor.
    ProcessorDrop,
    /// In the destructor of an event's value. The event itself had been processed.
    ValueDrop,
}

impl fmt::Display for FaultSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "process",
            Self::Flush => "flush",
            Self::Shutdown => "shutdown",
            Self::Factory => "factory",
            Self::ProcessorDrop => "drop of the processor",
            Self::ValueDrop => "drop of a value",
        })
    }
}

/// A caught panic. Handed to the hook that [`on_fault`](crate::Builder::on_fault) installs, on the shard's thread.
pub struct Fault<'a> {
    pub(crate) site: FaultSite,
    pub(crate) shard: usize,
    pub(crate) processor: &'a str,
    pub(crate) message: &'a str,
    pub(crate) event: Option<&'a Event>,
}

impl Fault<'_> {
    /// Where it happened.
    pub fn site(&self) -> FaultSite {
        self.site
    }

    /// The shard, from 0.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// The processor's name; empty for the drop of a value, which belongs to no processor.
    pub fn processor(&self) -> &str {
        self.processor
    }

    /// The panic's message, or the factory's error.
    pub fn message(&self) -> &str {
        self.message
    }

    /// The event that was lost; present when the site is [`FaultSite::Process`].
    pub fn event(&self) -> Option<&Event> {
        self.event
    }
}

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { site, shard, processor, message, event } = self;
        write!(f, "fault on shard {shard}")?;
        if !processor.is_empty() {
            write!(f, " in processor {processor:?}")?;
        }
        write!(f, ", {site}: {message}")?;
        match event {
            // The value is not printed: its `Debug` may be what panicked.
            Some(event) => write!(f, "; lost {} with key {:#018x}", event.kind(), event.key_hash()),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("site", &self.site)
            .field("shard", &self.shard)
            .field("processor", &self.processor)
            .field("message", &self.message)
            .field("event", &self.event.map(|event| event.kind()))
            .finish()
    }
}

/// Foreign code that the shards hold, a factory or a hook. They drop it on their threads, and a panic in its destructor must not
/// end one: it ends here.
pub(crate) struct Contained<T>(Option<T>);

impl<T> Contained<T> {
    pub(crate) fn new(content: T) -> Self {
        Self(Some(content))
    }

    pub(crate) fn get(&self) -> &T {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(self.0.take()))) {
            let message = panic_text(payload);
            diagnostics::write(|| {
                tracing::error!(
                    message,
                    "the destructor of a factory or of the fault hook panicked"
                );
            });
        }
    }
}

/// The hook that faults are handed to.
pub(crate) type Hook = std::sync::Arc<dyn Fn(&Fault<'_>) + Send + Sync>;

/// The text of a panic.
pub(crate) fn payload_text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a panic without a message"
    }
}

/// The text of a panic. Consumes the payload, whose destructor may panic as well.
pub(crate) fn panic_text(payload: Box<dyn Any + Send>) -> String {
    let text = payload_text(&*payload).to_owned();
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(payload)));
    if let Err(second) = dropped {
        // A payload whose destructor panics with a payload of its own could go on for ever; it is leaked instead.
        std::mem::forget(second);
    }
    text
}
