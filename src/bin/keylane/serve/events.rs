//! `POST /events`: reads the body, within limits, and hands it to the intake.

use std::fmt::Display;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, RETRY_AFTER};
use http::{HeaderValue, Request, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use keylane::http::text_error;
use keylane::ingest::Progress;
use keylane::ingest::printable::plain;
use tokio::time::Instant;

use super::service::Answer;
use super::state::State;

/// How long a request that found no room waits before it looks again. A shard gets through thousands of events in that time.
const PAUSE: Duration = Duration::from_millis(2);

/// From how many bytes on a body is checked while another thread takes over the other requests of this one. A smaller one takes well
/// under a millisecond.
const LARGE: usize = 64 << 10;

/// Answers a POST.
pub(crate) async fn post<B>(state: &State, request: Request<B>) -> Answer
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    let (head, body) = request.into_parts();
    let body = match read(state, body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let check = || state.intake.check(&head.headers, &body.bytes);
    // What takes long must not keep this thread from serving others.
    let checked =
        if body.bytes.len() < LARGE { check() } else { tokio::task::block_in_place(check) };
    let mut events = match checked {
        Ok(events) => events,
        Err(rejected) => return rejected.into_response(),
    };
    // The events have their own copies.
    drop(body);
    let deadline = Instant::now() + state.settings.patience;
    // A shard that is slow holds up its own events only, but a request emits in order, so it waits for the slowest.
    while events.emit() == Progress::Full && Instant::now() < deadline {
        tokio::time::sleep_until(deadline.min(Instant::now() + PAUSE)).await;
    }
    events.into_response()
}

/// The whole body, or what to answer instead.
async fn read<B>(state: &State, body: B) -> Result<Held<'_>, Answer>
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    let (limit, time) = (state.settings.max_body, state.settings.body_timeout);
    if body.size_hint().lower() > limit {
        return Err(too_large(limit));
    }
    let mut held = Held { state, bytes: Vec::new() };
    let reading = async {
        let mut body = pin!(body);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                let text = format!("the body cannot be read: {}", plain(&error.to_string(), 200));
                closing(text_error(StatusCode::BAD_REQUEST, text))
            })?;
            // Trailers say nothing here.
            let Ok(data) = frame.into_data() else { continue };
            if (held.bytes.len() + data.len()) as u64 > limit {
                return Err(too_large(limit));
            }
            if !held.add(&data) {
                return Err(too_many(state.settings.in_flight));
            }
        }
        Ok(())
    };
    match tokio::time::timeout(time, reading).await {
        Ok(result) => result.map(|()| held),
        Err(_) => {
            let text = format!(
                "the body was not complete after {time:?}; send it faster, or in smaller requests"
            );
            Err(closing(text_error(StatusCode::REQUEST_TIMEOUT, text)))
        }
    }
}

/// A body in memory, counted for as long as it is there: many clients that send large ones slowly must not hold more than one limit.
struct Held<'a> {
    state: &'a State,
    bytes: Vec<u8>,
}

impl Held<'_> {
    /// Adds a piece; false if all bodies together are too much now.
    fn add(&mut self, piece: &[u8]) -> bool {
        let before =
            self.state.progress.body_bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        self.bytes.extend_from_slice(piece);
        before + piece.len() as u64 <= self.state.settings.in_flight
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.state.progress.body_bytes.fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
    }
}

fn too_large(limit: u64) -> Answer {
    let text =
        format!("the body is larger than {limit} bytes; send the events in several requests");
    closing(text_error(StatusCode::PAYLOAD_TOO_LARGE, text))
}

fn too_many(limit: u64) -> Answer {
    let text = format!(
        "bodies of other requests take all of the {limit} bytes that they may; send the request again later"
    );
    let mut answer = closing(text_error(StatusCode::TOO_MANY_REQUESTS, text));
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// The rest of the body will not be read, so the connection is of no further use.
fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}
