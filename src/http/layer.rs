//! The event layer: its settings, and the service that it makes.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use ::http::header::{CONNECTION, UPGRADE};
use ::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::auth::User;
use super::head_pool;
use super::open_request::OpenRequest;
use super::{
    Captured, CountedBody, CurrentRequest, EventBody, EventFuture, Peer, RequestHead, RequestId,
    Started, TraceParent, TrustedProxies, Tunnel,
};
use crate::bus::Bus;
use crate::clock;
use crate::emit::Emitter;
use crate::event::{EventType, RequestType, Value};

/// Puts events about every request on a bus. See [the module](crate::http) for which, when, and where it belongs among other layers.
///
/// Works on every service over `http` types whose error can be printed. The bodies of requests and responses get a new type.
#[derive(Debug, Clone)]
pub struct EventLayer {
    settings: Shared,
}

/// What all requests of a layer share.
#[derive(Clone)]
pub(crate) struct Shared {
    emitter: Emitter,
    losses: Arc<LossCounters>,
    shutting_down: Arc<AtomicBool>,
    capture: Arc<[HeaderName]>,
    id_header: Option<HeaderName>,
    inbound_id: Option<HeaderName>,
    proxies: Arc<TrustedProxies>,
    peer: Arc<PeerOf>,
    route: Option<Arc<RouteOf>>,
    request_type: RequestType,
    traffic: bool,
}

/// Finds the peer.
type PeerOf = dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync;

/// Finds the pattern of the route that matched.
type RouteOf = dyn Fn(&Extensions) -> Option<Arc<str>> + Send + Sync;

/// Counts events that found no room.
#[derive(Debug, Default)]
struct LossCounters {
    starts: AtomicU64,
    ends: AtomicU64,
    traffic: AtomicU64,
}

/// Events that an [`EventLayer`] could not emit, because the ring to their shard was full or the bus was closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Losses {
    /// `START_REQUEST`s.
    pub starts: u64,
    /// `FINISH_REQUEST`s and `FAILED_REQUEST`s.
    pub ends: u64,
    /// `TRAFFIC`s.
    pub traffic: u64,
}

/// Tells an [`EventLayer`] that the server cuts requests off. See [`EventLayer::shutdown_mark`].
#[derive(Debug, Clone)]
pub struct ShutdownMark {
    mark: Arc<AtomicBool>,
}

impl ShutdownMark {
    /// From now on, a request that is dropped was cut off by the server, and its [`FailReason`](crate::http::FailReason) is `Shutdown`.
    pub fn set(&self) {
        self.mark.store(true, Ordering::Release);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("capture", &self.capture)
            .field("id_header", &self.id_header)
            .field("inbound_id", &self.inbound_id)
            .field("proxies", &self.proxies)
            .field("traffic", &self.traffic)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Emits the end of a request, into the last free slot if need be.
    pub(crate) fn emit_end(&self, kind: EventType, value: impl Into<Value>, id: RequestId) {
        if self.emitter.try_emit(kind, value, id.key()).is_err() {
            self.losses.ends.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Emits what may be lost before the end of a request is.
    pub(crate) fn emit_sparing(&self, kind: EventType, value: impl Into<Value>, id: RequestId) {
        if self.emitter.try_emit_sparing(kind, value, id.key()).is_err() {
            let started = kind == EventType::START_REQUEST;
            let counter = if started { &self.losses.starts } else { &self.losses.traffic };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Acquire)
    }

    pub(crate) fn counts_traffic(&self) -> bool {
        self.traffic
    }

    pub(crate) fn id_header(&self) -> Option<&HeaderName> {
        self.id_header.as_ref()
    }

    fn head_of<B>(&self, request: &Request<B>, captured: Captured) -> RequestHead {
        let (headers, extensions) = (request.headers(), request.extensions());
        let peer = (self.peer)(extensions);
        let head = RequestHead {
            id: RequestId::next(),
            inbound_id: self.inbound_id.as_ref().and_then(|name| inbound_id(headers, name)),
            trace: TraceParent::of(headers),
            begin: clock::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            peer,
            client: peer.map(|peer| self.proxies.client(peer, headers)),
            captured: captured.renewed(&self.capture, headers),
            request_type: extensions.get().copied().unwrap_or(self.request_type),
            user: Default::default(),
            route: Default::default(),
            failure: Default::default(),
            read: AtomicU64::new(0),
            completion: Default::default(),
        };
        if let Some(User(user)) = extensions.get() {
            let _ = head.user.set(user.clone());
        }
        if let Some(route) = self.route.as_ref().and_then(|route| route(extensions)) {
            let _ = head.route.set(route);
        }
        head
    }
}

/// An id from outside: visible, and of a bounded length.
fn inbound_id(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    const MAX_LEN: usize = 128;
    let value = headers.get(name)?;
    let bytes = value.as_bytes();
    let visible = bytes.iter().all(u8::is_ascii_graphic);
    (visible && (1..=MAX_LEN).contains(&bytes.len())).then(|| value.clone())
}

/// Whether the client asks to leave HTTP.
pub(crate) fn asks_for_upgrade<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.method() == Method::CONNECT
        || headers.contains_key(UPGRADE)
            && headers.get_all(CONNECTION).iter().any(|value| {
                let mut tokens = value.as_bytes().split(|&byte| byte == b',');
                tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
            })
}

impl EventLayer {
    /// A layer that emits to a bus. It echoes the request id as `x-request-id`, trusts nobody and captures no headers.
    pub fn new(bus: &Bus) -> Self {
        Self::with_emitter(bus.emitter())
    }

    /// The same from an emitter.
    ///
    /// The layer, the services that it makes and their requests keep the emitter's bus alive. Whichever is dropped last waits for the
    /// bus to drain, unless it was [shut down](Bus::shutdown) before, which a server therefore does when it has served its last request.
    pub fn with_emitter(emitter: Emitter) -> Self {
        let settings = Shared {
            emitter,
            losses: Arc::default(),
            shutting_down: Arc::default(),
            capture: Arc::default(),
            id_header: Some(HeaderName::from_static("x-request-id")),
            inbound_id: None,
            proxies: Arc::default(),
            peer: Arc::new(|extensions| extensions.get().map(|&Peer(addr)| addr)),
            route: None,
            request_type: RequestType::default(),
            traffic: false,
        };
        Self { settings }
    }

    /// Copies these request headers into the events, for example [those that a log prints](crate::http::AccessLog::headers).
    /// Calling it again adds more. The whole map of headers never travels.
    #[must_use]
    pub fn capture(mut self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        let mut names = self.settings.capture.to_vec();
        for name in headers {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        self.settings.capture = names.into();
        self
    }

    /// The response header that tells the client the request id; `None` to tell nobody. Default: `x-request-id`.
    #[must_use]
    pub fn echo_id(mut self, header: impl Into<Option<HeaderName>>) -> Self {
        self.settings.id_header = header.into();
        self
    }

    /// Takes an id that the client sends in this header along, as [`RequestHead::inbound_id`]. Only ids of 1 to 128 visible ASCII characters
    /// are taken. The request's own id, and with it the key of its events, stays the layer's. Default: `None`, nobody is trusted.
    #[must_use]
    pub fn trust_inbound_id(mut self, header: impl Into<Option<HeaderName>>) -> Self {
        self.settings.inbound_id = header.into();
        self
    }

    /// Believes the `x-forwarded-for` of these proxies. Default: of none.
    #[must_use]
    pub fn trust_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.settings.proxies = Arc::new(proxies);
        self
    }

    /// Where to find the peer of a request. Default: the [`Peer`] among its extensions. With axum:
    ///
    /// ```
    /// # use keylane::{Bus, NoopProcessorFactory, http::EventLayer};
    /// use axum::extract::ConnectInfo;
    /// use std::net::SocketAddr;
    ///
    /// # let bus = Bus::builder().shards(1).processor("noop", NoopProcessorFactory).build()?;
    /// let events = EventLayer::new(&bus)
    ///     .peer_with(|extensions| extensions.get().map(|&ConnectInfo::<SocketAddr>(peer)| peer));
    /// # Ok::<(), keylane::BuildError>(())
    /// ```
    #[must_use]
    pub fn peer_with(
        mut self,
        peer: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.settings.peer = Arc::new(peer);
        self
    }

    /// Where to find the pattern of the route, when it is known before the layer. In an axum `Router::layer`:
    ///
    /// ```
    /// # use keylane::{Bus, NoopProcessorFactory, http::EventLayer};
    /// use axum::extract::MatchedPath;
    ///
    /// # let bus = Bus::builder().shards(1).processor("noop", NoopProcessorFactory).build()?;
    /// let events = EventLayer::new(&bus)
    ///     .route_with(|extensions| extensions.get::<MatchedPath>().map(|path| path.as_str().into()));
    /// # Ok::<(), keylane::BuildError>(())
    /// ```
    #[must_use]
    pub fn route_with(
        mut self,
        route: impl Fn(&Extensions) -> Option<Arc<str>> + Send + Sync + 'static,
    ) -> Self {
        self.settings.route = Some(Arc::new(route));
        self
    }

    /// How requests travel that have no [`RequestType`] among their extensions, for example `RequestType::TLS` on a TLS port.
    #[must_use]
    pub fn request_type(mut self, request_type: RequestType) -> Self {
        self.settings.request_type = request_type;
        self
    }

    /// Whether each request with a body, or with one in its response, is followed by `TRAFFIC`. Default: no, because the end
    /// of the request has the same numbers. Tunnels do not depend on it.
    #[must_use]
    pub fn traffic(mut self, traffic: bool) -> Self {
        self.settings.traffic = traffic;
        self
    }

    /// What could not be emitted so far, by this layer, its clones and all their services.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let LossCounters { starts, ends, traffic } = &*self.settings.losses;
        let [starts, ends, traffic] = [starts, ends, traffic].map(|n| n.load(Ordering::Relaxed));
        Losses { starts, ends, traffic }
    }

    /// The mark to set when a server that shuts down stops waiting for its requests and cuts them off.
    #[must_use]
    pub fn shutdown_mark(&self) -> ShutdownMark {
        ShutdownMark { mark: self.settings.shutting_down.clone() }
    }
}

impl<S> Layer<S> for EventLayer {
    type Service = EventService<S>;

    fn layer(&self, inner: S) -> EventService<S> {
        EventService { inner, shared: Arc::new(self.settings.clone()) }
    }
}

/// A service whose requests are events. Made by [`EventLayer`].
#[derive(Debug, Clone)]
pub struct EventService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for EventService<S>
where
    S: Service<Request<CountedBody<ReqBody>>, Response = Response<ResBody>>,
    S::Error: fmt::Display,
    ResBody: Body,
{
    type Response = Response<EventBody<ResBody>>;
    type Error = S::Error;
    type Future = EventFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let shared = &self.shared;
        let head = head_pool::place(|captured| shared.head_of(&request, captured));
        let started = Started { request: head.clone() };
        shared.emit_sparing(EventType::START_REQUEST, started, head.id);

        let tunnel = asks_for_upgrade(&request).then(|| Tunnel::new(shared.clone(), head.clone()));
        let extensions = request.extensions_mut();
        if let Some(tunnel) = &tunnel {
            extensions.insert(tunnel.clone());
        }
        let emitter = shared.emitter.clone();
        extensions.insert(CurrentRequest { head: head.clone(), emitter });

        let mut open = OpenRequest::new(shared.clone(), head.clone(), tunnel);
        let request = request.map(|body| CountedBody::new(body, head));
        let inner = &mut self.inner;
        let future = open.watch(|| inner.call(request));
        EventFuture::new(open, future)
    }
}
