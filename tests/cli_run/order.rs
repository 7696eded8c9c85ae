//! Every event comes out once, and the events of a key in their order, however many threads there are.

use std::collections::HashMap;
use std::fs;

use serde_json::Value;

use crate::command::*;

/// Asserts that `output` has the lines of `input`, each once, and those of each key in the order of their `data.n`.
#[track_caller]
fn assert_same_and_ordered(input: &str, output: &str) {
    let mut next = HashMap::new();
    for line in output.lines() {
        let event: Value = serde_json::from_str(line).expect("each line is JSON");
        let key =
            event["partitionkey"].as_str().or(event["key"].as_str()).expect("a key").to_owned();
        let n = next.entry(key).or_insert(0);
        assert_eq!(event["data"]["n"], *n, "out of order: {line}");
        *n += 1;
    }
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert!(sorted(input) == sorted(output), "lines were lost, changed or repeated");
}

#[test]
fn per_key_order_holds_in_every_mesh() {
    let folder = folder("mesh");
    // Enough for some dozens of reads, so that several readers are at work at once.
    let input = events(40_000, 300);
    let path = folder.join("in.ndjson");
    fs::write(&path, &input).unwrap();
    for producers in ["1", "2", "4"] {
        for shards in ["1", "2", "8"] {
            let out = folder.join(format!("{producers}x{shards}.ndjson"));
            let to = format!("ndjson={}", text(&out));
            let mesh =
                ["-p", &to, "--producers", producers, "--shards", shards, "--capacity", "64"];
            let report = run(&[&mesh[..], &["--json", text(&path)]].concat()).expect(0).report();
            assert_eq!(report["events"]["processed"], 40_000);
            assert_eq!(report["shards"].as_array().unwrap().len().to_string(), shards);
            assert_same_and_ordered(&input, &fs::read_to_string(&out).unwrap());
        }
    }
}

#[test]
fn per_key_order_holds_from_a_pipe_to_a_pipe() {
    let input = events(20_000, 50);
    let ended = run_with(&["-", "-p", "ndjson=-", "--producers", "3", "--shards", "3"], &*input);
    assert_same_and_ordered(&input, &ended.expect(0).stdout);
}

#[test]
fn the_real_sample_comes_through_unchanged() {
    let folder = folder("sample");
    let out = folder.join("out.ndjson");
    let ended = run(&[SAMPLE, "-p", &format!("ndjson={}", text(&out)), "-p", "count"]).expect(0);
    assert!(ended.stdout.contains("848 accepted, 848 processed"), "{}", ended.stdout);
    let input = fs::read_to_string(SAMPLE).unwrap();
    assert_same_and_ordered(&input, &fs::read_to_string(&out).unwrap());
}

#[test]
fn what_surrounds_a_line_does_not_matter() {
    let lines = [event("t", "a", 0), event("t", "b", 0), event("t", "a", 1)];
    let lines: Vec<_> = lines.iter().map(|line| line.trim_end()).collect();
    let input = format!("\u{feff}{}\r\n\n \t\r\n  {}  \r\n{}", lines[0], lines[1], lines[2]);
    let ended = run_with(&["-", "-p", "ndjson=-", "--json", "--shards", "1"], input).expect(0);
    assert_same_and_ordered(&lines.join("\n"), &ended.stdout);
    let report: Value =
        serde_json::from_str(&ended.stderr).expect("the report is on standard error");
    assert_eq!((&report["input"]["lines"], &report["input"]["blank"]), (&5.into(), &2.into()));
}

#[test]
fn what_nobody_knows_is_kept_to_the_digit() {
    let line = r#"{ "data":{"price":1.10000000000000000001,"big":1e999,"s":"\u00e9\/"} , "x-ext":[ ],"key":"k","type":"t" }"#;
    let ended = run_with(&["-", "-p", "ndjson=-"], format!("{line}\n")).expect(0);
    assert_eq!(ended.stdout, format!("{line}\n"));
}
