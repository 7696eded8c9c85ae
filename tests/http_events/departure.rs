//! Clients that leave, servers that stop.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Response, StatusCode};
use keylane::http::{FailReason, Phase};
use tokio::sync::Notify;
use tower::{Layer, service_fn};

use crate::http_support::{
    Client, PROTOCOLS, Script, TestBody, Watched, get, serve, soon, spawn_server,
};

#[tokio::test]
async fn a_client_that_leaves_before_the_head() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let entered = Arc::new(Notify::new());
        let handler = service_fn({
            let entered = entered.clone();
            move |_| {
                let entered = entered.clone();
                async move {
                    entered.notify_one();
                    std::future::pending::<Result<Response<TestBody>, Infallible>>().await
                }
            }
        });
        let addr = serve(watched.layer().layer(handler)).await;
        let mut client = Client::connect(protocol, addr).await;
        let leave = async {
            entered.notified().await;
            Ok(())
        };
        let ask = async { client.send(get("/")).await.map(|_| ()) };
        tokio::select! { done = leave => done, done = ask => done }.expect("the handler waits");
        client.leave();

        let failed = watched.failure().await;
        assert_eq!((failed.phase, failed.reason), (Phase::Head, FailReason::ClientGone));
        assert_eq!((failed.status, failed.ttfb, failed.bytes_out), (None, None, 0));
        assert_eq!(failed.log_status(), 499);
        watched.nothing_more().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_the_body() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let (sender, body) = TestBody::channel();
        let body = Arc::new(std::sync::Mutex::new(Some(body)));
        let handler = service_fn(move |_| {
            let body = body.lock().expect("no panic").take().expect("one request");
            std::future::ready(Ok::<_, Infallible>(Response::new(body)))
        });
        let addr = serve(watched.layer().layer(handler)).await;
        let mut client = Client::connect(protocol, addr).await;
        sender.send(Script::Data("0123456789".into())).expect("the body is there");
        let mut response = soon(client.send(get("/"))).await.expect("a head");
        let frame = soon(http_body_util::BodyExt::frame(response.body_mut())).await;
        assert_eq!(frame.expect("a frame").expect("data").into_data().expect("data").len(), 10);
        drop(response);
        client.leave();

        let failed = watched.failure().await;
        assert_eq!((failed.phase, failed.reason), (Phase::Body, FailReason::ClientGone));
        assert_eq!((failed.status, failed.bytes_out), (Some(StatusCode::OK), 10));
        assert!(failed.ttfb.is_some_and(|ttfb| ttfb <= failed.total));
        assert_eq!(failed.log_status(), 499);
        soon(sender.closed()).await;
        watched.nothing_more().await;
    }
}

#[tokio::test]
async fn a_server_that_cuts_its_requests_off() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let entered = Arc::new(Notify::new());
        let handler = service_fn({
            let entered = entered.clone();
            move |_| {
                entered.notify_one();
                std::future::pending::<Result<Response<TestBody>, Infallible>>()
            }
        });
        let layer = watched.layer();
        let mark = layer.shutdown_mark();
        let (addr, server) = spawn_server(layer.layer(handler)).await;
        let mut client = Client::connect(protocol, addr).await;
        let asking = tokio::spawn(async move { client.send(get("/")).await.is_err() });
        soon(entered.notified()).await;
        mark.set();
        server.abort();

        let failed = watched.failure().await;
        assert_eq!((failed.phase, failed.reason), (Phase::Head, FailReason::Shutdown));
        assert_eq!(failed.log_status(), 503);
        assert!(soon(asking).await.expect("no panic"), "the client is not answered");
        watched.nothing_more().await;
    }
}
