//! Ctrl-C: what was read is processed and reported; what is stuck can be left.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::command::*;

fn signal(child: &Child, signal: libc::c_int) {
    let pid = libc::pid_t::try_from(child.id()).unwrap();
    // SAFETY: `kill` takes any numbers; the child has not been waited for, so its id is still its own.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

#[test]
fn the_first_drains_and_reports_while_the_input_stays_open() {
    for (number, code, name) in [(libc::SIGINT, 130, "sigint"), (libc::SIGTERM, 143, "sigterm")] {
        let mut child =
            keylane(&["-", "-p", "ndjson=-", "-p", "count", "--json", "--producers", "2"])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = events(1000, 20);
        stdin.write_all(input.as_bytes()).unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        for _ in 0..1000 {
            line.clear();
            output.read_line(&mut line).unwrap();
        }
        // All has come through, and the readers wait for more that does not come.
        signal(&child, number);
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        assert_eq!(output.status.code(), Some(code));
        let stderr = String::from_utf8(output.stderr).unwrap();
        let (said, report) = stderr.split_once('\n').unwrap();
        assert!(said.ends_with(": processing what was read; once more ends at once"), "{said}");
        let report: Value = serde_json::from_str(report).unwrap();
        assert_eq!(report["events"]["processed"], 1000);
        assert_eq!(report["input"]["ended_by"], name);
        assert_eq!(report["input"]["complete"], false);
        assert_eq!(report["lost"], serde_json::from_str::<Value>(NOTHING).unwrap());
        assert_eq!(report["exit"], code);
    }
}

const NOTHING: &str = r#"{"bad_lines":0,"refused":0,"faulted":0,"skipped":0,"derived":0,"abandoned":0,"unwritten":0,"input":0}"#;

#[test]
fn a_signal_in_full_flow_loses_nothing_that_was_read() {
    let folder = folder("flow");
    let out = folder.join("out.ndjson");
    let to = format!("ndjson={}", text(&out));
    let mut child = keylane(&["-", "-p", &to, "--json", "--producers", "3", "--shards", "3"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let piece = events(1000, 50);
        let mut pieces = 0;
        // Ends when the child has ended, with a closed pipe.
        while stdin.write_all(piece.as_bytes()).is_ok() {
            pieces += 1;
        }
        pieces
    });
    // Some of it has been written: the run is in the middle of it.
    while std::fs::metadata(&out).map_or(0, |metadata| metadata.len()) < 100_000 {
        std::thread::yield_now();
    }
    signal(&child, libc::SIGINT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(writer.join().unwrap() > 0);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines = std::fs::read_to_string(&out).unwrap().lines().count();
    assert_eq!(report["input"]["lines"], lines);
    assert_eq!(report["events"]["processed"], lines);
    assert_eq!(report["outputs"][0]["written"], lines);
    assert_eq!(report["lost"], serde_json::from_str::<Value>(NOTHING).unwrap());
}

/// A run that is stuck: nobody reads its standard output, and far more goes there than a pipe holds.
fn stuck(args: &[&str]) -> (Child, BufReader<std::process::ChildStderr>) {
    let args = [&["-", "-p", "ndjson=-", "--shards", "1", "--json"], args].concat();
    let mut child = keylane(&args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // All that the rings and buffers hold, and more: when the rest cannot be written, the run is stuck.
    let piece = events(1000, 10);
    let (sender, full) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while stdin.write_all(piece.as_bytes()).is_ok() {
            let _ = sender.send(());
        }
    });
    // Fifty thousand events cannot be on their way at once with these rings, so the pipe to the child is the only place left.
    let mut pieces = 0;
    while full.recv_timeout(std::time::Duration::from_secs(2)).is_ok() {
        pieces += 1;
        assert!(pieces < 50, "it is not stuck");
    }
    let stderr = BufReader::new(child.stderr.take().unwrap());
    (child, stderr)
}

#[test]
fn the_second_ends_at_once() {
    let (mut child, mut stderr) = stuck(&["--drain-timeout", "1000000"]);
    signal(&child, libc::SIGINT);
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert!(said.contains("once more ends at once"), "{said}");
    signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    said.clear();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(said, "", "no report");
}

#[test]
fn a_drain_that_takes_too_long_is_given_up_and_counted() {
    let (mut child, mut stderr) = stuck(&["--drain-timeout", "0"]);
    signal(&child, libc::SIGINT);
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    let mut report = String::new();
    stderr.read_to_string(&mut report).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let report: Value = serde_json::from_str(&report).expect(&report);
    let count = |path: &str| report.pointer(path).and_then(Value::as_u64).expect(path);
    assert!(count("/lost/abandoned") + count("/lost/unwritten") > 0);
    assert_eq!(
        count("/events/accepted"),
        count("/events/processed") + count("/events/faulted") + count("/events/abandoned")
    );
    assert_eq!(count("/input/lines"), count("/events/accepted") + count("/events/refused"));
}
