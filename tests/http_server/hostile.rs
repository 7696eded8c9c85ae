//! Clients that are slow, broken or malicious: each gets the right status and a text that says what to do, or is reported with one.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use keylane::http::{
    AccessLog, EventLayer, LogFormat, LogSink, ServeError, Server, Serving, TextError, TrafficScope,
};
use keylane::{Bus, CommonErrorMeta};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::{Layer, service_fn};

use crate::http_support::{
    BoxError, Client, Incoming, Protocol, Script, Seen, TestBody, Watched, get, read_raw_head, soon,
};
use crate::serving::listener;
use crate::shutdown::echo_tunnel;

const LONG: Duration = Duration::from_secs(60);

/// Sends the body back; a body that cannot be read is the client's fault.
async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
    Ok(match request.into_body().collect().await {
        Ok(body) => Response::new(Full::new(body.to_bytes())),
        Err(error) => TextError::new(StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    })
}

fn server(watched: &Watched) -> Server {
    Server::new(&watched.bus).traffic(false)
}

/// Sends bytes over a connection of their own, and returns all that comes back.
async fn send(serving: &Serving, bytes: &[u8]) -> String {
    let mut stream = connect(serving).await;
    // The server may close before it has read all of it.
    let _ = soon(stream.write_all(bytes)).await;
    read_all(stream).await
}

async fn connect(serving: &Serving) -> TcpStream {
    TcpStream::connect(serving.local_addr().expect("TCP")).await.expect("it listens")
}

async fn read_all(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset behind the answer is as good as an end.
    let _ = soon(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn error_of(meta: &CommonErrorMeta) -> &ServeError {
    meta.err.as_error().downcast_ref().expect("the errors of a server have this type")
}

/// The status line, the headers and the body of a refusal must fit together.
#[track_caller]
fn assert_refused(answer: &str, status: &str, text: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer:?}");
    assert!(head.contains("connection: close"), "{answer:?}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{answer:?}");
    assert!(body.starts_with(&format!("{status}: ")) && body.contains(text), "{answer:?}");
}

#[tokio::test]
async fn what_is_not_http_gets_400_and_the_reason() {
    let mut watched = Watched::new();
    let serving = server(&watched).serve(listener().await, service_fn(echo));
    let with = |header: &str| format!("POST / HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\nhello");
    for (request, reason) in [
        ("this is not HTTP\r\n\r\n".into(), "invalid HTTP version"),
        ("G\x01T / HTTP/1.1\r\nhost: x\r\n\r\n".into(), "invalid HTTP method"),
        ("GET / HTTP/7.5\r\nhost: x\r\n\r\n".into(), "invalid HTTP version"),
        (with("a: \0"), "invalid HTTP header"),
        (with("a: \x1b[2J"), "invalid HTTP header"),
        (with("a b: c"), "invalid HTTP header"),
        (with("content-length: 5\r\ncontent-length: 6"), "invalid content-length"),
        (with("content-length: -5"), "invalid content-length"),
        (with("content-length: 99999999999999999999999"), "invalid content-length"),
        (with("transfer-encoding: gzip"), "invalid transfer-encoding"),
        (with("transfer-encoding: chunked, gzip"), "invalid transfer-encoding"),
        (
            "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            "unexpected transfer-encoding",
        ),
    ] {
        let answer = send(&serving, request.as_bytes()).await;
        assert_refused(&answer, "400 Bad Request", reason);
        assert!(answer.contains("mend the client"), "{answer:?}");
        let meta = watched.error().await;
        assert!(matches!(error_of(&meta), ServeError::Parse(_)), "{meta}");
        assert!(meta.to_string().contains(reason) && meta.addr.is_some(), "{meta}");
    }
    // Behind a good request, on the same connection: the answer to that one comes first.
    let both = format!("GET / HTTP/1.1\r\nhost: x\r\n\r\n{}", with("a b: c"));
    let answer = send(&serving, both.as_bytes()).await;
    let refusal = answer.rfind("HTTP/1.1").expect("two answers");
    assert!(refusal > 0 && answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
    assert_refused(&answer[refusal..], "400 Bad Request", "invalid HTTP header");
    let meta = watched.error().await;
    assert!((meta.method, meta.uri) == (None, None), "it is not about the request before");
    assert!(serving.shutdown(LONG).await.is_clean());
    watched.nothing_more().await;
}

#[tokio::test]
async fn heads_have_limits() {
    let mut watched = Watched::new();
    let serving = server(&watched)
        .max_head_size(8 * 1024)
        .max_headers(20)
        .serve(listener().await, service_fn(echo));
    let head =
        |inside: &str| format!("GET / HTTP/1.1\r\nhost: x\r\n{inside}connection: close\r\n\r\n");
    let many: String = (0..30).map(|n| format!("a{n}: x\r\n")).collect();
    for request in [
        head(&format!("a: {}\r\n", "x".repeat(9 * 1024))),
        head(&format!("a: {}\r\n", "x".repeat(10 << 20))),
        head(&many),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(9 * 1024)),
        // One that never ends.
        format!("GET / HTTP/1.1\r\na: {}", "x".repeat(1 << 20)),
    ] {
        let answer = send(&serving, request.as_bytes()).await;
        let hint = "larger than 8192 bytes or has more than 20 headers; send less";
        assert_refused(&answer, "431 Request Header Fields Too Large", hint);
        let meta = watched.error().await;
        assert!(matches!(error_of(&meta), ServeError::HeadTooLarge { .. }), "{meta}");
    }
    // What is just within the limits is served.
    let few: String = (0..17).map(|n| format!("a{n}: {}\r\n", "x".repeat(400))).collect();
    let answer = send(&serving, head(&few).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");

    // HTTP/2 has the same limit of size; the connection lives on.
    let mut client = Client::connect(Protocol::Http2, serving.local_addr().expect("TCP")).await;
    let mut request = get("/");
    request.headers_mut().insert("a", "x".repeat(9 * 1024).parse().expect("valid"));
    match soon(client.ask(request)).await {
        Ok(answer) => assert_eq!(answer.status, 431),
        // A client that knows the limit does not even send it.
        Err(error) => assert!(error.is_user() || !error.is_closed(), "{error}"),
    }
    assert_eq!(soon(client.ask(get("/"))).await.expect("an answer").status, StatusCode::OK);
    drop(client);
    assert!(serving.shutdown(LONG).await.is_clean());
    watched.nothing_more().await;
}

#[tokio::test]
async fn slow_heads_get_408() {
    let mut watched = Watched::new();
    let serving = server(&watched)
        .head_timeout(Duration::from_millis(300))
        .serve(listener().await, service_fn(echo));
    let late = "the head of the request was not complete after 300ms; send it at once";
    let preface = "PRI * HTTP/2.0\r\n\r\nSM";
    for (begin, then) in [
        // Is it HTTP/2?
        ("P", None),
        (preface, None),
        ("GET / HTTP/1.1\r\nhost: x\r\n", None),
        // The second request of a connection.
        ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", Some("GET / HTTP/1.1\r\nho")),
    ] {
        let mut stream = connect(&serving).await;
        stream.write_all(begin.as_bytes()).await.expect("written");
        if let Some(then) = then {
            read_raw_head(&mut stream).await;
            stream.write_all(then.as_bytes()).await.expect("written");
        }
        let answer = read_all(stream).await;
        assert_refused(&answer, "408 Request Timeout", late);
        let meta = watched.error().await;
        assert!(matches!(error_of(&meta), ServeError::HeadTimeout { .. }), "{meta}");
    }
    // One byte after the other does not help: it is the whole head that has to be there.
    let mut stream = connect(&serving).await;
    let (mut read, mut write) = stream.split();
    let mut answer = Vec::new();
    let drip = async {
        for byte in b"GET / HTTP/1.1\r\na: ".iter().chain(std::iter::repeat(&b'x')) {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::future::pending().await
    };
    tokio::select! { _ = soon(read.read_to_end(&mut answer)) => {}, () = drip => {} }
    assert_refused(&String::from_utf8_lossy(&answer), "408 Request Timeout", late);
    watched.error().await;

    // Who says nothing hears nothing, and is reported.
    assert_eq!(read_all(connect(&serving).await).await, "");
    watched.error().await;
    // HTTP/2, with a preface and nothing else.
    let answer = send(&serving, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(!answer.contains("HTTP/1.1"), "{answer:?}");
    watched.error().await;
    // Idle between two requests is nobody's fault: the connection is closed, and that is all.
    let mut stream = connect(&serving).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
    let answer = read_all(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.matches("HTTP/1.1").count() == 1);
    assert!(serving.shutdown(LONG).await.is_clean());
    watched.nothing_more().await;
}

#[tokio::test]
async fn broken_chunks_break_the_body() {
    let watched = Watched::new();
    let serving = server(&watched).serve(listener().await, service_fn(echo));
    let chunked = |chunks: &str| {
        format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")
    };
    for chunks in
        ["zz\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "fffffffffffffffff\r\nx", "5\r\nhelloX"]
    {
        let answer = send(&serving, chunked(chunks).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{chunks:?}: {answer:?}");
    }
    let good =
        chunked("5\r\nhello\r\n0\r\n\r\n").replace("host: x", "host: x\r\nconnection: close");
    let answer = send(&serving, good.as_bytes()).await;
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer:?}");
    assert!(serving.shutdown(LONG).await.is_clean());
}

/// RFC 9112, section 6.1: the transfer encoding counts. What the length would have cut off must not become a request.
#[tokio::test]
async fn two_lengths_do_not_smuggle_a_request() {
    let watched = Watched::new();
    let serving = server(&watched).serve(listener().await, service_fn(echo));
    for order in [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
    ] {
        let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
        let chunks = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{order}\r\n\r\n");
        let answer = send(&serving, format!("{head}{chunks}").as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1, "{answer:?}");
        assert!(answer.ends_with(smuggled), "all of it is the body: {answer:?}");
    }
    assert!(serving.shutdown(LONG).await.is_clean());
}

#[tokio::test]
async fn ten_megabytes_arrive_and_a_part_of_them_is_an_error() {
    let mut watched = Watched::new();
    let serving = server(&watched).serve(listener().await, service_fn(echo));
    let body = Bytes::from(vec![b'x'; 10 << 20]);
    for protocol in crate::http_support::PROTOCOLS {
        let mut client = Client::connect(protocol, serving.local_addr().expect("TCP")).await;
        let mut request = get("/");
        *request.method_mut() = http::Method::POST;
        *request.body_mut() = Full::new(body.clone());
        let answer = soon(client.ask(request)).await.expect("an answer");
        assert!(answer.body == body, "{protocol:?}");
    }
    // A client that goes away in the middle of its body.
    let mut stream = connect(&serving).await;
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10485760\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    stream.write_all(&body[..1000]).await.expect("written");
    stream.shutdown().await.expect("closed");
    read_all(stream).await;
    assert!(serving.shutdown(LONG).await.is_clean());
    while let Some(seen) = watched.poll_next().await {
        assert!(matches!(seen, Seen::Error(_)), "{seen:?}");
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_broken_off() {
    for protocol in crate::http_support::PROTOCOLS {
        let mut watched = Watched::new();
        let service = watched.layer().layer(service_fn(async |_: Request<_>| {
            Ok::<_, BoxError>(Response::new(Full::new(Bytes::from(vec![b'x'; 64 << 20]))))
        }));
        let serving = Server::new(&watched.bus)
            .write_timeout(Duration::from_millis(100))
            .serve(listener().await, service);
        let mut stream = connect(&serving).await;
        match protocol {
            Protocol::Http1 => {
                stream.write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
            }
            Protocol::Http2 => {
                // Settings with the largest window for streams, the same for the connection, and a request.
                let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
                bytes.extend(b"\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff");
                bytes.extend(b"\0\0\x04\x08\0\0\0\0\0\x7f\xff\0\0");
                // :method GET, :scheme http, :path /, :authority x
                bytes.extend(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01x");
                stream.write_all(&bytes).await.expect("written");
            }
        }
        let mut started = 0;
        let error = loop {
            match watched.next().await {
                Seen::Error(error) => break error,
                Seen::Start(_) => started += 1,
                _ => {}
            }
        };
        assert_eq!(started, 1, "{protocol:?}");
        let slow = matches!(error_of(&error), ServeError::WriteTimeout { .. });
        assert!(
            slow && error.to_string().contains("raise `write_timeout`"),
            "{protocol:?}: {error}"
        );
        if protocol == Protocol::Http1 {
            let asked = error.uri.map(|uri| uri.to_string());
            assert_eq!(asked.as_deref(), Some("/big"), "it says during what");
        }
        assert!(serving.shutdown(LONG).await.is_clean());
        let rest = watched.rest().await;
        let wire = rest.iter().filter(|seen| {
            matches!(seen, Seen::Traffic(traffic) if traffic.scope == TrafficScope::Connection)
        });
        assert_eq!(wire.count(), 1, "{rest:?}");
        drop(stream);
    }
}

#[tokio::test]
async fn a_slow_client_that_reads_gets_everything() {
    let watched = Watched::new();
    let size = 8 << 20;
    let service = service_fn(move |_: Request<Incoming>| async move {
        Ok::<_, BoxError>(Response::new(Full::new(Bytes::from(vec![b'x'; size]))))
    });
    let serving =
        server(&watched).write_timeout(Duration::from_secs(2)).serve(listener().await, service);
    let mut stream = connect(&serving).await;
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("written");
    let (mut got, mut buf) = (0, vec![0; 256 * 1024]);
    loop {
        match soon(stream.read(&mut buf)).await.expect("it is not broken off") {
            0 => break,
            bytes => got += bytes,
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(got > size, "{got}");
    assert!(serving.shutdown(LONG).await.is_clean());
}

/// What looks like the server's own refusal and is not, must get through whatever happens on the connection.
#[tokio::test]
async fn a_body_that_looks_like_a_refusal_is_sent() {
    let watched = Watched::new();
    let refusal = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\
                   date: Fri, 20 Nov 2026 11:27:14 GMT\r\n\r\n";
    for half_close in [false, true] {
        let serving =
            server(&watched).half_close(half_close).serve(listener().await, service_fn(echo));
        let addr = serving.local_addr().expect("TCP");
        for protocol in crate::http_support::PROTOCOLS {
            let mut client = Client::connect(protocol, addr).await;
            for _ in 0..3 {
                let mut request = get("/");
                *request.method_mut() = http::Method::POST;
                *request.body_mut() = refusal.into();
                let answer = soon(client.ask(request)).await.expect("an answer");
                assert_eq!(answer.text(), refusal, "{protocol:?}");
            }
        }
        assert!(serving.shutdown(LONG).await.is_clean());
    }
    // By itself, behind its head: this is the write that could be taken for one.
    let (bodies, mut body) = tokio::sync::mpsc::unbounded_channel();
    let service = service_fn(move |_: Request<Incoming>| {
        let (steps, body) = TestBody::channel();
        bodies.send(steps).expect("the test is there");
        let response = Response::builder().header("content-length", refusal.len());
        std::future::ready(Ok::<_, BoxError>(response.body(body).expect("valid")))
    });
    let serving = server(&watched).serve(listener().await, service);
    let mut stream = connect(&serving).await;
    for _ in 0..3 {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
        soon(read_raw_head(&mut stream)).await;
        let steps = body.recv().await.expect("it was asked");
        steps.send(Script::Data(refusal.into())).expect("the body is there");
        let mut got = vec![0; refusal.len()];
        soon(stream.read_exact(&mut got)).await.expect("all of it, on a connection that goes on");
        assert_eq!(got, refusal.as_bytes());
    }
    drop(stream);
    assert!(serving.shutdown(LONG).await.is_clean());
    // In a tunnel.
    let serving = server(&watched).serve(listener().await, service_fn(echo_tunnel));
    let mut stream = connect(&serving).await;
    let head = "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    soon(read_raw_head(&mut stream)).await;
    stream.write_all(refusal.as_bytes()).await.expect("written");
    let mut got = vec![0; refusal.len()];
    soon(stream.read_exact(&mut got)).await.expect("an echo");
    assert_eq!(got, refusal.as_bytes());
    drop(stream);
    assert!(serving.shutdown(LONG).await.is_clean());

    // A service that refuses in just that way, and closes.
    let service = service_fn(async |_: Request<Incoming>| {
        let response = Response::builder().status(400).header("connection", "close");
        Ok::<_, BoxError>(response.body(Full::new(Bytes::new())).expect("valid"))
    });
    let serving = server(&watched).serve(listener().await, service);
    let answer = send(&serving, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer:?}");
    assert!(answer.ends_with("\r\n\r\n"), "as the service has it, without a text: {answer:?}");
    assert!(serving.shutdown(LONG).await.is_clean());
    watched.nothing_more().await;
}

/// Everything that a client can choose and a log prints, with every byte that gets through to it.
#[tokio::test]
async fn no_byte_breaks_the_log() {
    let file = std::env::temp_dir().join(format!("keylane-hostile-{}.log", std::process::id()));
    let _ = std::fs::remove_file(&file);
    let format = LogFormat::parse("{method} {uri} {http-user-agent} {http-referer} {host} END");
    let log = AccessLog::new(format, LogSink::file(&file));
    let bus = Bus::builder().shards(1).processor("log", log.clone()).build().expect("valid");
    let service =
        EventLayer::new(&bus).capture(log.headers()).layer(service_fn(async |_: Request<_>| {
            Ok::<_, BoxError>(Response::new(Full::new(Bytes::new())))
        }));
    let serving = Server::new(&bus).traffic(false).serve(listener().await, service);
    let mut served = 0;
    // Letters and digits but a few can be no news.
    for byte in (0..=255_u8).filter(|byte| !byte.is_ascii_alphanumeric() || byte % 16 == 0) {
        let place = |head: &[u8], tail: &[u8]| [head, &[byte], tail].concat();
        let end = b"\r\nconnection: close\r\n\r\n";
        for request in [
            place(b"GET /a", &[b"b HTTP/1.1\r\nhost: x", &end[..]].concat()),
            place(b"G", &[b"T / HTTP/1.1\r\nhost: x", &end[..]].concat()),
            place(b"GET / HTTP/1.1\r\nhost: x\r\nuser-agent: a", &[b"b", &end[..]].concat()),
            place(b"GET / HTTP/1.1\r\nhost: x\r\nreferer: ", end),
            place(b"GET / HTTP/1.1\r\nhost: x", &[b"y", &end[..]].concat()),
        ] {
            let answer = send(&serving, &request).await;
            if answer.starts_with("HTTP/1.1 200 OK") {
                served += 1;
            } else {
                // An LF or CR in the middle may leave a head that never ends; then the connection is merely closed.
                assert!(answer.starts_with("HTTP/1.1 400 "), "{byte:#x}: {answer:?}");
            }
        }
    }
    assert!(serving.shutdown(LONG).await.is_clean());
    assert!(bus.shutdown_async(LONG).await.is_clean());
    let lines = std::fs::read(&file).expect("the log");
    std::fs::remove_file(&file).expect("it was there");
    assert!(lines.iter().all(|&byte| byte == b'\n' || (b' '..=b'~').contains(&byte)));
    let lines = String::from_utf8(lines).expect("ASCII");
    assert_eq!(lines.lines().count(), served, "one line for each request");
    assert!(lines.lines().all(|line| line.ends_with(" END")), "none was cut");
    assert!(served > 400, "{served}");
}
