//! Connections that leave HTTP.

use std::convert::Infallible;

use http::header::{CONNECTION, UPGRADE};
use http::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use keylane::RequestType;
use keylane::http::{CountedBody, TrafficScope, Tunnel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::{Layer, service_fn};

use crate::http_support::{
    Client, Incoming, Protocol, TestBody, Watched, get, read_raw_head, serve, soon,
};

/// Agrees to what was asked, and answers each `ping` with `pong!`.
async fn tunnel(
    mut request: Request<CountedBody<Incoming>>,
) -> Result<Response<TestBody>, Infallible> {
    let meter = request.extensions().get::<Tunnel>().expect("it was asked for").meter();
    let connect = request.method() == http::Method::CONNECT;
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(&mut request).await.expect("the server agrees");
        let mut stream = TokioIo::new(upgraded);
        let mut ping = [0; 4];
        while stream.read_exact(&mut ping).await.is_ok() {
            meter.add_read(4);
            stream.write_all(b"pong!").await.expect("the client waits for it");
            meter.add_written(5);
        }
    });
    let mut response = Response::new(TestBody::default());
    if !connect {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(CONNECTION, "upgrade".parse().expect("valid"));
        response.headers_mut().insert(UPGRADE, "ping".parse().expect("valid"));
    }
    Ok(response)
}

#[tokio::test]
async fn the_request_ends_at_the_head_and_the_tunnel_when_it_is_closed() {
    for (head, status) in [
        (
            "GET / HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: ping\r\n\r\n",
            101,
        ),
        ("CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n", 200),
    ] {
        let mut watched = Watched::new();
        let addr = serve(watched.layer().layer(service_fn(tunnel))).await;
        let mut stream = TcpStream::connect(addr).await.expect("the server listens");
        stream.write_all(head.as_bytes()).await.expect("written");
        let answer = soon(read_raw_head(&mut stream)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");

        let finished = watched.finish().await;
        assert_eq!((finished.status.as_u16(), finished.bytes_out), (status, 0));
        assert_eq!(finished.request_type, RequestType::UPGRADED);
        assert_eq!(finished.request.request_type(), RequestType::default());

        for _ in 0..3 {
            stream.write_all(b"ping").await.expect("written");
            let mut pong = [0; 5];
            soon(stream.read_exact(&mut pong)).await.expect("an answer");
            assert_eq!(&pong, b"pong!");
        }
        drop(stream);
        let traffic = watched.traffic().await;
        assert_eq!((traffic.scope, traffic.id), (TrafficScope::Tunnel, finished.request.id()));
        assert_eq!((traffic.read_bytes, traffic.written_bytes), (12, 15));
        watched.nothing_more().await;
    }
}

#[tokio::test]
async fn asking_alone_is_no_upgrade() {
    let mut watched = Watched::new();
    let handler = service_fn(async |request: Request<_>| {
        let tunnel: &Tunnel = request.extensions().get().expect("it was asked for");
        tunnel.meter().add_read(99);
        Ok::<_, Infallible>(Response::new(TestBody::default()))
    });
    let addr = serve(watched.layer().layer(handler)).await;
    let mut request = get("/");
    request.headers_mut().insert(CONNECTION, "upgrade".parse().expect("valid"));
    request.headers_mut().insert(UPGRADE, "ping".parse().expect("valid"));
    Client::connect(Protocol::Http1, addr).await.ask(request).await.expect("answer");
    assert_eq!(watched.finish().await.request_type, RequestType::default());
    watched.nothing_more().await;
}

#[tokio::test]
async fn answering_alone_is_no_upgrade() {
    let mut watched = Watched::new();
    let handler = service_fn(async |request: Request<_>| {
        assert!(request.extensions().get::<Tunnel>().is_none());
        let response = Response::builder().status(101).body(TestBody::default());
        Ok::<_, Infallible>(response.expect("valid"))
    });
    let service = watched.layer().layer(handler);
    let mut request = Request::new(TestBody::default());
    request.headers_mut().insert(UPGRADE, "without connection".parse().expect("valid"));
    tower::ServiceExt::oneshot(service, request).await.expect("infallible");
    let finished = watched.finish().await;
    assert_eq!(finished.status, StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(finished.request_type, RequestType::default());
}
