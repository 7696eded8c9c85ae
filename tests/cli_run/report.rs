//! The report, for people and for programs.

use std::fs::OpenOptions;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::command::*;

#[test]
fn json_has_stable_names_and_true_numbers() {
    let report = run(&[SAMPLE, "--json", "--shards", "2", "--top", "3"]).expect(0).report();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&report),
        [
            "events",
            "events_per_second",
            "exit",
            "input",
            "keys",
            "latency_ns",
            "lost",
            "outputs",
            "plugins",
            "seconds",
            "shards",
            "shutdown",
            "types"
        ]
    );
    assert_eq!(
        report["types"],
        json!([
            {"type": "file.modified", "events": 772},
            {"type": "file.added", "events": 46},
            {"type": "file.deleted", "events": 30},
        ])
    );
    assert_eq!(
        report["keys"],
        json!({"exact": true, "distinct": 44, "hottest": [
            {"key": "vector:Cargo.lock", "events": 80, "excess": 0},
            {"key": "vector:Cargo.toml", "events": 80, "excess": 0},
            {"key": "hyper:Cargo.toml", "events": 30, "excess": 0},
        ]})
    );
    assert_eq!(report["input"]["name"], SAMPLE);
    assert_eq!(report["input"]["bytes"], std::fs::metadata(SAMPLE).unwrap().len());
    assert_eq!(
        report["events"],
        json!({"accepted": 848, "processed": 848, "faulted": 0, "abandoned": 0, "refused": 0})
    );
    let per_shard: Vec<u64> = report["shards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| of["processed"].as_u64().unwrap())
        .collect();
    assert_eq!(per_shard.iter().sum::<u64>(), 848);
    assert!(per_shard.len() == 2 && per_shard.iter().all(|&events| events > 0));
    let latency = &report["latency_ns"];
    assert_eq!(latency["count"], 848);
    assert!(
        latency["p50"].as_u64() > Some(0) && latency["p50"].as_u64() <= latency["max"].as_u64()
    );
    assert!(report["events_per_second"].as_f64() > Some(0.0));
    assert_eq!(report["exit"], 0);
}

#[test]
fn the_table_says_the_same() {
    let ended = run(&[SAMPLE]).expect(0);
    assert_eq!(ended.stderr, "", "no progress where nobody looks");
    for line in [
        "848 lines, 171.30 KiB, read to the end",
        "events    848 accepted, 848 processed in ",
        "latency   p50 ",
        "types     file.modified  772   91.0 %",
        "          file.deleted    30    3.5 %",
        "keys      vector:Cargo.lock ",
        "44 distinct keys, counted exactly",
        "shards    shard 0 ",
        "shutdown  ",
        "lost      nothing",
    ] {
        assert!(ended.stdout.contains(line), "{line:?} is not in:\n{}", ended.stdout);
    }
}

#[test]
fn only_count_counts() {
    let report = run(&[SAMPLE, "--json", "-p", "noop"]).expect(0).report();
    assert_eq!((&report["types"], &report["keys"]), (&Value::Null, &Value::Null));
    assert_eq!(report["events"]["processed"], 848);
    let table = run(&[SAMPLE, "-p", "noop"]).expect(0).stdout;
    assert!(!table.contains("types") && table.contains("848 processed"), "{table}");
}

#[test]
fn predefined_types_keep_their_names() {
    let input = event("START_REQUEST", "k", 0) + &event("mine", "k", 0);
    let report = run_with(&["-", "--json"], input).expect(0).report();
    assert_eq!(
        report["types"],
        json!([{"type": "START_REQUEST", "events": 1}, {"type": "mine", "events": 1}])
    );
}

#[test]
fn a_report_that_cannot_be_written_is_no_lost_event() {
    for json in [false, true] {
        let args: &[&str] = if json { &[SAMPLE, "--json"] } else { &[SAMPLE] };
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = keylane(args).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        let said = "keylane: cannot write the report: No space left on device (os error 28); \
                    848 events accepted, 848 processed, nothing was lost\n";
        assert_eq!(String::from_utf8_lossy(&output.stderr), said);
    }
}

#[test]
fn a_closed_standard_output_is_no_lost_event() {
    let mut child = keylane(&["-"]).stdin(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    write_all(child.stdin.take().unwrap(), events(10, 2)).join().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot write the report: Broken pipe"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_closed_standard_error_changes_nothing() {
    let mut child = keylane(&["-", "--json"]).stdin(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    let input = format!("bad\n{}", event("t", "k", 0));
    write_all(child.stdin.take().unwrap(), input).join().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["events"]["processed"], 1);
}

#[test]
fn help_teaches() {
    let ended = run(&["--help"]).expect(0);
    for line in [
        "Examples:",
        "zcat events.ndjson.gz | keylane run -",
        "Exit codes:",
        "partitionkey",
        "--drain-timeout",
    ] {
        assert!(ended.stdout.contains(line), "{line:?} is not in:\n{}", ended.stdout);
    }
}
