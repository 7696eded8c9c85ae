//! The bundled plugin in C.

use keylane_plugin::abi::Status;
use keylane_plugin::testing::{EmittedKey, TestEvent, TestHost};
use keylane_plugin::{EventType, Payload};
use keylane_plugin_native_tests::{bundled, load};

fn host(config: &str) -> TestHost {
    load(&bundled("dedup-c"), config).expect("the configuration is right")
}

fn keys(keys: &[&str]) -> Vec<TestEvent> {
    keys.iter().map(|key| TestEvent::user(2).key(key)).collect()
}

#[test]
fn only_the_first_of_a_key_is_emitted() {
    let mut host = host(r#"{"emit":"USER(1)"}"#);
    host.send(&[
        TestEvent::user(2).key("a").value("first"),
        TestEvent::user(2).key("b").value(-7_i64),
        TestEvent::user(2).key("a").value("second"),
        TestEvent::response("c", 404),
        TestEvent::user(3).key("a"),
        TestEvent::user(2).value("no key"),
        // One of its own, come back.
        TestEvent::user(1).key("d"),
    ]);
    let emitted = host.emitted();
    let values: Vec<_> =
        emitted.iter().map(|event| (event.kind, event.parent, event.value.clone())).collect();
    let json = r#"{"request_id":"c","status_code":404}"#;
    assert_eq!(
        values,
        [
            (EventType::user(1), Some(0), Payload::Str("first".into())),
            (EventType::user(1), Some(1), Payload::I64(-7)),
            (EventType::user(1), Some(3), Payload::Json(json.into())),
        ]
    );
    assert!(matches!(emitted[0].key, EmittedKey::Hash(_)));
    assert_eq!(
        (host.counter("firsts"), host.counter("duplicates"), host.counter("unkeyed_events")),
        (3, 2, 1)
    );
    assert_eq!(host.gauge("remembered_keys"), 3);
}

#[test]
fn types_can_be_kept_apart() {
    let mut host = host(r#"{"per_type": true}"#);
    host.send(&[
        TestEvent::user(1).key("a"),
        TestEvent::user(2).key("a"),
        TestEvent::user(1).key("a"),
    ]);
    assert_eq!((host.counter("firsts"), host.counter("duplicates")), (2, 1));
    assert_eq!(host.emitted(), []);
}

#[test]
fn the_last_keys_are_remembered_and_memory_is_bounded() {
    let mut host = host(r#"{"capacity":100}"#);
    let names: Vec<String> = (0..1000).map(|n| format!("k{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    host.send(&keys(&names));
    assert_eq!(host.counter("firsts"), 1000);
    assert!(
        (100..=200).contains(&host.gauge("remembered_keys")),
        "{}",
        host.gauge("remembered_keys")
    );
    host.send(&keys(&names[900..]));
    assert_eq!(host.counter("duplicates"), 100, "the last 100 are remembered");
    host.send(&keys(&names[..100]));
    assert_eq!(host.counter("firsts"), 1100, "the oldest are forgotten");
}

#[test]
fn a_first_that_finds_no_room_is_offered_again() {
    let mut host = host(r#"{"emit":"USER(1)"}"#);
    host.set_room(1);
    let report = host.try_send(&keys(&["a", "b", "c"]));
    assert_eq!((report.status, report.processed), (Status::AGAIN, 1));
    assert_eq!(report.message, "the host has no room for derived events right now");
    host.set_room(9);
    host.send(&keys(&["b", "c"]));
    assert_eq!((host.counter("firsts"), host.emitted().len()), (3, 3));
}

#[test]
fn a_swap_forgets_no_key() {
    let mut host = host(r#"{"capacity":50}"#);
    let names: Vec<String> = (0..120).map(|n| format!("k{n}")).collect();
    for name in &names {
        host.send(&keys(&[name]));
        host.swap(1).expect("the state is taken over");
    }
    assert_eq!((host.counter("firsts"), host.counter("duplicates")), (120, 0));
    for name in &names[70..] {
        host.send(&keys(&[name]));
    }
    assert_eq!((host.counter("firsts"), host.counter("duplicates")), (120, 50));
}

#[test]
fn a_state_that_is_none_is_refused() {
    let mut host = host("{}");
    let mut refused = |state: &[u8], version: u32| {
        host.load_state(state, version).expect_err("it is none").message
    };
    assert_eq!(refused(b"", 1), "the state has 0 bytes, which is no whole number of hashes");
    assert_eq!(refused(&[0; 9], 1), "the state has 9 bytes, which is no whole number of hashes");
    assert_eq!(
        refused(&[9, 0, 0, 0, 0, 0, 0, 0], 1),
        "the state says that it has 9 old hashes, but it has 0 in all"
    );
    assert_eq!(refused(&[0; 16], 1), "hash 0 of the state is 0");
    assert_eq!(refused(&[0; 8], 2), "the state has version 2, this plugin reads 1");
}

#[test]
fn what_is_wrong_with_a_configuration_is_said() {
    let refused = |config: &str| {
        let report = load(&bundled("dedup-c"), config).expect_err("it is wrong");
        assert_eq!(report.status, Status::E_CONFIG, "{config}");
        report.message
    };
    for (config, message) in [
        (r#"{"capacity":0}"#, "config: capacity: 0 is out of range, use 1 to 67108864"),
        (r#"{"capacity":1.5}"#, "config: capacity: is no whole number from 1 to 67108864"),
        (
            r#"{"capacity":99999999999999999999}"#,
            "config: capacity: is no whole number from 1 to 67108864",
        ),
        (r#"{"capacity":"1"}"#, "config: capacity: is no whole number from 1 to 67108864"),
        (
            r#"{"size":1}"#,
            "config: unknown field \"size\", expected one of: capacity, emit, per_type",
        ),
        (r#"{"emit":"FIRST"}"#, "config: emit: there is no type \"FIRST\"; use USER(n)"),
        (r#"{"emit":""}"#, "config: emit: has 0 bytes, use 1 to 64"),
        (r#"{"per_type":1}"#, "config: per_type: is neither true nor false"),
        (r#"{"per_type":true,"per_type":true}"#, "config: per_type: is there twice"),
        (r#"{"per_type":true"#, "config: behind per_type: neither , nor }"),
        (r#"{"per_type":true,}"#, "config: is no flat JSON object, from byte 17 on"),
        ("{} {}", "config: something comes behind the object"),
        ("[]", "config: is no JSON object"),
        ("", "config: is no JSON object"),
    ] {
        assert_eq!(refused(config), message, "{config}");
    }
    host(" { \"capacity\" : 1 ,\n\"per_type\":false, \"emit\":\"USER(0)\" } ");
}
