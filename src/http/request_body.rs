//! The request body, counted.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::RequestHead;

pin_project! {
    /// The body of a request that has gone through an [`EventLayer`](crate::http::EventLayer): counts what the service reads.
    #[derive(Debug)]
    pub struct CountedBody<B> {
        #[pin]
        inner: B,
        head: Option<Arc<RequestHead>>,
    }
}

impl<B> CountedBody<B> {
    pub(crate) fn new(inner: B, head: Arc<RequestHead>) -> Self {
        Self { inner, head: Some(head) }
    }

    /// The body as it was, which is not counted any more.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

/// A body that belongs to no request.
impl<B: Default> Default for CountedBody<B> {
    fn default() -> Self {
        Self { inner: B::default(), head: None }
    }
}

impl<B: Body> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = this.inner.poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(head)) = (&polled, this.head) {
            let bytes = frame.data_ref().map_or(0, Buf::remaining);
            head.read.fetch_add(bytes as u64, Ordering::Relaxed);
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
