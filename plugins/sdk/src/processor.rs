//! The trait that a plugin implements.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::{Batch, Create, Cx, Event, Info, StateWriter};

/// Any error, for what happens at most a few times: made by `?` out of every error, and by `into()` out of a text.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What processing comes to.
pub type Outcome = Result<(), Stop>;

/// Turns events into something. Each shard of a bus has an instance of its own; all events with one key come to one instance, in
/// causal order.
///
/// Calls for one instance never overlap, but need not come on one thread (see [`Info::thread_affine`]), so it is `Send`. All
/// events of the shard wait while a call lasts: do not sleep, and do not wait for the network in it.
///
/// A panic in any method is caught. In [`process`](Self::process) it costs the event that it happened on and the instance, of which
/// the host makes a new one.
///
/// ```
/// use keylane_plugin::{Counter, Create, Cx, Error, Event, Info, NoConfig, Outcome, Processor};
///
/// struct Bytes {
///     moved: Counter,
/// }
///
/// impl Processor for Bytes {
///     type Config = NoConfig;
///     const INFO: Info = Info::new("org.example.bytes", "0.1.0");
///
///     fn create(_: NoConfig, cx: &Create<'_>) -> Result<Self, Error> {
///         Ok(Self { moved: cx.counter("moved_bytes") })
///     }
///
///     fn process(&mut self, event: &Event<'_>, _: &Cx<'_>) -> Outcome {
///         if let Some(traffic) = event.traffic() {
///             self.moved.add(traffic.read_bytes + traffic.written_bytes);
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Processor: Send + Sized + 'static {
    /// The configuration, as the host gives it: a JSON object. [`NoConfig`](crate::NoConfig) for none.
    ///
    /// With `#[serde(deny_unknown_fields)]` a misspelt member is an error that names it, and the members that there are.
    type Config: DeserializeOwned;

    /// What the processor says about itself.
    const INFO: Info;

    /// Makes the instance for one shard. May run while another instance is at work on the same shard.
    ///
    /// # Errors
    /// As the plugin sees fit; the host shows the text.
    fn create(config: Self::Config, cx: &Create<'_>) -> Result<Self, Error>;

    /// Looks at a configuration that has the right form: are its values sensible? Called before [`create`](Self::create), and
    /// alone, by tools. Touches nothing outside of the process.
    ///
    /// # Errors
    /// When they are not; the text says which member, and what it should be.
    fn check_config(config: &Self::Config) -> Result<(), Error> {
        let _ = config;
        Ok(())
    }

    /// Processes one event. It is borrowed: take what should outlive the call.
    ///
    /// # Errors
    /// [`Stop`] says what becomes of this event and of those behind it.
    fn process(&mut self, event: &Event<'_>, cx: &Cx<'_>) -> Outcome;

    /// Processes a batch, in order. The default calls [`process`](Self::process) on each event. Override it where work can be shared.
    ///
    /// # Errors
    /// As for [`process`](Self::process); the event is the one that the walk ([`Batch::iter`]) has come to, unless
    /// [`Batch::set_done`] says otherwise.
    fn process_batch(&mut self, batch: &Batch<'_>, cx: &Cx<'_>) -> Outcome {
        for event in batch {
            self.process(&event, cx)?;
        }
        Ok(())
    }

    /// Writes out what is held back. Called when the shard has nothing to read, before a swap and before a shutdown, and when
    /// [`Cx::request_flush`] asked for it.
    ///
    /// # Errors
    /// [`Stop::again`] when not all could be written; the host calls again, during a shutdown until its deadline.
    fn flush(&mut self, reason: FlushReason, cx: &Cx<'_>) -> Outcome {
        let _ = (reason, cx);
        Ok(())
    }

    /// Writes the state for the instance that comes next. Called after a flush, if [`Info::stateful`].
    ///
    /// # Errors
    /// Then nothing is swapped, and this instance goes on.
    fn save_state(&mut self, out: &mut StateWriter<'_>) -> Result<(), Error> {
        let _ = out;
        Err("this processor is declared stateful but has no save_state".into())
    }

    /// Takes over a state that was saved by an instance of this id, maybe by another version of it. Called at most once, before the
    /// first event. `version` is the one of [`Info::stateful`] at the time of saving.
    ///
    /// # Errors
    /// Then nothing is swapped, and the old instance goes on.
    fn load_state(&mut self, state: &[u8], version: u32) -> Result<(), Error> {
        let _ = (state, version);
        Err("this processor is declared stateful but has no load_state".into())
    }

    /// The last call but the drop. Nothing can be emitted any more.
    fn shutdown(&mut self, reason: ShutdownReason, cx: &Cx<'_>) {
        let _ = (reason, cx);
    }
}

/// Why processing stops, and how it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The event was not taken, nor were those behind it: the host offers them again. Back-pressure.
    Again {
        /// What is waited for.
        reason: String,
        /// When to offer them again; `None` leaves it to the host.
        retry_after: Option<Duration>,
    },
    /// The event cannot be processed. The host reports it as lost, and delivery goes on behind it.
    BadEvent(String),
    /// The instance is of no more use. The host makes a new one, which gets this event and those behind it.
    Fatal(String),
}

impl Stop {
    /// The event was not taken; `reason` is for the log.
    pub fn again(reason: impl fmt::Display) -> Self {
        Self::Again { reason: reason.to_string(), retry_after: None }
    }

    /// The event was not taken, and will not be before this time has passed.
    pub fn again_after(retry_after: Duration, reason: impl fmt::Display) -> Self {
        Self::Again { reason: reason.to_string(), retry_after: Some(retry_after) }
    }

    /// The event cannot be processed; `.map_err(Stop::bad_event)` suits.
    pub fn bad_event(reason: impl fmt::Display) -> Self {
        Self::BadEvent(reason.to_string())
    }

    /// The instance is of no more use; `.map_err(Stop::fatal)` suits.
    pub fn fatal(reason: impl fmt::Display) -> Self {
        Self::Fatal(reason.to_string())
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Again { reason, .. } => write!(f, "not now: {reason}"),
            Self::BadEvent(reason) => write!(f, "bad event: {reason}"),
            Self::Fatal(reason) => write!(f, "given up: {reason}"),
        }
    }
}

impl std::error::Error for Stop {}

/// Why [`Processor::flush`] is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlushReason {
    /// The shard has nothing to read right now, or the reason is one that this version of the SDK does not know.
    Idle,
    /// [`Cx::request_flush`] asked for it.
    Requested,
    /// The instance is about to be replaced.
    Swap,
    /// The bus shuts down.
    Shutdown,
}

/// Why [`Processor::shutdown`] is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShutdownReason {
    /// The bus shuts down, or the reason is one that this version of the SDK does not know.
    Bus,
    /// The instance was replaced.
    Swap,
    /// The processor was removed.
    Removed,
    /// The instance gave itself up with [`Stop::Fatal`].
    Fault,
}
