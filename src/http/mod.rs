//! HTTP requests as events, and what Go's [gohm](https://github.com/karrick/gohm) does for a service.
//!
//! [`EventLayer`] is a [`tower_layer::Layer`]: it wraps any service over `http` types (axum, plain hyper, tonic) and puts events on
//! the bus. Logs, counters and histograms are processors behind the bus, off the request's path: [`AccessLog`] and
//! [`StatusCounters`] are two of them. Coming from gohm? Every function of it is in `docs/from-gohm.md`,
//! and every name of httransform's events in `docs/from-httransform-events.md`.
//!
//! # When is each event emitted
//!
//! | event | when | value |
//! |---|---|---|
//! | `START_REQUEST` | the head of the request has been read | [`Started`] |
//! | `FINISH_REQUEST` | the response was handed over completely | [`Finished`] |
//! | `FAILED_REQUEST` | it was not, or what was sent only reports a failure | [`Failed`] |
//! | `TRAFFIC` | behind the end, if asked for, and at the end of a tunnel | [`Traffic`] |
//! | `FAILED_AUTH` | an [`AuthLayer`] refused a request | [`AuthFailed`] |
#![cfg_attr(
    feature = "serve",
    doc = "| `COMMON_ERROR` | a connection of a [`serve`](serve()) loop failed, outside of any request | [`CommonErrorMeta`](crate::CommonErrorMeta) with a [`ServeError`] |"
)]
#![cfg_attr(
    feature = "serve",
    doc = "| `TRAFFIC` | a connection of a [`serve`](serve()) loop is over | [`Traffic`] of the scope [`Connection`](TrafficScope::Connection) |"
)]
#![cfg_attr(
    feature = "certificates",
    doc = "| `NEW_CERTIFICATE` | a [`CertificateStore`] has made a certificate, and nobody has it yet | [`NewCertificate`] |"
)]
#![cfg_attr(
    feature = "certificates",
    doc = "| `DROP_CERTIFICATE` | a [`CertificateStore`] let go of a certificate | [`DroppedCertificate`] |"
)]
//!
//! Each request has **exactly one** of `FINISH_REQUEST` and `FAILED_REQUEST`. It carries everything that is known of the request,
//! so that nobody has to remember open ones. All events of a request have its [`RequestId`] as key: they meet in one
//! shard, in order.
//!
//! How a request ends, in the order in which it is decided:
//!
//! | seen | event |
//! |---|---|
//! | a panic in the call, its future or the body | `FAILED_REQUEST`, [`Panic`](FailReason::Panic) |
//! | the service returns an error | `FAILED_REQUEST`, [`ServiceError`](FailReason::ServiceError) |
//! | the future is dropped before it is ready | `FAILED_REQUEST` in the [`Head`](Phase::Head), [`ClientGone`](FailReason::ClientGone) |
//! | a response without a body by its kind: to HEAD, 1xx, 204, 304, 2xx to CONNECT | `FINISH_REQUEST` at once, 0 bytes; whatever body it has is not read |
//! | a body that is at its end from the beginning | `FINISH_REQUEST` at once |
//! | the body ends, or says that it has ended, or has sent its trailers | `FINISH_REQUEST`, or [`ShortBody`](FailReason::ShortBody) when it is shorter than declared |
//! | the body is dropped after as many bytes as were declared | `FINISH_REQUEST`: a server need not ask for the end |
//! | the body is dropped earlier | `FAILED_REQUEST` in the [`Body`](Phase::Body), [`ClientGone`](FailReason::ClientGone) |
//! | the body returns an error | `FAILED_REQUEST`, [`BodyError`](FailReason::BodyError) |
//! | a [`CatchPanicLayer`] or [`TimeoutLayer`] inside has answered in place of the service | `FAILED_REQUEST` with the status that was sent |
//!
//! # What cannot be seen from here
//!
//! * *Ended* means: handed to the server. It does not mean: received. 8 MiB in one frame are finished although the client read
//!   64 KiB and left. What went over the wire, only the connection knows: the loop of the feature `serve` counts it.
//! * A client that leaves while a large part of its request is unread, or while another request waits behind it in the
//!   pipeline, is not noticed before the response is written.
//! * hyper takes a client that closes its sending half for gone, unless it is told otherwise (`half_close`).
//! * After a 101 the connection belongs to the handler. The request is finished; [`Tunnel`] tells about the rest.
//!
//! # Order of layers
//!
//! From the outside in: **[`EventLayer`]**, [`CatchPanicLayer`], [`TimeoutLayer`], compression, authentication, routes. A layer outside
//! of the event layer that answers in its place (a foreign timeout, say) makes a request look as if the client had left: its future
//! is dropped, and the 503 goes out behind its back. With an [`AuthLayer`] outside of the event layer, refused requests
//! show as `FAILED_AUTH` only; inside, they have a start and an end like all others.
//!
//! # Loss
//!
//! The layer never waits for the bus, least of all in a destructor. When a ring is full, events are lost, and [`EventLayer::losses`]
//! counts each. `START_REQUEST` and `TRAFFIC` leave a quarter of each ring to the ends of requests, which therefore are the last to
//! go.
//!
//! # Cost
//!
//! Three reads of the time stamp counter, an allocation for what travels with the request's extensions, one for the response's id, and a
//! clone of each header that is asked for. Nothing is formatted, and heads are reused by the thread that serves. `http` in the
//! benchmarks measures it. Where emits shall never pay for waking a shard, give the bus
//! [`WaitStrategy::Sleeping`](crate::WaitStrategy::Sleeping).
//!
//! # Trust
//!
//! Method, URI, header values and the text of a panic come from outside. hyper lets quotes, backslashes and bytes above 0x7f through.
//! Here they stay what they are; whatever prints them escapes them, as [`AccessLog`] does. `x-forwarded-for` counts only from
//! [trusted proxies](TrustedProxies), an inbound request id only [when asked for](EventLayer::trust_inbound_id).
//!
//! # Example
//!
//! ```
//! use keylane::http::{AccessLog, EventLayer, LogFormat, LogSink, StatusCounters};
//! use keylane::Bus;
//! use std::time::Duration;
//! use tower::{Layer, Service};
//!
//! let log = AccessLog::new(LogFormat::gohm(), LogSink::writer(std::io::sink()));
//! let counters = StatusCounters::new();
//! let bus = Bus::builder()
//!     .shards(1)
//!     .processor_for("access-log", AccessLog::EVENTS, log.clone())
//!     .processor_for("counters", StatusCounters::EVENTS, counters.clone())
//!     .build()?;
//!
//! let events = EventLayer::new(&bus).capture(log.headers());
//! let mut service = events.layer(tower::service_fn(async |_request| {
//!     Ok::<_, std::convert::Infallible>(http::Response::new(String::from("hello")))
//! }));
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! let request = http::Request::new(String::new());
//! let response = runtime.block_on(service.call(request))?;
//! drop(response); // Nobody reads it, so this request is not finished but failed.
//!
//! assert!(bus.shutdown(Duration::from_secs(5)).is_clean());
//! assert_eq!(counters.get_all(), 1);
//! assert_eq!(counters.get_4xx(), 1, "499: the client has gone");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access_log;
mod auth;
mod body;
mod captured;
mod catch_panic;
#[cfg(feature = "certificates")]
mod certificates;
mod client_address;
mod close_notifier;
mod delivery;
mod future;
#[cfg(feature = "gzip")]
mod gzip;
mod head_pool;
mod layer;
mod open_request;
mod outcome;
mod replacement;
mod request_body;
mod request_head;
mod request_id;
#[cfg(feature = "serve")]
mod server;
mod status_counters;
mod text_error;
mod timeout;
mod traceparent;
mod traffic;

pub use access_log::{
    AccessLog, AccessLogProcessor, AccessLogStats, LogFormat, LogSink, StatusMask, UnknownDirective,
};
pub use auth::{
    AuthFailed, AuthFailure, AuthFuture, AuthLayer, AuthService, Authenticator, Basic, Bearer,
    Secrets, User,
};
pub use body::EventBody;
pub use captured::Captured;
pub use catch_panic::{CatchPanicBody, CatchPanicFuture, CatchPanicLayer, CatchPanicService};
#[cfg(feature = "certificates")]
#[cfg_attr(docsrs, doc(cfg(feature = "certificates")))]
pub use certificates::{
    CertificateAuthority, CertificateError, CertificateStore, DropCause, DroppedCertificate,
    NewCertificate,
};
pub use client_address::{ClientAddr, InvalidCidr, Peer, TrustedProxies};
pub use close_notifier::{
    CloseNotifier, CloseNotifierBody, CloseNotifierFuture, CloseNotifierLayer,
    CloseNotifierService, Ended, RequestEnd,
};
pub use future::EventFuture;
#[cfg(feature = "gzip")]
#[cfg_attr(docsrs, doc(cfg(feature = "gzip")))]
pub use gzip::{GzipLayer, GzipService};
pub use layer::{EventLayer, EventService, Losses, ShutdownMark};
pub use outcome::{Completion, FailReason, Failed, Finished, Phase, Started};
pub use replacement::ReplacedBody;
pub use request_body::CountedBody;
pub use request_head::{CurrentRequest, RequestHead};
pub use request_id::RequestId;
#[cfg(feature = "serve")]
#[cfg_attr(docsrs, doc(cfg(feature = "serve")))]
pub use server::{Listener, ServeError, ServeReport, Server, Serving, serve};
pub use status_counters::{StatusCounters, StatusCounts, StatusCountsProcessor};
pub use text_error::{TextError, text_error};
pub use timeout::{TimedOut, TimeoutBody, TimeoutFuture, TimeoutLayer, TimeoutService};
pub use traceparent::TraceParent;
pub use traffic::{Traffic, TrafficScope, Tunnel, TunnelMeter};

/// An error of any type.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
