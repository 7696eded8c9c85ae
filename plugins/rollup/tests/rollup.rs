//! The numbers, the windows and the file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use keylane_plugin::EventType;
use keylane_plugin::testing::{TestEvent, TestHost};
use rollup::Rollup;
use serde_json::{Value, json};

/// 2026-01-01T00:00:00Z, when tests begin; a multiple of every window here.
const BEGIN: i64 = 1_767_225_600_000_000_000;
const SECOND: i64 = 1_000_000_000;

fn host(config: &Value) -> TestHost {
    TestHost::new::<Rollup>(&config.to_string()).expect("the configuration is right")
}

/// The value of a line of the file.
#[track_caller]
fn metric(path: &Path, name: &str) -> Option<f64> {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}

fn number(value: f64, at_seconds: i64) -> TestEvent {
    TestEvent::user(1).value(value).at(BEGIN + at_seconds * SECOND)
}

#[test]
fn windows_are_counted_summed_and_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rollup.prom");
    let mut host = host(&json!({"path": path, "window_seconds": 10}));
    host.send(&[
        number(3.0, 0),
        number(-1.5, 9),
        TestEvent::traffic("c", 100, 20).at(BEGIN),
        number(7.0, 10),
    ]);
    assert_eq!(host.requested_flush(), Some(Duration::from_secs(5)));
    assert!(!path.exists(), "it is not due");
    host.advance(Duration::from_secs(5));
    host.flush().expect("it writes");

    let user = |name: &str| metric(&path, &format!(r#"{name}{{type="USER(1)",shard="0"}}"#));
    assert_eq!(user("keylane_rollup_events_total"), Some(3.0));
    assert_eq!(user("keylane_rollup_value_sum"), Some(8.5));
    assert_eq!(user("keylane_rollup_window_events"), Some(2.0));
    assert_eq!(user("keylane_rollup_window_sum"), Some(1.5));
    assert_eq!(user("keylane_rollup_window_min"), Some(-1.5));
    assert_eq!(user("keylane_rollup_window_max"), Some(3.0));
    assert_eq!(
        metric(&path, r#"keylane_rollup_window_sum{type="TRAFFIC",shard="0"}"#),
        Some(120.0)
    );
    let start = r#"keylane_rollup_window_start_seconds{shard="0"}"#;
    assert_eq!(metric(&path, start), Some((BEGIN / SECOND) as f64));

    // Late for its window, but not for the totals.
    host.send(&[number(1.0, 1)]);
    // The second window ends without another event.
    host.advance(Duration::from_secs(20));
    host.flush().expect("it writes");
    assert_eq!(metric(&path, start), Some((BEGIN / SECOND + 10) as f64));
    assert_eq!(user("keylane_rollup_window_events"), Some(1.0));
    assert_eq!(user("keylane_rollup_events_total"), Some(4.0));
    assert_eq!(metric(&path, r#"keylane_rollup_late_events_total{shard="0"}"#), Some(1.0));
    let names: Vec<_> = fs::read_dir(folder.path())
        .expect("a folder")
        .map(|file| file.expect("a file").file_name())
        .collect();
    assert_eq!(names, ["rollup.prom"], "no file is left behind");
}

#[test]
fn the_file_is_what_prometheus_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rollup.prom");
    let mut host = host(&json!({"path": path}));
    host.name_type(EventType::user(1), "a\"b\\c\nd");
    host.send(&[TestEvent::user(1)]);
    host.shutdown().expect("it writes");
    let text = fs::read_to_string(&path).expect("it is there");
    let expected = r#"# HELP keylane_rollup_events_total Events since the beginning.
# TYPE keylane_rollup_events_total counter
keylane_rollup_events_total{type="a\"b\\c\nd",shard="0"} 1
# HELP keylane_rollup_late_events_total Events that came after their window was closed.
# TYPE keylane_rollup_late_events_total counter
keylane_rollup_late_events_total{shard="0"} 0
"#;
    assert_eq!(text, expected);
}

#[test]
fn numbers_are_found_in_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rollup.prom");
    let mut host = host(&json!({"path": path, "value": "/order/amount"}));
    host.send(&[
        TestEvent::user(1).json(json!({"order": {"amount": 2.5}})),
        TestEvent::user(1).json(json!({"order": {"amount": "2"}})),
        TestEvent::user(1).json(json!({})),
        TestEvent::user(1).value("text"),
        TestEvent::user(1).value(f64::NAN),
    ]);
    host.shutdown().expect("it writes");
    assert_eq!(
        metric(&path, r#"keylane_rollup_events_total{type="USER(1)",shard="0"}"#),
        Some(5.0)
    );
    assert_eq!(metric(&path, r#"keylane_rollup_value_sum{type="USER(1)",shard="0"}"#), Some(2.5));
}

#[test]
fn types_beyond_the_limit_are_counted_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rollup.prom");
    let mut host = host(&json!({"path": path, "max_types": 2}));
    let events: Vec<_> = (0..10).map(TestEvent::user).collect();
    host.send(&events);
    host.shutdown().expect("it writes");
    assert_eq!(
        metric(&path, r#"keylane_rollup_events_total{type="USER(1)",shard="0"}"#),
        Some(1.0)
    );
    assert_eq!(metric(&path, r#"keylane_rollup_events_total{type="other",shard="0"}"#), Some(8.0));
}

#[test]
fn a_swap_keeps_totals_and_windows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rollup.prom");
    let mut host = host(&json!({"path": path, "window_seconds": 10}));
    for second in 0..20 {
        host.send(&[number(1.0, second)]);
        host.swap(1).expect("the state is taken over");
    }
    host.shutdown().expect("it writes");
    assert_eq!(
        metric(&path, r#"keylane_rollup_events_total{type="USER(1)",shard="0"}"#),
        Some(20.0)
    );
    assert_eq!(
        metric(&path, r#"keylane_rollup_window_events{type="USER(1)",shard="0"}"#),
        Some(10.0)
    );
}

#[test]
fn a_state_that_is_none_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut host = host(&json!({"path": folder.path().join("x")}));
    for state in [&b""[..], b"[]", b"\xff\x00", b"{\"seconds\":60}"] {
        let report = host.load_state(state, 1).expect_err("it is none");
        assert_eq!(report.status, keylane_plugin::abi::Status::E_STATE);
    }
}

#[test]
fn a_file_that_cannot_be_written_holds_no_event_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let gone = folder.path().join("gone");
    fs::create_dir(&gone).expect("a folder");
    let path = gone.join("rollup.prom");
    let mut host = host(&json!({"path": path}));
    fs::remove_dir(&gone).expect("it goes");
    for _ in 0..3 {
        host.advance(Duration::from_secs(5));
        host.send(&[number(1.0, 0)]);
        host.flush().expect("the numbers are kept");
    }
    assert_eq!(host.counter("write_errors"), 3);
    assert_eq!(host.logs().len(), 1, "one line for a row of failures");
    fs::create_dir(&gone).expect("it comes back");
    host.shutdown().expect("it writes");
    assert_eq!(
        metric(&path, r#"keylane_rollup_events_total{type="USER(1)",shard="0"}"#),
        Some(3.0)
    );
}

#[test]
fn what_is_wrong_with_a_configuration_is_said() {
    let refused = |config: Value| {
        TestHost::new::<Rollup>(&config.to_string()).expect_err("it is wrong").message
    };
    assert_eq!(
        refused(json!({"path": "x", "window_seconds": 0})),
        "config: window_seconds: 0 is out of range, use 1 to 86400"
    );
    assert_eq!(
        refused(json!({"path": "x", "value": "amount"})),
        "config: value: \"amount\" is not a JSON pointer, use one such as \"/amount\""
    );
    assert_eq!(
        refused(json!({"path": "/nonexistent/x"})),
        "cannot write /nonexistent/x: /nonexistent is not a folder"
    );
    assert!(
        refused(json!({"path": "x", "windows": 1}))
            .contains("unknown field `windows`, expected one of `path`")
    );
}
