//! A server loop over hyper that sees what no layer can see, and puts it on the bus.
//!
//! A layer knows requests. What happens before there is one, and below it, only the loop that owns the connections knows: accepts and TLS
//! handshakes that fail, heads that do not parse or never come, clients that do not read. Each of these is a
//! `COMMON_ERROR` with a [`ServeError`], and each connection that has moved bytes ends with `TRAFFIC` of the
//! [scope](crate::http::TrafficScope) `Connection`, counted on the wire.
//!
//! Invariants: a [`Connection`](connection::Connection) holds a permit until its last byte, the last of its HTTP/2 streams and its tunnel
//! are gone, so that having all permits back means that nothing is left. [Phases](phase::Phase) go forward only.

mod accept;
mod connection;
mod entrance;
mod error;
mod farewell;
mod http_io;
mod listener;
mod phase;
mod serving;
mod state;
mod task;
#[cfg(feature = "tls")]
mod tls;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tower_service::Service;

use self::phase::Phases;
use self::state::ServerState;
use self::wire::Wire;
use super::{BoxError, ShutdownMark};
use crate::bus::Bus;
use crate::emit::Emitter;

pub use error::ServeError;
pub use listener::Listener;
pub use serving::{ServeReport, Serving};

/// Serves HTTP/1.1 and HTTP/2 with the settings of [`Server::new`].
///
/// ```
/// use http::{Request, Response};
/// use keylane::http::{EventLayer, serve};
/// use keylane::{Bus, NoopProcessorFactory};
/// use std::convert::Infallible;
/// use std::time::Duration;
/// use tower::{ServiceBuilder, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = Bus::builder().shards(1).processor("noop", NoopProcessorFactory).build()?;
/// let service = ServiceBuilder::new().layer(EventLayer::new(&bus)).service(service_fn(
///     async |_: Request<_>| Ok::<_, Infallible>(Response::new(String::from("hello\n"))),
/// ));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let serving = serve(listener, service, &bus);
/// println!("http://{}", serving.local_addr().expect("a TCP listener has one"));
///
/// let report = serving.shutdown(Duration::from_secs(10)).await;
/// assert!(report.is_clean());
/// assert!(bus.shutdown_async(Duration::from_secs(5)).await.is_clean());
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// Outside of a tokio runtime.
pub fn serve<L, S, B>(listener: L, service: S, bus: &Bus) -> Serving
where
    L: Listener,
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    Server::new(bus).serve(listener, service)
}

/// The settings of a server. See [`serve`](serve()) for a whole example.
///
/// Every connection has a task of its own, and so has every stream of HTTP/2. Requests find their [`Peer`](crate::http::Peer) among
/// their extensions, which is where an [`EventLayer`](crate::http::EventLayer) looks, and over TLS
/// [`RequestType::TLS`](crate::RequestType::TLS).
#[derive(Debug, Clone)]
#[must_use = "a server runs when `serve` is called"]
pub struct Server {
    emitter: Emitter,
    limits: Limits,
    traffic: bool,
    marks: Vec<ShutdownMark>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<tokio_rustls::rustls::ServerConfig>>,
}

/// What clients may do.
#[derive(Debug, Clone, Copy)]
struct Limits {
    head_timeout: Duration,
    handshake_timeout: Duration,
    write_timeout: Duration,
    max_headers: usize,
    max_head_size: usize,
    max_connections: usize,
    max_streams: u32,
    half_close: bool,
}

impl Server {
    /// A server whose events go to `bus`.
    pub fn new(bus: &Bus) -> Self {
        Self::with_emitter(bus.emitter())
    }

    /// The same from an emitter, which keeps its bus alive until the last connection is closed.
    pub fn with_emitter(emitter: Emitter) -> Self {
        let limits = Limits {
            head_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
            max_headers: 100,
            max_head_size: 64 * 1024,
            max_connections: 10_000,
            max_streams: 200,
            half_close: false,
        };
        Self {
            emitter,
            limits,
            traffic: true,
            marks: Vec::new(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// How long the head of a request may take; over HTTP/1 also, how long a connection may be idle between two requests. A client that is
    /// late with a part of a head gets status 408. Default: 30 seconds.
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.limits.head_timeout = timeout;
        self
    }

    /// How long a TLS handshake may take. Default: 10 seconds.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.limits.handshake_timeout = timeout;
        self
    }

    /// How long a client may read nothing of what is written for it before its connection is broken off. Each byte that it takes begins
    /// the time anew. Tunnels are included. Default: 60 seconds.
    ///
    /// A client of HTTP/2 that reads but opens no window is not noticed here; a
    /// [`TimeoutLayer`](crate::http::TimeoutLayer) for whole responses ends such a stream.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.limits.write_timeout = timeout;
        self
    }

    /// How many headers an HTTP/1 request may have; more get status 431. Default: 100.
    pub fn max_headers(mut self, headers: usize) -> Self {
        self.limits.max_headers = headers;
        self
    }

    /// How large the head of a request may be, in bytes; a larger one gets status 431. Default: 64 KiB.
    pub fn max_head_size(mut self, bytes: usize) -> Self {
        self.limits.max_head_size = bytes;
        self
    }

    /// How many connections may be open, at least 1. At the limit, no more are accepted; they wait in the backlog of the system.
    /// Default: 10,000.
    pub fn max_connections(mut self, connections: usize) -> Self {
        // What one call can ask of a semaphore.
        let most = Semaphore::MAX_PERMITS.min(u32::MAX as usize);
        self.limits.max_connections = connections.clamp(1, most);
        self
    }

    /// How many requests a connection of HTTP/2 may have open. Default: 200.
    pub fn max_streams(mut self, streams: u32) -> Self {
        self.limits.max_streams = streams;
        self
    }

    /// Whether a client of HTTP/1 that closes its sending half still gets its response. Default: no, it is taken for gone, because
    /// otherwise one that really has gone is not noticed before something is written to it.
    pub fn half_close(mut self, half_close: bool) -> Self {
        self.limits.half_close = half_close;
        self
    }

    /// Whether each connection ends with `TRAFFIC`. Default: yes.
    pub fn traffic(mut self, traffic: bool) -> Self {
        self.traffic = traffic;
        self
    }

    /// A mark to set before connections are cut off, so that their requests end with
    /// [`FailReason::Shutdown`](crate::http::FailReason::Shutdown): that of
    /// [`EventLayer::shutdown_mark`](crate::http::EventLayer::shutdown_mark).
    pub fn shutdown_mark(mut self, mark: ShutdownMark) -> Self {
        self.marks.push(mark);
        self
    }

    /// Speaks TLS. A configuration without ALPN gets `h2` and `http/1.1`.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn tls(mut self, config: Arc<tokio_rustls::rustls::ServerConfig>) -> Self {
        self.tls = Some(tls::with_protocols(config));
        self
    }

    /// Begins to serve, in tasks of the current tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without timer and I/O.
    pub fn serve<L, S, B>(self, listener: L, service: S) -> Serving
    where
        L: Listener,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let (phase, phases) = Phases::new();
        let local_addr = listener.local_addr();
        let permits = Arc::new(Semaphore::new(self.limits.max_connections));
        let server = Arc::new(ServerState::new(self.emitter, self.limits, self.traffic, phases));
        #[cfg(feature = "tls")]
        let tls = self.tls;
        let connect = move |io, connection: Arc<connection::Connection>| {
            let (service, wire) = (service.clone(), Wire::new(io, connection.clone()));
            #[cfg(feature = "tls")]
            if let Some(config) = tls.clone() {
                tokio::spawn(async move {
                    if let Some(secured) = tls::handshake(wire, config, &connection).await {
                        task::serve(secured, true, connection, service).await;
                    }
                });
                return;
            }
            tokio::spawn(task::serve(wire, false, connection, service));
        };
        let acceptor =
            tokio::spawn(accept::accept(listener, server.clone(), permits.clone(), connect));
        Serving { phase, server, permits, local_addr, acceptor, marks: self.marks }
    }
}
