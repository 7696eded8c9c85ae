//! Requests of which nothing was accepted, and what their senders are told.

use std::error::Error;
use std::fmt;

use ::http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use ::http::{HeaderValue, Response, StatusCode};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::mode::ACCEPTED;
use super::refusal::Refusal;

/// How many bad events an answer names.
pub(super) const NAMED: usize = 10;

/// After how many bad events the others are only counted: to find a hundred thousand faults is work that a stranger must not be able to
/// ask for.
pub(super) const ENOUGH: usize = 1000;

/// A request of which nothing was accepted.
#[derive(Debug, Clone)]
pub struct Rejected {
    status: StatusCode,
    detail: String,
    bad: Vec<BadEvent>,
    /// All that were bad, also those that are not named.
    bad_count: usize,
    /// How many events the request had, as far as they could be told apart.
    events: usize,
}

/// One bad event of a [`Rejected`] request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadEvent {
    /// Where it is.
    pub place: Place,
    /// What is wrong with it. Its column counts from the beginning of the line that `place` names.
    pub refusal: Refusal,
}

/// Where a bad event is in its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// In this line of the body, counted from 1.
    Line(u64),
    /// In an array: its index, counted from 0, and the line of the body, counted from 1, in which the fault is.
    Element {
        /// The index.
        index: usize,
        /// The line.
        line: u64,
    },
    /// In a `ce-` header, or among them.
    Headers,
    /// In the data of an event in binary mode.
    Data,
}

impl Rejected {
    /// The request is in no mode that is known.
    pub(super) fn media_type(detail: String) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// The body has no event.
    pub(super) fn empty(detail: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail.to_owned())
    }

    /// Too much is on its way already.
    pub(super) fn busy(detail: String) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail)
    }

    fn new(status: StatusCode, detail: String) -> Self {
        Self { status, detail, bad: Vec::new(), bad_count: 0, events: 0 }
    }

    /// Of `events` events, `bad_count` are bad, and these are the first.
    pub(super) fn invalid(bad: Vec<BadEvent>, bad_count: usize, events: usize) -> Self {
        let detail = match (bad_count, events) {
            (_, 1) => "the event is invalid and was not accepted".to_owned(),
            (1, _) => format!("1 of {events} events is invalid; none was accepted"),
            (ENOUGH, _) => {
                format!("at least {ENOUGH} of {events} events are invalid; none was accepted")
            }
            _ => format!("{bad_count} of {events} events are invalid; none was accepted"),
        };
        Self { status: StatusCode::BAD_REQUEST, detail, bad, bad_count, events }
    }

    /// The status of the answer: 400, 415 or 429.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The first bad events, at most ten.
    #[must_use]
    pub fn bad_events(&self) -> &[BadEvent] {
        &self.bad
    }

    /// How many events were bad; behind a thousand bad ones nobody looks.
    #[must_use]
    pub fn bad_count(&self) -> usize {
        self.bad_count
    }

    /// How many events the request had, as far as they could be told apart. None was accepted.
    #[must_use]
    pub fn events(&self) -> usize {
        self.events
    }

    /// The answer: a JSON object as in RFC 9457, with the members `title`, `status`, `detail`, `accepted` (0), `refused`, and for bad events
    /// `errors`: objects of `line`, `index`, `column`, `field` and `message`, as far as they apply.
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let mut members = problem(self.status, &self.to_string(), 0, self.events);
        if !self.bad.is_empty() {
            members.insert("errors".into(), self.bad.iter().map(BadEvent::to_json).collect());
        }
        let mut response = answer(self.status, "application/problem+json", members);
        if self.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            response.headers_mut().insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        }
        response
    }
}

/// What is wrong, and with which event; the first of them, and how many more.
impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        if let Some(first) = self.bad.first() {
            write!(f, "; {first}")?;
        }
        Ok(())
    }
}

impl Error for Rejected {}

impl fmt::Display for BadEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { column, defect } = &self.refusal;
        match (self.place, self.refusal.field()) {
            (Place::Line(line), _) => write!(f, "line {line}, column {column}: {defect}"),
            (Place::Element { index, line }, _) => {
                write!(f, "index {index} (line {line}, column {column}): {defect}")
            }
            (Place::Headers, Some(field)) => write!(f, "header ce-{field}: {defect}"),
            (Place::Headers, None) => write!(f, "headers: {defect}"),
            (Place::Data, _) => write!(f, "data, byte {column}: {defect}"),
        }
    }
}

impl BadEvent {
    fn to_json(&self) -> Value {
        let Refusal { column, defect } = &self.refusal;
        let mut members = Map::new();
        match self.place {
            Place::Line(line) => {
                members.insert("line".into(), line.into());
            }
            Place::Element { index, line } => {
                members.insert("index".into(), index.into());
                members.insert("line".into(), line.into());
            }
            Place::Headers | Place::Data => {}
        }
        if self.place != Place::Headers {
            members.insert("column".into(), (*column).into());
        }
        if let Some(field) = self.refusal.field() {
            let prefix = if self.place == Place::Headers { "ce-" } else { "" };
            members.insert("field".into(), format!("{prefix}{field}").into());
        }
        members.insert("message".into(), defect.to_string().into());
        Value::Object(members)
    }
}

/// The members of an object as in RFC 9457.
pub(super) fn problem(
    status: StatusCode,
    detail: &str,
    accepted: usize,
    refused: usize,
) -> Map<String, Value> {
    let members = json!({
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
        "accepted": accepted,
        "refused": refused,
    });
    match members {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// A response with a JSON object in one line.
pub(super) fn answer<B: From<Bytes>>(
    status: StatusCode,
    content_type: &'static str,
    members: Map<String, Value>,
) -> Response<B> {
    let mut response = Response::new(B::from(Bytes::from(format!("{}\n", Value::Object(members)))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
