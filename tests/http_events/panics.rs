//! Panics, wherever they happen and whoever catches them.

use std::convert::Infallible;

use http::{Response, StatusCode};
use keylane::http::{CatchPanicLayer, FailReason, Failed, Phase};
use tower::{Layer, ServiceBuilder, service_fn};

use crate::http_support::{
    Client, PROTOCOLS, Protocol, Script, TestBody, Watched, get, mute_deliberate_panics, serve,
};

fn assert_panic(failed: &Failed, phase: Phase, status: Option<StatusCode>) {
    assert_eq!((failed.phase, failed.reason, failed.status), (phase, FailReason::Panic, status));
    assert_eq!(failed.error.as_deref(), Some("deliberate"));
}

type Never = Result<Response<TestBody>, Infallible>;

async fn panicking() -> Never {
    panic!("deliberate")
}

fn panicking_body() -> Response<TestBody> {
    Response::new(TestBody::scripted([Script::Data("abc".into()), Script::Panic("deliberate")]))
}

#[tokio::test]
async fn a_panic_that_nobody_catches() {
    mute_deliberate_panics();
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let addr = serve(watched.layer().layer(service_fn(|_| panicking()))).await;
        Client::connect(protocol, addr).await.ask(get("/")).await.expect_err("no answer");
        let failed = watched.failure().await;
        assert_panic(&failed, Phase::Head, None);
        assert_eq!(failed.log_status(), 500);
        watched.nothing_more().await;
    }
}

#[tokio::test]
async fn a_panic_in_the_call_itself() {
    mute_deliberate_panics();
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let handler = service_fn(|_| -> std::future::Ready<Never> { panic!("deliberate") });
        let addr = serve(watched.layer().layer(handler)).await;
        Client::connect(protocol, addr).await.ask(get("/")).await.expect_err("no answer");
        assert_panic(&watched.failure().await, Phase::Head, None);
        watched.nothing_more().await;
    }
}

/// In this case `thread::panicking()` is false when the future is dropped.
#[tokio::test]
async fn a_panic_that_is_caught_outside() {
    mute_deliberate_panics();
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let stack = ServiceBuilder::new()
            .layer(tower_http::catch_panic::CatchPanicLayer::new())
            .layer(watched.layer());
        let addr = serve(stack.service(service_fn(|_| panicking()))).await;
        let answer = Client::connect(protocol, addr).await.ask(get("/")).await.expect("answer");
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_panic(&watched.failure().await, Phase::Head, None);
        watched.nothing_more().await;
    }
}

/// A foreign layer inside makes a plain response of it.
#[tokio::test]
async fn a_panic_that_a_foreign_layer_has_caught_inside() {
    mute_deliberate_panics();
    let mut watched = Watched::new();
    let stack = ServiceBuilder::new()
        .layer(watched.layer())
        .layer(tower_http::catch_panic::CatchPanicLayer::new());
    let addr = serve(stack.service(service_fn(|_| panicking()))).await;
    Client::connect(Protocol::Http1, addr).await.ask(get("/")).await.expect("answer");
    assert_eq!(watched.finish().await.status, StatusCode::INTERNAL_SERVER_ERROR);
    watched.nothing_more().await;
}

#[tokio::test]
async fn a_panic_that_our_layer_has_caught_inside() {
    mute_deliberate_panics();
    for protocol in PROTOCOLS {
        for in_call in [false, true] {
            let mut watched = Watched::new();
            let stack = ServiceBuilder::new().layer(watched.layer()).layer(CatchPanicLayer::new());
            let handler = service_fn(move |_| {
                assert!(!in_call, "deliberate");
                panicking()
            });
            let addr = serve(stack.service(handler)).await;
            let answer = Client::connect(protocol, addr).await.ask(get("/")).await.expect("answer");
            assert_eq!(answer.text(), "500 Internal Server Error\n");
            let failed = watched.failure().await;
            assert_panic(&failed, Phase::Head, Some(StatusCode::INTERNAL_SERVER_ERROR));
            assert_eq!(failed.bytes_out, 26);
            watched.nothing_more().await;
        }
    }
}

#[tokio::test]
async fn a_panic_in_the_body() {
    mute_deliberate_panics();
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let handler = service_fn(async |_| Ok::<_, Infallible>(panicking_body()));
        let addr = serve(watched.layer().layer(handler)).await;
        Client::connect(protocol, addr).await.ask(get("/")).await.expect_err("a broken answer");
        let failed = watched.failure().await;
        assert_panic(&failed, Phase::Body, Some(StatusCode::OK));
        assert_eq!(failed.bytes_out, 3);
        watched.nothing_more().await;
    }
}

#[tokio::test]
async fn a_panic_in_the_body_that_our_layer_has_caught() {
    mute_deliberate_panics();
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let stack = ServiceBuilder::new().layer(watched.layer()).layer(CatchPanicLayer::new());
        let handler = service_fn(async |_| Ok::<_, Infallible>(panicking_body()));
        let addr = serve(stack.service(handler)).await;
        Client::connect(protocol, addr).await.ask(get("/")).await.expect_err("a broken answer");
        let failed = watched.failure().await;
        assert_panic(&failed, Phase::Body, Some(StatusCode::OK));
        assert_eq!(failed.bytes_out, 3);
        watched.nothing_more().await;
    }
}
