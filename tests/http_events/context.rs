//! What the events know of a request.

use std::convert::Infallible;
use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Response, Version};
use keylane::http::{CurrentRequest, RequestHead, TrustedProxies};
use keylane::{EventType, RequestType};
use tower::{Layer, ServiceBuilder, service_fn};

use crate::http_support::{Client, PROTOCOLS, Protocol, Seen, Watched, fixed, get, serve};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn hello<B>(
    _: http::Request<B>,
) -> Result<Response<crate::http_support::TestBody>, Infallible> {
    Ok(Response::new(fixed("hello")))
}

#[tokio::test]
async fn the_start_and_the_end_know_the_same_request() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let user_agent = HeaderName::from_static("user-agent");
        let layer = watched.layer().capture([user_agent.clone()]).capture([user_agent.clone()]);
        let addr = serve(layer.layer(service_fn(hello))).await;
        let mut request = get("/path");
        request.headers_mut().insert("traceparent", HeaderValue::from_static(TRACE));
        request.headers_mut().insert("user-agent", HeaderValue::from_static("a \"quoted\" one"));
        request.headers_mut().insert("cookie", HeaderValue::from_static("secret"));
        Client::connect(protocol, addr).await.ask(request).await.expect("answer");

        let started = watched.start().await;
        let head: &RequestHead = &started.request;
        let Seen::Finish(finished) = watched.next().await else { panic!("no finish") };
        assert!(std::ptr::eq(head, &*finished.request), "nothing is copied");
        assert_eq!(head.trace().expect("a valid header").to_string(), TRACE);
        assert_eq!(head.captured().get(&user_agent).expect("captured"), "a \"quoted\" one");
        assert_eq!(head.captured().iter().count(), 1, "nobody asked for the cookie");
        assert_eq!(head.inbound_id(), None);
        assert_eq!(head.request_type(), RequestType::default());
        let version = if protocol == Protocol::Http1 { Version::HTTP_11 } else { Version::HTTP_2 };
        assert_eq!(head.version(), version);
        let peer = head.peer().expect("the server tells");
        assert_eq!(head.client().map(|client| client.to_string()), Some(peer.to_string()));

        let meta = head.meta();
        assert_eq!((meta.request_id, meta.addr), (head.id().to_string(), Some(peer)));
        let json = serde_json::to_value(&finished).expect("an object");
        assert_eq!(json["request"]["trace"], TRACE);
        assert_eq!(json["request"]["headers"]["user-agent"], "a \"quoted\" one");
        assert_eq!(json["status_code"], 200);
        watched.nothing_more().await;
    }
}

#[tokio::test]
async fn an_inbound_id_is_taken_only_when_asked_for_and_harmless() {
    let long = "x".repeat(129);
    for (trusted, sent, expected) in [
        (false, "abc", None),
        (true, "abc", Some("abc")),
        (true, &long[..128], Some(&long[..128])),
        (true, &long, None),
        (true, "", None),
        (true, "a b", None),
        (true, "a\tb", None),
        (true, "caf\u{e9}", None),
    ] {
        let mut watched = Watched::new();
        let name = HeaderName::from_static("x-request-id");
        let layer = watched.layer().trust_inbound_id(trusted.then(|| name.clone()));
        let addr = serve(layer.layer(service_fn(hello))).await;
        let mut request = get("/");
        let value = HeaderValue::from_bytes(sent.as_bytes()).expect("hyper takes it");
        request.headers_mut().insert(name.clone(), value);
        let answer = Client::connect(Protocol::Http1, addr).await.ask(request).await;
        let answer = answer.expect("answer");

        let finished = watched.finish().await;
        assert_eq!(finished.request.inbound_id(), expected, "{sent:?}");
        let own = finished.request.id().to_string();
        assert_eq!(answer.headers[&name], own.as_str(), "the own id is echoed all the same");
        watched.nothing_more().await;
    }
}

#[tokio::test]
async fn the_echo_can_be_turned_off() {
    let mut watched = Watched::new();
    let addr = serve(watched.layer().echo_id(None).layer(service_fn(hello))).await;
    let answer = Client::connect(Protocol::Http1, addr).await.ask(get("/")).await.expect("answer");
    assert!(!answer.headers.contains_key("x-request-id"));
    watched.finish().await;
}

#[tokio::test]
async fn forwarded_addresses_count_only_from_trusted_proxies() {
    for (trusted, expected) in [("127.0.0.1", "192.0.2.1"), ("10.0.0.0/8", "127.0.0.1")] {
        let mut watched = Watched::new();
        let proxies: TrustedProxies = trusted.parse().expect("a network");
        let addr = serve(watched.layer().trust_proxies(proxies).layer(service_fn(hello))).await;
        let mut request = get("/");
        let forwarded = HeaderValue::from_static("6.6.6.6, 192.0.2.1");
        request.headers_mut().insert("x-forwarded-for", forwarded);
        Client::connect(Protocol::Http1, addr).await.ask(request).await.expect("answer");
        let finished = watched.finish().await;
        let client = finished.request.client().expect("there is a peer");
        assert_eq!(client.ip, expected.parse::<IpAddr>().expect("an address"));
        assert!(finished.request.peer().is_some_and(|peer| peer.ip().is_loopback()));
    }
}

#[tokio::test]
async fn a_handler_tells_what_it_learns() {
    let mut watched = Watched::new();
    let handler = service_fn(async |request: http::Request<_>| {
        let current: &CurrentRequest = request.extensions().get().expect("the layer is outside");
        current.set_user("alice");
        current.set_user("mallory");
        current.set_route("/orders/{id}");
        current.emit(EventType::user(1), "cache miss").expect("there is room");
        hello(request).await
    });
    let layer = watched.layer().request_type(RequestType::TLS);
    let addr = serve(layer.layer(handler)).await;
    Client::connect(Protocol::Http1, addr).await.ask(get("/orders/7")).await.expect("answer");
    let finished = watched.finish().await;
    assert_eq!(finished.request.user(), Some("alice"));
    assert_eq!(finished.request.route(), Some("/orders/{id}"));
    assert_eq!(finished.request_type, RequestType::TLS);
}

#[tokio::test]
async fn the_connection_tells_how_a_request_travels() {
    let mut watched = Watched::new();
    let service = watched.layer().request_type(RequestType::TLS).layer(service_fn(hello));
    let mut request = http::Request::new(http_body_util::Empty::<bytes::Bytes>::new());
    request.extensions_mut().insert(RequestType::TUNNELED);
    tower::ServiceExt::oneshot(service, request).await.expect("infallible");
    let started = watched.start().await;
    assert_eq!(started.request.request_type(), RequestType::TUNNELED);
}

/// A request whose peer nobody knows, as over a Unix socket.
#[tokio::test]
async fn an_unknown_peer_is_none() {
    let mut watched = Watched::new();
    let service = ServiceBuilder::new().layer(watched.layer()).service(service_fn(hello));
    let request = http::Request::new(http_body_util::Empty::<bytes::Bytes>::new());
    let response = tower::ServiceExt::oneshot(service, request).await.expect("infallible");
    http_body_util::BodyExt::collect(response.into_body()).await.expect("a whole body");
    let finished = watched.finish().await;
    assert_eq!((finished.request.peer(), finished.request.client()), (None, None));
}
