//! The whole program, small: it runs, and its report has the form that its readers rely on.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

fn bench(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_keylane-benches"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// Everything that a run leaves behind, in a folder that is removed with this.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = format!("keylane-benches-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(folder))
    }

    fn report_path(&self) -> String {
        self.0
            .join("report.json")
            .to_str()
            .expect("the temporary folder has a readable name")
            .to_owned()
    }

    fn report(&self) -> Value {
        let text = std::fs::read(self.0.join("report.json")).expect("the report exists");
        serde_json::from_slice(&text).expect("the report is JSON")
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A run that has failed may have left nothing to remove.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn array<'a>(value: &'a Value, name: &str) -> &'a Vec<Value> {
    value[name].as_array().unwrap_or_else(|| panic!("`{name}` is no array in {value}"))
}

fn scenario<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut scenarios = array(report, "scenarios").iter();
    scenarios.find(|scenario| scenario["name"] == name).unwrap_or_else(|| panic!("no `{name}`"))
}

#[test]
fn a_quick_run_writes_a_well_formed_report_and_plots() {
    let folder = Folder::new("quick");
    let path = folder.report_path();
    let small = ["--cells", "1x1,3x2", "--events", "3000"];
    let output = bench(&[&["--quick", "--all-modes", "--out", &path][..], &small].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).expect("the table is text");
    assert!(!table.contains("MISSED"), "a quick run judges nothing:\n{table}");
    let report = folder.report();
    assert!(report["machine"]["cores"].as_u64() > Some(0));
    assert!(report["machine"]["rustc"].as_str().is_some_and(|text| text.starts_with("rustc")));
    let names: Vec<_> = array(&report, "scenarios")
        .iter()
        .filter_map(|scenario| scenario["name"].as_str())
        .collect();
    let all = [
        "floor",
        "instructions",
        "dispatch",
        "batch",
        "ring",
        "latency",
        "idle",
        "skew",
        "async",
        "scale",
        "shutdown",
        "http",
        "plugin",
    ];
    assert_eq!(names, all);
    for name in all {
        assert!(table.contains(&format!("== {name} ==")), "`{name}` is missing in:\n{table}");
    }
    assert_eq!(array(scenario(&report, "floor"), "figures").len(), 9);
    check_instructions(scenario(&report, "instructions"));
    for (name, cells) in [("dispatch", 3), ("batch", 2), ("ring", 2), ("skew", 6), ("async", 3)] {
        let scenario = scenario(&report, name);
        assert_eq!(array(scenario, "cells").len(), cells, "{name}");
        for cell in array(scenario, "cells") {
            assert_eq!(array(cell, "rows").len(), array(scenario, "contenders").len(), "{name}");
            for row in array(cell, "rows") {
                assert_eq!(array(row, "laps").len(), 1, "{row}");
                assert!(row["million_per_second"]["median"].as_f64() > Some(0.0), "{row}");
            }
        }
    }
    for (name, tables, curves) in [
        ("latency", 3, 42),
        ("idle", 1, 0),
        ("scale", 5, 8),
        ("shutdown", 2, 0),
        ("http", 4, 0),
        ("plugin", 5, 4),
    ] {
        let scenario = scenario(&report, name);
        assert_eq!(array(scenario, "tables").len(), tables, "{name}");
        assert_eq!(array(scenario, "curves").len(), curves, "{name}");
        for table in array(scenario, "tables") {
            assert!(!array(table, "rows").is_empty(), "{table}");
            for row in array(table, "rows") {
                assert_eq!(array(row, "values").len(), array(table, "columns").len(), "{row}");
            }
        }
    }
    check_in_process(scenario(&report, "http"));
    check_plots(&folder);
    let page = folder.text("results.md");
    for words in [
        "## Latency",
        "![Latency](latency.svg)",
        "| 3x2 |",
        "| line-ping |",
        "| keylane-slow |",
        "| in process |",
    ] {
        assert!(page.contains(words), "`{words}` is missing in:\n{page}");
    }
}

/// keylane executes more than what the floor does anyway; without valgrind it is said why nobody was counted.
fn check_instructions(instructions: &Value) {
    let tables = array(instructions, "tables");
    if Command::new("valgrind").arg("--version").output().is_err() {
        assert!(tables.is_empty() && !array(instructions, "notes").is_empty(), "{instructions}");
        return;
    }
    assert_eq!(tables.len(), 2, "{instructions}");
    for table in tables {
        let of = |name| {
            let row = array(table, "rows").iter().find(|row| row["contender"] == name);
            row.and_then(|row| row["values"][0]["median"].as_f64())
        };
        assert!(of("keylane") > of("floor") && of("floor") > Some(0.0), "{table}");
    }
}

/// Everybody was called without a network, and whoever would rather drop than wait was given the time to drop nothing.
fn check_in_process(http: &Value) {
    let tables = array(http, "tables").iter();
    let table = tables.clone().find(|table| table["name"] == "in process").expect("the table");
    let place = |name: &str| {
        let mut columns = array(table, "columns").iter();
        columns.position(|column| column["name"] == name).unwrap_or_else(|| panic!("no `{name}`"))
    };
    let (path, lost) = (place("on path"), place("lost"));
    assert_eq!(array(table, "rows").len(), 7);
    for row in array(table, "rows") {
        assert!(row["values"][path]["min"].as_f64() > Some(0.0), "{row}");
        let loses = row["contender"].as_str().is_some_and(|name| name.starts_with("keylane"));
        assert_eq!(row["values"][lost]["max"].as_f64(), loses.then_some(0.0), "{row}");
    }
}

/// Each plot parses, has no place that is no number, and names what it shows.
fn check_plots(folder: &Folder) {
    for (name, words) in [
        ("dispatch.svg", &["keylane", "crossbeam", "disruptor", "1x1"][..]),
        ("batch.svg", &["tokio", "1x1"]),
        ("ring.svg", &["rtrb-chunks", "64 bytes"]),
        ("skew.svg", &["2x2 99 %"]),
        ("async.svg", &["4096 tasks"]),
        ("latency.svg", &["1k/s", "1M/s", "p99", "keylane-park", "µs"]),
        ("scale.svg", &["distinct keys", "bytes of a value", "ns per event"]),
        ("emit.svg", &["hash of the key", "ns per event"]),
        ("http.svg", &["axum-prometheus", "µs of CPU per request", "ns of CPU per request"]),
        ("plugin.svg", &["linked in", "library in Rust", "library in C", "events in a batch"]),
    ] {
        let svg = folder.text(name);
        let document =
            roxmltree::Document::parse(&svg).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(document.root_element().tag_name().name(), "svg", "{name}");
        let numbers = |node: roxmltree::Node<'_, '_>| {
            node.attributes().any(|attribute| attribute.value().contains("NaN"))
        };
        assert!(!document.descendants().any(numbers), "{name} has a place that is no number");
        let texts: Vec<&str> = document.descendants().filter_map(|node| node.text()).collect();
        for word in words {
            assert!(texts.iter().any(|text| text.contains(word)), "`{word}` is missing in {name}");
        }
    }
}

#[test]
fn a_joined_run_keeps_what_it_does_not_measure() {
    let folder = Folder::new("join");
    let path = folder.report_path();
    let run = |arguments: &[&str]| {
        let output = bench(&[arguments, &["--quick", "--out", &path]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["ring", "dispatch", "--cells", "1x1,2x1", "--only", "keylane,std,rtrb"]);
    let before = folder.report();
    run(&[
        "shutdown",
        "dispatch",
        "--cells",
        "2x1,1x2",
        "--only",
        "keylane,std,crossbeam",
        "--join",
    ]);
    let after = folder.report();
    let names: Vec<_> =
        array(&after, "scenarios").iter().map(|scenario| &scenario["name"]).collect();
    assert_eq!(names, ["dispatch", "ring", "shutdown"], "in the order of a whole run");
    assert_eq!(scenario(&after, "ring"), scenario(&before, "ring"));
    let cell = |report: &Value, name: &str| {
        let cells = array(scenario(report, "dispatch"), "cells");
        cells.iter().find(|cell| cell["name"] == name).cloned()
    };
    assert_eq!(cell(&after, "1x1"), cell(&before, "1x1"));
    assert_ne!(cell(&after, "2x1"), cell(&before, "2x1"));
    assert!(cell(&after, "1x2").is_some());
    // Drawing again changes no figure.
    let output = bench(&["--redraw", "--out", &path]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(folder.report(), after);
}

#[test]
fn mistakes_are_named() {
    for (arguments, expected) in [
        (&["--only", "nobody"][..], "no contender `nobody`"),
        (&["--capacity", "1000"], "capacity 1000 is not a power of two"),
        (&["--cells", "two"], "`two` is not a cell"),
        (&["nothing"], "invalid value 'nothing'"),
        (&["--rates", "2k/s"], "no rate `2k/s`"),
        (&["--seconds", "0"], "seconds of a round lie between"),
        (&["--join", "--out", "/nowhere/report.json"], "/nowhere/report.json: No such file"),
    ] {
        let output = bench(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}
