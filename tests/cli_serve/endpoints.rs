//! Every endpoint, asked as its users ask it.

use std::fs;

use serde_json::Value;

use crate::client::*;
use crate::server::*;

/// A real sample: 848 events of 44 keys, `data.n` counting within each key.
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/git-events-sample.ndjson");

#[test]
fn events_are_accepted_in_every_form_and_come_out_as_they_were() {
    let folder = folder("forms");
    let out = folder.join("out.ndjson");
    let server = Server::start(&["-p", "count", "-p", &format!("ndjson={}", text(&out))]);
    let sample = fs::read_to_string(SAMPLE).expect("the sample is there");
    let answer = post(server.address, &sample).expect(202);
    assert_eq!(answer.body, "{\"accepted\":848}\n");
    assert_eq!(answer.header("content-type"), Some("application/json"));

    let structured = r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":[1.0,1e400]}"#;
    let headers: [&[u8]; 1] = [b"content-type: application/cloudevents+json; charset=UTF-8"];
    exchange(server.address, &request("POST", "/events", &headers, structured.as_bytes()))
        .expect(202);
    let headers: [&[u8]; 1] = [b"content-type: application/cloudevents-batch+json"];
    let batch = format!("[{structured},{structured}]");
    exchange(server.address, &request("POST", "/events", &headers, batch.as_bytes())).expect(202);
    let binary: [&[u8]; 6] = [
        b"ce-specversion: 1.0",
        b"ce-id: 2",
        b"ce-source: s",
        b"ce-type: t",
        b"ce-partitionkey: Euro%20%E2%82%AC",
        b"content-type: application/json",
    ];
    exchange(server.address, &request("POST", "/events", &binary, b"{\"n\": 1}")).expect(202);

    server.stop().expect(0).says("events 852 accepted").says("lost nothing");
    let written = fs::read_to_string(&out).expect("it was written");
    let mut lines: Vec<_> = written.lines().collect();
    assert_eq!(lines.iter().filter(|line| **line == structured).count(), 3);
    let binary: Vec<Value> = lines
        .iter()
        .filter(|line| line.contains("Euro"))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(binary.len(), 1);
    assert_eq!(binary[0]["partitionkey"], "Euro €");
    assert_eq!(binary[0]["data"]["n"], 1);
    let mut expected: Vec<_> = sample.lines().collect();
    lines.retain(|line| expected.contains(line));
    // The order of each key is kept; between keys there is none.
    let of_key = |lines: &[&str], key: &str| -> Vec<String> {
        let wanted = format!("\"partitionkey\":\"{key}\"");
        lines.iter().filter(|line| line.contains(&wanted)).map(|&line| line.to_owned()).collect()
    };
    let key = "nginx:src/core/nginx.h";
    assert_eq!(of_key(&lines, key), of_key(&expected, key));
    assert_eq!(of_key(&lines, key).len(), 30);
    lines.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[test]
fn the_state_is_told_to_people_and_programs() {
    let server = Server::start(&["--access-log", "none"]);
    let address = server.address;
    post(address, &event("order.paid", "order-17", 0)).expect(202);
    let page = get(address, "/").expect(200);
    assert_eq!(page.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(page.header("vary"), Some("accept"));
    assert!(page.body.contains("events    1 accepted"), "{}", page.body);
    assert!(page.body.contains(&format!("curl http://{address}/events")), "{}", page.body);

    let browser: [&[u8]; 1] = [b"accept: text/html,application/xhtml+xml,*/*;q=0.8"];
    let page = exchange(address, &request("GET", "/", &browser, b"")).expect(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(
        page.header("content-security-policy")
            .is_some_and(|csp| csp.starts_with("default-src 'none'"))
    );
    assert!(page.body.starts_with("<!doctype html>") && page.body.contains("order.paid"));

    assert_eq!(get(address, "/healthz").expect(200).body, "ok\n");
    assert_eq!(get(address, "/readyz").expect(200).body, "ready\n");
    let stats = get(address, "/stats.json").expect(200);
    assert_eq!(stats.header("content-type"), Some("application/json"));
    let stats = stats.json();
    assert_eq!(stats["state"], "serving");
    assert_eq!(stats["ingest"]["accepted"], 1);
    assert_eq!(stats["types"]["order.paid"], 1);
    assert_eq!(stats["keys"]["hottest"][0]["key"], "order-17");
    assert_eq!(stats["access_log"], Value::Null);
    assert!(stats["bus"]["shards"].as_array().is_some_and(|shards| !shards.is_empty()));
    server.stop().expect(0);
}

#[test]
fn head_is_get_without_a_body() {
    let server = Server::start(&[]);
    for path in ["/", "/metrics", "/stats.json", "/healthz", "/readyz"] {
        let answer = exchange(server.address, &request("HEAD", path, &[], b"")).expect(200);
        assert_eq!(answer.body, "", "{path}");
        assert_ne!(answer.header("content-length"), Some("0"), "{path}");
    }
    server.stop().expect(0);
}

#[test]
fn what_strangers_write_is_harmless_wherever_it_is_shown() {
    let server = Server::start(&["--access-log", "stderr"]);
    let evil = r#"{"type":"<script>\u001b]0;x\u0007\"\\\n","key":"<img src=x>\u202e"}"#;
    post(server.address, evil).expect(202);
    // It is accepted now, and counted a moment later.
    while get(server.address, "/stats.json").json()["keys"]["distinct"] != 1 {
        std::thread::yield_now();
    }
    let browser: [&[u8]; 1] = [b"accept: text/html"];
    for path in ["/", "/metrics", "/stats.json"] {
        let answer = exchange(server.address, &request("GET", path, &browser, b"")).expect(200);
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!answer.body.contains(acts), "{path}: {:?}", answer.body);
        if path == "/" {
            assert!(answer.body.contains("&lt;script&gt;"), "{}", answer.body);
            assert!(!answer.body.contains("<script") && !answer.body.contains("<img"));
        }
        if path == "/metrics" {
            assert!(
                answer.body.contains(
                    r#"keylane_events_total{type="<script>\\u{1b}]0;x\\u{7}\"\\\\\\n"} 1"#
                ),
                "{}",
                answer.body
            );
        }
    }
    let ended = server.stop().expect(0);
    assert!(!ended.stderr.contains('\u{1b}'));
}

#[test]
fn two_requests_use_one_connection() {
    use std::io::{Read, Write};
    let server = Server::start(&["-p", "noop"]);
    let mut stream = connect(server.address);
    let one = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut buffer = [0; 1024];
    for _ in 0..2 {
        stream.write_all(one).expect("it is open");
        let n = stream.read(&mut buffer).expect("an answer");
        assert!(buffer[..n].starts_with(b"HTTP/1.1 200"), "{:?}", &buffer[..n]);
    }
    let ended = server.stop().expect(0);
    ended.says("requests 2: 2 2xx").says("1 connections accepted");
}
