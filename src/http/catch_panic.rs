//! Panics become responses.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::replacement::replacement;
use super::{BoxError, CurrentRequest, FailReason, ReplacedBody, TextError};
use crate::processor::panic_text;

/// Turns a panic in the service into a response with status 500, and one in the response body into an error of that body,
/// which makes the server break the connection off. This is gohm's `ConvertPanicsToErrors`.
///
/// The client is told `500 Internal Server Error` and no more, unless [`expose_panic_text`](Self::expose_panic_text) says
/// otherwise: the text of a panic is for those who can mend it. Inside of an [`EventLayer`](crate::http::EventLayer), which is where it
/// belongs, the request ends with `FAILED_REQUEST`, the reason [`Panic`](FailReason::Panic) and the text.
///
/// A panic in `poll_ready` belongs to no request and is not caught.
#[derive(Debug, Clone, Copy, Default)]
#[doc(alias = "ConvertPanicsToErrors")]
pub struct CatchPanicLayer {
    expose: bool,
}

impl CatchPanicLayer {
    /// A layer that keeps the text of panics to itself.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the client is sent the text of the panic, as gohm does. Default: no.
    #[must_use]
    pub fn expose_panic_text(mut self, expose: bool) -> Self {
        self.expose = expose;
        self
    }
}

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanicService<S>;

    fn layer(&self, inner: S) -> CatchPanicService<S> {
        CatchPanicService { inner, expose: self.expose }
    }
}

/// A service whose panics are responses. Made by [`CatchPanicLayer`].
#[derive(Debug, Clone)]
pub struct CatchPanicService<S> {
    inner: S,
    expose: bool,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for CatchPanicService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<CatchPanicBody<ResBody>>;
    type Error = S::Error;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let mut scope = Scope { current: request.extensions().get().cloned(), expose: self.expose };
        let called = scope.run(|| self.inner.call(request));
        let (inner, panic) = match called {
            Ok(future) => (Some(future), None),
            Err(error) => (None, Some(error)),
        };
        CatchPanicFuture { inner, panic, scope }
    }
}

/// What catches the panics of one request.
#[derive(Debug)]
struct Scope {
    current: Option<CurrentRequest>,
    expose: bool,
}

impl Scope {
    /// Runs a piece of the service. A panic is reported, and becomes what the client is told.
    fn run<R>(&mut self, f: impl FnOnce() -> R) -> Result<R, TextError> {
        catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
            let text = panic_text(payload);
            let shown = if self.expose { text.clone() } else { String::new() };
            if let Some(current) = &self.current {
                current.fail(FailReason::Panic, text);
            }
            TextError::new(StatusCode::INTERNAL_SERVER_ERROR, shown)
        })
    }
}

pin_project! {
    /// The future of a [`CatchPanicService`].
    #[derive(Debug)]
    pub struct CatchPanicFuture<F> {
        #[pin]
        inner: Option<F>,
        // The call itself has panicked.
        panic: Option<TextError>,
        scope: Scope,
    }
}

impl<F, B, E> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<CatchPanicBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let scope = this.scope;
        let polled = match (this.panic.take(), this.inner.as_mut().as_pin_mut()) {
            (Some(error), _) => Err(error),
            (None, Some(inner)) => scope.run(|| inner.poll(cx)),
            (None, None) => panic!("a future was polled after it had returned ready"),
        };
        let response = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Err(error))) => return Poll::Ready(Err(error)),
            Ok(Poll::Ready(Ok(response))) => response.map(ReplacedBody::of),
            Err(error) => replacement(error),
        };
        let scope = Scope { current: scope.current.take(), expose: scope.expose };
        Poll::Ready(Ok(response.map(|inner| CatchPanicBody { inner, scope, broken: false })))
    }
}

pin_project! {
    /// The response body of a [`CatchPanicService`].
    #[derive(Debug)]
    pub struct CatchPanicBody<B> {
        #[pin]
        inner: ReplacedBody<B>,
        scope: Scope,
        // It has panicked, and is not touched any more.
        broken: bool,
    }
}

/// An empty body.
impl<B> Default for CatchPanicBody<B> {
    fn default() -> Self {
        let scope = Scope { current: None, expose: false };
        Self { inner: ReplacedBody::default(), scope, broken: false }
    }
}

impl<B> Body for CatchPanicBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if *this.broken {
            return Poll::Ready(None);
        }
        match this.scope.run(|| this.inner.poll_frame(cx)) {
            Ok(polled) => polled.map(|frame| frame.map(|result| result.map_err(Into::into))),
            Err(error) => {
                *this.broken = true;
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.broken && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.broken { SizeHint::default() } else { self.inner.size_hint() }
    }
}
