//! The processor that does nothing.

use std::convert::Infallible;

use crate::event::Event;
use crate::processor::{Processor, ProcessorFactory, ShardContext};

/// Ignores every event: for benchmarks, and as a placeholder.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoopProcessor;

impl Processor for NoopProcessor {
    fn process(&mut self, _event: &Event) {}
}

/// Builds [`NoopProcessor`]s.
///
/// ```
/// let bus = keylane::Bus::builder()
///     .shards(1)
///     .processor("noop", keylane::NoopProcessorFactory)
///     .build()?;
/// # Ok::<(), keylane::BuildError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct NoopProcessorFactory;

impl ProcessorFactory for NoopProcessorFactory {
    type Processor = NoopProcessor;
    type Error = Infallible;

    fn create(&self, _cx: &ShardContext) -> Result<NoopProcessor, Infallible> {
        Ok(NoopProcessor)
    }
}
