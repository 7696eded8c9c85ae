//! The response body, watched.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::FailReason;
use super::open_request::OpenRequest;

pin_project! {
    /// The body of a response that has gone through an [`EventLayer`](crate::http::EventLayer).
    ///
    /// It passes on what the inner body says of its length and its end: without that a server would not send the length. Dropping it
    /// ends the request.
    #[derive(Debug)]
    pub struct EventBody<B> {
        // Before the body: when both are dropped, the end is reported first.
        open: Option<OpenRequest>,
        #[pin]
        inner: B,
    }
}

impl<B> EventBody<B> {
    pub(crate) fn new(open: OpenRequest, inner: B) -> Self {
        Self { open: (!open.has_ended()).then_some(open), inner }
    }
}

/// A body that belongs to no request.
impl<B: Default> Default for EventBody<B> {
    fn default() -> Self {
        Self { open: None, inner: B::default() }
    }
}

impl<B> Body for EventBody<B>
where
    B: Body,
    B::Error: std::fmt::Display,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(open) = this.open else { return this.inner.poll_frame(cx) };
        let (polled, ended) = open.watch(|| {
            let polled = this.inner.as_mut().poll_frame(cx);
            (polled, this.inner.is_end_stream())
        });
        match &polled {
            Poll::Pending => return polled,
            Poll::Ready(Some(Ok(frame))) => {
                // Not the length of `chunk`, which may be the first of several.
                open.add_bytes(frame.data_ref().map_or(0, Buf::remaining));
                // Nothing comes behind trailers, and nobody asks: hyper drops the body.
                if !ended && !frame.is_trailers() {
                    return polled;
                }
                open.body_ended();
            }
            Poll::Ready(Some(Err(error))) => {
                open.fail(FailReason::BodyError, Some(error.to_string()));
            }
            Poll::Ready(None) => open.body_ended(),
        }
        *this.open = None;
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
