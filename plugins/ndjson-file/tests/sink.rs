//! The sink over real files.

use std::fs;
use std::path::Path;
use std::time::Duration;

use keylane_plugin::abi::Status;
use keylane_plugin::testing::{TestEvent, TestHost};
use ndjson_file::NdjsonFile;
use serde_json::{Value, json};

fn host(config: &Value) -> TestHost {
    TestHost::new::<NdjsonFile>(&config.to_string()).expect("the configuration is right")
}

fn lines(path: &Path) -> Vec<Value> {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(text.is_empty() || text.ends_with('\n'), "the last line ends");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn numbers(from: u64, to: u64) -> Vec<TestEvent> {
    (from..to).map(|n| TestEvent::user(1).value(n)).collect()
}

#[test]
fn writes_an_object_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.ndjson");
    let mut host = host(&json!({"path": path}));
    host.send(&[
        TestEvent::user(1).key("order-17").value("a\nb\u{7}\"").at(1_795_160_255_123_456_789),
        TestEvent::response("r1", 404).at(0),
        TestEvent::user(2).json(json!({"n": 1})).key_with_bytes(b"k\xff").at(0),
        TestEvent::user(2).at(0),
    ]);
    assert_eq!(lines(&path), Vec::<Value>::new(), "lines are held back");
    host.flush().expect("it writes");
    let hash = |key: &str| format!("{:016x}", seahash(key.as_bytes()));
    let epoch = "1970-01-01T00:00:00.000000Z";
    assert_eq!(
        lines(&path),
        [
            json!({"type": "USER(1)", "time": "2026-11-20T07:37:35.123456Z", "key_hash": hash("order-17"), "value": "a\nb\u{7}\""}),
            json!({"type": "FINISH_REQUEST", "time": epoch, "key_hash": hash("r1"),
                   "value": {"request_id": "r1", "status_code": 404}}),
            json!({"type": "USER(2)", "time": epoch, "key": "k\u{fffd}",
                   "key_hash": format!("{:016x}", seahash(b"k\xff")), "value": {"n": 1}}),
            json!({"type": "USER(2)", "time": epoch, "value": null}),
        ]
    );
    assert_eq!(host.counter("written_lines"), 4);
    assert_eq!(host.counter("written_bytes"), fs::metadata(&path).expect("it is there").len());
}

/// The hash that test events have; the key's own test vector is in the SDK's host.
fn seahash(key: &[u8]) -> u64 {
    struct Hash(u64);
    impl keylane_plugin::Processor for Hash {
        type Config = keylane_plugin::NoConfig;
        const INFO: keylane_plugin::Info = keylane_plugin::Info::new("hash", "1").stateful(1);
        fn create(
            _: Self::Config,
            _: &keylane_plugin::Create<'_>,
        ) -> Result<Self, keylane_plugin::Error> {
            Ok(Self(0))
        }
        fn process(
            &mut self,
            event: &keylane_plugin::Event<'_>,
            _: &keylane_plugin::Cx<'_>,
        ) -> keylane_plugin::Outcome {
            self.0 = event.key_hash();
            Ok(())
        }
        fn save_state(
            &mut self,
            out: &mut keylane_plugin::StateWriter<'_>,
        ) -> Result<(), keylane_plugin::Error> {
            use std::io::Write;
            Ok(out.write_all(&self.0.to_le_bytes())?)
        }
    }
    let mut host = TestHost::new::<Hash>("{}").expect("no configuration");
    host.send(&[TestEvent::user(0).key(key)]);
    u64::from_le_bytes(host.save_state().expect("it saves").try_into().expect("eight bytes"))
}

#[test]
fn writes_values_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("values.ndjson");
    let mut host = host(&json!({"path": path, "lines": "value"}));
    host.send(&[TestEvent::user(1).json(json!({"a": [1, 2]})), TestEvent::user(1).value(0.5)]);
    host.shutdown().expect("it writes");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "{\"a\":[1,2]}\n0.5\n");
}

#[test]
fn appends_to_what_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("values.ndjson");
    for n in 0..2 {
        let mut host = host(&json!({"path": path, "lines": "value"}));
        host.send(&numbers(n, n + 1));
        host.shutdown().expect("it writes");
    }
    assert_eq!(lines(&path), [0, 1]);
}

#[test]
fn rotates_by_size_and_keeps_as_many_as_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("v");
    // Two lines of two bytes fit into a file.
    let mut host = host(
        &json!({"path": path, "lines": "value", "max_bytes": 5, "keep": 2, "fsync": "rotate"}),
    );
    host.send(&numbers(0, 9));
    host.flush().expect("it writes");
    assert_eq!(lines(&path), [8]);
    assert_eq!(lines(&folder.path().join("v.1")), [6, 7]);
    assert_eq!(lines(&folder.path().join("v.2")), [4, 5]);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 3);
    assert_eq!(host.counter("rotations"), 4);
}

#[test]
fn a_line_larger_than_a_file_is_written_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("v");
    let mut host =
        host(&json!({"path": path, "lines": "value", "max_bytes": 5, "buffer_bytes": 1024}));
    let long = "x".repeat(5000);
    host.send(&[
        TestEvent::user(0).value(1_u64),
        TestEvent::user(0).value(long.clone()),
        TestEvent::user(0).value(2_u64),
    ]);
    host.flush().expect("it writes");
    assert_eq!(lines(&folder.path().join("v.1")), [json!(long)]);
    assert_eq!((lines(&folder.path().join("v.2")), lines(&path)), (vec![json!(1)], vec![json!(2)]));
}

#[test]
fn rotates_by_age() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("v");
    let mut host = host(&json!({"path": path, "lines": "value", "max_age_seconds": 60}));
    host.send(&numbers(0, 1));
    host.flush().expect("it writes");
    host.advance(Duration::from_secs(59));
    host.send(&numbers(1, 2));
    host.flush().expect("it writes");
    host.advance(Duration::from_secs(1));
    host.flush().expect("it rotates, though nothing came");
    host.send(&numbers(2, 3));
    host.flush().expect("it writes");
    assert_eq!(
        (lines(&path), lines(&folder.path().join("v.1"))),
        (vec![json!(2)], vec![json!(0), json!(1)])
    );
}

/// `/dev/full` takes nothing, as a full disk does.
#[test]
fn a_disk_that_is_full_holds_events_up_and_loses_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("v");
    std::os::unix::fs::symlink("/dev/full", &path).expect("a link");
    let mut host = host(&json!({"path": path, "lines": "value", "buffer_bytes": 1024}));
    let events: Vec<_> = (0..2000_u64).map(|n| TestEvent::user(1).value(n)).collect();
    let full = host.try_send(&events);
    assert_eq!(full.status, Status::AGAIN, "{full}");
    assert!(full.processed > 0 && full.processed < 2000, "{full}");
    assert!(full.message.contains("No space left on device"), "{full}");
    assert_eq!(full.retry_after, Some(Duration::from_millis(100)));
    assert_eq!(host.try_send(&events[full.processed..]).processed, 0, "no more fits");
    assert_eq!(host.flush().expect_err("the disk is full").status, Status::AGAIN);
    let complaints =
        host.logs().iter().filter(|line| line.message.contains("cannot write")).count();
    assert_eq!((complaints, host.counter("write_errors")), (1, 3));

    // There is room again.
    fs::remove_file(&path).expect("the link goes");
    host.swap(0).expect_err("what waits is still for the old file");
    drop(host);

    // The same with a file that is not yet open: the folder comes back.
    let gone = folder.path().join("gone");
    fs::create_dir(&gone).expect("a folder");
    let mut host =
        self::host(&json!({"path": gone.join("v"), "lines": "value", "buffer_bytes": 1024}));
    fs::remove_dir_all(&gone).expect("the folder goes");
    let stopped = host.try_send(&events);
    assert_eq!(stopped.status, Status::AGAIN, "{stopped}");
    fs::create_dir(&gone).expect("the folder comes back");
    host.send(&events[stopped.processed..]);
    host.flush().expect("it writes");
    let expected: Vec<Value> = (0..2000).map(Value::from).collect();
    assert_eq!(lines(&gone.join("v")), expected, "each once, in order");
    assert_eq!(host.counter("written_lines"), 2000);
}

#[test]
fn a_swap_goes_on_in_the_same_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("v");
    let mut host = host(&json!({"path": path, "lines": "value", "max_bytes": 8}));
    for n in 0..6 {
        host.send(&numbers(n, n + 1));
        host.swap(0).expect("there is no state to hand over");
    }
    host.shutdown().expect("it writes");
    assert_eq!(lines(&folder.path().join("v.1")), [0, 1, 2, 3]);
    assert_eq!(lines(&path), [4, 5]);
}

#[test]
fn each_shard_has_a_file_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, expected) in [("a.ndjson", "a.1.ndjson"), ("b", "b.1"), ("c-{shard}.txt", "c-1.txt")]
    {
        let config = json!({"path": folder.path().join(path)}).to_string();
        let mut host =
            TestHost::on_shard::<NdjsonFile>(&config, 1, 2).expect("the configuration is right");
        host.send(&numbers(0, 1));
        host.shutdown().expect("it writes");
        assert_eq!(lines(&folder.path().join(expected)).len(), 1);
    }
}

#[test]
fn what_is_wrong_with_a_configuration_is_said() {
    let refused = |config: Value| {
        TestHost::new::<NdjsonFile>(&config.to_string()).expect_err("it is wrong").message
    };
    assert_eq!(
        refused(json!({"path": "x", "keep": 0})),
        "config: keep: 0 is out of range, use 1 to 1000"
    );
    assert_eq!(
        refused(json!({"path": ""})),
        "config: path: is empty or holds a NUL, use the path of a file"
    );
    assert!(refused(json!({})).starts_with("config: missing field `path`"));
    assert!(
        refused(json!({"path": "x", "fsync": "always"}))
            .contains("fsync: unknown variant `always`, expected one of `never`")
    );
    assert!(
        refused(json!({"path": "/nonexistent/x"}))
            .starts_with("cannot open /nonexistent/x: No such file")
    );
}

#[test]
fn the_schema_names_every_member() {
    let schema: Value =
        serde_json::from_str(include_str!("../config.schema.json")).expect("the schema is JSON");
    let folder = tempfile::tempdir().expect("a folder");
    let properties = schema["properties"].as_object().expect("an object");
    let mut all: serde_json::Map<String, Value> = properties
        .iter()
        .map(|(name, member)| {
            let value =
                member.get("default").or(member.get("minimum")).unwrap_or(&Value::Null).clone();
            (name.clone(), value)
        })
        .collect();
    all["path"] = json!(folder.path().join("x"));
    // The plugin refuses members that it does not know.
    TestHost::new::<NdjsonFile>(&Value::Object(all).to_string())
        .expect("it takes every member of the schema");
}
