//! The body of a response, or the text that is sent in its place.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::http::Response;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::TextError;

pin_project! {
    /// The body of a response through a layer that may answer in place of the service.
    #[derive(Debug)]
    pub struct ReplacedBody<B> {
        #[pin]
        inner: Option<B>,
        // Sent when there is no inner body.
        text: Option<Bytes>,
    }
}

impl<B> ReplacedBody<B> {
    /// The body of the service.
    pub(crate) fn of(inner: B) -> Self {
        Self { inner: Some(inner), text: None }
    }
}

impl ReplacedBody<Infallible> {
    /// The same text as the replacement of another body.
    pub(crate) fn retyped<B>(self) -> ReplacedBody<B> {
        ReplacedBody { inner: None, text: self.text }
    }
}

impl<B> From<Bytes> for ReplacedBody<B> {
    fn from(text: Bytes) -> Self {
        Self { inner: None, text: Some(text) }
    }
}

/// An empty body.
impl<B> Default for ReplacedBody<B> {
    fn default() -> Self {
        Self { inner: None, text: None }
    }
}

/// A response that takes the place of another one.
pub(crate) fn replacement<B>(error: TextError) -> Response<ReplacedBody<B>> {
    error.into_response()
}

impl<B: Body<Data = Bytes>> Body for ReplacedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        match this.inner.as_pin_mut() {
            Some(inner) => inner.poll_frame(cx),
            None => Poll::Ready(this.text.take().map(|text| Ok(Frame::data(text)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Some(inner) => inner.is_end_stream(),
            None => self.text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(self.text.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}
