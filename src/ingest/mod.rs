//! Events from outside: [CloudEvents](https://cloudevents.io) 1.0 and NDJSON, checked, and emitted onto a bus.
//!
//! [`Intake`] is what stands behind `POST /events` of `keylane serve`; a service that embeds a bus offers the same endpoint with it.
//! It knows headers and bytes and no server, so it fits any of them.
//!
//! # What is taken
//!
//! | `content-type` | the body is |
//! |---|---|
//! | `application/cloudevents+json` | one CloudEvent (structured mode) |
//! | `application/cloudevents-batch+json` | an array of CloudEvents (batched mode) |
//! | `application/x-ndjson`, `application/ndjson`, `application/jsonl` | an event a line, CloudEvents and the simple form, also mixed |
//! | any other, with `ce-` headers | the data of one CloudEvent (binary mode) |
//!
//! | | CloudEvent (has `specversion`) | simple form (NDJSON only) |
//! |---|---|---|
//! | required | `specversion` "1.0", `id`, `source`, `type`: non-empty strings | `type`, `key`: non-empty strings |
//! | key | `partitionkey`, or else `source` | `key` |
//! | a non-empty string if present | `partitionkey`, `subject`, `datacontenttype`, `dataschema` | |
//! | of a form of its own if present | `time` (RFC 3339), `data_base64` (Base64, not beside `data`) | |
//! | the rest | any JSON; `null` means absent | any JSON |
//!
//! The key of a CloudEvent without `partitionkey` is its `source` alone, not `source` and `subject`: the coarser key keeps
//! every order that a finer one would keep, at the price of balance, and who wants the finer one can say so.
//!
//! The `type` becomes a user event type, see [`TypeTable`]; the value of the event is a [`Record`], which keeps the text as it
//! was written. An event in binary mode becomes the JSON text that the specification names for it. Nobody looks for an event that was sent
//! twice: that is the work of a processor.
//!
//! # What is promised to the sender
//!
//! A request is checked whole before anything of it is emitted. Of a request with one bad event nothing is accepted, and the answer names line or
//! index, column, member, value and what to do. When the rings are full, the answer says how many events, from the front, were
//! accepted; the others were not, and can be sent again. What a stranger can make this hold is bounded: a request by the limit of the server, an
//! event by [`max_event`](Intake::max_event), names of types by [`max_types`](Intake::max_types), events on their way by the rings and by
//! [`max_in_flight`](Intake::max_in_flight).
//!
//! # Example
//!
//! ```
//! use http::{HeaderMap, StatusCode};
//! use keylane::ingest::{Intake, Progress};
//! use keylane::{Bus, NoopProcessorFactory};
//!
//! let bus = Bus::builder().shards(2).processor("noop", NoopProcessorFactory).build()?;
//! let intake = Intake::new(&bus);
//!
//! let mut headers = HeaderMap::new();
//! headers.insert("content-type", "application/x-ndjson".parse()?);
//! let body = b"{\"type\":\"order.paid\",\"key\":\"order-17\"}\n{\"type\":\"order.paid\",\"key\":\"order-18\"}\n";
//!
//! let mut events = intake.check(&headers, body)?;
//! assert_eq!(events.emit(), Progress::Done);
//! let response: http::Response<axum::body::Body> = events.into_response();
//! assert_eq!(response.status(), StatusCode::ACCEPTED);
//!
//! let refused = intake.check(&headers, b"{\"type\":\"order.paid\"}").unwrap_err();
//! assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod binary;
mod body;
mod event;
pub mod in_flight;
mod intake;
mod mode;
pub mod printable;
mod record;
mod refusal;
mod rejected;
mod types;

pub use event::{MAX_DEPTH, MAX_TYPE_BYTES, Parsed, parse_line};
pub use intake::{Checked, Intake, IntakeStats, Progress};
pub use record::Record;
pub use refusal::{Defect, Form, Refusal};
pub use rejected::{BadEvent, Place, Rejected};
pub use types::TypeTable;
