//! How a processor says that it could not process an event, without a panic.

/// What a processor did not do of a batch, or in a flush. Returned by [`Processor::refused`](crate::Processor::refused).
///
/// It becomes a [`Fault`](crate::Fault) as a panic does: the event is counted as faulted, the hook is called, delivery goes on behind the
/// event. Unlike a panic it leaves the instance as it is, whatever the [`FaultPolicy`](crate::FaultPolicy).
///
/// ```
/// use keylane::{Bus, Event, EventType, Processor, Refusal, ShardContext};
/// use std::time::Duration;
///
/// #[derive(Default)]
/// struct Positive {
///     refused: Option<Refusal>,
/// }
///
/// impl Processor for Positive {
///     fn process(&mut self, event: &Event) {
///         self.process_batch(&[event]);
///     }
///     fn process_batch(&mut self, events: &[&Event]) {
///         for (index, event) in events.iter().enumerate() {
///             if event.get::<i32>().is_some_and(|&number| number <= 0) {
///                 self.refused = Some(Refusal::event(index, "not a positive number"));
///                 return;
///             }
///         }
///     }
///     fn refused(&mut self) -> Option<Refusal> {
///         self.refused.take()
///     }
/// }
///
/// let bus = Bus::builder().shards(1).processor("positive", |_: &ShardContext| Positive::default()).build()?;
/// for number in [1, -1, 2] {
///     bus.emitter().emit_blocking(EventType::user(0), number, "key")?;
/// }
/// let report = bus.shutdown(Duration::from_secs(5));
/// assert_eq!((report.processed, report.faulted), (2, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub(crate) at: usize,
    pub(crate) what: Refused,
}

/// What is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// One event, with a reason for the fault hook.
    Event(String),
    /// One event and all behind it: the processor is out of service.
    Rest,
    /// No event: the call as a whole, with a reason.
    Call(String),
}

impl Refusal {
    /// The batch's event number `index`, from 0, is refused; those before it have been processed, those behind it are delivered
    /// again in a new batch. A number past the end of the batch counts as the last event's.
    pub fn event(index: usize, reason: impl Into<String>) -> Self {
        Self { at: index, what: Refused::Event(reason.into()) }
    }

    /// The batch's event number `index` and all behind it are refused because the processor is out of service for now.
    /// They count as [skipped](crate::ProcessorStats::skipped), as in a quarantine, and the hook is not called.
    pub fn rest_from(index: usize) -> Self {
        Self { at: index, what: Refused::Rest }
    }

    /// The call came to an early end, and no event is to blame: those before number `index` have been processed, that one and those
    /// behind it are delivered again in a new batch. Whoever refuses in this way without ever getting on holds the shard up for
    /// ever.
    pub fn again_from(index: usize, reason: impl Into<String>) -> Self {
        Self { at: index, what: Refused::Call(reason.into()) }
    }

    /// The call failed, and no event is to blame. After a batch: all its events have been processed nevertheless.
    pub fn call(reason: impl Into<String>) -> Self {
        Self { at: usize::MAX, what: Refused::Call(reason.into()) }
    }
}
