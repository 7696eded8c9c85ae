//! The tests of gohm 1.6.1's `log_test.go`, by name, against the access log; and what was added to it. Golden lines.

mod http_support;

use std::convert::Infallible;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, Response, StatusCode};
use keylane::Bus;
use keylane::http::{
    AccessLog, CurrentRequest, EventLayer, LogFormat, LogSink, StatusMask, text_error,
};
use tower::{Layer, service_fn};

use http_support::{Answer, Client, PROTOCOLS, Protocol, Script, TestBody, fixed, get, serve};

/// What a log has written.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic under this lock").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("lines are UTF-8")
    }
}

type Reply = Result<Response<TestBody>, Infallible>;

async fn forbidden<B>(_: http::Request<B>) -> Reply {
    Ok(text_error(StatusCode::FORBIDDEN, "some error"))
}

async fn ok<B>(_: http::Request<B>) -> Reply {
    Ok(Response::new(fixed("something interesting")))
}

/// Serves one request with a log, and returns the answer and what was logged.
macro_rules! logged {
    ($format:expr, $mask:expr, $handler:expr) => {
        logged!($format, $mask, $handler, get("/some/url"), Protocol::Http1)
    };
    ($format:expr, $mask:expr, $handler:expr, $request:expr, $protocol:expr) => {{
        let memory = Memory::default();
        let log = AccessLog::new($format, LogSink::writer(memory.clone())).with_mask($mask);
        let bus = bus(&log);
        let events = EventLayer::new(&bus).capture(log.headers());
        let addr = serve(events.layer(service_fn($handler))).await;
        let answer = Client::connect($protocol, addr).await.ask($request).await;
        // Not only the answer but the end of the request must have been emitted.
        drop(events);
        wait_for_ends(&bus).await;
        assert!(bus.shutdown_async(Duration::from_secs(60)).await.is_clean());
        (answer, memory.text())
    }};
}

fn bus(log: &AccessLog) -> Bus {
    let builder = Bus::builder().shards(1);
    builder.processor_for("log", AccessLog::EVENTS, log.clone()).build().expect("valid")
}

/// Waits until the one request has had its start and its end.
async fn wait_for_ends(bus: &Bus) {
    http_support::soon(async {
        while bus.stats().accepted < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn assert_forbidden(answer: hyper::Result<Answer>) {
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.text(), "403 Forbidden: some error\n");
}

#[tokio::test]
async fn log_all_error() {
    let (answer, log) = logged!(LogFormat::gohm(), StatusMask::ERRORS, forbidden);
    assert_forbidden(answer);
    assert!(log.contains(" 403 "), "{log}");
}

#[tokio::test]
async fn log_all_no_error() {
    let (answer, log) = logged!(LogFormat::gohm(), StatusMask::ALL, ok);
    assert_eq!(answer.expect("an answer").text(), "something interesting");
    assert!(log.contains(" 200 "), "{log}");
}

#[tokio::test]
async fn log_all_non_ok() {
    let (answer, log) = logged!(LogFormat::gohm(), StatusMask::ALL, async |_| {
        let response = Response::builder().status(StatusCode::TEMPORARY_REDIRECT);
        Ok::<_, Infallible>(response.body(fixed("something interesting")).expect("valid"))
    });
    assert_eq!(answer.expect("an answer").status, StatusCode::TEMPORARY_REDIRECT);
    assert!(log.contains(" 307 "), "{log}");
}

#[tokio::test]
async fn log_errors_no_status() {
    let (answer, log) = logged!(LogFormat::gohm(), StatusMask::ERRORS, ok);
    assert_eq!(answer.expect("an answer").status, StatusCode::OK);
    assert_eq!(log, "");
}

#[tokio::test]
async fn log_errors_status_ok() {
    let (answer, log) = logged!(LogFormat::gohm(), StatusMask::ERRORS, async |_| {
        let response = Response::builder().status(StatusCode::OK);
        Ok::<_, Infallible>(response.body(fixed("{pi:3.14159265}")).expect("valid"))
    });
    assert_eq!(answer.expect("an answer").text(), "{pi:3.14159265}");
    assert_eq!(log, "");
}

#[tokio::test]
async fn log_errors_error() {
    let (answer, log) = logged!(LogFormat::gohm(), StatusMask::ERRORS, forbidden);
    assert_forbidden(answer);
    assert!(log.contains(" 403 "), "{log}");
}

#[tokio::test]
async fn with_format_status_escaped_characters() {
    let format = LogFormat::parse(r"\{client-ip\}");
    let (answer, log) = logged!(format, StatusMask::ALL, forbidden);
    assert_forbidden(answer);
    assert_eq!(log, "{client-ip}\n");
}

#[tokio::test]
async fn with_format_static() {
    let format = LogFormat::parse(
        r#"{client} {client-ip} {client-port} - "{method} {uri} {proto}" {status} {bytes}"#,
    );
    let (answer, log) = logged!(format, StatusMask::ALL, forbidden);
    assert_forbidden(answer);
    let port = log.split(' ').nth(2).expect("a third word");
    assert!(port.parse::<u16>().is_ok(), "{log}");
    assert_eq!(
        log,
        format!("127.0.0.1:{port} 127.0.0.1 {port} - \"GET /some/url HTTP/1.1\" 403 26\n")
    );
}

#[tokio::test]
async fn with_format_ignores_invalid_tokens() {
    let format = LogFormat::parse("This is an {invalid-token} with a {status} after it");
    let (answer, log) = logged!(format, StatusMask::ALL, forbidden);
    assert_forbidden(answer);
    assert_eq!(log, "This is an {invalid-token} with a 403 after it\n");
}

#[tokio::test]
async fn with_format_dynamic() {
    let format = LogFormat::parse(
        "{begin-epoch} {end-epoch} {begin} {begin-iso8601} {end} {end-iso8601} {duration}",
    );
    let epoch = || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.expect("after 1970")
    };
    let before = epoch();
    let (answer, log) = logged!(format, StatusMask::ALL, forbidden);
    let after = epoch();
    assert_forbidden(answer);

    let mut words = log.strip_suffix('\n').expect("one line").split(' ');
    let mut second = || words.next().and_then(|word| word.parse::<i64>().ok()).expect("a second");
    let (begin, end) = (second(), second());
    assert!(before.as_secs() as i64 <= begin && begin <= end && end <= after.as_secs() as i64);
    let duration = log.trim_end().rsplit(' ').next().expect("the last word");
    let seconds: f64 = duration.parse().expect("a number");
    assert!((0.0..=(after - before).as_secs_f64() + 1e-6).contains(&seconds), "{log}");
    assert_eq!(duration.split('.').nth(1).map(str::len), Some(6));

    let stamp = |second| jiff::Timestamp::from_second(second).expect("in range");
    let apache = |second| stamp(second).strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
    let expected = format!(
        "{begin} {end} {} {} {} {} {duration}\n",
        apache(begin),
        stamp(begin),
        apache(end),
        stamp(end)
    );
    assert_eq!(log, expected);
}

/// Everything below is not in gohm.
#[tokio::test]
async fn every_other_directive() {
    let format = LogFormat::parse(
        "{host}|{user}|{route}|{status-text}|{bytes-in}|{error}|{http-x-none}|{http-X-Some}",
    );
    for protocol in PROTOCOLS {
        let handler = async |request: http::Request<_>| {
            let current: &CurrentRequest = request.extensions().get().expect("the layer");
            current.set_user("al\"ice");
            current.set_route("/some/{page}");
            ok(request).await
        };
        let mut request = get("/some/url");
        request.headers_mut().insert("x-some", HeaderValue::from_static("thing"));
        let (_, log) = logged!(format.clone(), StatusMask::ALL, handler, request, protocol);
        assert_eq!(log, "test.example|al\\x22ice|/some/{page}|OK|0|-|-|thing\n");
    }
}

#[tokio::test]
async fn apache_common_and_combined() {
    let (_, log) = logged!(LogFormat::apache_common(), StatusMask::ALL, forbidden);
    let (start, rest) = log.split_once('[').expect("a time");
    assert_eq!(start, "127.0.0.1 - - ");
    assert_eq!(rest.split_once(']').expect("a time").1, " \"GET /some/url HTTP/1.1\" 403 26\n");

    let mut request = get("/some/url");
    request.headers_mut().insert("user-agent", HeaderValue::from_static("curl/8"));
    let format = LogFormat::apache_combined();
    let (_, log) = logged!(format, StatusMask::ALL, forbidden, request, Protocol::Http2);
    let (start, rest) = log.split_once('[').expect("a time");
    assert_eq!(start, "127.0.0.1 - - ");
    let end = " \"GET /some/url HTTP/2.0\" 403 26 \"-\" \"curl/8\"\n";
    assert_eq!(rest.split_once(']').expect("a time").1, end);
}

#[tokio::test]
async fn json_and_logfmt() {
    let fields = ["request-id", "client-ip", "user", "method", "uri", "status", "bytes", "error"];
    let format = LogFormat::json_with(fields).expect("directives");
    let (answer, log) = logged!(format, StatusMask::ALL, forbidden);
    let id = answer.expect("an answer").headers["x-request-id"].clone();
    let id = id.to_str().expect("ASCII");
    assert_eq!(
        log,
        format!(
            "{{\"request_id\":\"{id}\",\"client_ip\":\"127.0.0.1\",\"user\":null,\"method\":\"GET\",\
             \"uri\":\"/some/url\",\"status\":403,\"bytes\":26,\"error\":null}}\n"
        )
    );

    let format = LogFormat::logfmt_with(fields).expect("directives");
    let (_, log) = logged!(format, StatusMask::ALL, forbidden, get("/a?b=c"), Protocol::Http1);
    let rest = log.split_once(' ').expect("words").1;
    assert_eq!(rest, "client_ip=127.0.0.1 method=GET uri=\"/a?b=c\" status=403 bytes=26\n");

    let (_, log) = logged!(LogFormat::json(), StatusMask::ALL, forbidden);
    let object: serde_json::Value = serde_json::from_str(&log).expect("an object");
    assert_eq!((&object["host"], &object["status"]), (&"test.example".into(), &403.into()));
    assert!(object["duration"].is_f64() && object["ttfb"].is_f64());
    let (_, log) = logged!(LogFormat::logfmt(), StatusMask::ALL, forbidden);
    assert!(log.contains(" status=403 ") && !log.contains("error="), "{log}");
}

#[tokio::test]
async fn what_a_client_chooses_stays_in_its_field() {
    let format = LogFormat::parse("\"{uri}\" \"{http-user-agent}\"");
    let mut request = get("/a\"b");
    let hostile = HeaderValue::from_bytes(b"<script>\"\\\t\xff").expect("hyper takes it");
    request.headers_mut().insert("user-agent", hostile);
    let (_, log) = logged!(format, StatusMask::ALL, ok, request, Protocol::Http1);
    assert_eq!(log, "\"/a\\x22b\" \"<script>\\x22\\x5C\\x09\\xFF\"\n");
}

#[tokio::test]
async fn a_failed_request_is_logged_as_an_error() {
    let format = LogFormat::parse("{status} {bytes} {error}");
    let (answer, log) = logged!(format, StatusMask::ERRORS, async |_| {
        let steps = [Script::Data("abc".into()), Script::Error("line\nbreak")];
        Ok::<_, Infallible>(Response::new(TestBody::scripted(steps)))
    });
    answer.expect_err("a broken answer");
    assert_eq!(log, "200 3 body: body error: line\\x0Abreak\n");
}

#[tokio::test]
async fn head_requests_have_no_bytes() {
    let mut request = get("/some/url");
    *request.method_mut() = Method::HEAD;
    let format = LogFormat::parse("{method} {status} {bytes}");
    let (_, log) = logged!(format, StatusMask::ALL, ok, request, Protocol::Http1);
    assert_eq!(log, "HEAD 200 0\n");
}

#[tokio::test]
async fn the_mask_is_changed_while_requests_run() {
    let memory = Memory::default();
    let log = AccessLog::new(LogFormat::parse("{uri}"), LogSink::writer(memory.clone()));
    let bus = bus(&log);
    let addr = serve(EventLayer::new(&bus).layer(service_fn(ok))).await;
    let mut client = Client::connect(Protocol::Http1, addr).await;
    for (number, mask) in
        [StatusMask::ALL, StatusMask::ERRORS, StatusMask::STATUS_2XX].into_iter().enumerate()
    {
        log.set_mask(mask);
        assert_eq!(log.mask(), mask);
        client.ask(get(&format!("/{number}"))).await.expect("an answer");
        http_support::soon(async {
            // The mask is looked at when the event is processed.
            while bus.stats().processed < 2 * (number as u64 + 1) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    assert!(bus.shutdown_async(Duration::from_secs(60)).await.is_clean());
    assert_eq!(memory.text(), "/0\n/2\n");
    assert_eq!(log.stats().lines, 2);
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("keylane-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_file_that_was_renamed_is_opened_again() {
    let folder = Folder::new("reopen");
    let (path, old) = (folder.0.join("access.log"), folder.0.join("access.log.1"));
    let log = AccessLog::new(LogFormat::parse("{uri}"), LogSink::file(&path));
    let bus = bus(&log);
    let addr = serve(EventLayer::new(&bus).layer(service_fn(ok))).await;
    let mut client = Client::connect(Protocol::Http1, addr).await;
    let written = async |lines| {
        http_support::soon(async {
            while log.stats().lines < lines {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    client.ask(get("/before")).await.expect("an answer");
    written(1).await;
    std::fs::rename(&path, &old).expect("renamed");
    client.ask(get("/between")).await.expect("an answer");
    written(2).await;
    log.reopen();
    client.ask(get("/after")).await.expect("an answer");
    written(3).await;

    std::fs::remove_file(&path).expect("it was there");
    std::fs::create_dir(&path).expect("in the way");
    log.reopen();
    client.ask(get("/kept")).await.expect("an answer");
    written(4).await;
    assert!(bus.shutdown_async(Duration::from_secs(60)).await.is_clean());
    assert_eq!(std::fs::read_to_string(&old).expect("a file"), "/before\n/between\n");
    assert_eq!(log.stats().reopen_errors, 1, "and the line went to the file that was open");
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_fails_the_build() {
    let folder = Folder::new("unopened");
    let log = AccessLog::new(LogFormat::gohm(), LogSink::file(&folder.0));
    let builder = Bus::builder().shards(1).processor("log", log);
    let error = builder.build().map(|_| ()).expect_err("a folder is no file");
    assert!(error.to_string().contains("log"), "{error}");
}

struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_cannot_be_written_goes_to_the_fallback() {
    let memory = Memory::default();
    let sink = LogSink::writer(Broken).fallback(memory.clone());
    let log = AccessLog::new(LogFormat::parse("{uri}"), sink);
    let bus = bus(&log);
    let addr = serve(EventLayer::new(&bus).layer(service_fn(ok))).await;
    Client::connect(Protocol::Http1, addr).await.ask(get("/x")).await.expect("an answer");
    wait_for_ends(&bus).await;
    assert!(bus.shutdown_async(Duration::from_secs(60)).await.is_clean());
    assert_eq!(memory.text(), "/x\n");
    let stats = log.stats();
    assert_eq!((stats.lines, stats.write_errors, stats.diverted, stats.lost), (0, 1, 1, 0));
}
