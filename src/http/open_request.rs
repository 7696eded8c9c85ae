//! A request that has begun and not ended: the one place from which the end is reported, exactly once.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::http::{HeaderMap, Method, StatusCode};
use http_body::Body;

use super::delivery::Delivery;
use super::layer::Shared;
use super::{
    Completion, FailReason, Failed, Finished, Phase, RequestHead, Traffic, TrafficScope, Tunnel,
};
use crate::event::{EventType, RequestType};
use crate::processor::payload_text;

/// A request between its start and its end.
///
/// Whoever holds it reports the end. When it is dropped before, the server has given the request up: nobody drops the future of a
/// response, or a body that is not at its end, for another reason.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    shared: Arc<Shared>,
    head: Arc<RequestHead>,
    tunnel: Option<Tunnel>,
    answer: Option<Answer>,
    /// The end has been reported. From false to true, once.
    ended: bool,
}

/// What is known from the head of the response on.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    ttfb: Duration,
    /// Somebody answered in place of the service.
    replaced: bool,
    delivery: Delivery,
}

/// The most of an error's text that travels.
const MAX_ERROR: usize = 1024;

impl OpenRequest {
    pub(crate) fn new(shared: Arc<Shared>, head: Arc<RequestHead>, tunnel: Option<Tunnel>) -> Self {
        Self { shared, head, tunnel, answer: None, ended: false }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn head(&self) -> &RequestHead {
        &self.head
    }

    /// Runs a piece of the service or of its body. A panic in it is reported, and goes on.
    ///
    /// NB: `thread::panicking()` in a destructor does not tell: it is false when a layer outside has caught the panic before it drops
    /// what panicked.
    #[inline]
    pub(crate) fn watch<R>(&mut self, f: impl FnOnce() -> R) -> R {
        // Requests and futures are large: what goes in and out by reference is not moved through `catch_unwind`.
        let mut f = Some(f);
        let mut result = None;
        let run = || result = f.take().map(|f| f());
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(()) => result.expect("it has run"),
            Err(payload) => self.panicked(payload),
        }
    }

    #[cold]
    fn panicked(&mut self, payload: Box<dyn Any + Send>) -> ! {
        self.fail(FailReason::Panic, Some(payload_text(&*payload).to_owned()));
        resume_unwind(payload)
    }

    /// The head of the response is there. The request may be over with it.
    pub(crate) fn answered<B: Body>(&mut self, status: StatusCode, headers: &HeaderMap, body: &B) {
        let RequestHead { method, version, failure, .. } = &*self.head;
        let delivery = Delivery::new(method, *version, status, headers, body);
        let replaced = failure.get().is_some();
        self.answer = Some(Answer { status, ttfb: self.head.elapsed(), replaced, delivery });
        // A server sends the head alone, and does not look at the body again.
        if delivery.is_empty() || body.is_end_stream() {
            self.body_ended();
        }
    }

    /// Whether the end has been reported.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Bytes of the response were handed over.
    pub(crate) fn add_bytes(&mut self, bytes: usize) {
        if let Some(answer) = &mut self.answer {
            answer.delivery.add(bytes);
        }
    }

    /// The response body has ended.
    pub(crate) fn body_ended(&mut self) {
        match self.answer.as_ref().map(|answer| answer.delivery.missing()) {
            None | Some(0) => self.end(None),
            Some(missing) => {
                let error = format!("{missing} bytes fewer than declared");
                self.fail(FailReason::ShortBody, Some(error));
            }
        }
    }

    /// The request failed.
    pub(crate) fn fail(&mut self, reason: FailReason, error: Option<String>) {
        self.end(Some((reason, error)));
    }

    fn end(&mut self, failure: Option<(FailReason, Option<String>)>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        // Who answers in place of the service knows best what happened.
        let failure = self.head.failure.get().cloned().or(failure);
        let total = self.head.elapsed();
        let bytes_in = self.head.read.load(Ordering::Relaxed);
        let bytes_out = self.answer.as_ref().map_or(0, |answer| answer.delivery.bytes());
        let request = self.head.clone();
        let id = request.id;
        match (failure, &self.answer) {
            (None, Some(Answer { status, ttfb, .. })) => {
                let (status, ttfb) = (*status, *ttfb);
                let tunnel = self.tunnel.take().filter(|_| self.agrees_to_upgrade(status));
                let upgraded =
                    tunnel.as_ref().map_or(RequestType::default(), |_| RequestType::UPGRADED);
                let request_type = request.request_type | upgraded;
                let completion =
                    Completion { status, ttfb, total, bytes_in, bytes_out, request_type };
                let finished = Finished::new(request, completion);
                self.shared.emit_end(EventType::FINISH_REQUEST, finished, id);
                // Not before: the traffic of a tunnel comes behind the end of its request.
                if let Some(tunnel) = tunnel {
                    tunnel.open();
                }
            }
            (failure, answer) => {
                let (reason, error) = failure.unwrap_or((FailReason::ServiceError, None));
                let in_head = answer.as_ref().is_none_or(|answer| answer.replaced);
                let failed = Failed {
                    request,
                    phase: if in_head { Phase::Head } else { Phase::Body },
                    reason,
                    error: error.map(shorten),
                    status: answer.as_ref().map(|answer| answer.status),
                    ttfb: answer.as_ref().map(|answer| answer.ttfb),
                    total,
                    bytes_in,
                    bytes_out,
                };
                self.shared.emit_end(EventType::FAILED_REQUEST, failed, id);
            }
        }
        if self.shared.counts_traffic() && bytes_in + bytes_out > 0 {
            let traffic = Traffic {
                scope: TrafficScope::Request,
                id,
                addr: self.head.peer,
                read_bytes: bytes_in,
                written_bytes: bytes_out,
                duration: total,
            };
            self.shared.emit_sparing(EventType::TRAFFIC, traffic, id);
        }
    }

    /// Whether a response with this status leaves HTTP.
    fn agrees_to_upgrade(&self, status: StatusCode) -> bool {
        if self.head.method == Method::CONNECT {
            status.is_success()
        } else {
            status == StatusCode::SWITCHING_PROTOCOLS
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let answer = self.answer.as_ref();
        if answer.is_some_and(|answer| answer.delivery.is_complete_when_dropped()) {
            self.end(None);
        } else if std::thread::panicking() {
            // Not in anything that is watched: in a destructor, say, or where a body is asked for its length.
            self.fail(FailReason::Panic, None);
        } else if self.shared.is_shutting_down() {
            self.fail(FailReason::Shutdown, None);
        } else {
            self.fail(FailReason::ClientGone, None);
        }
    }
}

/// Cuts a text that is too long between two characters.
fn shorten(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_ERROR));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shorten("short".into()), "short");
        assert_eq!(shorten("é".repeat(600)).len(), 1024);
        assert_eq!(shorten(format!("a{}", "é".repeat(600))).len(), 1023);
    }
}
