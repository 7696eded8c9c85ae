//! The task of a connection: TLS, the version of HTTP, requests, and what is said about the end.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;

use ::http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

use super::Limits;
use super::connection::Connection;
use super::entrance::Entrance;
use super::error::ServeError;
use super::farewell;
use super::http_io::{HttpIo, Returned};
use super::phase::Phase;
use crate::http::BoxError;

/// What a client that speaks HTTP/2 sends first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How the HTTP implementation's part of a connection ended.
enum End {
    Closed(Result<(), hyper::Error>),
    NoRequest,
    Cut,
}

/// Serves HTTP until the connection is closed or cut off.
pub(super) async fn serve<I, S, B>(mut io: I, tls: bool, connection: Arc<Connection>, service: S)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let (limits, phases) = (*connection.limits(), connection.phases());
    let deadline = Instant::now() + limits.head_timeout;
    let mut first = Vec::new();
    let begun = tokio::select! {
        // Whoever has asked before the server began to drain gets an answer.
        biased;
        begun = timeout_at(deadline, first_bytes(&mut io, &mut first)) => begun,
        _ = phases.reached(Phase::Draining) => return,
    };
    match begun {
        Ok(Ok(())) if first.is_empty() => return,
        Ok(Ok(())) => connection.received(),
        Ok(Err(error)) => {
            if let Some(error) = ServeError::of_io(&error, !first.is_empty(), &limits) {
                connection.report(error.into());
            }
            return;
        }
        Err(_) => {
            let error = ServeError::HeadTimeout { after: limits.head_timeout };
            let status = (!first.is_empty()).then_some(StatusCode::REQUEST_TIMEOUT);
            return farewell::refuse(io, status, error, &connection).await;
        }
    }

    let http2 = first == PREFACE;
    let (io, returned) = HttpIo::new(io, first, !http2, connection.clone());
    let io = TokioIo::new(io);
    let entrance = Entrance::new(service, connection.clone(), tls);
    let end = if http2 {
        let streams = Streams { connection: connection.clone() };
        let http = http2_builder(&limits, streams).serve_connection(io, entrance);
        drive(http, |http| http.graceful_shutdown(), &connection, deadline).await
    } else {
        let http = http1_builder(&limits).serve_connection(io, entrance).with_upgrades();
        drive(http, |http| http.graceful_shutdown(), &connection, deadline).await
    };
    end_of(end, returned.take(), http2, &connection).await;
}

/// Says what is to be said about the end of a connection, to the bus and to the client.
async fn end_of<I>(end: End, returned: Option<Returned<I>>, http2: bool, connection: &Connection)
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let limits = connection.limits();
    let late = || ServeError::HeadTimeout { after: limits.head_timeout };
    let (error, returned) = match (end, returned) {
        (End::Cut, _) => return connection.cut_off(),
        (End::Closed(Ok(())), None) => return connection.has_become_tunnel(),
        (End::Closed(Ok(())), returned) => (None, returned),
        (End::Closed(Err(error)), returned) => {
            (ServeError::of_connection(error, connection, limits), returned)
        }
        (End::NoRequest, returned) => (Some(late()), returned),
    };
    match (error, returned) {
        (Some(error), Some(Returned { io, held })) => {
            let status = match error {
                ServeError::HeadTimeout { .. } if !http2 => Some(StatusCode::REQUEST_TIMEOUT),
                _ => farewell::status_of(&held),
            };
            farewell::refuse(io, status, error, connection).await;
        }
        (Some(error), None) => connection.report(error.into()),
        // It was the service's.
        (None, Some(Returned { io, held })) if !held.is_empty() => {
            farewell::send(io, &held, connection).await;
        }
        (None, _) => {}
    }
}

/// Reads until it is clear whether this is HTTP/2. Nothing was read when the client has closed the connection.
async fn first_bytes<I: AsyncRead + Unpin>(io: &mut I, first: &mut Vec<u8>) -> std::io::Result<()> {
    let mut buf = [0; PREFACE.len()];
    while first.len() < PREFACE.len() && PREFACE.starts_with(first) {
        let bytes = io.read(&mut buf[first.len()..]).await?;
        if bytes == 0 {
            break;
        }
        first.extend_from_slice(&buf[first.len()..][..bytes]);
    }
    Ok(())
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_headers(limits.max_headers)
        .max_header_size(limits.max_head_size)
        // The buffer must be able to hold what is allowed.
        .max_buf_size((limits.max_head_size + 1).max(400 * 1024))
        .half_close(limits.half_close);
    builder
}

fn http2_builder(limits: &Limits, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(limits.max_head_size).unwrap_or(u32::MAX))
        // A peer that is gone without a word is noticed.
        .keep_alive_interval(limits.head_timeout)
        .keep_alive_timeout(limits.head_timeout);
    builder
}

/// Runs the HTTP implementation, which `finish` asks to come to an end.
async fn drive<C>(
    http: C,
    finish: impl Fn(Pin<&mut C>),
    connection: &Connection,
    first_request: Instant,
) -> End
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let phases = connection.phases();
    let mut http = pin!(http);
    let mut next = Phase::Draining;
    let mut waits_for_request = true;
    loop {
        tokio::select! {
            biased;
            closed = poll_fn(|cx| {
                connection.begin_poll();
                http.as_mut().poll(cx)
            }) => return End::Closed(closed),
            phase = phases.reached(next) => {
                if phase == Phase::Cut {
                    return End::Cut;
                }
                next = Phase::Cut;
                finish(http.as_mut());
            }
            () = tokio::time::sleep_until(first_request), if waits_for_request => {
                waits_for_request = false;
                if !connection.has_requests() {
                    return End::NoRequest;
                }
            }
        }
    }
}

/// Runs the streams of an HTTP/2 connection. They keep the connection open in the books until the last one is gone.
#[derive(Clone)]
struct Streams {
    connection: Arc<Connection>,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let connection = self.connection.clone();
        tokio::spawn(async move {
            stream.await;
            drop(connection);
        });
    }
}
