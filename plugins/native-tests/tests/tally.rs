//! The bundled plugin in C++: what it throws stops at the barrier.

use keylane_plugin::abi::Status;
use keylane_plugin::testing::{TestEvent, TestHost};
use keylane_plugin_native_tests::{bundled, compiled, load};

fn host(config: &str) -> TestHost {
    load(&bundled("tally-cpp"), config).expect("the configuration is right")
}

#[test]
fn cplusplus_counts_and_sums_by_type() {
    let mut host = host("{}");
    host.send(&[
        TestEvent::user(1).value(2_u64),
        TestEvent::user(1).value(3_i64),
        TestEvent::user(1).value("forty"),
        TestEvent::traffic("c", 1, 1),
    ]);
    let of = |name: &str, kind: &str| host.counter_with(name, &format!(r#"{{"type":"{kind}"}}"#));
    assert_eq!((of("events", "USER(1)"), of("sum", "USER(1)")), (3, 5));
    assert_eq!((of("events", "TRAFFIC"), of("sum", "TRAFFIC")), (1, 0));
}

#[test]
fn cplusplus_what_it_throws_on_purpose_costs_one_event() {
    let mut host = host(r#"{"strict": true}"#);
    let report = host.try_send(&[TestEvent::user(1).value("42"), TestEvent::user(1).value(-1_i64)]);
    assert_eq!((report.status, report.processed), (Status::E_EVENT, 1));
    assert_eq!(report.message, "a counter takes no negative number: -1");
    host.send(&[TestEvent::user(1).value(8_u64)]);
    assert_eq!(host.counter_with("sum", r#"{"type":"USER(1)"}"#), 50);
}

#[test]
fn cplusplus_what_nobody_expected_stops_at_the_barrier() {
    let mut host = host(r#"{"strict":true}"#);
    let report = host.try_send(&[
        TestEvent::user(1).value("42"),
        TestEvent::user(1).value("forty"),
        TestEvent::user(1),
    ]);
    assert_eq!(
        (report.status, report.processed, report.message.as_str()),
        (Status::E_PANIC, 1, "stoull")
    );
    let report = host.try_send(&[TestEvent::user(1).value(1_u64)]);
    assert_eq!((report.status, report.processed), (Status::E_FATAL, 0));
    assert_eq!(report.message, "the instance has thrown before and takes no more calls");
}

#[test]
fn cplusplus_a_constructor_may_throw() {
    let report = load(&bundled("tally-cpp"), r#"{"strict":1}"#).expect_err("it is wrong");
    assert_eq!(report.status, Status::E_CONFIG);
    assert_eq!(report.message, "config: expected {} or {\"strict\": true} or {\"strict\": false}");
}

/// Throws something else from everywhere.
const WILD: &str = r#"
#include "keylane_plugin.hpp"
class wild : public keylane::processor {
 public:
  wild(keylane::context, std::string_view config) { if (config != "{}") throw 7; }
  void on_event(keylane::context, const keylane_event &event) override {
    if (event.value_kind == KEYLANE_V_NONE) throw keylane::again("later", 5000);
    throw 123;
  }
  void flush(keylane::context, uint32_t) override { throw keylane::fatal("no more"); }
  void shutdown(keylane::context, uint32_t) override { throw "text"; }
};
KEYLANE_CPP_PLUGIN(wild, "org.example.wild", "1", 0u, {})
"#;

#[test]
fn cplusplus_nothing_gets_through_from_anywhere() {
    let library = compiled("c++17", WILD);
    let text = "something was thrown that is no std::exception";
    let refused = load(&library, r#"{"a":1}"#).expect_err("the constructor throws");
    assert_eq!((refused.status, refused.message.as_str()), (Status::E_CONFIG, text));

    let mut host = load(&library, "{}").expect("the constructor is content");
    let again = host.try_send(&[TestEvent::user(1)]);
    assert_eq!((again.status, again.message.as_str()), (Status::AGAIN, "later"));
    assert_eq!(again.retry_after, Some(std::time::Duration::from_micros(5)));
    let flushed = host.flush().expect_err("it throws");
    assert_eq!((flushed.status, flushed.message.as_str()), (Status::E_FATAL, "no more"));
    let panicked = host.try_send(&[TestEvent::user(1).value(1_u64)]);
    assert_eq!(
        (panicked.status, panicked.processed, panicked.message.as_str()),
        (Status::E_PANIC, 0, text)
    );
    // The instance is poisoned: shutdown is left out. In this one it is not, and throws.
    drop(host);
    load(&library, "{}").expect("it is created").shutdown().expect_err("the flush throws");
}
