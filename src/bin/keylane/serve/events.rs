//! `POST /events`: reads the body, within limits, and hands it to the intake.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use keylane::http::text_error;
use keylane::ingest::Progress;
use keylane::ingest::printable::plain;
use tokio::time::Instant;

use super::service::Answer;
use super::state::State;

/// How long a request that found no room waits before it looks again. A shard gets through thousands of events in that time.
const PAUSE: Duration = Duration::from_millis(2);

/// Answers a POST.
pub(crate) async fn post<B>(state: &State, request: Request<B>) -> Answer
where
    B: Body<Data = Bytes>,
    B::Error: Display + Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let body = match read(state, body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let mut events = match state.intake.check(&head.headers, &body) {
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
async fn read<B>(state: &State, body: B) -> Result<Bytes, Answer>
where
    B: Body<Data = Bytes>,
    B::Error: Display + Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (limit, time) = (state.settings.max_body, state.settings.body_timeout);
    if body.size_hint().lower() > limit {
        return Err(too_large(limit));
    }
    let limited = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX));
    match tokio::time::timeout(time, limited.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Ok(Err(error)) => {
            let text = format!("the body cannot be read: {}", plain(&error.to_string(), 200));
            Err(closing(text_error(StatusCode::BAD_REQUEST, text)))
        }
        Err(_) => {
            let text = format!(
                "the body was not complete after {time:?}; send it faster, or in smaller requests"
            );
            Err(closing(text_error(StatusCode::REQUEST_TIMEOUT, text)))
        }
    }
}

fn too_large(limit: u64) -> Answer {
    let text =
        format!("the body is larger than {limit} bytes; send the events in several requests");
    closing(text_error(StatusCode::PAYLOAD_TOO_LARGE, text))
}

/// The rest of the body will not be read, so the connection is of no further use.
fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}
