//! Compressed responses.

use std::fmt;
use std::task::{Context, Poll};

use ::http::{Request, Response};
use http_body::Body;
use tower_http::compression::predicate::DefaultPredicate;
use tower_http::compression::{Compression, CompressionBody, CompressionLayer, ResponseFuture};
use tower_layer::Layer;
use tower_service::Service;

/// Compresses responses with gzip for clients that accept it. This is gohm's `WithGzip`.
///
/// It is `tower_http`'s compression with gzip alone: it reads q-values (`gzip;q=0` is a refusal), says `Vary`, removes the
/// length, and leaves alone what is encoded already, ranges, images, event streams and bodies of less than 32 bytes.
///
/// ```
/// use keylane::http::GzipLayer;
/// use tower::Layer;
///
/// let service = GzipLayer::new().layer(tower::service_fn(async |_: http::Request<()>| {
///     Ok::<_, std::convert::Infallible>(http::Response::new("long text ".repeat(100)))
/// }));
/// # let _ = service;
/// ```
#[derive(Clone)]
#[doc(alias = "WithGzip")]
pub struct GzipLayer {
    inner: CompressionLayer,
}

impl GzipLayer {
    /// The layer.
    #[must_use]
    pub fn new() -> Self {
        Self { inner: CompressionLayer::new().gzip(true) }
    }
}

impl fmt::Debug for GzipLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GzipLayer")
    }
}

impl<S: fmt::Debug> fmt::Debug for GzipService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GzipService").field("inner", self.inner.get_ref()).finish()
    }
}

impl Default for GzipLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for GzipLayer {
    type Service = GzipService<S>;

    fn layer(&self, inner: S) -> GzipService<S> {
        GzipService { inner: self.inner.layer(inner) }
    }
}

/// A service whose responses are compressed. Made by [`GzipLayer`].
#[derive(Clone)]
pub struct GzipService<S> {
    inner: Compression<S>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for GzipService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Response = Response<CompressionBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, DefaultPredicate>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        self.inner.call(request)
    }
}
