//! The future of a response, watched.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::open_request::OpenRequest;
use super::{EventBody, FailReason};

pin_project! {
    /// The future of an [`EventService`](crate::http::EventService). Dropping it ends the request.
    #[derive(Debug)]
    pub struct EventFuture<F> {
        // Before the future: when both are dropped, the end is reported first.
        open: Option<OpenRequest>,
        #[pin]
        inner: F,
    }
}

impl<F> EventFuture<F> {
    pub(crate) fn new(open: OpenRequest, inner: F) -> Self {
        Self { open: Some(open), inner }
    }
}

impl<F, B, E> Future for EventFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    E: Display,
{
    type Output = Result<Response<EventBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let open = this.open.as_mut().expect("a future is not polled after it was ready");
        let result = ready!(open.watch(|| this.inner.poll(cx)));
        let mut open = this.open.take().expect("it was there before");
        Poll::Ready(match result {
            Ok(response) => {
                let (mut head, body) = response.into_parts();
                open.answered(head.status, &head.headers, &body);
                if let Some(name) = open.shared().id_header() {
                    head.headers.insert(name.clone(), open.head().id.header_value());
                }
                Ok(Response::from_parts(head, EventBody::new(open, body)))
            }
            Err(error) => {
                open.fail(FailReason::ServiceError, Some(error.to_string()));
                Err(error)
            }
        })
    }
}
