//! What a plugin returns, and what comes of it.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use keylane::plugin::{PluginHost, RestartPolicy};
use keylane::{
    Builder, Bus, CommonErrorMeta, Event, EventType, FaultSite, Processor, RequestMeta,
    RequestType, ShardContext, Value,
};

use crate::plugin_support::{Folder, KIND, builder, count, eventually, good_library, host};
use crate::support::within;

/// Where a fault happened, its message, and the event that was lost.
type Seen = (FaultSite, String, Option<String>);
type Faults = Arc<Mutex<Vec<Seen>>>;

/// One shard that keeps its faults.
fn bus(host: &PluginHost, config: impl FnOnce(Builder) -> Builder) -> (Bus, Faults) {
    let plugin = host.load(good_library()).expect("it loads");
    let faults = Faults::default();
    let kept = faults.clone();
    let kinds = [KIND, EventType::user(9), EventType::START_REQUEST, EventType::COMMON_ERROR];
    let builder = Bus::builder()
        .shards(1)
        .processor_for("fixture", kinds, plugin.processor("{}").expect("a factory"))
        .on_fault(move |fault| {
            let event = fault.event().map(|event| event.value().to_string());
            kept.lock().unwrap().push((fault.site(), fault.message().to_owned(), event));
        });
    (config(builder).build().expect("a bus"), faults)
}

/// Emits a word between numbers. Returns the report's processed and faulted, and the messages of the faults.
#[track_caller]
fn around(word: &'static str, host: &PluginHost) -> (u64, u64, Vec<Seen>) {
    let (bus, faults) = bus(host, |builder| builder);
    // The shard is held up meanwhile, so that they come in one batch.
    let (release, gate) = mpsc::channel::<()>();
    let (entered, held) = mpsc::channel();
    let gate = Mutex::new(Some((entered, gate)));
    let hold = move |_: &ShardContext| Gate(gate.lock().unwrap().take());
    bus.add_processor_for("gate", [HOLD], hold).expect("added");
    let mut producer = bus.producer();
    producer.emit_blocking(HOLD, Value::none(), "key").expect("open");
    held.recv().expect("the shard comes to it");
    for number in 0..5_u64 {
        producer.emit_blocking(KIND, number, "key").expect("open");
    }
    producer.emit_blocking(KIND, word, "key").expect("open");
    for number in 5..10_u64 {
        producer.emit_blocking(KIND, number, "key").expect("open");
    }
    drop(release);
    let report = bus.shutdown(Duration::from_secs(60));
    assert!(report.is_clean(), "{report}");
    assert_eq!(count(host, "fixture", "disorder"), 0);
    let faults = faults.lock().unwrap().clone();
    (report.processed - 1, report.faulted, faults)
}

const HOLD: EventType = EventType::user(99);

/// Tells that its first event has come, and waits there until the other end is dropped.
struct Gate(Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>);

impl Processor for Gate {
    fn process(&mut self, _: &Event) {
        if let Some((entered, gate)) = self.0.take() {
            entered.send(()).expect("the test listens");
            let _ = gate.recv();
        }
    }
}

#[test]
fn good_events_are_processed() {
    within(60, || {
        let host = host();
        assert_eq!(around("nothing special", &host), (11, 0, vec![]));
        assert_eq!(count(&host, "fixture", "events"), 11);
        assert_eq!(count(&host, "fixture", "sum"), 45);
        assert_eq!(count(&host, "fixture", "gap"), 0);
        assert_eq!(count(&host, "fixture", "shutdown_bus"), 1);
        assert_eq!(count(&host, "fixture", "flush_shutdown"), 1);
        assert!(host.settle(Duration::from_secs(60)));
        let stats = host.stats();
        assert_eq!((stats.created, stats.destroyed, stats.fatal), (1, 1, 0));
        assert_eq!(stats.batches, 1, "one call for the batch");
    });
}

#[test]
fn a_refused_event_costs_that_event() {
    within(60, || {
        let host = host();
        let (processed, faulted, faults) = around("refuse", &host);
        assert_eq!((processed, faulted), (10, 1));
        let expected =
            (FaultSite::Process, "not this one".to_owned(), Some("\"refuse\"".to_owned()));
        assert_eq!(faults, [expected]);
        assert_eq!(count(&host, "fixture", "sum"), 45, "the instance stays");
        assert_eq!((host.stats().refused_events, host.stats().created), (1, 1));
    });
}

#[test]
fn a_panic_costs_its_event_and_the_instance() {
    within(60, || {
        let host = host();
        let (processed, faulted, faults) = around("panic", &host);
        assert_eq!((processed, faulted), (10, 1));
        let text = "panicked: out of beer".to_owned();
        assert_eq!(faults, [(FaultSite::Process, text, Some("\"panic\"".to_owned()))]);
        assert_eq!(count(&host, "fixture", "shutdown_fault"), 1);
        assert_eq!(count(&host, "fixture", "shutdown_bus"), 1);
        assert_eq!(count(&host, "fixture", "events"), 10);
        assert_eq!(
            count(&host, "fixture", "redelivered"),
            5,
            "those behind it, to the next instance"
        );
        assert!(host.settle(Duration::from_secs(60)));
        let stats = host.stats();
        assert_eq!((stats.panics, stats.restarts, stats.created, stats.destroyed), (1, 1, 2, 2));
    });
}

/// Results after which the instance is given up and its successor gets the events once more. One that lies about what it has done may get
/// events twice, or not at all; what the bus counts is right in any case.
#[track_caller]
fn is_fatal(host: &PluginHost, word: &'static str, text: &str) {
    let (processed, faulted, faults) = around(word, host);
    assert_eq!((processed, faulted), (11, 0), "{word}: no event is to blame");
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].0, FaultSite::Process);
    assert!(faults[0].1.contains(text), "{faults:?} lacks {text:?}");
    assert_eq!(faults[0].2, None);
    assert_eq!(host.stats().fatal, 1);
}

#[test]
fn a_fatal_result_costs_the_instance_and_no_event() {
    within(60, || {
        let host = host();
        is_fatal(&host, "fatal", "E_FATAL: lost the file");
        assert_eq!(
            count(&host, "fixture", "events"),
            11,
            "each once, by one instance or the other"
        );
        assert_eq!(count(&host, "fixture", "gap"), 0);
        assert!(count(&host, "fixture", "redelivered") >= 1);
    });
}

#[test]
fn unknown_results_are_fatal() {
    within(60, || {
        is_fatal(&host(), "unknown", "unknown status (77): without a message");
        is_fatal(&host(), "negative", "unknown status (-77): without a message");
    });
}

#[test]
fn impossible_counts_are_fatal() {
    within(60, || {
        is_fatal(&host(), "over", "events processed");
        is_fatal(&host(), "behind", "E_EVENT for an event behind the last");
    });
}

#[test]
fn what_is_put_off_is_offered_again() {
    within(60, || {
        let host = host();
        assert_eq!(around("stall", &host), (11, 0, vec![]));
        assert_eq!(count(&host, "fixture", "events"), 11);
        assert_eq!(host.stats().again, 3);
        assert_eq!(
            count(&host, "fixture", "gap"),
            0,
            "the event keeps its number: it was not taken"
        );
    });
}

#[test]
fn who_puts_off_for_ever_is_given_up() {
    within(60, || {
        let host = builder().stall_limit(Duration::from_millis(30)).build().expect("a thread");
        let (processed, faulted, faults) = around("stall for ever", &host);
        assert_eq!((processed, faulted), (11, 0));
        assert!(
            faults[0].1.contains("has taken no event for 30ms: the disk is full"),
            "{faults:?}"
        );
    });
}

#[test]
fn a_deadline_ends_waiting() {
    within(60, || {
        let host = host();
        let (bus, _) = bus(&host, |builder| builder);
        bus.emitter().emit_blocking(KIND, "stall for ever", "key").expect("open");
        eventually("the plugin stalls", || host.stats().again > 3);
        let report = bus.shutdown(Duration::from_millis(20));
        assert_eq!((report.accepted, report.processed, report.abandoned), (1, 0, 1), "{report}");
    });
}

#[test]
fn too_many_restarts_are_a_quarantine_until_it_is_replaced() {
    within(60, || {
        let policy = RestartPolicy::at_most(2, Duration::from_secs(600))
            .back_off(Duration::from_millis(1), Duration::from_millis(1));
        let host = builder().restarts(policy).build().expect("a thread");
        let (bus, faults) = bus(&host, |builder| builder);
        bus.emitter().emit_blocking(KIND, "always fatal", "key").expect("open");
        // Events are skipped while it waits, and from the quarantine on.
        eventually("the quarantine", || {
            bus.emitter().emit_blocking(KIND, "always fatal", "key").expect("open");
            host.stats().quarantines == 1
        });
        assert_eq!(host.stats().restarts, 2);
        assert!(faults.lock().unwrap().len() >= 2);
        let stats = bus.stats();
        assert!(stats.processors[0].skipped >= 1, "{stats:?}");

        let plugin = host.load(good_library()).expect("it loads");
        bus.replace_processor("fixture", plugin.processor("{}").expect("a factory"))
            .expect("a swap");
        let faulted = bus.stats().faulted;
        let before = count(&host, "fixture", "events");
        for number in 0..100_u64 {
            bus.emitter().emit_blocking(KIND, number, "key").expect("open");
        }
        let report = bus.shutdown(Duration::from_secs(60));
        assert_eq!(count(&host, "fixture", "events"), before + 100);
        assert_eq!(report.faulted, faulted, "nothing more is lost");
        assert_eq!(report.processed + report.faulted, report.accepted);
    });
}

/// Keeps the texts of derived events.
struct Texts(Arc<Mutex<Vec<(EventType, String, u8)>>>);

impl Processor for Texts {
    fn process(&mut self, event: &Event) {
        if let Some(text) = event.get::<String>() {
            self.0.lock().unwrap().push((event.kind(), text.clone(), event.hops()));
        }
    }
}

#[test]
fn derived_events_arrive_and_cycles_end() {
    within(60, || {
        let host = host();
        let texts = Arc::new(Mutex::new(Vec::new()));
        let kept = texts.clone();
        let (bus, _) = bus(&host, |builder| {
            builder.hop_limit(5).processor("texts", move |_: &ShardContext| Texts(kept.clone()))
        });
        bus.emitter().emit_blocking(KIND, "emit", "key").expect("open");
        // The cycle names no parent, so that of the longest line in its batch counts: it must not share one with a derived event.
        eventually("the derived event", || texts.lock().unwrap().len() == 1);
        bus.emitter().emit_blocking(KIND, "cycle", "key").expect("open");
        let report = bus.shutdown(Duration::from_secs(60));
        assert!(report.is_clean());
        let mut texts = texts.lock().unwrap().clone();
        texts.sort();
        let derived = EventType::user(9);
        assert_eq!(texts.remove(5), (derived, "derived".to_owned(), 1));
        let cycle: Vec<_> = (1..=5).map(|hops| (derived, "cycle".to_owned(), hops)).collect();
        assert_eq!(texts, cycle);
        assert_eq!(count(&host, "fixture", "too_many_hops"), 1);
        assert_eq!(
            (host.stats().emitted, host.stats().emit_refused, host.stats().emit_lost),
            (6, 1, 0)
        );
    });
}

#[test]
fn derived_events_wait_for_room_in_a_bounded_outbox() {
    within(60, || {
        let host = builder().outbox(3, 1000).build().expect("a thread");
        let texts = Arc::new(Mutex::new(Vec::new()));
        let kept = texts.clone();
        // Rings of two slots: of a batch's derived events only two go at once.
        let (bus, _) = bus(&host, |builder| {
            builder.capacity(2).processor("texts", move |_: &ShardContext| Texts(kept.clone()))
        });
        let mut producers: Vec<_> = (0..8).map(|_| bus.producer()).collect();
        for _ in 0..50 {
            for producer in &mut producers {
                producer.emit_blocking(KIND, "emit", "key").expect("open");
            }
        }
        let report = bus.shutdown(Duration::from_secs(60));
        assert!(report.is_clean(), "{report}");
        let (emitted, failed) =
            (count(&host, "fixture", "emitted"), count(&host, "fixture", "emit_failed"));
        assert_eq!(emitted + failed, 400, "each was taken or refused");
        let stats = host.stats();
        assert_eq!((stats.emit_refused, stats.emitted + stats.emit_lost), (failed, emitted));
        assert_eq!(texts.lock().unwrap().len() as u64, stats.emitted, "what was sent has arrived");
        assert_eq!(stats.emit_lost, 0, "nothing that was taken is lost while the bus drains");
        assert_eq!(report.accepted, 400 + stats.emitted);
    });
}

#[test]
fn values_reach_the_plugin_in_their_forms() {
    within(60, || {
        let host = host();
        let (bus, _) = bus(&host, |builder| builder);
        let emitter = bus.emitter();
        let request = RequestMeta {
            request_id: "reqid".into(),
            method: http::Method::GET,
            uri: http::Uri::from_static("https://example.com/image.gif"),
            user: None,
            addr: Some(([127, 0, 0, 1], 6000).into()),
            request_type: RequestType::TLS,
        };
        let error =
            CommonErrorMeta { uri: None, method: None, addr: None, err: "a: reason".into() };
        emitter.emit_blocking(EventType::START_REQUEST, request, "key").expect("open");
        emitter.emit_blocking(EventType::COMMON_ERROR, error, "key").expect("open");
        emitter.emit_blocking(KIND, vec![1, 20, 300], "key").expect("open");
        emitter.emit_blocking(KIND, String::from("four"), "key").expect("open");
        let report = bus.shutdown(Duration::from_secs(60));
        assert_eq!(report.processed, 4);
        assert_eq!(count(&host, "fixture", "request_ok"), 1);
        assert_eq!(count(&host, "fixture", "error_ok"), 1);
        assert_eq!(count(&host, "fixture", "rendered"), "[1,20,300]".len() as u64);
        assert_eq!(
            count(&host, "fixture", "foreign_refused"),
            1,
            "only events of the batch are rendered"
        );
        let json = serde_json::to_string(&host.stats()).expect("it serialises");
        assert!(
            json.contains(r#""name":"lengths","labels":"","value":{"histogram":[[[8,1]],4]}"#),
            "{json}"
        );
    });
}

#[test]
fn only_the_types_that_it_wants_are_delivered() {
    within(60, || {
        let folder = Folder::new();
        let host = host();
        let plugin = host.load(folder.build("some.so", &["EVENT_TYPES"])).expect("it loads");
        let factory = plugin.processor("{}").expect("a factory");
        assert_eq!(factory.event_types(), Some([KIND, EventType::START_REQUEST].as_slice()));
        let faults = Arc::new(Mutex::new(Vec::new()));
        let kept = faults.clone();
        let bus = Bus::builder()
            .shards(1)
            .processor("some", factory)
            .on_fault(move |fault| kept.lock().unwrap().push(fault.event().map(Event::kind)))
            .build()
            .expect("a bus");
        let mut producer = bus.producer();
        for number in 0..50_u64 {
            producer.emit_blocking(KIND, number, "key").expect("open");
            producer.emit_blocking(EventType::user(1), number, "key").expect("open");
        }
        producer.emit_blocking(KIND, "refuse", "key").expect("open");
        let report = bus.shutdown(Duration::from_secs(60));
        assert_eq!((report.processed, report.faulted), (100, 1));
        assert_eq!(count(&host, "some", "events"), 50);
        assert_eq!(count(&host, "some", "sum"), 49 * 25);
        assert_eq!(*faults.lock().unwrap(), [Some(KIND)], "the right event is blamed");
    });
}

#[test]
fn a_flush_comes_when_it_was_asked_for() {
    within(60, || {
        let host = host();
        let (bus, _) = bus(&host, |builder| builder);
        bus.emitter().emit_blocking(KIND, "flush me", "key").expect("open");
        eventually("the flush", || count(&host, "fixture", "requested") == 1);
        assert!(bus.shutdown(Duration::from_secs(60)).is_clean());
        assert_eq!(count(&host, "fixture", "requested"), 1);
    });
}

#[test]
fn a_call_from_a_wrong_thread_is_refused_and_costs_the_instance_if_checked() {
    within(60, || {
        let host = builder().check_threads(false).build().expect("a thread");
        assert_eq!(around("wrong thread", &host), (11, 0, vec![]));
        assert_eq!(
            host.stats().thread_violations,
            2,
            "emit, and the counter that it wanted to count"
        );

        let host = builder().check_threads(true).build().expect("a thread");
        let (processed, _, faults) = around("wrong thread", &host);
        assert_eq!(processed, 11);
        assert!(faults[0].1.contains("wrong thread"), "{faults:?}");
        assert_eq!(host.stats().fatal, 1);
        assert_eq!(host.stats().emitted, 0);
    });
}

#[test]
fn a_failing_flush_is_a_fault_of_the_flush() {
    within(60, || {
        let folder = Folder::new();
        let host = host();
        let plugin = host.load(folder.build("flush.so", &["FLUSH_FAILS"])).expect("it loads");
        let faults = Arc::new(Mutex::new(Vec::new()));
        let kept = faults.clone();
        let bus = Bus::builder()
            .shards(1)
            .processor("fixture", plugin.processor("{}").expect("a factory"))
            .on_fault(move |fault| {
                kept.lock().unwrap().push((fault.site(), fault.message().to_owned()))
            })
            .build()
            .expect("a bus");
        bus.emitter().emit_blocking(KIND, 1_u64, "key").expect("open");
        eventually("the fault", || !faults.lock().unwrap().is_empty());
        let text = "flush returned E_FATAL: cannot flush".to_owned();
        assert_eq!(faults.lock().unwrap()[0], (FaultSite::Flush, text));
        assert_eq!(bus.shutdown(Duration::from_secs(60)).processed, 1);
    });
}
