//! Alarms through the test host.

use std::time::Duration;

use keylane_plugin::abi::Status;
use keylane_plugin::testing::{EmittedKey, TestEvent, TestHost};
use keylane_plugin::{EventType, Payload};
use rate_alarm::RateAlarm;
use serde_json::{Value, json};

fn host(config: &Value) -> TestHost {
    TestHost::new::<RateAlarm>(&config.to_string()).expect("the configuration is right")
}

/// `count` events of a key, now.
fn burst(key: &str, count: usize) -> Vec<TestEvent> {
    vec![TestEvent::user(1).key_with_bytes(key); count]
}

fn value(payload: &Payload<'_>) -> Value {
    let Payload::Json(json) = payload else { panic!("an alarm is JSON, not {payload:?}") };
    serde_json::from_str(json).expect("it is JSON")
}

#[test]
fn one_event_too_many_raises_one_alarm() {
    let mut host =
        host(&json!({"limit": 3, "window_seconds": 10, "quiet_seconds": 30, "emit": "USER(7)"}));
    let mut events = burst("calm", 3);
    events.extend(burst("wild", 5));
    host.send(&events);
    let emitted = host.emitted();
    let [alarm] = &emitted[..] else { panic!("one alarm, not {emitted:?}") };
    assert_eq!(
        (alarm.kind, alarm.parent),
        (EventType::user(7), Some(6)),
        "the fourth of the wild ones"
    );
    assert!(matches!(alarm.key, EmittedKey::Hash(_)), "it has the key of its parent");
    let alarm = value(&alarm.value);
    assert_eq!(alarm["key"], "wild");
    assert_eq!(
        (&alarm["count"], &alarm["limit"], &alarm["window_seconds"]),
        (&json!(4), &json!(3), &json!(10.0))
    );
    assert_eq!(
        (&alarm["type"], &alarm["time"]),
        (&json!("USER(1)"), &json!("2026-01-01T00:00:00.000000Z"))
    );
    assert_eq!(host.counter("alarms"), 1);

    host.advance(Duration::from_secs(29));
    host.send(&burst("wild", 5));
    assert_eq!(host.emitted(), [], "it is quiet");
    host.advance(Duration::from_secs(1));
    host.send(&burst("wild", 1));
    assert_eq!(host.emitted().len(), 1, "and loud again");
}

#[test]
fn a_steady_stream_below_the_limit_raises_none() {
    // Eleven events lie within ten seconds when both ends count.
    let mut host = host(&json!({"limit": 11, "window_seconds": 10}));
    for _ in 0..100 {
        host.send(&burst("k", 1));
        host.advance(Duration::from_secs(1));
    }
    assert_eq!(host.emitted(), []);
    // Twice as fast, it does.
    for _ in 0..20 {
        host.send(&burst("k", 2));
        host.advance(Duration::from_secs(1));
    }
    assert_eq!(host.emitted().len(), 1);
}

#[test]
fn an_alarm_that_finds_no_room_holds_its_event_up() {
    let mut host = host(&json!({"limit": 1}));
    host.set_room(0);
    let report = host.try_send(&burst("k", 3));
    assert_eq!((report.status, report.processed), (Status::AGAIN, 1));
    host.set_room(1);
    host.send(&burst("k", 2));
    let emitted = host.emitted();
    assert_eq!(
        value(&emitted[0].value)["count"],
        2,
        "the event that was held up was not counted before"
    );
}

#[test]
fn only_events_that_are_meant_are_counted() {
    let mut host = host(&json!({"limit": 1, "types": ["TRAFFIC"], "emit": "TRAFFIC"}));
    host.send(&vec![TestEvent::traffic("k", 1, 1); 5]);
    assert_eq!(host.emitted(), [], "alarms about alarms");
    let mut host = self::host(&json!({"limit": 1, "types": ["USER(2)"]}));
    host.send(&burst("k", 5));
    host.send(&vec![TestEvent::user(2); 5]);
    assert_eq!(host.emitted(), [], "another type, and no key");
    host.send(&vec![TestEvent::user(2).key("k"); 5]);
    assert_eq!(host.emitted().len(), 1);
}

#[test]
fn keys_beyond_the_limit_are_counted_and_silent_ones_forgotten() {
    let mut host =
        host(&json!({"limit": 100, "max_keys": 10, "window_seconds": 1, "quiet_seconds": 0}));
    let keys = |from: usize, to: usize| {
        (from..to).map(|n| TestEvent::user(1).key(format!("k{n}"))).collect::<Vec<_>>()
    };
    host.send(&keys(0, 15));
    assert_eq!((host.gauge("tracked_keys"), host.counter("untracked_events")), (10, 5));
    host.advance(Duration::from_secs(2));
    host.send(&keys(100, 120));
    assert!(host.gauge("tracked_keys") <= 10);
    assert!(host.counter("untracked_events") < 25, "the silent keys made room");
}

#[test]
fn a_swap_forgets_no_count() {
    let mut host = host(&json!({"limit": 3}));
    for _ in 0..4 {
        host.send(&burst("k", 1));
        host.swap(1).expect("the state is taken over");
    }
    assert_eq!(host.emitted().len(), 1);
    host.send(&burst("k", 1));
    assert_eq!(host.emitted(), [], "nor that it is quiet");
    for state in [&b""[..], b"{}", b"[1,[[1,{}]]]"] {
        assert_eq!(host.load_state(state, 1).expect_err("it is none").status, Status::E_STATE);
    }
}

#[test]
fn what_is_wrong_with_a_configuration_is_said() {
    let refused = |config: Value| {
        TestHost::new::<RateAlarm>(&config.to_string()).expect_err("it is wrong").message
    };
    assert_eq!(refused(json!({"limit": 0})), "config: limit: 0 is out of range, use 1 to 1000000");
    assert_eq!(
        refused(json!({"limit": 1, "window_seconds": 0})),
        "config: window_seconds: 0 is out of range, use 0.001 to 86400"
    );
    assert!(
        refused(json!({"limit": 1, "emit": "ALARM"}))
            .starts_with("emit: there is no type \"ALARM\"; use USER(n)")
    );
    assert!(
        refused(json!({"limit": -1})).contains("limit: invalid value: integer `-1`, expected u32")
    );
}
