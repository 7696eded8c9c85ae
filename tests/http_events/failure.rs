//! Services and bodies that fail, and deadlines.

use std::convert::Infallible;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};
use keylane::http::{FailReason, Phase, TimeoutLayer};
use tower::{Layer, ServiceBuilder, service_fn};

use crate::http_support::{
    BoxError, Client, PROTOCOLS, Protocol, Script, TestBody, Watched, get, serve,
};

#[tokio::test]
async fn a_service_that_returns_an_error() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let handler = service_fn(async |_| {
            Err::<Response<TestBody>, BoxError>("the database is gone".into())
        });
        let addr = serve(watched.layer().layer(handler)).await;
        Client::connect(protocol, addr).await.ask(get("/")).await.expect_err("no answer");
        let failed = watched.failure().await;
        assert_eq!((failed.phase, failed.reason), (Phase::Head, FailReason::ServiceError));
        assert_eq!(failed.error.as_deref(), Some("the database is gone"));
        assert_eq!((failed.status, failed.log_status()), (None, 500));
        watched.nothing_more().await;
    }
}

#[tokio::test]
async fn a_body_that_returns_an_error() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let handler = service_fn(async |_| {
            let steps = [Script::Data("abc".into()), Script::Error("the disk is gone")];
            Ok::<_, Infallible>(Response::new(TestBody::scripted(steps)))
        });
        let addr = serve(watched.layer().layer(handler)).await;
        Client::connect(protocol, addr).await.ask(get("/")).await.expect_err("a broken answer");
        let failed = watched.failure().await;
        assert_eq!((failed.phase, failed.reason), (Phase::Body, FailReason::BodyError));
        assert_eq!(failed.error.as_deref(), Some("the disk is gone"));
        assert_eq!((failed.status, failed.bytes_out), (Some(StatusCode::OK), 3));
        watched.nothing_more().await;
    }
}

#[tokio::test]
async fn a_body_shorter_than_declared() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let handler = service_fn(async |_| {
            let body = TestBody::streamed("x".repeat(30));
            let response = Response::builder().header(CONTENT_LENGTH, 99).body(body);
            Ok::<_, Infallible>(response.expect("valid"))
        });
        let addr = serve(watched.layer().layer(handler)).await;
        Client::connect(protocol, addr).await.ask(get("/")).await.expect_err("a broken answer");
        let failed = watched.failure().await;
        assert_eq!((failed.phase, failed.reason), (Phase::Body, FailReason::ShortBody));
        assert_eq!((failed.status, failed.bytes_out), (Some(StatusCode::OK), 30));
        assert_eq!(failed.error.as_deref(), Some("69 bytes fewer than declared"));
        watched.nothing_more().await;
    }
}

/// Over HTTP/1 hyper corrects the length of a body that is empty from the start; over HTTP/2 the client gets what was declared.
#[tokio::test]
async fn an_empty_body_with_a_declared_length() {
    let handler = service_fn(async |_| {
        let response = Response::builder().header(CONTENT_LENGTH, 99).body(TestBody::default());
        Ok::<_, Infallible>(response.expect("valid"))
    });
    let mut watched = Watched::new();
    let addr = serve(watched.layer().layer(handler)).await;
    let answer = Client::connect(Protocol::Http1, addr).await.ask(get("/")).await;
    assert_eq!(answer.expect("a corrected answer").headers[CONTENT_LENGTH], "0");
    watched.finish().await;

    Client::connect(Protocol::Http2, addr).await.ask(get("/")).await.expect_err("a broken answer");
    let failed = watched.failure().await;
    assert_eq!((failed.reason, failed.bytes_out), (FailReason::ShortBody, 0));
    watched.nothing_more().await;
}

/// The timer of the tests below: it fires at once, without any time passing.
async fn at_once(_: Duration) {}

async fn never(_: Duration) {
    std::future::pending().await
}

#[tokio::test]
async fn a_deadline_for_the_head() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let stack = ServiceBuilder::new()
            .layer(watched.layer())
            .layer(TimeoutLayer::head(Duration::from_secs(1), at_once));
        let handler = service_fn(async |_| {
            std::future::pending::<Result<Response<TestBody>, Infallible>>().await
        });
        let addr = serve(stack.service(handler)).await;
        let answer = Client::connect(protocol, addr).await.ask(get("/")).await.expect("answer");
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);

        let failed = watched.failure().await;
        assert_eq!((failed.phase, failed.reason), (Phase::Head, FailReason::Timeout));
        assert_eq!(failed.status, Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(failed.bytes_out, answer.body.len() as u64);
        assert_eq!(failed.log_status(), 503);
        watched.nothing_more().await;
    }
}

#[tokio::test]
async fn a_deadline_for_the_whole_response() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        // The head's timer never fires, the other one at once: but only when the body has nothing to say.
        let timer = |deadline: Duration| async move {
            if deadline == Duration::from_secs(1) {
                never(deadline).await
            }
        };
        let stack = ServiceBuilder::new().layer(watched.layer()).layer(
            TimeoutLayer::head(Duration::from_secs(1), timer)
                .whole_response(Duration::from_secs(2)),
        );
        let handler = service_fn(async |_| {
            let (sender, body) = TestBody::channel();
            sender.send(Script::Data("abc".into())).expect("the body is there");
            std::mem::forget(sender);
            Ok::<_, Infallible>(Response::new(body))
        });
        let addr = serve(stack.service(handler)).await;
        Client::connect(protocol, addr).await.ask(get("/")).await.expect_err("a broken answer");
        let failed = watched.failure().await;
        assert_eq!((failed.phase, failed.reason), (Phase::Body, FailReason::Timeout));
        assert_eq!((failed.status, failed.bytes_out), (Some(StatusCode::OK), 3));
        watched.nothing_more().await;
    }
}

/// Why the event layer belongs outside: a foreign layer around it answers behind its back.
#[tokio::test]
async fn a_foreign_timeout_outside_looks_like_a_client_that_left() {
    let mut watched = Watched::new();
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let stack = ServiceBuilder::new()
        .layer(tower_http::timeout::TimeoutLayer::with_status_code(status, Duration::ZERO))
        .layer(watched.layer());
    let handler = service_fn(async |_| {
        std::future::pending::<Result<Response<TestBody>, Infallible>>().await
    });
    let addr = serve(stack.service(handler)).await;
    let answer = Client::connect(Protocol::Http1, addr).await.ask(get("/")).await.expect("answer");
    assert_eq!(answer.status, status);
    let failed = watched.failure().await;
    assert_eq!((failed.phase, failed.reason), (Phase::Head, FailReason::ClientGone));
    watched.nothing_more().await;
}
