//! A host for tests: the processor runs in the test's own process, behind the same functions of the ABI as in a real host, and without
//! a shared library.
//!
//! ```
//! use keylane_plugin::testing::{TestEvent, TestHost};
//! # use keylane_plugin::{Counter, Create, Cx, Error, Event, EventType, Info, NoConfig, Outcome, Processor, Stop};
//! # struct Sum(Counter);
//! # impl Processor for Sum {
//! #     type Config = NoConfig;
//! #     const INFO: Info = Info::new("org.example.sum", "0.1.0");
//! #     fn create(_: NoConfig, cx: &Create<'_>) -> Result<Self, Error> {
//! #         Ok(Self(cx.counter("sum")))
//! #     }
//! #     fn process(&mut self, event: &Event<'_>, _: &Cx<'_>) -> Outcome {
//! #         self.0.add(event.as_u64().ok_or_else(|| Stop::bad_event("not a number"))?);
//! #         Ok(())
//! #     }
//! # }
//!
//! let mut host = TestHost::new::<Sum>("{}")?;
//! host.send(&[TestEvent::user(3).value(40_u64), TestEvent::user(3).value(2_u64)]);
//! assert_eq!(host.counter("sum"), 42);
//!
//! let report = host.try_send(&[TestEvent::user(3).value("forty")]);
//! assert_eq!((report.status.to_string(), report.processed), ("E_EVENT".to_owned(), 0));
//! assert_eq!(report.message, "not a number");
//! # Ok::<(), keylane_plugin::testing::Report>(())
//! ```
//!
//! The test host is stricter than a real one: events lie further apart than their size, with rubbish in between, and what
//! belongs to a call is gone when it returns, so that a processor that breaks the rules is found here.

mod batch;
mod callbacks;
mod event;
mod host;
mod report;

pub use callbacks::{Emitted, EmittedKey, LogLine};
pub use event::{TestEvent, TestMeta, TestValue};
pub use host::TestHost;
pub use report::Report;
