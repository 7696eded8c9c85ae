//! What is known of a request, shared by all of its events.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use ::http::{HeaderValue, Method, Uri, Version};
use serde_core::ser::SerializeStruct;
use serde_core::{Serialize, Serializer};

use super::outcome::{Completion, FailReason};
use super::{Captured, ClientAddr, RequestId, TraceParent};
use crate::clock;
use crate::emit::{EmitError, Emitter};
use crate::event::meta::render::AsText;
use crate::event::timestamp::Rfc3339;
use crate::event::{EventType, RequestMeta, RequestType, Value};

/// What the head of a request says, and what was learnt about it on its way.
///
/// All events of a request share one. User, route and the bytes read become known while the request runs, so a processor that
/// looks at [`Started`](crate::http::Started) may or may not see them; at the end they are there.
pub struct RequestHead {
    pub(crate) id: RequestId,
    pub(crate) inbound_id: Option<HeaderValue>,
    pub(crate) trace: Option<TraceParent>,
    /// In ticks of the bus's clock, which costs a third of the system's; turned into a time by whoever asks for it.
    pub(crate) begin: u64,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) client: Option<ClientAddr>,
    pub(crate) captured: Captured,
    pub(crate) request_type: RequestType,
    pub(crate) user: OnceLock<Arc<str>>,
    pub(crate) route: OnceLock<Arc<str>>,
    /// Set by whoever answers in place of the service.
    pub(crate) failure: OnceLock<(FailReason, Option<String>)>,
    /// Bytes of the request body that the service has read.
    pub(crate) read: AtomicU64,
    /// Set when the request finishes.
    pub(crate) completion: OnceLock<Completion>,
}

impl RequestHead {
    /// The id of the request.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// The id that the client sent, if such ids are [trusted](crate::http::EventLayer::trust_inbound_id): at most 128 visible ASCII
    /// characters.
    pub fn inbound_id(&self) -> Option<&str> {
        self.inbound_id.as_ref().and_then(|id| id.to_str().ok())
    }

    /// Where the request stands in a distributed trace.
    pub fn trace(&self) -> Option<TraceParent> {
        self.trace
    }

    /// When the head had been read.
    pub fn begin(&self) -> SystemTime {
        clock::wall_time(self.begin)
    }

    /// How long ago that was.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_nanos(clock::ticks_to_nanos(clock::now().saturating_sub(self.begin)))
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// What was asked for, as it was received.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The version of HTTP.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The other end of the connection; `None` for a Unix socket, and when nobody has told the layer.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The peer, or the client that trusted proxies name in its place.
    pub fn client(&self) -> Option<ClientAddr> {
        self.client
    }

    /// The headers that the layer was asked to [capture](crate::http::EventLayer::capture).
    pub fn captured(&self) -> &Captured {
        &self.captured
    }

    /// How the request travels. `UPGRADED` is known at the end only: see [`Finished`](crate::http::Finished).
    pub fn request_type(&self) -> RequestType {
        self.request_type
    }

    /// Who asked, as far as somebody has [said so](CurrentRequest::set_user).
    pub fn user(&self) -> Option<&str> {
        self.user.get().map(|user| &**user)
    }

    /// The pattern of the route that matched, as far as somebody has [said so](CurrentRequest::set_route).
    pub fn route(&self) -> Option<&str> {
        self.route.get().map(|route| &**route)
    }

    /// Bytes of the request body that the service has read so far.
    pub fn bytes_in(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// The meta that says the same in fewer words.
    pub fn meta(&self) -> RequestMeta {
        RequestMeta {
            request_id: self.id.to_string(),
            method: self.method.clone(),
            uri: self.uri.clone(),
            user: self.user().map(str::to_owned),
            addr: self.peer,
            request_type: self.request_type,
        }
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("id", &self.id)
            .field("method", &self.method)
            .field("uri", &self.uri)
            .field("version", &self.version)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// An object with everything that is known; what is missing is `null`.
impl Serialize for RequestHead {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("RequestHead", 14)?;
        out.serialize_field("request_id", &self.id)?;
        out.serialize_field("inbound_id", &self.inbound_id())?;
        out.serialize_field("trace", &self.trace)?;
        out.serialize_field("begin", &AsText(Rfc3339(self.begin())))?;
        out.serialize_field("method", self.method.as_str())?;
        out.serialize_field("uri", &AsText(&self.uri))?;
        out.serialize_field("version", &AsText(format_args!("{:?}", self.version)))?;
        out.serialize_field("addr", &self.peer.as_ref().map(AsText))?;
        out.serialize_field("client", &self.client)?;
        out.serialize_field("user", &self.user())?;
        out.serialize_field("route", &self.route())?;
        out.serialize_field("request_type", &self.request_type)?;
        out.serialize_field("headers", &self.captured)?;
        out.serialize_field("bytes_in", &self.bytes_in())?;
        out.end()
    }
}

/// The request that is being served, in the extensions of every request that an [`EventLayer`](crate::http::EventLayer) has seen.
///
/// Handlers and layers further inside tell it what they learn, and emit events of their own that belong to the request.
///
/// ```
/// use keylane::http::CurrentRequest;
///
/// fn handler(request: &http::Request<()>) {
///     if let Some(current) = request.extensions().get::<CurrentRequest>() {
///         current.set_user("alice");
///         let refused = current.emit(keylane::EventType::user(1), "cache miss");
///         println!("{}: {refused:?}", current.head().id());
///     }
/// }
/// # handler(&http::Request::new(()));
/// ```
#[derive(Debug, Clone)]
pub struct CurrentRequest {
    pub(crate) head: Arc<RequestHead>,
    pub(crate) emitter: Emitter,
}

impl CurrentRequest {
    /// What is known of the request.
    pub fn head(&self) -> &Arc<RequestHead> {
        &self.head
    }

    /// Names the user. Only the first call counts.
    pub fn set_user(&self, user: impl Into<Arc<str>>) {
        let _ = self.head.user.set(user.into());
    }

    /// Names the pattern of the route, not the path: `/orders/{id}`. Only the first call counts.
    pub fn set_route(&self, route: impl Into<Arc<str>>) {
        let _ = self.head.route.set(route.into());
    }

    /// Declares the request failed although it may get a response: it will end with `FAILED_REQUEST` and the status that was sent.
    /// Only the first call counts, and only before the end.
    ///
    /// For layers that answer in place of the service; [`CatchPanicLayer`](crate::http::CatchPanicLayer) and
    /// [`TimeoutLayer`](crate::http::TimeoutLayer) use it.
    pub fn fail(&self, reason: FailReason, error: impl Into<Option<String>>) {
        let _ = self.head.failure.set((reason, error.into()));
    }

    /// Emits an event that has the request's key, if there is room. Never waits.
    ///
    /// # Errors
    /// As [`Emitter::try_emit`].
    pub fn emit(&self, kind: EventType, value: impl Into<Value>) -> Result<(), EmitError> {
        self.emitter.try_emit(kind, value, self.head.id.key())
    }

    /// The emitter of the layer.
    pub fn emitter(&self) -> &Emitter {
        &self.emitter
    }
}
