//! The access log: formats, masks, rotation, and disks that are full.

use std::fs;

use crate::client::*;
use crate::server::*;

#[test]
fn a_line_for_each_request_in_each_format() {
    for (format, pattern) in [
        ("gohm", "127.0.0.1 [TIME] \"GET /healthz HTTP/1.1\" 200 3 "),
        ("common", "127.0.0.1 - - ["),
        ("combined", "127.0.0.1 - - ["),
        ("json", "{\"begin_iso8601\":\""),
        ("logfmt", "begin_iso8601="),
        ("{status} {uri} {http-X-Test} {route}", "200 /healthz a\\x22b /healthz"),
    ] {
        let server = Server::start(&["--log-format", format]);
        let headers: [&[u8]; 1] = [b"x-test: a\"b"];
        exchange(server.address, &request("GET", "/healthz", &headers, b"")).expect(200);
        let ended = server.stop().expect(0);
        let line = ended.stdout.lines().next().unwrap_or_else(|| panic!("{format}: {ended:?}"));
        let shown = match line.split_once('[').zip(line.split_once(']')) {
            Some(((before, _), (_, behind))) if format == "gohm" => {
                format!("{before}[TIME]{behind}")
            }
            _ => line.to_owned(),
        };
        assert!(shown.starts_with(pattern), "{format}: {line}");
        assert_eq!(ended.stdout.lines().count(), 1, "{format}: {}", ended.stdout);
        if format == "json" {
            let json: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(
                (json["status"].as_u64(), json["route"].as_str()),
                (Some(200), Some("/healthz"))
            );
        }
    }
}

#[test]
fn a_mask_says_which_requests() {
    let server = Server::start(&["--log-mask", "4xx,5xx", "--log-format", "{status} {uri}"]);
    get(server.address, "/healthz").expect(200);
    get(server.address, "/nope").expect(404);
    let ended = server.stop().expect(0);
    assert_eq!(ended.stdout, "404 /nope\n");
}

#[test]
fn a_client_is_who_a_trusted_proxy_says() {
    let folder = folder("proxies");
    for (proxies, logged) in [("[]", "127.0.0.1\n"), ("[\"127.0.0.0/8\"]", "192.0.2.7\n")] {
        let config = folder.join("keylane.toml");
        fs::write(
            &config,
            format!(
                "[serve]\ntrusted_proxies = {proxies}\n[access_log]\nformat = \"{{client-ip}}\"\n"
            ),
        )
        .expect("a folder");
        let server = Server::start(&["--config", text(&config)]);
        let headers: [&[u8]; 1] = [b"x-forwarded-for: 6.6.6.6, 192.0.2.7"];
        exchange(server.address, &request("GET", "/healthz", &headers, b"")).expect(200);
        assert_eq!(server.stop().expect(0).stdout, logged);
    }
}

#[test]
fn a_hang_up_opens_log_and_outputs_again() {
    let folder = folder("reopen");
    let (log, out) = (folder.join("access.log"), folder.join("out.ndjson"));
    let output = format!("ndjson={}", text(&out));
    let server = Server::start(&[
        "-p",
        &output,
        "--access-log",
        text(&log),
        "--log-format",
        "{uri}",
        "--shards",
        "1",
    ]);
    // On one shard a line is written before the next request is answered with the numbers that count it.
    let wait_for_lines = |lines: u64| {
        eventually("written", || {
            let stats = get(server.address, "/stats.json").expect(200).json();
            stats["outputs"][0]["written"].as_u64() >= Some(lines)
        });
    };
    post(server.address, &event("t", "k", 1)).expect(202);
    wait_for_lines(1);
    let (old_log, old_out) = (folder.join("access.log.1"), folder.join("out.ndjson.1"));
    fs::rename(&log, &old_log).expect("it was made");
    fs::rename(&out, &old_out).expect("it was made");
    server.signal(libc::SIGHUP);
    // The signal is heard some time; whatever is written before goes to the old files, and nothing is lost.
    let mut sent = 1;
    eventually("opened again", || {
        sent += 1;
        post(server.address, &event("t", "k", sent)).expect(202);
        wait_for_lines(sent as u64);
        log.exists() && out.exists()
    });
    server.stop().expect(0).says("lost nothing");
    let both =
        fs::read_to_string(&old_out).expect("renamed") + &fs::read_to_string(&out).expect("made");
    let numbers: Vec<_> = both
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON")["data"]["n"].as_u64()
        })
        .collect();
    assert_eq!(numbers, (1..=sent as u64).map(Some).collect::<Vec<_>>());
    let logged =
        fs::read_to_string(&old_log).expect("renamed") + &fs::read_to_string(&log).expect("made");
    assert_eq!(logged.lines().filter(|line| *line == "/events").count(), sent);
    assert!(fs::read_to_string(&old_out).expect("renamed").contains("\"n\":1}"));
    assert!(!fs::read_to_string(&log).expect("made").is_empty());
}

#[test]
fn outputs_are_continued_and_mended() {
    let folder = folder("continued");
    let out = folder.join("out.ndjson");
    fs::write(&out, "{\"torn").expect("a folder");
    for n in 0..2 {
        let server =
            Server::start(&["-p", &format!("ndjson={}", text(&out)), "--access-log", "none"]);
        post(server.address, &event("t", "k", n)).expect(202);
        server.stop().expect(0);
    }
    let expected = format!("{{\"torn\n{}{}", event("t", "k", 0), event("t", "k", 1));
    assert_eq!(fs::read_to_string(&out).expect("it is there"), expected);
}

#[test]
fn a_log_that_cannot_be_written_is_no_loss_of_events() {
    let server = Server::start(&["--access-log", "/dev/full", "--log-format", "{uri}"]);
    post(server.address, &event("t", "k", 0)).expect(202);
    let ended = server.stop().expect(0);
    // The lines go to standard error instead.
    ended.says("/events").says("lost nothing");
    assert!(
        ended.stderr.contains("writes failed: 1 lines went to standard error, 0 are lost"),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_output_that_cannot_be_written_is_a_loss() {
    let mut server = Server::start(&["-p", "ndjson=/dev/full", "--access-log", "none"]);
    post(server.address, &event("t", "k", 0)).expect(202);
    server.wait_for("cannot write to /dev/full: No space left on device (os error 28); events are counted as unwritten until it works again");
    server
        .stop()
        .expect(1)
        .says("outputs /dev/full: 0 written, 1 not: No space")
        .says("lost 1 events not written");
}
