//! Response bodies that do what a test says.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::BoxError;

/// One step of a body.
#[derive(Debug)]
pub(crate) enum Script {
    Data(Bytes),
    Trailers(HeaderMap),
    Error(&'static str),
    Panic(&'static str),
}

/// A body that is fed through a channel. It does not know its end before it is asked.
#[derive(Debug, Default)]
pub(crate) struct TestBody {
    steps: Option<mpsc::UnboundedReceiver<Script>>,
    fixed: Option<Bytes>,
}

/// A body that knows its length and its end.
pub(crate) fn fixed(text: impl Into<Bytes>) -> TestBody {
    TestBody { steps: None, fixed: Some(text.into()) }
}

impl TestBody {
    /// A body and the way to feed it. It ends when the sender is dropped.
    pub(crate) fn channel() -> (mpsc::UnboundedSender<Script>, Self) {
        let (sender, steps) = mpsc::unbounded_channel();
        (sender, Self { steps: Some(steps), fixed: None })
    }

    /// A body with these steps.
    pub(crate) fn scripted(steps: impl IntoIterator<Item = Script>) -> Self {
        let (sender, body) = Self::channel();
        steps.into_iter().for_each(|step| sender.send(step).expect("the body is there"));
        body
    }

    /// A body of unknown length with this data.
    pub(crate) fn streamed(text: impl Into<Bytes>) -> Self {
        Self::scripted([Script::Data(text.into())])
    }
}

impl From<Bytes> for TestBody {
    fn from(text: Bytes) -> Self {
        fixed(text)
    }
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(steps) = &mut self.steps else {
            return Poll::Ready(self.fixed.take().map(|text| Ok(Frame::data(text))));
        };
        steps.poll_recv(cx).map(|step| {
            step.map(|step| match step {
                Script::Data(data) => Ok(Frame::data(data)),
                Script::Trailers(trailers) => Ok(Frame::trailers(trailers)),
                Script::Error(text) => Err(text.into()),
                Script::Panic(text) => panic!("{text}"),
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_none() && self.fixed.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.steps {
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(self.fixed.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}
