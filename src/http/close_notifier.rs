//! Telling detached work that the client has gone.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use ::http::{Method, Request, Response, Version};
use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::delivery::Delivery;

/// Puts a [`CloseNotifier`] into the extensions of every request. This is gohm's `WithCloseNotifier`.
///
/// A server drops the future of a response when the client has gone, and everything in it stops by itself. The notifier is for what
/// the handler has detached: spawned tasks, threads, queries on a server elsewhere.
#[derive(Debug, Clone, Copy, Default)]
#[doc(alias = "WithCloseNotifier")]
pub struct CloseNotifierLayer;

impl CloseNotifierLayer {
    /// The layer.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

/// Tells how the request ended that it was found with.
///
/// ```
/// use keylane::http::{CloseNotifier, RequestEnd};
///
/// async fn handler(request: http::Request<()>) {
///     let notifier = request.extensions().get::<CloseNotifier>().cloned();
///     tokio::spawn(async move {
///         if let Some(notifier) = notifier
///             && notifier.ended().await == RequestEnd::ClientGone
///         {
///             println!("nobody waits for this any more");
///         }
///     });
/// }
/// # let _ = handler(http::Request::new(()));
/// ```
#[derive(Debug, Clone)]
pub struct CloseNotifier {
    notice: Arc<Notice>,
}

/// How a request ended, as a [`CloseNotifier`] tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestEnd {
    /// By itself: with a complete response, an error or a panic.
    Over,
    /// The server gave it up before that, which it does when the client has gone.
    ClientGone,
}

/// What the notifier and the request share.
#[derive(Debug, Default)]
struct Notice {
    /// [`OPEN`], and then once [`OVER`] or [`GONE`].
    state: AtomicU8,
    /// Those that wait, each with its number.
    waiting: Mutex<(u64, Vec<(u64, Waker)>)>,
}

const OPEN: u8 = 0;
const OVER: u8 = 1;
const GONE: u8 = 2;

impl Notice {
    fn end(&self) -> Option<RequestEnd> {
        match self.state.load(Ordering::Acquire) {
            OPEN => None,
            GONE => Some(RequestEnd::ClientGone),
            _ => Some(RequestEnd::Over),
        }
    }

    fn settle(&self, state: u8) {
        let settled = self.state.compare_exchange(OPEN, state, Ordering::AcqRel, Ordering::Acquire);
        if settled.is_ok() {
            let waiting =
                std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner).1);
            waiting.into_iter().for_each(|(_, waker)| waker.wake());
        }
    }
}

impl CloseNotifier {
    /// Whether the server has given the request up.
    #[must_use]
    pub fn is_client_gone(&self) -> bool {
        self.notice.end() == Some(RequestEnd::ClientGone)
    }

    /// Waits for the end of the request. It may be dropped at any time.
    pub fn ended(&self) -> Ended {
        Ended { notice: self.notice.clone(), place: None }
    }
}

/// The future of [`CloseNotifier::ended`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Ended {
    notice: Arc<Notice>,
    place: Option<u64>,
}

impl Future for Ended {
    type Output = RequestEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<RequestEnd> {
        let notice = self.notice.clone();
        let mut waiting = notice.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: an end after this finds the waker.
        if let Some(end) = notice.end() {
            return Poll::Ready(end);
        }
        let (next, wakers) = &mut *waiting;
        let place = *self.place.get_or_insert_with(|| {
            *next += 1;
            *next
        });
        match wakers.iter_mut().find(|(other, _)| *other == place) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => wakers.push((place, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let mut waiting = self.notice.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.1.retain(|(other, _)| *other != place);
        }
    }
}

/// The request's end of a notice. Dropping it settles how the request ended.
#[derive(Debug)]
struct Watch {
    notice: Arc<Notice>,
    method: Method,
    version: Version,
    delivery: Option<Delivery>,
    /// The service or its body is being polled. A drop in that state is that of a panic.
    polling: bool,
}

impl Watch {
    fn run<R>(&mut self, f: impl FnOnce() -> R) -> R {
        self.polling = true;
        let result = f();
        self.polling = false;
        result
    }

    fn over(&self) {
        self.notice.settle(OVER);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let complete = self.delivery.is_some_and(|delivery| delivery.is_complete_when_dropped());
        self.notice.settle(if complete || self.polling { OVER } else { GONE });
    }
}

impl<S> Layer<S> for CloseNotifierLayer {
    type Service = CloseNotifierService<S>;

    fn layer(&self, inner: S) -> CloseNotifierService<S> {
        CloseNotifierService { inner }
    }
}

/// A service whose requests have a [`CloseNotifier`]. Made by [`CloseNotifierLayer`].
#[derive(Debug, Clone)]
pub struct CloseNotifierService<S> {
    inner: S,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for CloseNotifierService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Response = Response<CloseNotifierBody<ResBody>>;
    type Error = S::Error;
    type Future = CloseNotifierFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let notice = Arc::<Notice>::default();
        let mut watch = Watch {
            notice: notice.clone(),
            method: request.method().clone(),
            version: request.version(),
            delivery: None,
            polling: false,
        };
        request.extensions_mut().insert(CloseNotifier { notice });
        let inner = watch.run(|| self.inner.call(request));
        CloseNotifierFuture { watch: Some(watch), inner }
    }
}

pin_project! {
    /// The future of a [`CloseNotifierService`].
    #[derive(Debug)]
    pub struct CloseNotifierFuture<F> {
        watch: Option<Watch>,
        #[pin]
        inner: F,
    }
}

impl<F, B, E> Future for CloseNotifierFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<CloseNotifierBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let watch = this.watch.as_mut().expect("a future is not polled after it was ready");
        let result = ready!(watch.run(|| this.inner.poll(cx)));
        let mut watch = this.watch.take().expect("it was there before");
        Poll::Ready(match result {
            Ok(response) => {
                let (head, inner) = response.into_parts();
                let (method, version) = (&watch.method, watch.version);
                let delivery = Delivery::new(method, version, head.status, &head.headers, &inner);
                watch.delivery = Some(delivery);
                if delivery.is_empty() || inner.is_end_stream() {
                    watch.over();
                }
                Ok(Response::from_parts(head, CloseNotifierBody { watch: Some(watch), inner }))
            }
            Err(error) => {
                watch.over();
                Err(error)
            }
        })
    }
}

pin_project! {
    /// The response body of a [`CloseNotifierService`].
    #[derive(Debug)]
    pub struct CloseNotifierBody<B> {
        watch: Option<Watch>,
        #[pin]
        inner: B,
    }
}

/// A body that belongs to no request.
impl<B: Default> Default for CloseNotifierBody<B> {
    fn default() -> Self {
        Self { watch: None, inner: B::default() }
    }
}

impl<B: Body> Body for CloseNotifierBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(watch) = this.watch else { return this.inner.poll_frame(cx) };
        let (polled, ended) = watch.run(|| {
            let polled = this.inner.as_mut().poll_frame(cx);
            (polled, this.inner.is_end_stream())
        });
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(delivery) = &mut watch.delivery {
                    delivery.add(frame.data_ref().map_or(0, Buf::remaining));
                }
                if ended || frame.is_trailers() {
                    watch.over();
                }
            }
            Poll::Ready(None | Some(Err(_))) => watch.over(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
