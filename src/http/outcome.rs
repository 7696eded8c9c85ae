//! The values of a request's events: how it began, and how it ended.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::http::StatusCode;
use serde_core::ser::SerializeStruct;
use serde_core::{Serialize, Serializer};

use super::RequestHead;
use crate::event::meta::render::{Field, OptionalField};
use crate::event::{ErrorMeta, RequestType, ResponseMeta};

/// The value of `START_REQUEST`.
#[derive(Debug, Clone)]
pub struct Started {
    /// What is known of the request.
    pub request: Arc<RequestHead>,
}

/// The value of `FINISH_REQUEST`: the response was handed to the server completely. How, says the [`Completion`] behind it:
/// `finished.status`.
///
/// NB: The completion is kept with the head, so the value is one pointer and travels inline. In a box of its own it would be allocated by the
/// thread that serves and freed by the shard's, for which the allocators of many systems take a lock on both sides.
#[derive(Clone)]
#[non_exhaustive]
pub struct Finished {
    /// What is known of the request.
    pub request: Arc<RequestHead>,
}

/// How a response was handed over, see [`Finished`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Completion {
    /// The status of the response.
    pub status: StatusCode,
    /// From the head of the request to the head of the response.
    pub ttfb: Duration,
    /// From the head of the request to the end of the response.
    pub total: Duration,
    /// Bytes of the request body that the service has read.
    pub bytes_in: u64,
    /// Bytes of the response body, without any framing.
    pub bytes_out: u64,
    /// How the request travelled: `UPGRADED` when the client asked to leave HTTP and the response agreed.
    pub request_type: RequestType,
}

/// The value of `FAILED_REQUEST`: the response was not handed over completely, or it only reports a failure.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failed {
    /// What is known of the request.
    pub request: Arc<RequestHead>,
    /// Whether there was the head of a response when it failed.
    pub phase: Phase,
    /// Why it failed.
    pub reason: FailReason,
    /// The text of the error or of the panic, shortened to 1 KiB. Not to be shown to clients.
    pub error: Option<String>,
    /// The status of the response, if one was sent.
    pub status: Option<StatusCode>,
    /// From the head of the request to the head of the response, if there was one.
    pub ttfb: Option<Duration>,
    /// From the head of the request to the failure.
    pub total: Duration,
    /// Bytes of the request body that the service has read.
    pub bytes_in: u64,
    /// Bytes of the response body that were handed over.
    pub bytes_out: u64,
}

/// How far a request had come when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The service had no response yet.
    Head,
    /// The response had begun.
    Body,
}

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailReason {
    /// The service returned an error in place of a response.
    ServiceError,
    /// The response body returned an error.
    BodyError,
    /// The server gave the request up, which it does when the client has gone.
    ClientGone,
    /// The service or the response body panicked.
    Panic,
    /// It took too long.
    Timeout,
    /// The response body ended before its declared length.
    ShortBody,
    /// The server gave the request up because it shuts down.
    Shutdown,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head => "head",
            Self::Body => "body",
        })
    }
}

impl fmt::Display for FailReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServiceError => "service error",
            Self::BodyError => "body error",
            Self::ClientGone => "client gone",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::ShortBody => "short body",
            Self::Shutdown => "shutdown",
        })
    }
}

/// The status that nginx made customary in logs for a client that left.
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl Deref for Finished {
    type Target = Completion;

    fn deref(&self) -> &Completion {
        self.request.completion.get().expect("a request that has finished knows how")
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Finished");
        out.field("request", &self.request).field("completion", &**self).finish()
    }
}

impl Finished {
    pub(crate) fn new(request: Arc<RequestHead>, completion: Completion) -> Self {
        // A request ends once, so this is the only one.
        let _ = request.completion.set(completion);
        Self { request }
    }

    /// When the response ended.
    pub fn end(&self) -> SystemTime {
        self.request.begin() + self.total
    }

    /// The meta that says the same in fewer words.
    pub fn meta(&self) -> ResponseMeta {
        ResponseMeta { request_id: self.request.id.to_string(), status_code: self.status }
    }
}

impl Failed {
    /// When it failed.
    pub fn end(&self) -> SystemTime {
        self.request.begin() + self.total
    }

    /// The number that stands for the failure where a status is expected, in logs and counters. 499 when the client has gone, whatever
    /// had been sent before; otherwise what was sent; otherwise 503 for a timeout or a shutdown, and 500.
    pub fn log_status(&self) -> u16 {
        match (self.reason, self.status) {
            (FailReason::ClientGone, _) => CLIENT_CLOSED_REQUEST,
            (_, Some(status)) => status.as_u16(),
            (FailReason::Timeout | FailReason::Shutdown, None) => 503,
            (_, None) => 500,
        }
    }

    /// The meta that says the same in fewer words.
    pub fn meta(&self) -> ErrorMeta {
        ErrorMeta { request_id: self.request.id.to_string(), err: self.text().into() }
    }

    /// Phase, reason and the text of the error in one line: `body: client gone`, `head: panic: out of beer`. Not escaped.
    pub fn text(&self) -> String {
        let Self { phase, reason, error, .. } = self;
        match error {
            Some(error) => format!("{phase}: {reason}: {error}"),
            None => format!("{phase}: {reason}"),
        }
    }
}

/// An object, see [`RequestHead`].
impl Serialize for Started {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.request.serialize(serializer)
    }
}

/// An object; durations are in seconds, the request is an object of its own.
impl Serialize for Finished {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Finished", 7)?;
        out.serialize_field("status_code", &self.status.as_u16())?;
        out.serialize_field("ttfb", &self.ttfb.as_secs_f64())?;
        out.serialize_field("total", &self.total.as_secs_f64())?;
        out.serialize_field("bytes_in", &self.bytes_in)?;
        out.serialize_field("bytes_out", &self.bytes_out)?;
        out.serialize_field("request_type", &self.request_type)?;
        out.serialize_field("request", &*self.request)?;
        out.end()
    }
}

/// An object; durations are in seconds, the request is an object of its own, what is missing is `null`.
impl Serialize for Failed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Failed", 9)?;
        out.serialize_field("phase", &format_args!("{}", self.phase))?;
        out.serialize_field("reason", &format_args!("{}", self.reason))?;
        out.serialize_field("err", &self.error)?;
        out.serialize_field("status_code", &self.status.map(|status| status.as_u16()))?;
        out.serialize_field("ttfb", &self.ttfb.map(|ttfb| ttfb.as_secs_f64()))?;
        out.serialize_field("total", &self.total.as_secs_f64())?;
        out.serialize_field("bytes_in", &self.bytes_in)?;
        out.serialize_field("bytes_out", &self.bytes_out)?;
        out.serialize_field("request", &*self.request)?;
        out.end()
    }
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request.meta().fmt(f)
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total.as_secs_f64();
        write!(f, "{} bytes_out={} total={total:.6}", self.meta(), self.bytes_out)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "request_id={} phase={} reason={} err={} status_code={} bytes_out={}",
            self.request.id,
            self.phase,
            Field(self.reason),
            OptionalField(self.error.as_ref()),
            OptionalField(self.status.map(|status| status.as_u16())),
            self.bytes_out,
        )
    }
}
