//! The host and a plugin in Rust that misbehaves, as a shared library with an allocator of its own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keylane::plugin::{Plugin, PluginHost, PluginMetricValue, RestartPolicy, TrustPolicy};
use keylane::{Bus, Event, EventType, FaultSite, Processor, ShardContext};

const KIND: EventType = EventType::user(0);
const LONG: Duration = Duration::from_secs(60);

/// The library that cargo has built beside this test.
fn library() -> PathBuf {
    std::env::current_exe().expect("the test has a path").with_file_name("libmisbehaves.so")
}

/// Restarts at once, however often: the tests count what is lost.
fn loaded() -> (PluginHost, Plugin) {
    let restarts = RestartPolicy::at_most(100, LONG).back_off(Duration::ZERO, Duration::ZERO);
    let builder = PluginHost::builder().allow_loading(TrustPolicy::owned()).restarts(restarts);
    let host = builder.build().expect("a thread");
    let plugin = host.load(library()).expect("it loads");
    (host, plugin)
}

fn events(host: &PluginHost) -> u64 {
    let metrics = host.stats().metrics;
    let counters =
        metrics.iter().filter(|metric| metric.name == "events").map(|metric| match metric.value {
            PluginMetricValue::Counter(value) => value,
            _ => 0,
        });
    counters.sum()
}

type Faults = Arc<Mutex<Vec<(FaultSite, String)>>>;

fn started(plugin: &Plugin, name: &str) -> (Bus, Faults) {
    let faults = Faults::default();
    let kept = faults.clone();
    let bus = Bus::builder()
        .shards(1)
        .processor(name, plugin.processor("{}").expect("a factory"))
        .on_fault(move |fault| {
            kept.lock().unwrap().push((fault.site(), fault.message().to_owned()))
        })
        .build()
        .expect("a bus");
    (bus, faults)
}

#[track_caller]
fn emit(bus: &Bus, words: &[&'static str]) {
    for word in words {
        bus.emitter().emit_blocking(KIND, *word, "key").expect("open");
    }
}

#[test]
fn a_panic_costs_its_event_and_the_host_goes_on() {
    let (host, plugin) = loaded();
    let (bus, faults) = started(&plugin, "it");
    emit(&bus, &["a", "b", "panic", "c", "d"]);
    let report = bus.shutdown(LONG);
    assert_eq!((report.processed, report.faulted), (4, 1), "{report}");
    assert_eq!(events(&host), 4);
    let faults = faults.lock().unwrap();
    assert_eq!((faults.len(), faults[0].0), (1, FaultSite::Process));
    assert!(
        faults[0].1.starts_with("panicked:") && faults[0].1.contains("out of beer"),
        "{faults:?}"
    );
    assert!(host.settle(LONG));
    let stats = host.stats();
    assert_eq!((stats.panics, stats.created, stats.destroyed), (1, 2, 2));
}

#[test]
fn a_panic_in_drop_ends_at_the_barrier() {
    let (host, plugin) = loaded();
    let (bus, _) = started(&plugin, "it");
    emit(&bus, &["panic in drop"]);
    assert!(bus.shutdown(LONG).is_clean());
    assert!(host.settle(LONG));
    assert_eq!(host.stats().destroyed, 1);
    // And in the middle of a run, when the instance is given up for another reason.
    let (bus, _) = started(&plugin, "again");
    emit(&bus, &["panic in drop", "fatal", "a"]);
    let report = bus.shutdown(LONG);
    assert_eq!((report.processed, report.faulted), (3, 0), "{report}");
    assert!(host.settle(LONG));
}

#[test]
fn create_may_fail_and_panic() {
    let (_, plugin) = loaded();
    for (name, text) in
        [("panics in create", "no create today"), ("fails in create", "not with me")]
    {
        let bus =
            Bus::builder().shards(2).processor(name, plugin.processor("{}").expect("a factory"));
        let error = bus.build().expect_err("no instance").to_string();
        assert!(error.contains(text), "{error}");
    }
    let (bus, _) = started(&plugin, "works");
    emit(&bus, &["a"]);
    assert_eq!(bus.shutdown(LONG).processed, 1);
}

/// Keeps the texts of derived events.
struct Texts(Arc<Mutex<Vec<String>>>);

impl Processor for Texts {
    fn process(&mut self, event: &Event) {
        self.0.lock().unwrap().extend(event.get::<String>().cloned());
    }
}

#[test]
fn no_memory_changes_its_owner() {
    let (host, plugin) = loaded();
    let texts = Arc::new(Mutex::new(Vec::new()));
    let kept = texts.clone();
    let (bus, faults) = started(&plugin, "it");
    bus.add_processor("texts", move |_: &ShardContext| Texts(kept.clone())).expect("added");
    // Values, derived events, states, messages of errors: all are copied, or the plugin's allocator would end the process.
    emit(&bus, &["one", "two", "emit", "bad", "fatal", "panic"]);
    for _ in 0..10 {
        emit(&bus, &["three", "emit"]);
        bus.replace_processor("it", plugin.processor("{}").expect("a factory")).expect("a swap");
    }
    let report = bus.shutdown(LONG);
    assert_eq!(report.faulted, 2, "{report}");
    assert_eq!(faults.lock().unwrap().len(), 3);
    let expected = "made by this allocator, and copied by the host".repeat(5);
    let texts = texts.lock().unwrap();
    assert_eq!(texts.len(), 11);
    assert!(texts.iter().all(|text| *text == expected));
    assert!(host.settle(LONG));
    assert_eq!(host.stats().created, host.stats().destroyed);
}

#[test]
fn threads_and_thread_locals_may_outlive_the_instance() {
    let (host, plugin) = loaded();
    for _ in 0..3 {
        let (bus, _) = started(&plugin, "it");
        emit(&bus, &["threads", "threads"]);
        // The shard's thread ends here, with the plugin's thread-locals; the plugin's own threads go on.
        assert!(bus.shutdown(LONG).is_clean());
    }
    assert!(host.settle(LONG));
    drop((host, plugin));
    let until = Instant::now() + Duration::from_millis(400);
    while Instant::now() < until {
        std::thread::yield_now();
    }
}
