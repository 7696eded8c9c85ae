//! The ways to observe a service. Every log must in the end have a line for each request whose end was not counted as lost.

mod keylane;
mod log;
mod prometheus;
mod trace;

use std::convert::Infallible;
use std::time::Duration;

use ::keylane::WaitStrategy;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use axum::routing::get;
use axum::{BoxError, Router};
use tower::{Layer, Service, ServiceExt};
use tracing::dispatcher::Dispatch;

use self::keylane::Keylane;
use super::client::ANSWER;
use crate::contender::{Card, Role};
use prometheus::Prometheus;
use trace::{Sink, Trace};

/// The service under all contenders.
fn app() -> Router {
    Router::new().route("/orders/{id}", get(async || ANSWER))
}

/// A service that can be asked.
pub(super) trait Served:
    Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> Served for S where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// Where a service can be asked: over a socket, or by a call.
pub(super) trait Place: Sized {
    /// Puts a service here, with `subscriber` as that of the thread that runs it.
    fn put<S: Served>(service: S, subscriber: Option<Dispatch>) -> Result<Self, String>;
}

/// What looks on.
pub(super) trait Observer {
    /// Returns when what was observed of `requests` so far has been worked off, for those where requests could outrun it until it is lost.
    ///
    /// # Errors
    ///
    /// When that does not come to pass.
    fn catch_up(&self, _requests: u64) -> Result<(), String> {
        Ok(())
    }

    /// Writes out what is buffered, and checks that `requests` were observed or counted as lost. The service is gone by then.
    ///
    /// # Errors
    ///
    /// Says what was observed instead.
    fn finish(self: Box<Self>, requests: u64) -> Result<Outcome, String>;
}

/// What an observer did not see.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outcome {
    /// Events that found no room.
    pub(super) lost: u64,
}

/// Whether everything was there that an observer needs.
type Start<T> = Result<T, String>;

/// A service in its place, and what observes it.
pub(super) struct Observed<P> {
    pub(super) place: P,
    pub(super) observer: Box<dyn Observer>,
}

/// A way to observe.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    Bare,
    Keylane(WaitStrategy),
    /// keylane with a processor that sleeps for a tenth of a second at every event.
    Sleeper,
    Trace(Sink),
    Prometheus,
}

impl Way {
    /// Puts the service into a place, observed.
    ///
    /// # Errors
    ///
    /// When something cannot be had that is needed.
    pub(super) fn start<P: Place>(self) -> Result<Observed<P>, String> {
        let keylane = |keylane: Keylane| {
            let place = P::put(outside(keylane.layer()), None)?;
            Ok(Observed { place, observer: Box::new(keylane) })
        };
        match self {
            Self::Bare => Ok(Observed { place: P::put(app(), None)?, observer: Box::new(Nobody) }),
            Self::Keylane(wait) => keylane(Keylane::start(wait, None)?),
            Self::Sleeper => {
                let sleep = Duration::from_millis(100);
                keylane(Keylane::start(WaitStrategy::Sleeping, Some(sleep))?)
            }
            Self::Trace(sink) => {
                let (observer, subscriber) = Trace::start(sink)?;
                let place = P::put(outside(trace::layer()), Some(subscriber))?;
                Ok(Observed { place, observer: Box::new(observer) })
            }
            Self::Prometheus => {
                let (observer, layer) = Prometheus::start()?;
                let place = P::put(app().layer(layer), None)?;
                Ok(Observed { place, observer: Box::new(observer) })
            }
        }
    }
}

/// Everyone, the bare service first.
pub(super) fn ways() -> Vec<(Card, Way)> {
    vec![
        (
            Card {
                name: "bare",
                role: Role::Floor,
                package: Some("axum"),
                settings: "the service alone, axum::serve on one thread; the others are layers around its router, but for axum-prometheus, which has to be inside",
            },
            Way::Bare,
        ),
        (
            Card {
                name: "keylane",
                role: Role::Keylane,
                package: Some("keylane"),
                settings: "EventLayer with peers; AccessLog in gohm's format to a file, StatusCounters; 1 shard with \
                           16,384 slots; WaitStrategy::Sleeping",
            },
            Way::Keylane(WaitStrategy::Sleeping),
        ),
        (
            Card {
                name: "keylane-adaptive",
                role: Role::Variant,
                package: Some("keylane"),
                settings: "the same with WaitStrategy::Adaptive, the default",
            },
            Way::Keylane(WaitStrategy::Adaptive),
        ),
        (
            Card {
                name: "keylane-park",
                role: Role::Variant,
                package: Some("keylane"),
                settings: "the same with WaitStrategy::Park",
            },
            Way::Keylane(WaitStrategy::Park),
        ),
        (
            Card::rival(
                "trace-buffered",
                "tower-http",
                "TraceLayer, span and response at INFO, nothing else; tracing-subscriber's fmt without ANSI to a \
                 BufWriter of 64 KiB behind a Mutex",
            ),
            Way::Trace(Sink::Buffered),
        ),
        (
            Card::rival(
                "trace-non-blocking",
                "tower-http",
                "the same to a file by tracing-appender's non_blocking, which waits when full",
            ),
            Way::Trace(Sink::NonBlocking),
        ),
        (
            Card::rival(
                "axum-prometheus",
                "axum-prometheus",
                "PrometheusMetricLayer with its defaults; no log",
            ),
            Way::Prometheus,
        ),
    ]
}

/// The service behind a layer, outside of the router: layered inside, every layer would pay for what axum boxes there.
fn outside<L, B>(layer: L) -> impl Served
where
    L: Layer<Router>,
    L::Service: Service<Request, Response = Response<B>, Error = Infallible, Future: Send>,
    L::Service: Clone + Send + 'static,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    layer.layer(app()).map_response(|response: Response<B>| response.map(Body::new))
}

/// Observes nothing.
struct Nobody;

impl Observer for Nobody {
    fn finish(self: Box<Self>, _requests: u64) -> Result<Outcome, String> {
        Ok(Outcome::default())
    }
}
