//! The bus: building it, its handles, changing its processors, ending it.

mod affinity;
mod builder;
mod change;
mod life;
mod shutdown;
mod swap_error;

use std::fmt;
use std::time::Duration;

pub use builder::{BuildError, Builder};
pub use change::Rollout;
use life::Life;
pub use shutdown::Shutdown;
pub use swap_error::SwapError;

use crate::emit::{Emitter, Link, Producer};
use crate::event::EventType;
use crate::processor::{ProcessorFactory, erase};
use crate::report::ShutdownReport;
use crate::stats::Stats;
use crate::sync::Arc;
use crate::worker::{Edit, Filter};

/// A running event bus.
///
/// A bus lives as long as one of its handles does: the `Bus`, its [`Emitter`]s and its [`Producer`]s. When the last is dropped, the
/// bus drains and ends as with [`shutdown`](Self::shutdown); call that yourself to choose the deadline and see the report.
///
/// ```
/// use keylane::{Bus, Event, EventType, Processor, ShardContext};
/// use std::time::Duration;
///
/// struct Count {
///     shard: usize,
///     events: u64,
/// }
///
/// impl Processor for Count {
///     fn process(&mut self, _event: &Event) {
///         self.events += 1;
///     }
///     fn shutdown(&mut self) {
///         println!("shard {}: {} events", self.shard, self.events);
///     }
/// }
///
/// let bus = Bus::builder()
///     .shards(2)
///     .processor("count", |cx: &ShardContext| Count { shard: cx.shard(), events: 0 })
///     .build()?;
///
/// let emitter = bus.emitter();
/// for order in 0..100 {
///     emitter.emit_blocking(EventType::user(3), order, "order-17")?;
/// }
///
/// let report = bus.shutdown(Duration::from_secs(5));
/// assert!(report.is_clean());
/// assert_eq!(report.processed, 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Bus {
    life: Arc<Life>,
    link: Arc<Link>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mesh = self.life.mesh();
        f.debug_struct("Bus").field("id", &mesh.id).field("shards", &mesh.shards.len()).finish()
    }
}

impl Bus {
    /// Starts the configuration of a bus.
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn new(life: Arc<Life>, drain_on_drop: Duration) -> Self {
        let mesh = life.mesh().clone();
        let last_drop = {
            let life = life.clone();
            move || drop(life.shut_down(drain_on_drop))
        };
        let link = Arc::new(Link { mesh, on_last_drop: Some(Box::new(last_drop)) });
        Self { life, link }
    }

    /// The number of shards.
    pub fn shards(&self) -> usize {
        self.life.mesh().shards.len()
    }

    /// A shared handle for emitting, for any thread and any task.
    pub fn emitter(&self) -> Emitter {
        Emitter::new(self.link.clone())
    }

    /// An exclusive handle for emitting, the fastest path. Opens no ring before its first emit.
    pub fn producer(&self) -> Producer {
        Producer::new(self.link.clone())
    }

    /// A snapshot of the bus's numbers. Does not wait for the shards and does not slow them down; costs some microseconds
    /// a shard.
    pub fn stats(&self) -> Stats {
        self.life.stats()
    }

    /// Replaces a processor while events flow. On each shard a new instance is built first; then, between two batches, it takes the
    /// old one's place: the old instance has seen exactly the events before, the new one sees exactly those after. The
    /// old one is flushed and shut down. Which event types it gets stays as it is. What the old instance
    /// [hands over](crate::Processor::hand_over) goes to the new one; when that fails on a shard, all go back to their old instances.
    ///
    /// Blocks until all shards have switched, so a processor that is stuck holds it up.
    ///
    /// # Errors
    /// When there is no processor of that name, when a factory fails (then no shard has switched), when the bus shuts down, or on a
    /// shard's own thread, which would wait for itself.
    ///
    /// ```
    /// # use keylane::{Bus, NoopProcessor, ShardContext};
    /// let bus = Bus::builder().shards(1).processor("a", |_: &ShardContext| NoopProcessor).build()?;
    /// bus.replace_processor("a", |_: &ShardContext| NoopProcessor)?;
    /// let error = bus.replace_processor("b", |_: &ShardContext| NoopProcessor).unwrap_err();
    /// assert_eq!(error.to_string(), r#"there is no processor named "b"; there are: "a""#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replace_processor<Form>(
        &self,
        name: &str,
        factory: impl ProcessorFactory<Form>,
    ) -> Result<(), SwapError> {
        self.life.change(name, Edit::Replace(erase(factory)), Rollout::at_once())
    }

    /// As [`replace_processor`](Self::replace_processor), one shard first: see [`Rollout`].
    ///
    /// Blocks until all shards have switched, or the first one has been watched and switched back.
    ///
    /// # Errors
    /// As there, and [`SwapError::Canary`] when the first shard did not do well.
    pub fn replace_processor_gradually<Form>(
        &self,
        name: &str,
        factory: impl ProcessorFactory<Form>,
        rollout: Rollout,
    ) -> Result<(), SwapError> {
        self.life.change(name, Edit::Replace(erase(factory)), rollout)
    }

    /// Adds a processor behind the others while events flow. Each shard's instance sees the events after some point between two
    /// batches. Blocks as [`replace_processor`](Self::replace_processor) does.
    ///
    /// # Errors
    /// As there, except that the name must be new.
    pub fn add_processor<Form>(
        &self,
        name: &str,
        factory: impl ProcessorFactory<Form>,
    ) -> Result<(), SwapError> {
        self.life.change(name, Edit::Add(Filter::All, erase(factory)), Rollout::at_once())
    }

    /// As [`add_processor`](Self::add_processor), for events of these types only.
    ///
    /// # Errors
    /// As there.
    pub fn add_processor_for<Form>(
        &self,
        name: &str,
        types: impl IntoIterator<Item = EventType>,
        factory: impl ProcessorFactory<Form>,
    ) -> Result<(), SwapError> {
        self.life.change(name, Edit::Add(Filter::only(types), erase(factory)), Rollout::at_once())
    }

    /// Removes a processor while events flow: its instances are flushed and shut down. Blocks as
    /// [`replace_processor`](Self::replace_processor) does.
    ///
    /// # Errors
    /// When there is no processor of that name, when the bus shuts down, or on a shard's own thread.
    pub fn remove_processor(&self, name: &str) -> Result<(), SwapError> {
        self.life.change(name, Edit::Remove, Rollout::at_once())
    }

    /// Shuts the bus down: refuses further emits, wakes the waiting ones with their events returned, processes everything that was
    /// accepted, flushes and shuts down every instance, and ends the threads.
    ///
    /// Blocks until that is done or `deadline` has passed. In the second case the shards that are behind are told to stop after the
    /// event that they are at; what they had accepted and not processed is counted as abandoned. Events that processors derive
    /// from accepted ones are accepted to the end.
    ///
    /// Safe to call from several threads and more than once: all get the same report, and later calls return it at once. On a
    /// shard's own thread it closes the bus and returns the numbers of the moment, because the shard cannot wait for itself.
    pub fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        self.life.shut_down(deadline)
    }

    /// As [`shutdown`](Self::shutdown), without blocking the thread. Works on any executor: a thread of its own does the waiting.
    ///
    /// # Cancel safety
    /// The shutdown begins with this call and goes on when the future is dropped; a later call gives its report.
    pub fn shutdown_async(&self, deadline: Duration) -> Shutdown {
        Shutdown::start(self.life.clone(), deadline)
    }
}
