//! `keylane plugin validate`: finds every planted fault, and passes what is good.

use serde_json::Value;

use crate::command::{keylane, text};
use crate::libraries::{build, bundled, compile, folder, native};

/// A fault, the check that has to find it, and what it has to say.
const FAULTS: [(&str, &str, &str); 30] = [
    ("CONSTRUCTOR", "load", "killed by SIGSEGV, in: loading the library"),
    (
        "MANIFEST_FLAGS",
        "load",
        "the manifest has the flags [\"EMITS\"], and the first descriptor [\"STATEFUL\"]",
    ),
    ("SCHEMA", "load", "the schema of its configuration is no JSON"),
    ("ONE_TOO_MANY", "load", "descriptor(count()) is a descriptor"),
    (
        "CONFIG_CRASHES",
        "config",
        "killed by SIGABRT, in: check_config with a configuration that is nested",
    ),
    ("LEAKS", "create", "it leaks: "),
    ("FILES", "create", "open files behind"),
    ("THREADS", "create", "threads behind"),
    ("TWICE", "create", "killed by SIGABRT, in: create and destroy an instance"),
    ("FOLDER", "calls", "it has changed the working folder"),
    ("SIGNALS", "calls", "it has changed what handles signal 10"),
    ("CELLS", "calls", "killed by SIGSEGV, in: process with a host that gives no cells"),
    ("KEEPS", "calls", "killed by SIGSEGV, in: flush, where the memory of earlier batches is gone"),
    (
        "ABSENT_META",
        "values",
        "killed by SIGSEGV, in: process a batch of one event: META COMMON_ERROR, with all absent",
    ),
    (
        "EMPTY_TEXT",
        "values",
        "killed by SIGSEGV, in: process a batch of one event: UTF8 empty at NULL",
    ),
    (
        "EXITS",
        "values",
        "it ended the process with exit code 0, which is the program's to do, in: process a batch of one event: JSON object",
    ),
    ("HANGS", "values", "no answer within 2s, in: process a batch of one event: F64 NaN"),
    ("OVER", "values", "process says that it has processed 2 of 1 events"),
    ("PANICS", "values", "it panics at BOOL true: a truth value"),
    ("STATUS", "values", "process returns the status 77, which is none"),
    (
        "UNKNOWN_KIND",
        "values",
        "killed by SIGABRT, in: process a batch of one event: value kind 10, which is unknown",
    ),
    ("WRITES", "values", "killed by SIGSEGV, in: process a batch of one event: no value"),
    ("EMPTY_BATCH", "batches", "killed by SIGSEGV, in: process a batch of 0 events"),
    ("STRIDE", "batches", "killed by SIGABRT, in: process a batch of 2 events"),
    ("LEAKS_EVENTS", "memory", "it grows with the events"),
    ("REFUSES", "state", "load_state refuses what save_state has written"),
    ("TRUSTS", "state", "killed by SIGSEGV, in: load_state with all bits set"),
    ("WRITER", "state", "save_state returns OK although its writer has failed"),
    ("THREAD", "bus", "calls of the host from a wrong thread"),
    ("HANGS", "bus", "no answer within 2s, in: 2 producers emit"),
];

fn outcome<'a>(json: &'a Value, check: &str) -> &'a Value {
    let checks = json["checks"].as_array().expect("checks");
    checks
        .iter()
        .find(|one| one["name"] == *check)
        .unwrap_or_else(|| panic!("no {check} in {json}"))
}

/// Finds the faults number `from`, `from + 4` and so on: the tests run beside one another.
fn find(from: usize) {
    let folder = folder(&format!("validate_{from}"));
    for (fault, check, said) in FAULTS.iter().skip(from).step_by(4) {
        let library = folder.join(format!("{fault}.so"));
        build(&library, &[&format!("FAULT_{fault}")]);
        // Who hangs is waited for; the others get all the time that a busy machine may need.
        let timeout = if said.starts_with("no answer") { "2s" } else { "60s" };
        let args = [
            "plugin",
            "validate",
            "--json",
            "--check",
            check,
            "--timeout",
            timeout,
            text(&library),
        ];
        let json = keylane(&args).expect(1).json();
        let found = outcome(&json, check);
        assert_eq!(
            (&found["outcome"], &json["passed"]),
            (&"failed".into(), &false.into()),
            "{fault}: {json}"
        );
        let notes = found["notes"].as_array().expect("notes");
        let told =
            notes.iter().any(|note| note["text"].as_str().is_some_and(|text| text.contains(said)));
        assert!(told, "{fault}: no {said:?} in {found}");
    }
}

#[test]
fn planted_faults_are_found() {
    find(0);
}

#[test]
fn more_planted_faults_are_found() {
    find(1);
}

#[test]
fn further_planted_faults_are_found() {
    find(2);
}

#[test]
fn the_other_planted_faults_are_found() {
    find(3);
}

#[test]
fn what_is_not_wrong_but_not_good_is_a_warning() {
    let folder = folder("validate_warnings");
    for (fault, check, said) in [
        ("TAKES_ALL", "config", "a misspelt one would be ignored"),
        ("NO_MANIFEST", "inspect", "it has no manifest"),
    ] {
        let library = folder.join(format!("{fault}.so"));
        build(&library, &[&format!("FAULT_{fault}")]);
        let json = keylane(&["plugin", "validate", "--json", "--check", "config", text(&library)])
            .expect(0)
            .json();
        let found = outcome(&json, check);
        assert_eq!(found["outcome"], "warning", "{json}");
        assert!(found.to_string().contains(said), "{json}");
    }
}

#[test]
fn a_good_plugin_passes_without_a_word() {
    let good = folder("validate_good").join("good.so");
    build(&good, &[]);
    let output = keylane(&["plugin", "validate", text(&good)]).expect(0);
    assert!(
        output.stdout.ends_with("it passed: 10 checks, 0 failed, 0 with warnings\n"),
        "{}",
        output.stdout
    );
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_plugin_is_asked_for_no_more_than_it_promises() {
    let folder = folder("validate_limited");
    let traffic = folder.join("traffic.so");
    // It aborts at any other type; a host gives it none.
    build(&traffic, &["ONLY_TRAFFIC"]);
    let output = keylane(&["plugin", "validate", text(&traffic)]);
    assert_eq!(output.code, Some(0), "{}", output.stdout);
    // It must not be loaded twice in one process.
    let once = folder.join("once.so");
    build(&once, &["ONCE"]);
    let names = ["load", "create", "values", "state", "bus"];
    let checks: Vec<_> = names.iter().flat_map(|name| ["--check", name]).collect();
    let output = keylane(&[&["plugin", "validate", text(&once)], checks.as_slice()].concat());
    assert_eq!(output.code, Some(0), "{}", output.stdout);
}

#[test]
fn what_does_not_even_begin_is_not_waited_for_again_and_again() {
    let never = folder("validate_never").join("never.so");
    build(&never, &["FAULT_NEVER"]);
    let args = [
        "plugin",
        "validate",
        "--json",
        "--timeout",
        "1s",
        "--check",
        "create",
        "--check",
        "values",
        "--check",
        "bus",
    ];
    let json = keylane(&[args.as_slice(), &[text(&never)]].concat()).expect(1).json();
    let create = outcome(&json, "create").to_string();
    assert!(create.contains("no answer within 1s, in: create and destroy an instance"), "{json}");
    assert_eq!(outcome(&json, "values")["outcome"], "skipped", "{json}");
    assert_eq!(outcome(&json, "bus")["outcome"], "skipped", "{json}");
}

#[test]
fn an_exception_without_a_barrier_is_found() {
    let thrower = folder("validate_throws").join("throws.so");
    compile("c++", &["-std=c++17"], "tests/plugin_support/throws.cpp", &thrower);
    let output = keylane(&["plugin", "validate", "--check", "values", text(&thrower)]).expect(1);
    let said = "killed by SIGABRT, in: process a batch of one event: no value";
    assert!(output.stdout.contains(said), "{output:?}");
}

#[test]
fn the_bundled_plugins_pass() {
    let folder = folder("validate_bundled");
    let out = |name: &str| serde_json::json!({"path": folder.join(name)}).to_string();
    for (library, config) in [
        (native("dedup-c"), "{}".to_owned()),
        (native("tally-cpp"), "{}".to_owned()),
        (bundled("rate-alarm"), r#"{"limit": 3}"#.to_owned()),
        (bundled("ndjson-file"), out("out.ndjson")),
        (bundled("rollup"), out("rollup.prom")),
    ] {
        let args = ["plugin", "validate", "--timeout", "60s", "--config", &config, text(&library)];
        let output = keylane(&args);
        assert_eq!(output.code, Some(0), "{}", output.stdout);
    }
}

#[test]
fn what_would_not_load_is_not_run() {
    let folder = folder("validate_unloadable");
    let output = keylane(&["plugin", "validate", text(&folder.join("missing.so"))]).expect(1);
    assert!(output.stdout.contains("FAILED   inspect"), "{output:?}");
    assert!(output.stdout.contains("it did not pass: 1 checks, 1 failed"), "{output:?}");
    keylane(&["plugin", "validate", "x.so", "--config", "[]"])
        .expect(2)
        .complains("JSON, but no object");
    keylane(&["plugin", "validate", "x.so", "--check", "all"])
        .expect(2)
        .complains("there are the checks load, config");
}
