//! Deadlines.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::replacement::replacement;
use super::{BoxError, CurrentRequest, FailReason, ReplacedBody, TextError};

/// Answers with status 503 when the service takes too long, and can break off a response that does. This is gohm's `WithTimeout`.
///
/// There are two deadlines, and both run from the beginning of the request:
///
/// * **for the head**: when the service has no response by then, its future is dropped, and the client gets
///   `503 Service Unavailable: took too long to process request`;
/// * **for the whole response**: when the body has not ended by then, it ends with the error [`TimedOut`], and the server breaks
///   the connection off. Streams that may last have none. A server asks a body for nothing while its client does not read, and then
///   nobody sees that the deadline has passed: that is for the server's own time limits.
///
/// What is ready at the same time as the deadline wins, be it the head of a response or the end of its body. No timer outlives its request, nothing is buffered, and a panic
/// passes through. Inside of an [`EventLayer`](crate::http::EventLayer) the request ends with `FAILED_REQUEST` and the reason
/// [`Timeout`](FailReason::Timeout).
///
/// The layer belongs to no runtime. It is given the function that makes a timer:
///
/// ```
/// use keylane::http::TimeoutLayer;
/// use std::time::Duration;
///
/// let layer = TimeoutLayer::head(Duration::from_secs(5), tokio::time::sleep)
///     .whole_response(Duration::from_secs(60));
/// # let _ = layer;
/// ```
#[derive(Debug, Clone, Copy)]
#[doc(alias = "WithTimeout")]
pub struct TimeoutLayer<T> {
    head: Duration,
    whole: Option<Duration>,
    sleep: T,
}

impl<T> TimeoutLayer<T> {
    /// A deadline for the head of the response. `sleep` makes a future that is ready after that time.
    #[must_use]
    pub fn head(deadline: Duration, sleep: T) -> Self {
        Self { head: deadline, whole: None, sleep }
    }

    /// A deadline for the whole response as well.
    #[must_use]
    pub fn whole_response(mut self, deadline: Duration) -> Self {
        self.whole = Some(deadline);
        self
    }
}

impl<S, T: Clone> Layer<S> for TimeoutLayer<T> {
    type Service = TimeoutService<S, T>;

    fn layer(&self, inner: S) -> TimeoutService<S, T> {
        TimeoutService { inner, layer: self.clone() }
    }
}

/// A service with deadlines. Made by [`TimeoutLayer`].
#[derive(Debug, Clone)]
pub struct TimeoutService<S, T> {
    inner: S,
    layer: TimeoutLayer<T>,
}

impl<S, T, Sleep, ReqBody, ResBody> Service<Request<ReqBody>> for TimeoutService<S, T>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    T: Fn(Duration) -> Sleep,
    Sleep: Future<Output = ()>,
    ResBody: Body<Data = Bytes>,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<TimeoutBody<ResBody, Sleep>>;
    type Error = S::Error;
    type Future = TimeoutFuture<S::Future, Sleep>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let TimeoutLayer { head, whole, sleep } = &self.layer;
        TimeoutFuture {
            current: request.extensions().get().cloned(),
            head: sleep(whole.map_or(*head, |whole| whole.min(*head))),
            // Boxed, because it moves from the future into the body when it has been polled.
            whole: whole.map(|whole| Box::pin(sleep(whole))),
            inner: self.inner.call(request),
        }
    }
}

pin_project! {
    /// The future of a [`TimeoutService`].
    #[derive(Debug)]
    pub struct TimeoutFuture<F, Sleep> {
        #[pin]
        inner: F,
        #[pin]
        head: Sleep,
        whole: Option<Pin<Box<Sleep>>>,
        current: Option<CurrentRequest>,
    }
}

impl<F, Sleep, B, E> Future for TimeoutFuture<F, Sleep>
where
    F: Future<Output = Result<Response<B>, E>>,
    Sleep: Future<Output = ()>,
{
    type Output = Result<Response<TimeoutBody<B, Sleep>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // The service first: when both are ready, the response counts.
        if let Poll::Ready(result) = this.inner.poll(cx) {
            let (deadline, current) = (this.whole.take(), this.current.take());
            return Poll::Ready(result.map(|response| {
                response.map(|body| TimeoutBody {
                    inner: ReplacedBody::of(body),
                    deadline,
                    overdue: false,
                    current,
                })
            }));
        }
        if this.head.poll(cx).is_pending() {
            return Poll::Pending;
        }
        if let Some(current) = this.current.take() {
            current.fail(FailReason::Timeout, None);
        }
        let error =
            TextError::new(StatusCode::SERVICE_UNAVAILABLE, "took too long to process request");
        let response = replacement(error);
        Poll::Ready(Ok(response.map(|inner| TimeoutBody {
            inner,
            deadline: None,
            overdue: false,
            current: None,
        })))
    }
}

/// The error of a response body whose deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response took too long")
    }
}

impl std::error::Error for TimedOut {}

pin_project! {
    /// The response body of a [`TimeoutService`].
    #[derive(Debug)]
    pub struct TimeoutBody<B, Sleep> {
        #[pin]
        inner: ReplacedBody<B>,
        deadline: Option<Pin<Box<Sleep>>>,
        // The deadline has passed; only the end of the body is still let through.
        overdue: bool,
        current: Option<CurrentRequest>,
    }
}

/// An empty body.
impl<B, Sleep> Default for TimeoutBody<B, Sleep> {
    fn default() -> Self {
        Self { inner: ReplacedBody::default(), deadline: None, overdue: false, current: None }
    }
}

impl<B, Sleep> Body for TimeoutBody<B, Sleep>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    Sleep: Future<Output = ()>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let polled = this.inner.poll_frame(cx);
        if let Poll::Ready(None | Some(Err(_))) = polled {
            return polled.map(|frame| frame.map(|result| result.map_err(Into::into)));
        }
        let was_overdue = *this.overdue;
        if let Some(deadline) = this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            *this.deadline = None;
            *this.overdue = true;
        }
        // A frame that comes with the deadline may be the last one; what comes behind it is too late.
        if was_overdue || *this.overdue && polled.is_pending() {
            if let Some(current) = this.current.take() {
                current.fail(FailReason::Timeout, None);
            }
            return Poll::Ready(Some(Err(TimedOut.into())));
        }
        polled.map(|frame| frame.map(|result| result.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
