//! Refused clients.

use std::convert::Infallible;

use http::header::{AUTHORIZATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use keylane::http::{AuthFailed, AuthFailure, AuthLayer, Basic, Bearer, Secrets, User};
use tower::{ServiceBuilder, service_fn};

use crate::http_support::{
    Client, PROTOCOLS, Protocol, Seen, TestBody, Watched, fixed, get, serve,
};

/// Answers with the name of the user.
async fn who<B>(request: http::Request<B>) -> Result<Response<TestBody>, Infallible> {
    let User(user) = request.extensions().get().expect("only users come here");
    Ok(Response::new(fixed(user.to_string())))
}

fn basic() -> Basic<impl Fn(&str, &str) -> bool + Clone> {
    Basic::new("orders", |user, password| (user, password) == ("Aladdin", "open sesame"))
}

async fn auth(watched: &mut Watched) -> AuthFailed {
    match watched.next().await {
        Seen::Auth(failed) => failed,
        other => panic!("expected a refusal, not {other:?}"),
    }
}

/// Outside of the event layer, as in httransform: a request begins when its client is known.
#[tokio::test]
async fn outside_a_refusal_is_all_there_is() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let layer = AuthLayer::new(watched.bus.emitter(), basic());
        let stack = ServiceBuilder::new().layer(layer).layer(watched.layer());
        let addr = serve(stack.service(service_fn(who))).await;
        let mut client = Client::connect(protocol, addr).await;

        let rejected = AuthFailure::Rejected { user: Some("Aladdin".into()) };
        let malformed = "send authorization once, as the scheme Basic has it";
        for (credentials, reason, text) in [
            (None, AuthFailure::Missing, "send credentials of the scheme Basic in authorization"),
            (Some("Bearer x"), AuthFailure::OtherScheme, "only the scheme Basic is known here"),
            (Some("Basic"), AuthFailure::Malformed, malformed),
            (Some("Basic ???"), AuthFailure::Malformed, malformed),
            (Some("Basic /w=="), AuthFailure::Malformed, malformed),
            (Some("basic QWxhZGRpbjp4"), rejected, "the credentials are wrong"),
        ] {
            let mut request = get("/");
            if let Some(credentials) = credentials {
                let value = HeaderValue::from_static(credentials);
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            let answer = client.ask(request).await.expect("answer");
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            assert_eq!(answer.text(), format!("401 Unauthorized: {text}\n"));
            let challenge = "Basic realm=\"orders\", charset=\"UTF-8\"";
            assert_eq!(answer.headers[WWW_AUTHENTICATE], challenge);
            let failed = auth(&mut watched).await;
            assert_eq!((failed.scheme, &failed.reason), ("Basic", &reason), "{credentials:?}");
            assert!(failed.peer.is_some_and(|peer| peer.ip().is_loopback()));
            assert_eq!((failed.request_id, failed.client), (None, failed.peer.map(Into::into)));
        }

        let mut request = get("/");
        let value = HeaderValue::from_static("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        request.headers_mut().insert(AUTHORIZATION, value);
        assert_eq!(client.ask(request).await.expect("answer").text(), "Aladdin");
        assert_eq!(watched.start().await.request.user(), Some("Aladdin"));
        assert!(matches!(watched.next().await, Seen::Finish(_)));
        watched.nothing_more().await;
    }
}

#[tokio::test]
async fn inside_a_refusal_belongs_to_its_request() {
    let mut watched = Watched::new();
    let bearer = Bearer::new("orders", |token| (token == "secret").then(|| "ci".into()));
    let layer = AuthLayer::new(watched.bus.emitter(), bearer);
    let stack = ServiceBuilder::new().layer(watched.layer()).layer(layer);
    let addr = serve(stack.service(service_fn(who))).await;
    let mut client = Client::connect(Protocol::Http1, addr).await;

    let mut request = get("/");
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer guess"));
    assert_eq!(client.ask(request).await.expect("answer").status, StatusCode::UNAUTHORIZED);
    let started = watched.start().await;
    let failed = auth(&mut watched).await;
    assert_eq!(failed.request_id, Some(started.request.id()));
    assert_eq!((failed.scheme, failed.user()), ("Bearer", None));
    assert_eq!(failed.reason, AuthFailure::Rejected { user: None });
    let Seen::Finish(finished) = watched.next().await else { panic!("no finish") };
    assert_eq!((finished.status, finished.request.user()), (StatusCode::UNAUTHORIZED, None));

    let mut request = get("/");
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
    assert_eq!(client.ask(request).await.expect("answer").text(), "ci");
    assert_eq!(watched.finish().await.request.user(), Some("ci"));

    let mut twice = get("/");
    for value in ["Bearer secret", "Bearer secret"] {
        twice.headers_mut().append(AUTHORIZATION, HeaderValue::from_static(value));
    }
    assert_eq!(client.ask(twice).await.expect("answer").status, StatusCode::UNAUTHORIZED);
    watched.start().await;
    assert_eq!(auth(&mut watched).await.reason, AuthFailure::Malformed);
}

/// A proxy has headers and a status of its own, and keeps what was meant for it.
#[tokio::test]
async fn a_proxy_asks_for_its_own_credentials_and_passes_none_on() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let users = Secrets::new([("Aladdin", "open sesame")]);
        let basic = Basic::new("proxy", move |user, password| users.allow(user, password));
        let layer = AuthLayer::proxy(watched.bus.emitter(), basic);
        let handler = service_fn(async |request: http::Request<_>| {
            assert!(!request.headers().contains_key(PROXY_AUTHORIZATION), "it is passed on");
            assert_eq!(request.headers()[AUTHORIZATION], "Bearer for the server");
            who(request).await
        });
        let addr = serve(ServiceBuilder::new().layer(layer).service(handler)).await;
        let mut client = Client::connect(protocol, addr).await;

        let ask = |credentials| {
            let mut request = get("/");
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer for the server"));
            if let Some(credentials) = credentials {
                headers.insert(PROXY_AUTHORIZATION, HeaderValue::from_static(credentials));
            }
            request
        };
        let answer = client.ask(ask(None)).await.expect("answer");
        assert_eq!(answer.status, StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        assert!(answer.headers[PROXY_AUTHENTICATE].to_str().expect("ASCII").starts_with("Basic "));
        assert!(!answer.headers.contains_key(WWW_AUTHENTICATE));
        assert_eq!(auth(&mut watched).await.reason, AuthFailure::Missing);

        let answer = client.ask(ask(Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="))).await;
        assert_eq!(answer.expect("answer").text(), "Aladdin");
        watched.nothing_more().await;
    }
}
