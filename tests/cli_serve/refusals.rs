//! What is refused before an event is looked at: paths, methods, sizes, slow and broken clients.

use std::io::{Read, Write};

use crate::client::*;
use crate::server::*;

#[test]
fn a_path_that_is_not_there_names_those_that_are() {
    let server = Server::start(&["-p", "noop"]);
    for path in ["/nope", "/events/", "/Events", "/../metrics", "//"] {
        let answer = get(server.address, path).expect(404);
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert!(answer.body.starts_with("404 Not Found: there is no \""), "{}", answer.body);
        assert!(answer.body.contains("there are POST /events, and GET /, /metrics"));
    }
    let long = format!("/{}", "x".repeat(5000));
    assert!(get(server.address, &long).expect(404).body.len() < 300);
    // What is behind the question mark does not count.
    get(server.address, "/healthz?x=1").expect(200);
    server.stop().expect(0);
}

#[test]
fn a_method_that_does_nothing_names_those_that_do() {
    let server = Server::start(&["-p", "noop"]);
    for (method, path, allowed) in [
        ("GET", "/events", "POST"),
        ("HEAD", "/events", "POST"),
        ("PUT", "/events", "POST"),
        ("OPTIONS", "/events", "POST"),
        ("POST", "/metrics", "GET, HEAD"),
        ("DELETE", "/", "GET, HEAD"),
        ("BREW", "/readyz", "GET, HEAD"),
    ] {
        let answer = exchange(server.address, &request(method, path, &[], b"")).expect(405);
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
        if method != "HEAD" {
            let expected = format!(
                "405 Method Not Allowed: \"{method}\" does nothing at {path}; use {allowed}\n"
            );
            assert_eq!(answer.body, expected);
        }
    }
    server.stop().expect(0);
}

#[test]
fn a_large_body_is_refused_whether_or_not_its_length_is_said() {
    let server = Server::start(&["-p", "noop", "--max-body", "1KiB"]);
    let said = "413 Payload Too Large: the body is larger than 1024 bytes; send the events in several requests\n";
    let line = event("t", "k", 0);
    let large = line.repeat(1024 / line.len() + 1);
    let answer = post(server.address, &large).expect(413);
    assert_eq!(answer.body, said);

    let mut chunked = b"POST /events HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    chunked.extend_from_slice(format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len()).as_bytes());
    assert_eq!(exchange(server.address, &chunked).expect(413).body, said);

    // One of just the limit is taken.
    let fits = line.repeat(1024 / line.len());
    let exact = format!("{fits}{}", " ".repeat(1024 - fits.len()));
    assert_eq!(exact.len(), 1024);
    post(server.address, &exact).expect(202);
    // Ten megabytes that are only announced are refused before they are sent.
    let announced = b"POST /events HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-ndjson\r\ncontent-length: 10000000\r\n\r\n";
    exchange(server.address, announced).expect(413);
    server.stop().expect(0).says("lost nothing");
}

#[test]
fn an_event_has_a_size_and_types_have_a_number() {
    let folder = folder("limits");
    let config = folder.join("keylane.toml");
    std::fs::write(&config, "[events]\nmax_event = 100\nmax_types = 2\n").expect("a folder");
    let server = Server::start(&["--config", text(&config)]);
    let long = format!("{{\"type\":\"t\",\"key\":\"k\",\"data\":\"{}\"}}", "x".repeat(100));
    let answer = post(server.address, &long).expect(400);
    assert!(answer.body.contains("the event is longer than 100 bytes"), "{}", answer.body);

    post(server.address, &event("a", "k", 0)).expect(202);
    // Of a request with one type too many no type is kept.
    let three = event("a", "k", 1) + &event("b", "k", 2) + &event("c", "k", 3);
    let answer = post(server.address, &three).expect(400);
    let said = "line 3, column 9: type \\\"c\\\" would be one more than the 2 that are kept apart";
    assert!(answer.body.contains(said), "{}", answer.body);
    assert_eq!(get(server.address, "/stats.json").expect(200).json()["ingest"]["types"], 1);
    post(server.address, &event("d", "k", 0)).expect(202);
    post(server.address, &event("b", "k", 0)).expect(400);
    server
        .stop()
        .expect(0)
        .says("events 2 accepted, 0 refused because the bus was full, 3 invalid");
}

#[test]
fn clients_that_are_too_slow_are_told_so() {
    let folder = folder("slow");
    let config = folder.join("keylane.toml");
    std::fs::write(&config, "[serve]\nheader_timeout = \"50ms\"\nbody_timeout = \"50ms\"\n")
        .expect("a folder");
    let server = Server::start(&["-p", "noop", "--config", text(&config)]);
    let mut head = connect(server.address);
    head.write_all(b"GET / HT").expect("it is open");
    assert_eq!(Answer::of(&rest(head)).status, 408);

    let mut body = connect(server.address);
    body.write_all(b"POST /events HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-ndjson\r\ncontent-length: 100\r\n\r\n{")
        .expect("it is open");
    let answer = Answer::of(&rest(body));
    assert_eq!(answer.status, 408);
    assert!(
        answer.body.contains("the body was not complete after 50ms; send it faster"),
        "{}",
        answer.body
    );
    server.stop().expect(0).says("events 0 accepted");
}

#[test]
fn bytes_that_are_no_http_disturb_nobody() {
    let mut server = Server::start(&["-p", "noop"]);
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\x00\x00\x00\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"hello server, this is not HTTP\r\n\r\n",
        b"POST /events HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /events HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        b"GET /\x1b[2J HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: \x00\r\n\r\n",
    ] {
        let mut stream = connect(server.address);
        stream.write_all(garbage).expect("it is open");
        stream.shutdown(std::net::Shutdown::Write).expect("it is open");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let bad = answer.is_empty() || answer.starts_with(b"HTTP/1.1 4");
        assert!(
            bad,
            "{:?}: {:?}",
            garbage.escape_ascii().to_string(),
            answer.escape_ascii().to_string()
        );
    }
    get(server.address, "/healthz").expect(200);
    // The first is told at once, the others are counted.
    server.wait_for("keylane: 127.0.0.1:");
    eventually("counted", || {
        let stats = get(server.address, "/stats.json").expect(200).json();
        stats["http"]["connection_errors"].as_u64() >= Some(4)
    });
    server.stop().expect(0).says("lost nothing");
}
