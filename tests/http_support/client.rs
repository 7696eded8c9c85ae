//! Clients over a socket of their own.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

/// One connection.
pub(crate) struct Client {
    sender: Sender,
    connection: AbortHandle,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// A response that has been read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the test answers in UTF-8")
    }
}

impl Client {
    pub(crate) async fn connect(protocol: Protocol, addr: SocketAddr) -> Self {
        Self::try_connect(protocol, addr).await.expect("the server listens and shakes hands")
    }

    /// `None` when the server does not want it.
    pub(crate) async fn try_connect(protocol: Protocol, addr: SocketAddr) -> Option<Self> {
        let stream = TokioIo::new(TcpStream::connect(addr).await.ok()?);
        match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(stream).await.ok()?;
                let connection = tokio::spawn(connection).abort_handle();
                Some(Self { sender: Sender::Http1(sender), connection })
            }
            Protocol::Http2 => {
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), stream).await.ok()?;
                let connection = tokio::spawn(connection).abort_handle();
                Some(Self { sender: Sender::Http2(sender), connection })
            }
        }
    }

    /// Sends a request and waits for the head of the response.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request).await,
            Sender::Http2(sender) => {
                let (mut head, body) = request.into_parts();
                if head.uri.authority().is_none() {
                    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
                    head.uri = format!("http://test.example{path}").parse().expect("valid");
                }
                sender.send_request(Request::from_parts(head, body)).await
            }
        }
    }

    /// Sends a request and reads the response to its end.
    pub(crate) async fn ask(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
        let (head, body) = self.send(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// Closes the connection, whatever goes on.
    pub(crate) fn leave(&self) {
        self.connection.abort();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A request without a body.
pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(Method::GET)
        .uri(path)
        .header("host", "test.example")
        .body(Full::default())
        .expect("a valid request")
}

/// Reads the head of an HTTP/1.1 response, and nothing behind it.
pub(crate) async fn read_raw_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("the head of a response"));
    }
    String::from_utf8(head).expect("ASCII")
}
