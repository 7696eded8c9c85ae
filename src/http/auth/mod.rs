//! Who may ask: a wrapper for authenticators that reports refusals.

mod refusal;
mod scheme;
mod secrets;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use ::http::header::{
    AUTHORIZATION, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, WWW_AUTHENTICATE,
};
use ::http::{HeaderMap, Request, Response, StatusCode};
use bytes::Bytes;
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::replacement::replacement;
use super::{ClientAddr, CurrentRequest, Peer, ReplacedBody, RequestId, TextError};
use crate::emit::Emitter;
use crate::event::EventType;
use crate::key::Key;

pub use refusal::{AuthFailed, AuthFailure};
pub use scheme::{Authenticator, Basic, Bearer};
pub use secrets::Secrets;

/// The user that an [`AuthLayer`] let in, in the extensions of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User(pub Arc<str>);

/// Lets only those through whom an [`Authenticator`] knows. The others get status 401, or 407 from a [proxy](Self::proxy), and
/// `FAILED_AUTH` is emitted.
///
/// Inside of an [`EventLayer`](crate::http::EventLayer) a refused request has a start and an end as well, and its events share
/// their key. Outside of it, `FAILED_AUTH` is all, its key is that of the peer's IP address, and the [`Peer`] must be among the
/// extensions.
///
/// ```
/// use keylane::http::{AuthLayer, Basic};
/// # use keylane::{Bus, NoopProcessorFactory};
/// # let bus = Bus::builder().shards(1).processor("noop", NoopProcessorFactory).build()?;
///
/// let layer = AuthLayer::new(bus.emitter(), Basic::new("orders", |user, _password| user == "a"));
/// # let _ = layer;
/// # Ok::<(), keylane::BuildError>(())
/// ```
#[derive(Debug)]
pub struct AuthLayer<A> {
    gate: Arc<Gate<A>>,
}

#[derive(Debug)]
struct Gate<A> {
    authenticator: A,
    side: Side,
    emitter: Emitter,
    lost: AtomicU64,
}

/// On whose behalf credentials are asked for.
#[derive(Debug)]
struct Side {
    credentials: HeaderName,
    challenge: HeaderName,
    status: StatusCode,
}

const SERVER: Side = Side {
    credentials: AUTHORIZATION,
    challenge: WWW_AUTHENTICATE,
    status: StatusCode::UNAUTHORIZED,
};

const PROXY: Side = Side {
    credentials: PROXY_AUTHORIZATION,
    challenge: PROXY_AUTHENTICATE,
    status: StatusCode::PROXY_AUTHENTICATION_REQUIRED,
};

impl<A> Clone for AuthLayer<A> {
    fn clone(&self) -> Self {
        Self { gate: self.gate.clone() }
    }
}

impl<A: Authenticator> AuthLayer<A> {
    /// A layer that asks `authenticator`.
    pub fn new(emitter: Emitter, authenticator: A) -> Self {
        Self::of(SERVER, emitter, authenticator)
    }

    /// The same for a proxy: the credentials stand in `proxy-authorization`, which the service inside does not get to see, so that it
    /// cannot pass them on.
    pub fn proxy(emitter: Emitter, authenticator: A) -> Self {
        Self::of(PROXY, emitter, authenticator)
    }

    fn of(side: Side, emitter: Emitter, authenticator: A) -> Self {
        Self { gate: Arc::new(Gate { authenticator, side, emitter, lost: AtomicU64::new(0) }) }
    }

    /// How many `FAILED_AUTH`s found no room so far.
    #[must_use]
    pub fn losses(&self) -> u64 {
        self.gate.lost.load(Ordering::Relaxed)
    }
}

impl<A: Authenticator> Gate<A> {
    fn user(&self, headers: &HeaderMap) -> Result<Arc<str>, AuthFailure> {
        let mut values = headers.get_all(&self.side.credentials).iter();
        let value = values.next().ok_or(AuthFailure::Missing)?;
        if values.next().is_some() {
            return Err(AuthFailure::Malformed);
        }
        let text = value.to_str().map_err(|_| AuthFailure::Malformed)?;
        let (scheme, credentials) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case(self.authenticator.scheme()) {
            return Err(AuthFailure::OtherScheme);
        }
        self.authenticator.check(credentials.trim_matches(' '))
    }

    /// What a refused client is told.
    fn refusal<B>(&self, reason: &AuthFailure) -> Response<ReplacedBody<B>> {
        let Side { credentials, challenge, status } = &self.side;
        let scheme = self.authenticator.scheme();
        let text = match reason {
            AuthFailure::Missing => {
                format!("send credentials of the scheme {scheme} in {credentials}")
            }
            AuthFailure::OtherScheme => format!("only the scheme {scheme} is known here"),
            AuthFailure::Malformed => {
                format!("send {credentials} once, as the scheme {scheme} has it")
            }
            AuthFailure::Rejected { .. } => "the credentials are wrong".to_owned(),
        };
        let mut response = replacement(TextError::new(*status, text));
        response.headers_mut().insert(challenge, self.authenticator.challenge());
        response
    }

    fn report<B>(&self, request: &Request<B>, reason: AuthFailure) {
        let current = request.extensions().get::<CurrentRequest>().map(|current| &current.head);
        let peer = match current {
            Some(head) => head.peer,
            None => request.extensions().get().map(|&Peer(addr)| addr),
        };
        let failed = AuthFailed {
            request_id: current.map(|head| head.id),
            peer,
            client: current.map_or(peer.map(ClientAddr::from), |head| head.client),
            scheme: self.authenticator.scheme(),
            reason,
        };
        let by_peer = || peer.map_or(Key::NONE, |peer| Key::from(peer.ip().to_string()));
        let key = failed.request_id.map_or_else(by_peer, RequestId::key);
        // NB: whoever guesses passwords must not crowd out the ends of requests.
        if self.emitter.try_emit_sparing(EventType::FAILED_AUTH, failed, key).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<S, A> Layer<S> for AuthLayer<A> {
    type Service = AuthService<S, A>;

    fn layer(&self, inner: S) -> AuthService<S, A> {
        AuthService { inner, gate: self.gate.clone() }
    }
}

/// A service for those who are known. Made by [`AuthLayer`].
#[derive(Debug)]
pub struct AuthService<S, A> {
    inner: S,
    gate: Arc<Gate<A>>,
}

impl<S: Clone, A> Clone for AuthService<S, A> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), gate: self.gate.clone() }
    }
}

impl<S, A, ReqBody, ResBody> Service<Request<ReqBody>> for AuthService<S, A>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    A: Authenticator,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<ReplacedBody<ResBody>>;
    type Error = S::Error;
    type Future = AuthFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match self.gate.user(request.headers()) {
            Ok(user) => {
                if let Some(current) = request.extensions().get::<CurrentRequest>() {
                    current.set_user(user.clone());
                }
                request.extensions_mut().insert(User(user));
                if self.gate.side.credentials == PROXY_AUTHORIZATION {
                    request.headers_mut().remove(PROXY_AUTHORIZATION);
                }
                AuthFuture { inner: Some(self.inner.call(request)), refusal: None }
            }
            Err(reason) => {
                let refusal = Some(self.gate.refusal(&reason));
                self.gate.report(&request, reason);
                AuthFuture { inner: None, refusal }
            }
        }
    }
}

pin_project! {
    /// The future of an [`AuthService`].
    #[derive(Debug)]
    pub struct AuthFuture<F> {
        #[pin]
        inner: Option<F>,
        // For a client that is refused.
        refusal: Option<Response<ReplacedBody<Infallible>>>,
    }
}

impl<F, B, E> Future for AuthFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ReplacedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.inner.as_pin_mut() {
            Some(inner) => inner.poll(cx).map_ok(|response| response.map(ReplacedBody::of)),
            None => {
                let refusal = this.refusal.take().expect("a future is not polled after its end");
                Poll::Ready(Ok(refusal.map(ReplacedBody::retyped)))
            }
        }
    }
}
