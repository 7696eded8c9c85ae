//! What must hold for every input whatever. Each target takes bytes and panics when something does not hold.
//!
//! Run by cargo-fuzz (`fuzz/fuzz_targets`), and by `tests/fuzz` over `tests/corpus` with any compiler.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Waker};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use keylane::http::{
    AccessLog, ClientAddr, EventLayer, LogFormat, LogSink, TraceParent, TrustedProxies,
};
use keylane::ingest::{Intake, MAX_TYPE_BYTES, parse_line};
use keylane::{Bus, NoopProcessorFactory};
use serde_json::Value;
use tower::{Layer, Service, service_fn};

// The command uses more of it than a target does.
#[allow(dead_code, unused_imports)]
#[path = "../../src/bin/keylane/config/mod.rs"]
mod configuration;

/// Nothing in a text that a person is shown acts on their terminal.
#[track_caller]
fn harmless(text: &str) {
    let acts = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}');
    assert!(!text.contains(acts), "{text:?}");
}

/// The string that a JSON object has under a name.
fn string<'a>(json: &'a Value, name: &str) -> Option<&'a str> {
    json.get(name)?.as_str()
}

/// A line: a refusal names a place in it; an event is what a JSON parser sees in it, and stays as it was written.
pub fn ndjson(data: &[u8]) {
    match parse_line(data) {
        Err(refusal) => {
            assert!((1..=data.len() + 1).contains(&refusal.column), "{refusal:?}");
            harmless(&refusal.to_string());
            if let Some(field) = refusal.field() {
                assert!(!field.is_empty() || refusal.to_string().contains("\"\""), "{refusal:?}");
            }
        }
        Ok(parsed) => {
            let json = parsed.record.json();
            assert!(!json.contains(['\n', '\r']));
            let value: Value = match serde_json::from_str(json) {
                Ok(value) => value,
                // Numbers that no float holds are carried as they are.
                Err(error) => {
                    return assert!(
                        error.to_string().starts_with("number out of range"),
                        "{error}: {json}"
                    );
                }
            };
            assert_eq!(string(&value, "type"), Some(&*parsed.type_name));
            assert!((1..=MAX_TYPE_BYTES).contains(&parsed.type_name.len()));
            let key = match value.get("specversion") {
                Some(version) => {
                    assert_eq!(version, "1.0");
                    assert!(string(&value, "id").is_some_and(|id| !id.is_empty()));
                    string(&value, "partitionkey").or(string(&value, "source"))
                }
                None => string(&value, "key"),
            };
            assert_eq!(key, Some(parsed.record.key()));
            assert!(!parsed.record.key().is_empty());
        }
    }
}

fn intake() -> &'static (Bus, Intake) {
    static INTAKE: OnceLock<(Bus, Intake)> = OnceLock::new();
    INTAKE.get_or_init(|| {
        let bus = Bus::builder().shards(1).processor("noop", NoopProcessorFactory).build();
        let bus = bus.expect("a bus can be built");
        let intake = Intake::new(&bus).max_event(64 << 10).max_types(1000);
        (bus, intake)
    })
}

/// A request, with header lines, a blank line and a body: all of it is taken, or nothing, and the answer says which.
pub fn cloud_events(data: &[u8]) {
    let end = data.windows(2).position(|two| two == b"\n\n");
    let (head, body) = end.map_or((data, &[][..]), |end| (&data[..end], &data[end + 2..]));
    let mut headers = HeaderMap::new();
    for line in head.split(|&byte| byte == b'\n') {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let (name, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii()))
        {
            headers.append(name, value);
        }
    }
    let types = intake().1.types().len();
    match intake().1.check(&headers, body) {
        Ok(events) => {
            assert!(events.remaining() > 0 && events.accepted() == 0);
            // Not emitted: every one would be refused sooner or later, and dropping it counts it.
        }
        Err(rejected) => {
            assert_eq!(
                intake().1.types().len(),
                types,
                "a rejected request leaves no names of types"
            );
            harmless(&rejected.to_string());
            assert!(rejected.bad_count() <= rejected.events());
            assert!(rejected.bad_events().len() <= 10);
            assert_eq!(rejected.bad_events().is_empty(), rejected.bad_count() == 0);
            let status = rejected.status();
            assert!(matches!(status.as_u16(), 400 | 415), "{status}");
            let response: Response<Body> = rejected.into_response();
            assert_eq!(response.status(), status);
            let body: Value = serde_json::from_slice(&response.body().0).expect("a JSON object");
            assert_eq!(body["accepted"], 0);
            assert!(response.body().0.len() < 64 << 10, "an answer is short whatever was sent");
        }
    }
}

/// A body in memory.
#[derive(Debug)]
struct Body(Vec<u8>);

impl<T: AsRef<[u8]>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self(bytes.as_ref().to_vec())
    }
}

/// A configuration: every mistake has a line that is there, and says something.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(mistakes) = configuration::parse("keylane.toml", &text) {
        harmless(&mistakes.to_string());
        assert!(!mistakes.all.is_empty());
        let lines = text.split('\n').count();
        for mistake in &mistakes.all {
            assert!((1..=lines).contains(&mistake.line), "{mistake:?}");
            assert!(mistake.column >= 1 && !mistake.text.is_empty(), "{mistake:?}");
        }
    }
}

/// A `traceparent`: what is taken is written back as it was, but for the version and what later versions append.
pub fn traceparent(data: &[u8]) {
    if let Some(parent) = TraceParent::parse(data) {
        let text = parent.to_string();
        assert_eq!(&text.as_bytes()[2..], &data[2..55]);
        assert_eq!(TraceParent::parse(text.as_bytes()), Some(parent));
    }
}

/// Trusted proxies, a peer, and `x-forwarded-for` headers, a line each: nobody is believed whom the list does not name.
pub fn forwarded_for(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let networks = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let proxies = networks.parse::<TrustedProxies>().unwrap_or_default();
    let peer = String::from_utf8_lossy(lines.next().unwrap_or_default()).parse::<IpAddr>();
    let peer = SocketAddr::new(peer.unwrap_or([10, 0, 0, 1].into()), 4000);
    let mut headers = HeaderMap::new();
    for line in lines {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append("x-forwarded-for", value);
        }
    }
    let client = proxies.client(peer, &headers);
    if !proxies.contains(peer.ip()) {
        assert_eq!(client, ClientAddr::from(peer));
    }
    assert_eq!(client.ip, client.ip.to_canonical());
    // Whom a trusted proxy names is found in what it sent.
    let named = headers.get_all("x-forwarded-for").iter().any(|value| {
        let mut entries = value.as_bytes().split(|&byte| byte == b',');
        entries.any(|entry| {
            let entry = String::from_utf8_lossy(entry).trim().to_owned();
            let bare =
                entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(&entry);
            let ip = entry
                .parse::<SocketAddr>()
                .map(|addr| addr.ip())
                .or_else(|_| bare.parse::<IpAddr>());
            ip.is_ok_and(|ip| ip.to_canonical() == client.ip)
        })
    });
    assert!(named || client == ClientAddr::from(peer), "{client} is nobody");
}

/// A writer that can be looked into.
#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic under this lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A format, a path and header values, a line each: every log has one line for the request, and no value leaves its place.
pub fn log_line(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let template = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut request = Request::new(Body(Vec::new()));
    if let Some(uri) = lines.next().and_then(|uri| uri.try_into().ok()) {
        *request.uri_mut() = uri;
    }
    for (name, line) in ["x", "user-agent", "referer", "host"].into_iter().zip(lines) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            request.headers_mut().insert(name, value);
        }
    }
    let formats = [
        LogFormat::json_with(["uri", "status", "http-x", "http-user-agent", "host", "error"])
            .expect("these are directives"),
        LogFormat::logfmt_with(["uri", "status", "http-x", "http-user-agent", "host", "error"])
            .expect("these are directives"),
        LogFormat::apache_combined(),
        LogFormat::parse(&template),
    ];
    let memories: [Memory; 4] = Default::default();
    let mut builder = Bus::builder().shards(1);
    let mut captured = Vec::new();
    for ((format, memory), name) in
        formats.into_iter().zip(&memories).zip(["json", "logfmt", "combined", "template"])
    {
        let log = AccessLog::new(format, LogSink::writer(memory.clone()));
        captured.extend(log.headers());
        builder = builder.processor_for(name, AccessLog::EVENTS, log);
    }
    let bus = builder.build().expect("a bus can be built");
    let mut service = EventLayer::new(&bus).capture(captured).layer(service_fn(async |_| {
        // Nobody reads the body, so the request ends as a failed one.
        Ok::<_, std::convert::Infallible>(Response::new(String::from("hello")))
    }));
    let mut future = std::pin::pin!(service.call(request.map(|_| String::new())));
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert!(bus.shutdown(Duration::from_secs(60)).is_clean());
    let [json, logfmt, combined, own] = memories.map(|memory| {
        let bytes = memory.0.lock().expect("no panic under this lock").clone();
        String::from_utf8(bytes).expect("a log is UTF-8")
    });
    for text in [&json, &logfmt, &combined] {
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(text.ends_with('\n'));
        harmless(text);
    }
    let value: Value = serde_json::from_str(&json).expect("a JSON object");
    assert_eq!(value["status"], 499);
    assert!(logfmt.contains(" status=499 "), "{logfmt:?}");
    assert!(combined.is_ascii());
    assert_eq!(combined.matches('"').count(), 6, "{combined:?}");
    // The lines of a format of one's own are as many as it has itself.
    assert_eq!(own.matches('\n').count(), template.matches('\n').count() + 1, "{own:?}");
}
