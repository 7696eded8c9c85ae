//! The layer in axum, as a program would use it.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, MatchedPath, Path};
use axum::routing::get as on_get;
use http::{Method, StatusCode};
use keylane::http::{CatchPanicLayer, TimeoutLayer, text_error};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

use crate::http_support::{Client, PROTOCOLS, Watched, get};

#[tokio::test]
async fn a_router_of_axum() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let events = watched
            .layer()
            .peer_with(|extensions| extensions.get().map(|&ConnectInfo::<SocketAddr>(addr)| addr))
            .route_with(|extensions| {
                extensions.get().map(|path: &MatchedPath| path.as_str().into())
            });
        let stack = ServiceBuilder::new()
            .layer(events)
            .layer(CatchPanicLayer::new())
            .layer(TimeoutLayer::head(std::time::Duration::from_secs(60), tokio::time::sleep));
        let app = Router::new()
            .route("/orders/{id}", on_get(async |Path(id): Path<u64>| format!("order {id}")))
            .fallback(async || {
                text_error::<axum::body::Body>(StatusCode::NOT_FOUND, "no such page")
            })
            .layer(stack)
            .into_make_service_with_connect_info::<SocketAddr>();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        tokio::spawn(async move { axum::serve(listener, app).await });

        let mut client = Client::connect(protocol, addr).await;
        let answer = client.ask(get("/orders/17")).await.expect("answer");
        assert_eq!(answer.text(), "order 17");
        let finished = watched.finish().await;
        assert_eq!(finished.request.route(), Some("/orders/{id}"));
        assert_eq!(finished.bytes_out, 8);
        assert!(finished.request.peer().is_some_and(|peer| peer.ip().is_loopback()));

        let mut head = get("/orders/17");
        *head.method_mut() = Method::HEAD;
        assert_eq!(client.ask(head).await.expect("answer").body.len(), 0);
        let finished = watched.finish().await;
        assert_eq!((finished.status, finished.bytes_out), (StatusCode::OK, 0));

        let answer = client.ask(get("/nowhere")).await.expect("answer");
        assert_eq!(answer.text(), "404 Not Found: no such page\n");
        let finished = watched.finish().await;
        assert_eq!((finished.status, finished.request.route()), (StatusCode::NOT_FOUND, None));
        watched.nothing_more().await;
    }
}
