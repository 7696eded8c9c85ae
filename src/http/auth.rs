//! Who may ask: a wrapper for authenticators that reports refusals.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use ::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use ::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use bytes::Bytes;
use http_body::Body;
use pin_project_lite::pin_project;
use serde_core::ser::SerializeStruct;
use serde_core::{Serialize, Serializer};
use tower_layer::Layer;
use tower_service::Service;

use super::replacement::replacement;
use super::{ClientAddr, CurrentRequest, Peer, ReplacedBody, RequestId, TextError};
use crate::emit::Emitter;
use crate::event::EventType;
use crate::event::meta::render::{AsText, Field, OptionalField};
use crate::key::Key;

/// The user that an [`AuthLayer`] let in, in the extensions of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User(pub Arc<str>);

/// Checks the credentials of one authentication scheme. [`Basic`] and [`Bearer`] are two.
pub trait Authenticator: Send + Sync + 'static {
    /// The name of the scheme, as it stands before the credentials: `Basic`.
    fn scheme(&self) -> &'static str;

    /// The value of `www-authenticate` that a refused client is sent.
    fn challenge(&self) -> HeaderValue;

    /// Checks what stands behind the scheme, and names the user.
    ///
    /// # Errors
    /// Why the client is refused.
    fn check(&self, credentials: &str) -> Result<Arc<str>, AuthFailure>;
}

/// Why a client was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthFailure {
    /// There were no credentials.
    Missing,
    /// The credentials are of another scheme.
    OtherScheme,
    /// The credentials cannot be read, or there are several.
    Malformed,
    /// The credentials are wrong.
    Rejected {
        /// The user that the client claims to be, if the scheme has one in clear text. Chosen by the client.
        user: Option<String>,
    },
}

impl fmt::Display for AuthFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::OtherScheme => "other scheme",
            Self::Malformed => "malformed",
            Self::Rejected { .. } => "rejected",
        })
    }
}

/// The value of `FAILED_AUTH`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AuthFailed {
    /// The id of the request, when the [`AuthLayer`] is inside of an [`EventLayer`](crate::http::EventLayer).
    pub request_id: Option<RequestId>,
    /// The other end of the connection.
    pub peer: Option<SocketAddr>,
    /// The peer, or the client that trusted proxies name in its place.
    pub client: Option<ClientAddr>,
    /// The scheme that was asked for.
    pub scheme: &'static str,
    /// Why the client was refused.
    pub reason: AuthFailure,
}

impl AuthFailed {
    /// The user that the client claims to be.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match &self.reason {
            AuthFailure::Rejected { user } => user.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for AuthFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "request_id={} addr={} client={} scheme={} user={} reason={}",
            OptionalField(self.request_id),
            OptionalField(self.peer),
            OptionalField(self.client),
            self.scheme,
            OptionalField(self.user()),
            Field(&self.reason),
        )
    }
}

/// An object; what is missing is `null`.
impl Serialize for AuthFailed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("AuthFailed", 6)?;
        out.serialize_field("request_id", &self.request_id)?;
        out.serialize_field("addr", &self.peer.as_ref().map(AsText))?;
        out.serialize_field("client", &self.client)?;
        out.serialize_field("scheme", self.scheme)?;
        out.serialize_field("user", &self.user())?;
        out.serialize_field("reason", &format_args!("{}", self.reason))?;
        out.end()
    }
}

/// User and password in clear text, [RFC 7617](https://www.rfc-editor.org/rfc/rfc7617). For use over TLS only.
///
/// ```
/// use keylane::http::{AuthFailure, Authenticator, Basic};
///
/// let basic = Basic::new("orders", |user, password| user == "Aladdin" && password == "open sesame");
/// assert_eq!(basic.check("QWxhZGRpbjpvcGVuIHNlc2FtZQ==").as_deref(), Ok("Aladdin"));
/// assert_eq!(basic.check("Aladdin:open sesame"), Err(AuthFailure::Malformed));
/// ```
#[derive(Clone)]
pub struct Basic<F> {
    realm: String,
    check: F,
}

/// A token, [RFC 6750](https://www.rfc-editor.org/rfc/rfc6750).
///
/// ```
/// use keylane::http::{Authenticator, Bearer};
///
/// let bearer = Bearer::new("orders", |token| (token == "mF_9.B5f-4.1JqM").then(|| "ci".into()));
/// assert_eq!(bearer.check("mF_9.B5f-4.1JqM").as_deref(), Ok("ci"));
/// ```
#[derive(Clone)]
pub struct Bearer<F> {
    realm: String,
    check: F,
}

impl<F: Fn(&str, &str) -> bool> Basic<F> {
    /// An authenticator that asks `check` about each pair of user and password. Compare passwords in constant time.
    pub fn new(realm: impl Into<String>, check: F) -> Self {
        Self { realm: realm.into(), check }
    }
}

impl<F: Fn(&str) -> Option<Arc<str>>> Bearer<F> {
    /// An authenticator that asks `check` for the user of each token. Compare tokens in constant time.
    pub fn new(realm: impl Into<String>, check: F) -> Self {
        Self { realm: realm.into(), check }
    }
}

impl<F> fmt::Debug for Basic<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic").field("realm", &self.realm).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Bearer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").field("realm", &self.realm).finish_non_exhaustive()
    }
}

impl<F: Fn(&str, &str) -> bool + Send + Sync + 'static> Authenticator for Basic<F> {
    fn scheme(&self) -> &'static str {
        "Basic"
    }

    fn challenge(&self) -> HeaderValue {
        challenge("Basic", &self.realm, ", charset=\"UTF-8\"")
    }

    fn check(&self, credentials: &str) -> Result<Arc<str>, AuthFailure> {
        let decoded = decode_base64(credentials).and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.ok_or(AuthFailure::Malformed)?;
        let (user, password) = decoded.split_once(':').ok_or(AuthFailure::Malformed)?;
        if (self.check)(user, password) {
            Ok(user.into())
        } else {
            Err(AuthFailure::Rejected { user: Some(user.to_owned()) })
        }
    }
}

impl<F: Fn(&str) -> Option<Arc<str>> + Send + Sync + 'static> Authenticator for Bearer<F> {
    fn scheme(&self) -> &'static str {
        "Bearer"
    }

    fn challenge(&self) -> HeaderValue {
        challenge("Bearer", &self.realm, "")
    }

    fn check(&self, credentials: &str) -> Result<Arc<str>, AuthFailure> {
        (self.check)(credentials).ok_or(AuthFailure::Rejected { user: None })
    }
}

/// A challenge with a realm; what a header cannot hold is left out of it.
fn challenge(scheme: &str, realm: &str, more: &str) -> HeaderValue {
    let visible = |c: &char| (' '..='~').contains(c) && !"\"\\".contains(*c);
    let realm: String = realm.chars().filter(visible).collect();
    HeaderValue::try_from(format!("{scheme} realm=\"{realm}\"{more}"))
        .expect("only visible characters are left")
}

/// Decodes standard base64 with padding; `None` when it is not canonical.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digit = |byte| {
        Some(match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        })
    };
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0);
    for byte in digits.bytes() {
        bits = bits << 6 | u32::from(digit(byte)?);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    // Bits that are left over must be zero, and fewer than a digit.
    (held < 6 && bits == 0).then_some(out)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_it_is_written() {
        for (text, expected) in [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zm8=", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9vYg==", Some("foob")),
            ("Zm9vYmE=", Some("fooba")),
            ("Zm9vYmFy", Some("foobar")),
            ("Zh==", None),
            ("Zg=", None),
            ("Zg", None),
            ("=", None),
            ("====", None),
            ("Z===", None),
            ("Zm9v\n", None),
            ("Zm-v", None),
            ("Zm9=Zm9v", None),
        ] {
            let decoded = decode_base64(text);
            assert_eq!(decoded.as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn a_realm_cannot_end_its_quotes() {
        let value = challenge("Basic", "a\"b\\c\r\nd é", "");
        assert_eq!(value, "Basic realm=\"abcd \"");
    }
}
