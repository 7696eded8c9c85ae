//! A client that sends exactly the bytes that it is told to, and reads what comes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Far above what any answer takes, so that a hang has a name.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer that has been read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// Takes a whole answer apart.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).expect("the server writes UTF-8");
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_lowercase(), value.to_owned())
        });
        let headers = headers.collect();
        Self { status: status.parse().expect("a number"), headers, body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// A connection to `address`.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes it");
    stream
}

/// Reads until the server closes.
pub(crate) fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        // A server that has not read everything resets the connection behind its answer.
        assert!(!answer.is_empty(), "no answer: {error}");
    }
    answer
}

/// Sends these bytes and reads the answer, which has to end with the connection.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = connect(address);
    // What a server does not want to read it need not read.
    let _ = stream.write_all(bytes);
    Answer::of(&rest(stream))
}

/// A request with these header lines, as bytes.
pub(crate) fn request(method: &str, path: &str, headers: &[&[u8]], body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n").into_bytes();
    for header in headers {
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(b"\r\n");
    }
    if !body.is_empty() || method == "POST" {
        bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    exchange(address, &request("GET", path, &[], b""))
}

/// Sends NDJSON.
pub(crate) fn post(address: SocketAddr, body: &str) -> Answer {
    let headers: [&[u8]; 1] = [b"content-type: application/x-ndjson"];
    exchange(address, &request("POST", "/events", &headers, body.as_bytes()))
}

/// Asks until something is so; what comes over the bus comes a moment later.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "never {what}");
    }
}

/// Asks until this many events of a type have been processed: an answer says what was accepted, which is earlier.
pub(crate) fn wait_for_events(address: SocketAddr, kind: &str, events: u64) {
    eventually("processed", || {
        get(address, "/stats.json").expect(200).json()["types"][kind].as_u64() == Some(events)
    });
}
