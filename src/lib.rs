//! keylane is an in-process event bus: something interesting happens, an event is emitted, and processors on their own
//! cores turn events into logs, counters, alarms or other events.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod bus;
mod clock;
mod emit;
mod event;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
mod key;
mod processor;
mod report;
mod ring;
mod shard;
mod stats;
mod sync;
mod worker;

#[cfg(feature = "bare-ring")]
#[doc(hidden)]
pub use ring::bare as bare_ring;

pub use bus::{BuildError, Builder, Bus, Shutdown, SwapError};
pub use emit::{BatchError, Emit, EmitError, Emitter, Producer, Reason};
pub use event::{
    CommonErrorMeta, ErrorMeta, Event, EventError, EventType, ParseEventTypeError, RequestMeta,
    RequestType, ResponseMeta, TrafficMeta, Value,
};
pub use key::Key;
pub use processor::{
    Fallible, Fault, FaultPolicy, FaultSite, Infallible, NoopProcessor, NoopProcessorFactory, Own,
    Processor, ProcessorFactory, ShardContext, for_each,
};
pub use report::{ShardReport, ShutdownReport};
pub use stats::{ProcessorStats, ShardStats, Stats, Summary};
pub use worker::WaitStrategy;
