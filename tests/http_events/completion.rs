//! Responses that are complete, however the server lets go of them.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use keylane::RequestType;
use keylane::http::{EventBody, TrafficScope};
use tower::{Layer, service_fn};

use crate::http_support::{
    Client, PROTOCOLS, Protocol, Script, TestBody, Watched, fixed, get, serve,
};

#[tokio::test]
async fn a_fixed_body_is_finished_with_its_last_frame() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let handler = service_fn(async |_| Ok::<_, Infallible>(Response::new(fixed("hello"))));
        let addr = serve(watched.layer().layer(handler)).await;
        let answer = Client::connect(protocol, addr).await.ask(get("/x?y")).await.expect("answer");
        assert_eq!(answer.text(), "hello");
        assert_eq!(answer.headers[CONTENT_LENGTH], "5", "the size hint passes through");
        assert!(!answer.headers.contains_key(TRANSFER_ENCODING));

        let finished = watched.finish().await;
        assert_eq!((finished.status, finished.bytes_out), (StatusCode::OK, 5));
        assert_eq!(finished.bytes_in, 0);
        assert_eq!(finished.request.uri().path_and_query().expect("a path").as_str(), "/x?y");
        assert_eq!(finished.request_type, RequestType::default());
        let echoed = answer.headers["x-request-id"].to_str().expect("ASCII");
        assert_eq!(echoed, finished.request.id().to_string());
        watched.nothing_more().await;
    }
}

#[tokio::test]
async fn an_empty_body_is_finished_at_the_head() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let handler = service_fn(async |_| {
            let mut response = Response::new(TestBody::default());
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok::<_, Infallible>(response)
        });
        let addr = serve(watched.layer().layer(handler)).await;
        let answer = Client::connect(protocol, addr).await.ask(get("/")).await.expect("answer");
        assert_eq!((answer.status, answer.body.len()), (StatusCode::NOT_FOUND, 0));
        let finished = watched.finish().await;
        assert_eq!((finished.status, finished.bytes_out), (StatusCode::NOT_FOUND, 0));
        watched.nothing_more().await;
    }
}

#[tokio::test]
async fn a_stream_is_finished_when_it_ends() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let handler = service_fn(async |_| {
            let steps = ["ab", "", "cde"].map(|text| Script::Data(text.into()));
            Ok::<_, Infallible>(Response::new(TestBody::scripted(steps)))
        });
        let addr = serve(watched.layer().layer(handler)).await;
        let answer = Client::connect(protocol, addr).await.ask(get("/")).await.expect("answer");
        assert_eq!(answer.text(), "abcde");
        assert_eq!(watched.finish().await.bytes_out, 5);
        watched.nothing_more().await;
    }
}

/// As gRPC has them. hyper drops a body that has sent them.
#[tokio::test]
async fn a_body_is_finished_with_its_trailers() {
    let mut watched = Watched::new();
    let handler = service_fn(async |_| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let steps = [Script::Data("abc".into()), Script::Trailers(trailers)];
        Ok::<_, Infallible>(Response::new(TestBody::scripted(steps)))
    });
    let addr = serve(watched.layer().layer(handler)).await;
    let mut client = Client::connect(Protocol::Http2, addr).await;
    let response = client.send(get("/")).await.expect("a head");
    let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("a body");
    assert_eq!(body.trailers().expect("trailers")["grpc-status"], "0");
    assert_eq!(watched.finish().await.bytes_out, 3);
    watched.nothing_more().await;
}

/// hyper drops such a body without having seen its end (<https://github.com/hyperium/hyper/issues/1521>). tower-http 0.7.1 takes it
/// for a client that has gone.
#[tokio::test]
async fn a_stream_with_a_declared_length_is_finished_with_its_last_byte() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let handler = service_fn(move |_| {
            let (sender, body) = TestBody::channel();
            sender.send(Script::Data("x".repeat(30).into())).expect("the body is there");
            if protocol == Protocol::Http1 {
                // The channel stays open: whoever asked this body for its end would wait for ever.
                std::mem::forget(sender);
            }
            let response = Response::builder().header(CONTENT_LENGTH, 30).body(body);
            std::future::ready(Ok::<_, Infallible>(response.expect("valid")))
        });
        let addr = serve(watched.layer().layer(handler)).await;
        let answer = Client::connect(protocol, addr).await.ask(get("/")).await.expect("answer");
        assert_eq!(answer.body.len(), 30);
        assert_eq!(watched.finish().await.bytes_out, 30);
        watched.nothing_more().await;
    }
}

#[tokio::test]
async fn a_response_that_cannot_have_a_body_is_finished_at_the_head() {
    let cases = [
        (Method::HEAD, StatusCode::OK),
        (Method::HEAD, StatusCode::NOT_FOUND),
        (Method::GET, StatusCode::NO_CONTENT),
        (Method::GET, StatusCode::NOT_MODIFIED),
    ];
    for (protocol, (method, status)) in
        PROTOCOLS.into_iter().flat_map(|protocol| cases.clone().map(|case| (protocol, case)))
    {
        let mut watched = Watched::new();
        let handler = service_fn(move |_| {
            let mut response = Response::new(TestBody::streamed("not to be sent"));
            *response.status_mut() = status;
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let addr = serve(watched.layer().layer(handler)).await;
        let mut request = get("/");
        *request.method_mut() = method.clone();
        let answer = Client::connect(protocol, addr).await.send(request).await.expect("a head");
        assert_eq!(answer.status(), status);
        let finished = watched.finish().await;
        assert_eq!((finished.status, finished.bytes_out), (status, 0), "{protocol:?} {method}");
        watched.nothing_more().await;
    }
}

#[tokio::test]
async fn the_request_body_counts_as_far_as_it_is_read() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let handler = service_fn(async |request: http::Request<_>| {
            let body = http_body_util::BodyExt::collect(request.into_body()).await;
            let body = body.expect("the client sends all of it").to_bytes();
            Ok::<_, Infallible>(Response::new(fixed(format!("{} bytes", body.len()))))
        });
        let layer = watched.layer().traffic(true);
        let addr = serve(layer.layer(handler)).await;
        let mut request = get("/").map(|_| Full::from("z".repeat(100_000)));
        *request.method_mut() = Method::POST;
        let answer = Client::connect(protocol, addr).await.ask(request).await.expect("answer");
        assert_eq!(answer.text(), "100000 bytes");
        let finished = watched.finish().await;
        assert_eq!((finished.bytes_in, finished.bytes_out), (100_000, 12));

        let traffic = watched.traffic().await;
        assert_eq!(traffic.scope, TrafficScope::Request);
        assert_eq!((traffic.read_bytes, traffic.written_bytes), (100_000, 12));
        assert_eq!((traffic.id, traffic.addr), (finished.request.id(), finished.request.peer()));
        assert_eq!(traffic.duration, finished.total);
        watched.nothing_more().await;
    }
}

#[tokio::test]
async fn without_bytes_there_is_no_traffic() {
    let mut watched = Watched::new();
    let handler = service_fn(async |_| Ok::<_, Infallible>(Response::new(TestBody::default())));
    let addr = serve(watched.layer().traffic(true).layer(handler)).await;
    Client::connect(Protocol::Http1, addr).await.ask(get("/")).await.expect("answer");
    watched.finish().await;
    watched.nothing_more().await;
}

#[test]
fn the_body_passes_on_what_it_knows() {
    let empty = EventBody::<Full<Bytes>>::default();
    assert!(empty.is_end_stream());
    assert_eq!(empty.size_hint().exact(), Some(0));
}

/// What cannot be seen from a layer: the client read a part and left, and the response had been handed over by then.
#[tokio::test]
async fn handed_over_is_not_received() {
    let mut watched = Watched::new();
    let served = Arc::new(AtomicBool::new(false));
    let handler = service_fn({
        let served = served.clone();
        move |_| {
            served.store(true, Ordering::Relaxed);
            std::future::ready(Ok::<_, Infallible>(Response::new(fixed(vec![b'x'; 8 << 20]))))
        }
    });
    let addr = serve(watched.layer().layer(handler)).await;
    let mut client = Client::connect(Protocol::Http1, addr).await;
    let head = client.send(get("/")).await.expect("a head");
    client.leave();
    drop(head);
    assert!(served.load(Ordering::Relaxed));
    assert_eq!(watched.finish().await.bytes_out, 8 << 20);
    watched.nothing_more().await;
}
