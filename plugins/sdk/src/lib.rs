//! Write a processor for keylane as a plugin: a shared library that a running program loads.
//!
//! ```
//! use keylane_plugin::{Counter, Create, Cx, Error, Event, Info, Outcome, Processor, export_plugin};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     from_status: u32,
//! }
//!
//! struct Failures {
//!     config: Config,
//!     failures: Counter,
//! }
//!
//! impl Processor for Failures {
//!     type Config = Config;
//!     const INFO: Info = Info::new("org.example.failures", "0.1.0");
//!
//!     fn create(config: Config, cx: &Create<'_>) -> Result<Self, Error> {
//!         Ok(Self { config, failures: cx.counter("failures") })
//!     }
//!
//!     fn process(&mut self, event: &Event<'_>, cx: &Cx<'_>) -> Outcome {
//!         if let Some(response) = event.response().filter(|meta| meta.status_code >= self.config.from_status) {
//!             self.failures.inc();
//!             keylane_plugin::warn!(cx, "{} got {}", response.request_id, response.status_code);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! export_plugin!(Failures);
//! # fn main() {}
//! ```
//!
//! Build it with `crate-type = ["cdylib"]`, and run it: `keylane run --plugin libfailures.so --config '{"from_status":500}' FILE`.
//! Test it without any of that, in [`testing`]. `docs/plugins.md` is the guide.
//!
//! # What happens on which thread
//!
//! [`Processor::create`], [`Processor::load_state`] and the drop may run on any thread, and `create` also while another
//! instance is at work. All other methods run on the shard's; calls for one instance never overlap. What belongs to a call, [`Cx`],
//! [`Event`], [`Batch`], cannot leave it.
//!
//! # What happens when something goes wrong
//!
//! | the processor | the event | those behind it in the batch | the instance |
//! |---|---|---|---|
//! | returns [`Stop::Again`] | is offered again | too | stays |
//! | returns [`Stop::BadEvent`] | is reported as lost | go on | stays |
//! | returns [`Stop::Fatal`] | goes to a new instance | too | is replaced, or given up |
//! | panics | is reported as lost | go to a new instance | is replaced, or given up |
//! | aborts, or damages memory | | | the whole process ends |

mod barrier;
mod batch;
mod config;
mod context;
mod derived;
mod event;
#[doc(hidden)]
pub mod export;
mod info;
mod instance;
mod log;
pub mod meta;
mod metrics;
mod processor;
mod state;
pub mod testing;
mod time_text;

pub use keylane_plugin_abi as abi;

pub use batch::{Batch, Iter};
pub use config::NoConfig;
pub use context::{Create, Cx, RenderError};
pub use derived::{Derived, EmitError, Payload};
pub use event::{Event, EventType, Value};
pub use info::Info;
pub use log::Level;
pub use metrics::{Counter, Gauge, Histogram};
pub use processor::{Error, FlushReason, Outcome, Processor, ShutdownReason, Stop};
pub use state::StateWriter;
pub use time_text::Rfc3339;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/plugins.md")]
struct Guide;
