//! What a client is told whose request cannot even be given to the service.
//!
//! hyper answers such a request by itself, with a status and nothing else. Here the client also gets a text that says what to do: what hyper
//! is about to write is [recognised](own_refusal) and held back until it is known why the connection ends.

use std::time::Duration;

use ::http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::connection::Connection;
use super::error::ServeError;
use super::phase::Phase;
use crate::event::EventError;
use crate::http::TextError;

/// How much, and for how long, a client that was refused may go on sending. Closing at once would reset the connection, and the
/// client would not see why.
const LINGER_BYTES: usize = 16 << 20;
const LINGER: Duration = Duration::from_secs(2);

/// Where a refusal begins with which what hyper writes ends: a status for errors, no body, and the end of the connection.
///
/// NB: what a service sends may look the same. It is held back as well, and sent as soon as the connection turns out to go on or to have
/// ended well.
pub(super) fn own_refusal(written: &[u8]) -> Option<usize> {
    const BEGIN: &[u8] = b"HTTP/1.";
    const REST: &[u8] = b"\r\nconnection: close\r\ncontent-length: 0\r\ndate: ";
    // With the longest of the names. Most of what is written is not worth a search.
    const MAX_LEN: usize = 160;
    let end = written.strip_suffix(b"\r\n\r\n")?;
    let from = end.len().saturating_sub(MAX_LEN);
    let begin = from + end[from..].windows(BEGIN.len()).rposition(|window| window == BEGIN)?;
    let refusal = &end[begin..];
    let is_error = matches!(refusal.get(8..12), Some(b" 400" | b" 414" | b" 431"));
    let line = refusal.iter().position(|&byte| byte == b'\r')?;
    (is_error && refusal[line..].starts_with(REST)).then_some(begin)
}

/// The status of a refusal that was [recognised](own_refusal).
pub(super) fn status_of(refusal: &[u8]) -> Option<StatusCode> {
    StatusCode::from_bytes(refusal.get(9..12)?).ok()
}

/// Reports an error, tells the client if `status` is given, and waits until it has had a chance to read it.
pub(super) async fn refuse<I>(
    io: I,
    status: Option<StatusCode>,
    error: ServeError,
    connection: &Connection,
) where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let error = EventError::from(error);
    let response = status.map(|status| response(status, &error));
    connection.report(error);
    if let Some(response) = response {
        send(io, response.as_bytes(), connection).await;
    }
}

/// Sends the last bytes of a connection.
pub(super) async fn send<I>(mut io: I, last: &[u8], connection: &Connection)
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let lingered = async {
        let sent = async {
            io.write_all(last).await?;
            io.shutdown().await
        };
        // Either way the connection is over.
        if let Ok(Ok(())) = timeout(LINGER, sent).await {
            let _ = timeout(LINGER, read_rest(&mut io)).await;
        }
    };
    tokio::select! {
        () = lingered => {}
        _ = connection.phases().reached(Phase::Cut) => {}
    }
}

/// A whole response over HTTP/1.1, after which the connection is closed. The text holds nothing that the client has sent.
fn response(status: StatusCode, error: &EventError) -> String {
    let body = format!("{}\n", TextError::new(status, format!("{error:#}")));
    format!(
        "HTTP/1.1 {} {}\r\ncontent-type: text/plain; charset=utf-8\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        status.as_str(),
        status.canonical_reason().unwrap_or_default(),
        body.len(),
    )
}

/// Reads what a client still sends, up to a limit.
async fn read_rest<I: AsyncRead + Unpin>(io: &mut I) {
    let mut buf = vec![0; 16 * 1024];
    let mut left = LINGER_BYTES;
    while let Ok(bytes @ 1..) = io.read(&mut buf).await {
        left = left.saturating_sub(bytes);
        if left == 0 {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_at_the_end_is_one() {
        let date = "date: Fri, 20 Nov 2026 11:27:14 GMT\r\n\r\n";
        let refusal = |status: &str| {
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n{date}")
        };
        for status in ["400 Bad Request", "414 URI Too Long", "431 Request Header Fields Too Large"]
        {
            let alone = refusal(status);
            assert_eq!(own_refusal(alone.as_bytes()), Some(0), "{status}");
            assert_eq!(status_of(alone.as_bytes()).map(|s| s.as_u16()), status[..3].parse().ok());
            // Behind the response to a request before.
            let first = format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n{date}hello");
            assert_eq!(own_refusal(format!("{first}{alone}").as_bytes()), Some(first.len()));
            assert_eq!(own_refusal(format!("{alone}x").as_bytes()), None);
        }
        for other in [
            refusal("200 OK"),
            refusal("404 Not Found"),
            refusal("500 Internal Server Error"),
            format!("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n{date}"),
            format!("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n{date}"),
            format!("400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n{date}"),
            "\r\n\r\n".into(),
            String::new(),
        ] {
            assert_eq!(own_refusal(other.as_bytes()), None, "{other}");
        }
    }
}
