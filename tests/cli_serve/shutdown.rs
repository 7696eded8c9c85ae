//! The end: what was begun is finished, what was accepted is processed, and the exit code says so.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::client::*;
use crate::server::*;

const HEAD: &[u8] =
    b"POST /events HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-ndjson\r\ncontent-length: 22\r\nexpect: 100-continue\r\n\r\n";
const BODY: &[u8] = b"{\"type\":\"t\",\"key\":\"k\"}";

/// A request whose body is being waited for: the server has asked for it.
fn half_sent(server: &Server) -> TcpStream {
    let mut stream = connect(server.address);
    stream.write_all(HEAD).expect("it is open");
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).expect("the server asks for the body");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[test]
fn requests_that_were_begun_are_finished() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut server = Server::start(&[]);
        let mut stream = half_sent(&server);
        server.signal(signal);
        server.wait_for("finishing what was begun");
        // Nobody new gets in, once the listener is closed.
        eventually("closed", || TcpStream::connect(server.address).is_err());
        stream.write_all(BODY).expect("it is still open");
        // The answer is the last on its connection, whether or not there was time to say so.
        Answer::of(&rest(stream)).expect(202);
        let ended = server.wait().expect(0);
        ended.says("requests 1: 1 2xx").says("events 1 accepted").says("lost nothing");
        assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
    }
}

#[test]
fn those_that_do_not_end_are_cut_off_at_the_deadline() {
    let mut server = Server::start(&["--drain-timeout", "50ms"]);
    let mut stream = half_sent(&server);
    server.signal(libc::SIGTERM);
    server.wait_for("finishing what was begun");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{answer:?}");
    let ended = server.wait().expect(0);
    // It was never accepted, so nothing is lost; the log says what became of it.
    ended.says("events 0 accepted").says("lost nothing");
    assert!(ended.stdout.contains("\"POST /events HTTP/1.1\" 503 "), "{}", ended.stdout);
}

#[test]
fn a_load_balancer_can_see_that_it_drains() {
    let mut server = Server::start(&["--drain-delay", "1h"]);
    server.signal(libc::SIGTERM);
    server.wait_for("finishing what was begun");
    let answer = get(server.address, "/readyz").expect(503);
    assert_eq!((answer.body.as_str(), answer.header("retry-after")), ("draining\n", Some("1")));
    assert_eq!(get(server.address, "/healthz").expect(200).body, "ok\n");
    assert_eq!(get(server.address, "/stats.json").expect(200).json()["state"], "draining");
    assert!(get(server.address, "/metrics").expect(200).body.contains("\nkeylane_ready 0\n"));
    // Whoever has not noticed yet is still served.
    post(server.address, &event("t", "k", 0)).expect(202);
    // The second signal ends it at once.
    server.signal(libc::SIGTERM);
    let ended = server.wait().expect(143);
    assert!(!ended.stderr.contains("shutdown"), "{}", ended.stderr);
}

#[test]
fn requests_without_end_and_a_signal_in_their_midst_lose_nothing() {
    let folder = folder("midst");
    let out = folder.join("out.ndjson");
    let mut server =
        Server::start(&["-p", &format!("ndjson={}", text(&out)), "--access-log", "none"]);
    let address = server.address;
    let (first, firsts) = std::sync::mpsc::channel();
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let first = first.clone();
            std::thread::spawn(move || {
                let mut accepted = 0;
                for n in 0.. {
                    // Each request says how many of its ten events were taken; when the server has gone, no answer comes.
                    let ten: String = (0..10)
                        .map(|m| event("t", &format!("client-{client}"), n * 10 + m))
                        .collect();
                    let headers: [&[u8]; 1] = [b"content-type: application/x-ndjson"];
                    let bytes = request("POST", "/events", &headers, ten.as_bytes());
                    let Ok(mut stream) = TcpStream::connect(address) else { break };
                    let mut answer = Vec::new();
                    if stream.write_all(&bytes).is_err()
                        || stream.read_to_end(&mut answer).is_err()
                        || answer.is_empty()
                    {
                        break;
                    }
                    accepted += Answer::of(&answer).json()["accepted"].as_u64().expect("a count");
                    if n == 20 {
                        let _ = first.send(());
                    }
                }
                accepted
            })
        })
        .collect();
    for _ in 0..4 {
        firsts.recv().expect("all get that far");
    }
    server.signal(libc::SIGTERM);
    server.wait_for("finishing what was begun");
    let told: u64 = clients.into_iter().map(|client| client.join().expect("no panic")).sum();
    let ended = server.wait().expect(0);
    ended.says("lost nothing");
    let written = std::fs::read_to_string(&out).expect("it was written");
    // What clients were told was accepted is there, each line once and in order. An answer may have been lost on its way.
    assert!(written.lines().count() as u64 >= told, "{} of {told}", written.lines().count());
    for client in 0..4 {
        let wanted = format!("\"client-{client}\"");
        let numbers: Vec<u64> = written
            .lines()
            .filter(|line| line.contains(&wanted))
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).expect("JSON")["data"]["n"]
                    .as_u64()
                    .expect("n")
            })
            .collect();
        assert!(
            numbers.len() >= 200 && numbers.is_sorted_by(|a, b| a < b),
            "{client}: {numbers:?}"
        );
    }
}
