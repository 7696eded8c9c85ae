//! The tests of gohm 1.6.1's `panic_test.go`, `timeout_test.go` and, with the feature, `gzip_test.go`, by name; and what its close
//! notifier is for.

mod http_support;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use http_body::Frame;
use keylane::http::{
    CatchPanicLayer, CloseNotifier, CloseNotifierLayer, RequestEnd, TextError, TimeoutLayer,
    text_error,
};
use tokio::sync::{Notify, oneshot};
use tower::{Layer, ServiceBuilder, service_fn};

use http_support::{
    Client, PROTOCOLS, Protocol, Script, TestBody, fixed, get, mute_deliberate_panics, serve, soon,
};

type Reply = Result<Response<TestBody>, Infallible>;

fn panicking() -> Reply {
    panic!("deliberate")
}

#[tokio::test]
async fn error() {
    let handler =
        service_fn(async |_| -> Reply { Ok(text_error(StatusCode::FORBIDDEN, "some error")) });
    let addr = serve(handler).await;
    for protocol in PROTOCOLS {
        let answer = Client::connect(protocol, addr).await.ask(get("/")).await.expect("answer");
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(answer.text(), "403 Forbidden: some error\n");
        assert_eq!(answer.body.len(), 26);
        assert_eq!(answer.headers[CONTENT_TYPE], "text/plain; charset=utf-8");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    let unknown = StatusCode::from_u16(599).expect("three digits");
    assert_eq!(TextError::new(unknown, "text").to_string(), "599: text");
    assert_eq!(TextError::new(unknown, "").to_string(), "599");
    assert_eq!(TextError::new(StatusCode::NOT_FOUND, "").to_string(), "404 Not Found");
}

#[tokio::test]
async fn convert_panics_to_errors_when_no_panic() {
    let handler = service_fn(async |_| -> Reply { Ok(Response::new(fixed("nothing special"))) });
    let addr = serve(CatchPanicLayer::new().layer(handler)).await;
    let answer = Client::connect(Protocol::Http1, addr).await.ask(get("/")).await.expect("answer");
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "nothing special"));
}

#[tokio::test]
async fn convert_panics_to_errors_when_panic() {
    mute_deliberate_panics();
    for (expose, expected) in [
        (false, "500 Internal Server Error\n"),
        (true, "500 Internal Server Error: deliberate: some horrible event took place\n"),
    ] {
        let handler =
            service_fn(async |_| -> Reply { panic!("deliberate: some horrible event took place") });
        let addr = serve(CatchPanicLayer::new().expose_panic_text(expose).layer(handler)).await;
        for protocol in PROTOCOLS {
            let answer = Client::connect(protocol, addr).await.ask(get("/")).await.expect("answer");
            assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(answer.text(), expected);
        }
    }
}

#[tokio::test]
async fn with_timeout_when_no_timeout() {
    let handler = service_fn(async |_| -> Reply { Ok(Response::new(fixed("{pi:3.14159265}"))) });
    let layer = TimeoutLayer::head(Duration::from_secs(600), tokio::time::sleep);
    let addr = serve(layer.layer(handler)).await;
    let answer = Client::connect(Protocol::Http1, addr).await.ask(get("/")).await.expect("answer");
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "{pi:3.14159265}"));
}

#[tokio::test]
async fn with_timeout_when_timeout() {
    let handler = service_fn(async |_| std::future::pending::<Reply>().await);
    let layer = TimeoutLayer::head(Duration::from_millis(10), tokio::time::sleep);
    let addr = serve(layer.layer(handler)).await;
    for protocol in PROTOCOLS {
        let answer = Client::connect(protocol, addr).await.ask(get("/")).await.expect("answer");
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.text(), "503 Service Unavailable: took too long to process request\n");
    }
}

/// A panic passes the timeout, and the panic layer outside of it answers.
#[tokio::test]
async fn with_timeout_when_panic() {
    mute_deliberate_panics();
    let handler = service_fn(async |_| -> Reply { panic!("deliberate: test error") });
    let layer = TimeoutLayer::head(Duration::from_secs(600), tokio::time::sleep);
    let bare = serve(layer.layer(handler)).await;
    Client::connect(Protocol::Http1, bare).await.ask(get("/")).await.expect_err("no answer");
    let stack = ServiceBuilder::new().layer(CatchPanicLayer::new()).layer(layer);
    let caught = serve(stack.service(handler)).await;
    let answer = Client::connect(Protocol::Http1, caught).await.ask(get("/")).await;
    assert_eq!(answer.expect("answer").status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_response_that_is_ready_wins_over_the_timer() {
    async fn at_once(_: Duration) {}
    let handler =
        service_fn(async |_| -> Reply { Ok(Response::new(TestBody::streamed("in time"))) });
    let layer = TimeoutLayer::head(Duration::ZERO, at_once).whole_response(Duration::ZERO);
    let addr = serve(layer.layer(handler)).await;
    let answer = Client::connect(Protocol::Http1, addr).await.ask(get("/")).await.expect("answer");
    assert_eq!(answer.text(), "in time");
}

/// A stream that always has more does not get past its deadline either.
#[tokio::test]
async fn a_stream_without_an_end_is_cut_off() {
    #[derive(Debug)]
    struct Endless;

    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"more ")))))
        }
    }

    async fn at_once(_: Duration) {}

    let handler = service_fn(async |_| Ok::<_, Infallible>(Response::new(Endless)));
    // The head is ready at once and wins; the body does not.
    let layer = TimeoutLayer::head(Duration::ZERO, at_once).whole_response(Duration::ZERO);
    let addr = serve(layer.layer(handler)).await;
    for protocol in PROTOCOLS {
        let mut client = Client::connect(protocol, addr).await;
        soon(client.ask(get("/"))).await.expect_err("a broken answer");
    }
}

/// Serves one request with a notifier, and returns how it ended.
macro_rules! end_of {
    ($handler:expr, $client:expr) => {{
        let (sender, ended) = oneshot::channel();
        let sender = Arc::new(Mutex::new(Some(sender)));
        let handler = $handler;
        let service =
            CloseNotifierLayer::new().layer(service_fn(move |request: http::Request<_>| {
                let notifier: &CloseNotifier = request.extensions().get().expect("the layer");
                let notifier = notifier.clone();
                let sender = sender.lock().expect("no panic").take().expect("one request");
                tokio::spawn(async move {
                    let end = notifier.ended().await;
                    assert_eq!(notifier.is_client_gone(), end == RequestEnd::ClientGone);
                    sender.send(end).expect("the test waits");
                });
                handler()
            }));
        let addr = serve(service).await;
        $client(addr).await;
        soon(ended).await.expect("no panic")
    }};
}

#[tokio::test]
async fn with_close_notifier_when_the_client_leaves() {
    for protocol in PROTOCOLS {
        let entered = Arc::new(Notify::new());
        let handler = {
            let entered = entered.clone();
            move || {
                entered.notify_one();
                std::future::pending::<Reply>()
            }
        };
        let end = end_of!(handler, async |addr| {
            let mut client = Client::connect(protocol, addr).await;
            tokio::select! {
                _ = client.send(get("/")) => panic!("there is no answer"),
                () = entered.notified() => client.leave(),
            }
        });
        assert_eq!(end, RequestEnd::ClientGone);
    }
}

#[tokio::test]
async fn with_close_notifier_when_the_client_leaves_the_body() {
    for protocol in PROTOCOLS {
        let handler = || {
            let (sender, body) = TestBody::channel();
            sender.send(Script::Data("abc".into())).expect("the body is there");
            std::mem::forget(sender);
            std::future::ready(Reply::Ok(Response::new(body)))
        };
        let end = end_of!(handler, async |addr| {
            let mut client = Client::connect(protocol, addr).await;
            let mut response = client.send(get("/")).await.expect("a head");
            let frame = soon(http_body_util::BodyExt::frame(response.body_mut())).await;
            assert!(frame.is_some_and(|frame| frame.is_ok()));
            client.leave();
        });
        assert_eq!(end, RequestEnd::ClientGone);
    }
}

#[tokio::test]
async fn with_close_notifier_when_the_request_ends_by_itself() {
    mute_deliberate_panics();
    for protocol in PROTOCOLS {
        let ask = async |addr| {
            let _ = Client::connect(protocol, addr).await.ask(get("/")).await;
        };
        let handler = || std::future::ready(Reply::Ok(Response::new(fixed("hello"))));
        assert_eq!(end_of!(handler, ask), RequestEnd::Over);
        let handler = || std::future::ready(Reply::Ok(Response::new(TestBody::streamed("hello"))));
        assert_eq!(end_of!(handler, ask), RequestEnd::Over);
        let trailers = || TestBody::scripted([Script::Trailers(http::HeaderMap::new())]);
        let handler = move || std::future::ready(Reply::Ok(Response::new(trailers())));
        assert_eq!(end_of!(handler, ask), RequestEnd::Over);
        let handler = || std::future::ready(Reply::Ok(Response::new(TestBody::default())));
        assert_eq!(end_of!(handler, ask), RequestEnd::Over);
        let handler = || async { panicking() };
        assert_eq!(end_of!(handler, ask), RequestEnd::Over);
    }
}

#[cfg(feature = "gzip")]
mod gzip {
    use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
    use http::{HeaderValue, Method};
    use keylane::http::GzipLayer;

    use super::*;

    /// Long enough to be worth it.
    const TEXT: &str = "{pi:3.14159265} {pi:3.14159265} {pi:3.14159265} {pi:3.14159265}";

    async fn answer(
        method: Method,
        accept: &'static str,
        response: fn() -> Response<TestBody>,
    ) -> http_support::Answer {
        let handler = service_fn(move |_| std::future::ready(Reply::Ok(response())));
        let addr = serve(GzipLayer::new().layer(handler)).await;
        let mut request = get("/some/url");
        *request.method_mut() = method;
        if !accept.is_empty() {
            let accept = HeaderValue::from_static(accept);
            request.headers_mut().insert(ACCEPT_ENCODING, accept);
        }
        Client::connect(Protocol::Http1, addr).await.ask(request).await.expect("answer")
    }

    fn text() -> Response<TestBody> {
        Response::new(fixed(TEXT))
    }

    fn unpacked(body: &[u8]) -> String {
        let mut text = String::new();
        let mut decoder = flate2::read::GzDecoder::new(body);
        std::io::Read::read_to_string(&mut decoder, &mut text).expect("a gzip stream");
        text
    }

    #[tokio::test]
    async fn gzip_uncompressed() {
        for accept in ["", "identity", "gzip;q=0", "br", "*;q=0, identity"] {
            let answer = answer(Method::GET, accept, text).await;
            assert_eq!(answer.text(), TEXT, "{accept}");
            assert!(!answer.headers.contains_key(CONTENT_ENCODING));
            assert_eq!(answer.headers[CONTENT_LENGTH], TEXT.len().to_string().as_str());
        }
    }

    #[tokio::test]
    async fn gzip_compressed() {
        for accept in ["gzip", "br, gzip;q=0.1", "x-gzip", "*"] {
            let answer = answer(Method::GET, accept, text).await;
            assert_eq!(answer.headers[CONTENT_ENCODING], "gzip", "{accept}");
            assert_eq!(answer.headers[VARY], "accept-encoding");
            assert!(!answer.headers.contains_key(CONTENT_LENGTH));
            assert_eq!(unpacked(&answer.body), TEXT);
        }
    }

    #[tokio::test]
    async fn gzip_leaves_alone_what_it_must() {
        let responses: [fn() -> Response<TestBody>; 4] = [
            || Response::new(fixed("short")),
            || Response::builder().header(CONTENT_ENCODING, "br").body(fixed(TEXT)).expect("valid"),
            || {
                let builder = Response::builder().header(CONTENT_TYPE, "text/event-stream");
                builder.body(fixed(TEXT)).expect("valid")
            },
            || {
                let builder =
                    Response::builder().status(206).header("content-range", "bytes 0-63/99");
                builder.body(fixed(TEXT)).expect("valid")
            },
        ];
        for response in responses {
            let answer = answer(Method::GET, "gzip", response).await;
            assert_ne!(answer.headers.get(CONTENT_ENCODING), Some(&"gzip".parse().expect("valid")));
            assert!(["short", TEXT].contains(&answer.text()));
        }
        let answer = answer(Method::HEAD, "gzip", text).await;
        assert_eq!(answer.body.len(), 0);
    }
}
