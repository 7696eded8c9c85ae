//! Bad input: each a clear message with its place, counted, and a truthful exit code; the good lines are processed.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use crate::command::*;

#[test]
fn a_bad_line_is_reported_counted_and_stops_nothing() {
    let input = [
        &event("t", "a", 0),
        "hello\n",
        &event("t", "a", 1),
        "[1,2]\n",
        "{\"type\":\"t\",\"key\":17}\n",
        "{\"type\":\"t\"}\n",
        "{\"specversion\":\"1.0\",\"id\":\"1\",\"type\":\"t\"}\n",
        &event("t", "a", 2),
    ]
    .concat();
    let ended = run_with(&["-", "--json"], input).expect(1);
    let said: Vec<_> = ended.stderr.lines().collect();
    let expected = [
        "keylane: standard input: line 2, column 1: not JSON: expected value, near \"hello\"",
        "keylane: standard input: line 4, column 1: an event is a JSON object, but this is an array",
        "keylane: standard input: line 5, column 19: \"key\" must be a string, not the number 17",
        "keylane: standard input: line 6, column 1: neither a CloudEvent (no \"specversion\") nor {\"type\",\"key\",\"data\"} (no \"key\")",
        "keylane: standard input: line 7, column 1: \"source\" is missing; a CloudEvent has specversion, id, source and type",
    ];
    assert_eq!(said, expected);
    let report = ended.report();
    assert_eq!(report["input"]["bad"], 5);
    assert_eq!(report["lost"]["bad_lines"], 5);
    assert_eq!(report["events"]["processed"], 3);
    assert_eq!(report["input"]["complete"], true);
    assert_eq!(report["exit"], 1);
}

#[test]
fn messages_come_in_the_order_of_the_lines() {
    let input: String =
        (0..30_000).map(|n| if n % 3 == 0 { "no\n".into() } else { event("t", "k", n) }).collect();
    let ended = run_with(&["-", "--producers", "4", "--json"], input).expect(1);
    let lines: Vec<u64> = (ended.stderr.lines())
        .map(|said| said.split([' ', ',']).nth(4).and_then(|n| n.parse().ok()).expect(said))
        .collect();
    assert_eq!(lines, (0..10_000).map(|n| n * 3 + 1).collect::<Vec<_>>());
    assert_eq!(ended.report()["events"]["processed"], 20_000);
}

#[test]
fn strict_ends_at_the_first_bad_line() {
    for producers in ["1", "4"] {
        let good = events(10_000, 10);
        let input = format!("{good}bad\n{good}{good}bad\n");
        let ended =
            run_with(&["-", "--strict", "--json", "--producers", producers], input).expect(1);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("line 10001, column 1"), "{}", ended.stderr);
        let report = ended.report();
        assert_eq!(report["events"]["processed"], 10_000);
        assert_eq!(report["input"]["lines"], 10_001);
        assert_eq!(report["input"]["ended_by"], "strict");
        assert_eq!(report["input"]["complete"], false);
    }
}

#[test]
fn a_line_without_an_end_costs_bounded_memory() {
    let mut child = keylane(&["-", "--json"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(event("t", "k", 0).as_bytes()).unwrap();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..300 {
        stdin.write_all(&piece).unwrap();
    }
    // All but what the pipe holds has been read now.
    let peak = peak_memory(&child);
    stdin.write_all(b"\n").unwrap();
    stdin.write_all(event("t", "k", 1).as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(peak < 64, "{peak} MiB were held for a line of 300 MiB");
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["events"]["processed"], 2);
    assert_eq!(report["input"]["lines"], 3);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "keylane: standard input: line 2, column 1048577: the event is longer than 1048576 bytes; make it smaller, or raise --max-line\n"
    );
}

#[test]
fn max_line_is_the_longest_line_that_is_read() {
    let line = event("t", "k", 0);
    let length = line.trim_end().len();
    for (limit, code) in [(length, 0), (length - 1, 1)] {
        let ended = run_with(&["-", "--max-line", &limit.to_string()], format!("{line}{line}"));
        ended.expect(code);
    }
}

#[test]
fn large_events_on_their_way_are_bounded() {
    // The ring has room for all of it, and nobody reads the output: only the bound on bytes can stop the reading.
    let args = ["-", "-p", "ndjson=-", "--in-flight", "8000000", "--shards", "1", "--json"];
    let mut child = keylane(&args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (sender, taken) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        let filler = "x".repeat(1_000_000);
        for _ in 0..200 {
            writeln!(stdin, "{{\"type\":\"t\",\"key\":\"k\",\"data\":\"{filler}\"}}").unwrap();
            let _ = sender.send(());
        }
    });
    let mut lines = 0;
    while taken.recv_timeout(Duration::from_secs(1)).is_ok() {
        lines += 1;
        assert!(lines < 50, "nothing stops the reading");
    }
    let peak = peak_memory(&child);
    assert!(peak < 64, "{peak} MiB are held for a limit of 8 MB");
    let mut output = child.stdout.take().unwrap();
    let bytes = std::io::copy(&mut output, &mut std::io::sink()).unwrap();
    writer.join().unwrap();
    assert!(bytes > 200_000_000, "the reading went on: {bytes} bytes");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn invalid_utf8_is_named_by_its_byte() {
    let input =
        [b"{\"type\":\"\xff\",\"key\":\"k\"}\n".as_slice(), event("t", "k", 0).as_bytes()].concat();
    let ended = run_with(&["-", "--json"], input).expect(1);
    let said = "keylane: standard input: line 1, column 10: invalid UTF-8: byte 0xff; convert the input to UTF-8\n";
    assert_eq!(ended.stderr, said);
    assert_eq!(ended.report()["events"]["processed"], 1);
}

#[test]
fn an_input_that_cannot_be_read_is_named() {
    let folder = folder("unreadable");
    let missing = folder.join("missing\x1b[31m.ndjson");
    let ended = run(&[text(&missing)]).expect(2);
    assert!(ended.stderr.contains("missing\\u{1b}[31m.ndjson: No such file"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    let ended = run(&[text(&folder)]).expect(2);
    assert!(ended.stderr.contains("is a directory"), "{}", ended.stderr);
}

#[test]
fn what_is_compressed_is_recognised() {
    let folder = folder("compressed");
    let path = folder.join("events.ndjson.gz");
    fs::write(&path, b"\x1f\x8b\x08\x00rest of it\n").unwrap();
    let ended = run(&[text(&path)]).expect(2);
    assert!(ended.stderr.contains("gzip-compressed; use: zcat "), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

#[test]
fn an_empty_input_is_no_loss() {
    let report = run(&["-", "--json"]).expect(0).report();
    assert_eq!(report["input"]["lines"], 0);
    assert_eq!(report["events"]["processed"], 0);
}

#[test]
fn types_are_bounded() {
    let input: String = (0..5).map(|n| event(&format!("type-{n}"), "k", n)).collect();
    let ended = run_with(&["-", "--max-types", "3", "--json"], input.clone() + &input).expect(1);
    let said = "line 4, column 9: type \"type-3\" would be one more than the 3 that are kept apart; use fewer names, or raise --max-types";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    let report = ended.report();
    assert_eq!(report["events"]["processed"], 6);
    assert_eq!(report["input"]["bad"], 4);
}

#[test]
fn wrong_arguments_are_named() {
    let cases: [(&[&str], &str); 8] = [
        (&[], "<FILE|->"),
        (&["-", "-p", "print"], "there are the processors count, ndjson=PATH and noop"),
        (&["-", "-p", "ndjson="], "ndjson= needs a path"),
        (&["-", "-p", "noop", "-p", "noop"], "noop is asked for twice"),
        (&["-", "--capacity", "1000"], "1024"),
        (&["-", "--shards", "0"], "'0'"),
        (&["-", "--producers", "x"], "'x'"),
        (&["-", "--wait", "sleep"], "busy-spin"),
    ];
    for (args, said) in cases {
        let ended = run(args).expect(2);
        assert!(ended.stderr.contains(said), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}
