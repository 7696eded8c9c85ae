//! keylane is an in-process event bus: something interesting happens, an event is emitted, and processors on their own
//! cores turn events into logs, counters, alarms or other events.
//!
//! A bus has a fixed number of [shards](Builder::shards), each a thread with one instance of every
//! [processor](Processor). The [key](Key) of an event decides its shard. Between each emitting thread or [`Producer`] and each
//! shard lies a bounded ring, so emitting takes no lock.
//!
//! ```
//! use keylane::{Bus, Event, EventType, Processor, ShardContext};
//! use std::time::Duration;
//!
//! const PAID: EventType = EventType::user(0);
//!
//! struct Revenue {
//!     cents: u64,
//! }
//!
//! impl Processor for Revenue {
//!     fn process(&mut self, event: &Event) {
//!         self.cents += event.get::<u64>().copied().unwrap_or(0);
//!     }
//!     fn shutdown(&mut self) {
//!         println!("{} cents", self.cents);
//!     }
//! }
//!
//! let bus = Bus::builder().processor("revenue", |_: &ShardContext| Revenue { cents: 0 }).build()?;
//! bus.emitter().emit_blocking(PAID, 1999_u64, "customer-17")?;
//! let report = bus.shutdown(Duration::from_secs(5));
//! assert_eq!((report.accepted, report.processed), (1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The promises
//!
//! 1. **Same key, same instance.** All events with one key are processed by one processor instance, on one thread.
//! 2. **Order.** If `emit(A)` returned before `emit(B)` began, on any threads or tasks, and both have the same key, A is
//!    processed before B.
//! 3. **Accepted means processed.** An emit is accepted, and then its event is processed exactly once even when a shutdown races
//!    with it; or it is refused, and then the caller gets the event back. Only a shutdown whose deadline ran out abandons accepted
//!    events, and its report counts them.
//! 4. **No lock, no allocation** on the emit path when the ring has room and the value is 32 bytes or less.
//! 5. **Bounded memory.** Nothing grows without a limit that the builder names.
//! 6. **A fault stays where it is.** A panic in a processor costs the one event that it panicked on; the shard goes on.
//! 7. **After `shutdown` no event.** [`Processor::shutdown`] runs once per instance, on its own thread, after its last event.
//!
//! The sections below say where each begins and ends.
//!
//! # Order
//!
//! The order is causal and per key. It covers every way in: emitters, producers, batches, tasks that move between threads. It
//! does not cover emits that overlap in time, events with different keys, or [`Key::NONE`]. It is an order of
//! processing, not of [times](Event::time), since a system's clock may be set back.
//!
//! ```
//! # use keylane::{Bus, EventType, NoopProcessorFactory};
//! # let bus = Bus::builder().shards(2).processor("noop", NoopProcessorFactory).build()?;
//! let (here, there) = (bus.emitter(), bus.emitter());
//! here.emit_blocking(EventType::user(0), "placed", "order-17")?;
//! // The thread begins after the first emit has returned, so "paid" is processed after "placed".
//! std::thread::spawn(move || there.emit_blocking(EventType::user(0), "paid", "order-17"))
//!     .join()
//!     .expect("the thread does not panic")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Which shard a key leads to can be computed anywhere, see [`Key::shard`].
//!
//! # Back-pressure
//!
//! A full ring is the caller's choice, emit by emit: [`try_emit`](Emitter::try_emit) returns the event,
//! [`emit`](Emitter::emit) waits as a future, [`emit_blocking`](Emitter::emit_blocking) blocks the thread and
//! [`emit_timeout`](Emitter::emit_timeout) does so for a while. Nothing is dropped in silence: a refused event is in the
//! [`EmitError`], and [`Stats::refused`] counts it.
//!
//! ```
//! # use keylane::{Bus, Event, EventType, Processor, Reason, ShardContext};
//! # use std::sync::mpsc::{Receiver, channel};
//! # struct Stuck(Receiver<()>);
//! # impl Processor for Stuck {
//! #     fn process(&mut self, _: &Event) { let _ = self.0.recv(); }
//! # }
//! # let (release, gate) = channel();
//! # let gate = std::sync::Mutex::new(Some(gate));
//! # let stuck = move |_: &ShardContext| Stuck(gate.lock().unwrap().take().unwrap());
//! let bus = Bus::builder().shards(1).capacity(4).processor("stuck", stuck).build()?;
//! let emitter = bus.emitter();
//! let refused = loop {
//!     if let Err(refused) = emitter.try_emit(EventType::user(0), "one too many", "key") {
//!         break refused;
//!     }
//! };
//! assert_eq!(refused.reason(), Reason::Full);
//! assert_eq!(refused.into_event().get(), Some(&"one too many"));
//! # drop(release);
//! # Ok::<(), keylane::BuildError>(())
//! ```
//!
//! # Closing
//!
//! [`Bus::shutdown`] and [`Bus::shutdown_async`] refuse further emits, return the events of those that wait, process all that was
//! accepted, call [`Processor::shutdown`] on every instance and end the threads. The
//! [`ShutdownReport`] accounts for every accepted event. Dropping the last handle of a bus shuts it down too, with the deadline of
//! [`Builder::drain_on_drop`].
//!
//! # Faults
//!
//! A panic in a processor is caught, reported to the [hook](Builder::on_fault) together with the event, and counted. The
//! [`FaultPolicy`] says what becomes of the instance.
//!
//! ```
//! # use keylane::{Bus, Event, EventType, FaultPolicy, Processor, ShardContext};
//! # use std::time::Duration;
//! struct Picky;
//!
//! impl Processor for Picky {
//!     fn process(&mut self, event: &Event) {
//!         assert_ne!(event.get(), Some(&13), "not that one");
//!     }
//! }
//!
//! let bus = Bus::builder()
//!     .shards(1)
//!     .fault_policy(FaultPolicy::Restart)
//!     .on_fault(|fault| eprintln!("{fault}"))
//!     .processor("picky", |_: &ShardContext| Picky)
//!     .build()?;
//! for number in 12..15 {
//!     bus.emitter().emit_blocking(EventType::user(0), number, "key")?;
//! }
//! let report = bus.shutdown(Duration::from_secs(5));
//! assert_eq!((report.processed, report.faulted), (2, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With `panic = "abort"` there is nothing to catch: a panic ends the process.
//!
//! # Panics
//!
//! No method panics on what a caller can get wrong at run time; such things are [`BuildError`], [`EmitError`] and
//! [`SwapError`]. Those that panic on a programming error say so, as [`EventType::user`] does.
//!
//! # Allocation
//!
//! An event is one cache line. A value of up to 32 bytes travels inside it; a larger one is boxed by the emit and freed on the shard.
//! The first event from a thread or producer to a shard opens a ring of [`capacity`](Builder::capacity) slots of 64 bytes; its pages
//! are touched as events need them. Waiting for room takes a lock and may allocate.
//!
//! # Threads
//!
//! A bus starts one thread per shard, named `keylane-0`, `keylane-1` and so on, and no other; [`Bus::shutdown_async`] adds one for its
//! own duration. Processors are built, used and dropped on their shard's thread, so they need neither `Send` nor locks. How a shard
//! waits for events is its [`WaitStrategy`]; asleep, it costs nothing.
//!
//! An [`Emitter`] is shared and cloned freely, each thread has rings of its own behind it. A [`Producer`] is exclusive, owns its rings
//! and is the fastest way in, above all with [`emit_batch`](Producer::emit_batch).
//!
//! # Derived events
//!
//! A processor emits through [`ShardContext::emitter`]. On a shard's thread no emit ever waits, because two shards that waited for each
//! other would wait for ever: without room the event comes back. A [hop limit](Builder::hop_limit) ends cycles. A shutdown waits
//! for derived events as for all others.
//!
//! # Changing processors
//!
//! [`Bus::replace_processor`], [`Bus::add_processor`] and [`Bus::remove_processor`] work while events flow. On each shard the old
//! instance has seen exactly the events before the change, the new one sees exactly those after it.
//!
//! # Feature flags
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `http` | no | requests as events, access logs, status counters: `keylane::http` |
//! | `gzip` | no | compression of responses, `keylane::http::GzipLayer` |
//! | `serve` | no | the server loop, `keylane::http::serve`, on hyper and tokio |
//! | `tls` | no | TLS for the server loop, by rustls |
//! | `certificates` | no | certificates made on demand, `keylane::http::CertificateStore`, by rcgen and rustls |
//! | `ingest` | no | CloudEvents and NDJSON out of HTTP requests, `keylane::ingest` |
//! | `cli` | no | the `keylane` command and what it depends on |
//!
//! Without features this crate is the bus alone.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod bus;
mod clock;
mod emit;
mod event;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
#[cfg(feature = "ingest")]
#[cfg_attr(docsrs, doc(cfg(feature = "ingest")))]
pub mod ingest;
mod key;
#[cfg(loom)]
#[doc(hidden)]
pub mod model;
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

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
