//! A bus whose processor is stuck: a pipe that nobody reads.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::client::*;
use crate::server::*;

/// A named pipe with no room left, held open for as long as the result lives.
fn full_pipe(path: &Path) -> std::fs::File {
    let name = std::ffi::CString::new(text(path)).expect("no zero in it");
    // SAFETY: the name is a string that ends with a zero and lives during the call.
    let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    let mut pipe = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .expect("it was made");
    for size in [4096, 1] {
        loop {
            match pipe.write(&vec![b'\n'; size]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    pipe
}

#[test]
fn a_full_bus_says_how_much_it_took_and_loses_nothing_in_silence() {
    let folder = folder("full");
    let pipe = folder.join("pipe");
    let held = full_pipe(&pipe);
    let output = format!("ndjson={}", text(&pipe));
    let args = [
        "--shards",
        "1",
        "--capacity",
        "4",
        "--patience",
        "20ms",
        "-p",
        &output,
        "--access-log",
        "none",
    ];
    let server = Server::start(&[&args[..], &["--drain-timeout", "100ms"]].concat());
    let ten: String = (0..10).map(|n| event("t", "k", n)).collect();
    let mut accepted = 0;
    // The shard takes what is in its ring out of it once before it is stuck, so the first answers differ.
    for round in 0.. {
        assert!(round < 1000, "it is never full");
        let answer = post(server.address, &ten).expect(429);
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let json = answer.json();
        let taken = json["accepted"].as_u64().expect("a count");
        assert_eq!(taken + json["refused"].as_u64().expect("a count"), 10);
        accepted += taken;
        if taken == 0 {
            assert_eq!(
                json["detail"],
                "the bus is full; nothing was accepted, send the request again later"
            );
            break;
        }
        let expected = format!(
            "the bus is full; the first {taken} of 10 events were accepted, send the other {} again later",
            10 - taken
        );
        assert_eq!(json["detail"], expected);
    }
    // It still answers everything that needs no room.
    assert_eq!(get(server.address, "/healthz").expect(200).body, "ok\n");
    let metrics = get(server.address, "/metrics").expect(200).body;
    assert!(
        metrics
            .contains(&format!("keylane_ingest_events_total{{outcome=\"accepted\"}} {accepted}\n"))
    );
    // Starts of requests that find no room are counted; each thread that serves has a ring of its own, so that takes some requests.
    let lost = "keylane_http_events_lost_total{event=\"start\"} 0";
    eventually("lost", || {
        !get(server.address, "/metrics").expect(200).body.lines().any(|line| line == lost)
    });

    let ended = server.stop().expect(1);
    assert!(ended.stderr.contains("did not end in time: shard 0"), "{}", ended.stderr);
    assert!(ended.stderr.contains("events not processed in time"), "{}", ended.stderr);
    drop(held);
}

#[test]
fn what_waits_for_room_gets_it_when_there_is_some() {
    // A ring of two slots and a request of a hundred events: it has to wait again and again.
    let server = Server::start(&["--shards", "1", "--capacity", "2", "--patience", "60s"]);
    let hundred: String = (0..100).map(|n| event("t", "k", n)).collect();
    assert_eq!(post(server.address, &hundred).expect(202).body, "{\"accepted\":100}\n");
    server.stop().expect(0).says("events 100 accepted, 0 refused").says("lost nothing");
}

#[test]
fn large_events_that_wait_are_bounded_by_their_bytes() {
    let folder = folder("in-flight");
    let pipe = folder.join("pipe");
    let held = full_pipe(&pipe);
    let config = folder.join("keylane.toml");
    std::fs::write(&config, "[events]\nin_flight = \"64 KiB\"\n").expect("a folder");
    let output = format!("ndjson={}", text(&pipe));
    let args =
        ["--shards", "1", "-p", &output, "--config", text(&config), "--drain-timeout", "50ms"];
    let server = Server::start(&args);
    let large = format!("{{\"type\":\"t\",\"key\":\"k\",\"data\":\"{}\"}}", "x".repeat(40 << 10));
    // What the shard has processed and cannot write holds no event any more, so it takes some to get there.
    let mut accepted = 0;
    let answer = loop {
        let answer = post(server.address, &large);
        if answer.status != 202 {
            break answer.expect(429);
        }
        accepted += 1;
        assert!(accepted < 100, "it is never too much");
    };
    assert!(
        answer.body.contains("bytes of large events wait to be processed, the limit is 65536"),
        "{}",
        answer.body
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    let ended = server.stop().expect(1);
    assert!(ended.stderr.contains("events not processed in time"), "{}", ended.stderr);
    drop(held);
}

#[test]
fn bodies_that_come_slowly_are_bounded_together() {
    let folder = folder("bodies");
    let config = folder.join("keylane.toml");
    std::fs::write(&config, "[events]\nin_flight = \"64 KiB\"\n").expect("a folder");
    let server = Server::start(&["-p", "noop", "--config", text(&config)]);
    let head = b"POST /events HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-ndjson\r\ncontent-length: 50000\r\n\r\n";
    let slow: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = connect(server.address);
            stream.write_all(head).expect("it is open");
            stream.write_all(&[b' '; 30_000]).expect("it is open");
            stream
        })
        .collect();
    let held = || {
        let metrics = get(server.address, "/metrics").expect(200).body;
        let line = metrics.lines().find(|line| line.starts_with("keylane_http_body_bytes "));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).expect("a number")
    };
    eventually("held", || held() >= 60_000);
    let answer = post(server.address, &" ".repeat(10_000)).expect(429);
    assert!(
        answer.body.contains("bodies of other requests take all of the 65536 bytes"),
        "{}",
        answer.body
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    // A small one still fits.
    post(server.address, &event("t", "k", 0)).expect(202);
    drop(slow);
    eventually("given back", || held() == 0);
    server.stop().expect(0).says("events 1 accepted");
}
