//! Who may ask: a wrapper for authenticators that reports refusals.

mod refusal;
mod scheme;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use ::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use ::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
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

/// The user that an [`AuthLayer`] let in, in the extensions of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User(pub Arc<str>);

/// Lets only those through whom an [`Authenticator`] knows. The others get status 401, and `FAILED_AUTH` is emitted.
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
    emitter: Emitter,
    lost: AtomicU64,
}

impl<A> Clone for AuthLayer<A> {
    fn clone(&self) -> Self {
        Self { gate: self.gate.clone() }
    }
}

impl<A: Authenticator> AuthLayer<A> {
    /// A layer that asks `authenticator`.
    pub fn new(emitter: Emitter, authenticator: A) -> Self {
        Self { gate: Arc::new(Gate { authenticator, emitter, lost: AtomicU64::new(0) }) }
    }

    /// How many `FAILED_AUTH`s found no room so far.
    #[must_use]
    pub fn losses(&self) -> u64 {
        self.gate.lost.load(Ordering::Relaxed)
    }
}

impl<A: Authenticator> Gate<A> {
    fn user(&self, headers: &HeaderMap) -> Result<Arc<str>, AuthFailure> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
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
        if self.emitter.try_emit(EventType::FAILED_AUTH, failed, key).is_err() {
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
                AuthFuture { inner: Some(self.inner.call(request)), challenge: None }
            }
            Err(reason) => {
                self.gate.report(&request, reason);
                let challenge = Some(self.gate.authenticator.challenge());
                AuthFuture { inner: None, challenge }
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
        challenge: Option<HeaderValue>,
    }
}

impl<F, B, E> Future for AuthFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ReplacedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(inner) = this.inner.as_pin_mut() {
            return inner.poll(cx).map_ok(|response| response.map(ReplacedBody::of));
        }
        let mut response = replacement(TextError::new(StatusCode::UNAUTHORIZED, ""));
        if let Some(challenge) = this.challenge.take() {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        Poll::Ready(Ok(response))
    }
}
