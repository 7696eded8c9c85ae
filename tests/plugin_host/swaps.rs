//! Plugins are replaced while events flow: the state goes along, and what fails is undone.

use std::time::Duration;

use keylane::plugin::{Plugin, PluginHost};
use keylane::{Bus, Key, NoopProcessor, Rollout, ShardContext, SwapError};

use crate::plugin_support::{Folder, KIND, builder, count, eventually, good_library, host};
use crate::support::{DELIBERATE, mute_deliberate_panics, within};

#[track_caller]
fn started(plugin: &Plugin, shards: usize) -> Bus {
    let factory = plugin.processor("{}").expect("a factory");
    Bus::builder().shards(shards).processor("it", factory).build().expect("a bus")
}

/// Emits so many numbers over several keys.
#[track_caller]
fn emit(bus: &Bus, from: u64, to: u64) {
    let mut producer = bus.producer();
    for number in from..to {
        producer.emit_blocking(KIND, number, number % 16).expect("open");
    }
}

/// Ends the bus; the sum of all instances' states.
#[track_caller]
fn ended(host: &PluginHost, bus: &Bus) -> u64 {
    let report = bus.shutdown(Duration::from_secs(60));
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.accepted, report.faulted), (report.processed, 0));
    assert_eq!(count(host, "it", "disorder"), 0);
    assert_eq!(count(host, "it", "gap"), 0);
    count(host, "it", "sum")
}

#[test]
fn the_state_goes_along() {
    within(60, || {
        let (host, folder) = (host(), Folder::new());
        let first = host.load(good_library()).expect("it loads");
        let second = host.load(folder.build("2.so", &["VERSION=\"2.0.0\""])).expect("it loads");
        let bus = started(&first, 2);
        emit(&bus, 0, 1000);
        bus.replace_processor("it", second.processor("{}").expect("a factory")).expect("a swap");
        emit(&bus, 1000, 2000);
        assert_eq!(ended(&host, &bus), 1999 * 1000);
        assert_eq!(count(&host, "it", "loaded"), 2);
        assert_eq!(
            (count(&host, "it", "shutdown_swap"), count(&host, "it", "shutdown_bus")),
            (2, 2)
        );
        assert_eq!(count(&host, "it", "version"), 4, "2 on both shards");
        assert!(host.settle(Duration::from_secs(60)));
        let stats = host.stats();
        assert_eq!((stats.created, stats.destroyed, stats.hand_overs), (4, 4, 2));
        assert!(stats.longest_hand_over_ns > 0);
    });
}

#[test]
fn plugins_and_other_processors_replace_each_other() {
    within(60, || {
        let host = host();
        let plugin = host.load(good_library()).expect("it loads");
        let bus = started(&plugin, 2);
        // A swap may come before events that were emitted before it, so each has its own.
        let idle = || eventually("nothing waits", || bus.stats().depth == 0);
        emit(&bus, 0, 10);
        idle();
        bus.replace_processor("it", |_: &ShardContext| NoopProcessor).expect("a swap");
        emit(&bus, 10, 20);
        idle();
        bus.replace_processor("it", plugin.processor("{}").expect("a factory")).expect("a swap");
        bus.add_processor("another", plugin.processor("{}").expect("a factory")).expect("added");
        emit(&bus, 20, 30);
        eventually("all are processed", || count(&host, "another", "events") == 10);
        bus.remove_processor("another").expect("removed");
        assert_eq!(count(&host, "another", "shutdown_removed"), 2);
        assert_eq!(ended(&host, &bus), (20..30).sum::<u64>(), "another one begins anew");
        assert_eq!(count(&host, "it", "events"), 20);
    });
}

#[test]
fn a_state_that_is_refused_undoes_the_swap_on_all_shards() {
    within(60, || {
        let (host, folder) = (host(), Folder::new());
        let first = host.load(good_library()).expect("it loads");
        let bus = started(&first, 4);
        emit(&bus, 0, 1000);
        // Refused by the shard that has seen key 3, so that others have switched already or have not yet.
        let picky = folder.build(
            "picky.so",
            &["VERSION=\"2.0.0\"", "LOAD_REFUSES=((const struct state *)state.ptr)->last[0]!=0||1"],
        );
        let picky = host.load(picky).expect("it loads");
        let error = bus
            .replace_processor("it", picky.processor("{}").expect("a factory"))
            .expect_err("refused");
        assert!(matches!(error, SwapError::HandOver { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("load_state returned E_STATE: an older form"), "{text}");
        assert!(text.contains("the old instances stay"), "{text}");
        emit(&bus, 1000, 2000);
        assert_eq!(ended(&host, &bus), 1999 * 1000, "the old ones went on with their states");
        assert_eq!(count(&host, "it", "version"), 4, "1 on all four shards");
    });
}

#[test]
fn a_state_that_only_one_shard_refuses_is_undone_everywhere() {
    within(60, || {
        let (host, folder) = (host(), Folder::new());
        let first = host.load(good_library()).expect("it loads");
        let bus = started(&first, 4);
        // One key, so one shard has a state that is not empty.
        for number in 0..100_u64 {
            bus.emitter().emit_blocking(KIND, number, "key").expect("open");
        }
        let picky = folder.build(
            "picky.so",
            &["VERSION=\"2.0.0\"", "LOAD_REFUSES=((const struct state *)state.ptr)->events!=0"],
        );
        let picky = host.load(picky).expect("it loads");
        for _ in 0..5 {
            let error = bus
                .replace_processor("it", picky.processor("{}").expect("a factory"))
                .expect_err("refused");
            let shard = Key::from("key").shard(4).expect("it has one");
            assert!(matches!(error, SwapError::HandOver { shard: s, .. } if s == shard), "{error}");
        }
        for number in 100..200_u64 {
            bus.emitter().emit_blocking(KIND, number, "key").expect("open");
        }
        assert_eq!(ended(&host, &bus), 199 * 100);
        assert_eq!(bus.stats().processors[0].generation, 1);
    });
}

#[test]
fn a_state_that_cannot_be_saved_undoes_the_swap() {
    within(60, || {
        let folder = Folder::new();
        let host = builder().max_state(1000).build().expect("a thread");
        let good = host.load(good_library()).expect("it loads");
        for (defines, part) in [
            (["SAVE_FAILS"], "save_state returned E_STATE: cannot save"),
            (["SAVE_BYTES=1001"], "the state has more than 1000 bytes"),
        ] {
            let plugin =
                host.load(folder.build(&format!("{}.so", defines[0]), &defines)).expect("it loads");
            let bus = started(&plugin, 1);
            let error = bus
                .replace_processor("it", good.processor("{}").expect("a factory"))
                .expect_err("no state");
            assert!(error.to_string().contains(part), "{error}");
            // It can be removed all the same.
            bus.remove_processor("it").expect("removed");
            assert!(bus.shutdown(Duration::from_secs(60)).is_clean());
        }
    });
}

#[test]
fn another_plugin_and_another_form_begin_as_they_should() {
    within(60, || {
        let (host, folder) = (host(), Folder::new());
        let newer = host.load(folder.build("2.so", &["STATE_VERSION=2"])).expect("it loads");
        let older = host.load(good_library()).expect("it loads");
        let bus = started(&newer, 1);
        emit(&bus, 0, 10);
        let error = bus
            .replace_processor("it", older.processor("{}").expect("a factory"))
            .expect_err("newer form");
        assert!(error.to_string().contains("load_state returned E_STATE"), "{error}");
        let other = folder.build("other.so", &["ID=\"org.example.other\""]);
        let other = host.load(other).expect("it loads");
        bus.replace_processor("it", other.processor("{}").expect("a factory"))
            .expect("it begins anew");
        emit(&bus, 10, 20);
        assert_eq!(ended(&host, &bus), (10..20).sum::<u64>());
    });
}

#[test]
fn a_canary_that_faults_goes_back() {
    within(60, || {
        let host = host();
        let plugin = host.load(good_library()).expect("it loads");
        let bus = started(&plugin, 2);
        emit(&bus, 0, 100);
        mute_deliberate_panics();
        // Every event is a fault for this one.
        let bad = |_: &ShardContext| Refuses;
        let swap = std::thread::scope(|scope| {
            let swap = scope.spawn(|| {
                let rollout = Rollout::canary(1)
                    .events(1_000_000)
                    .within(Duration::from_secs(60))
                    .allowed_faults(3);
                bus.replace_processor_gradually("it", bad, rollout)
            });
            let emitter = bus.emitter();
            let mut number = 100;
            while !swap.is_finished() {
                emitter.emit_blocking(KIND, number, number % 16).expect("open");
                number += 1;
            }
            swap.join().expect("no panic")
        });
        let Err(SwapError::Canary { shard: 1, faults, allowed: 3, .. }) = swap else {
            panic!("{swap:?}")
        };
        assert!(faults > 3);
        assert_eq!(bus.stats().processors[0].generation, 1);
        let report = bus.shutdown(Duration::from_secs(60));
        assert!(report.faulted >= faults && report.processed > 100, "{report}");
        assert_eq!(report.processed + report.faulted, report.accepted);
        // All but the canary's events were seen by the plugin, and none twice.
        assert_eq!(count(&host, "it", "events") + report.faulted, report.accepted);
        assert_eq!(count(&host, "it", "disorder"), 0);
    });
}

/// Refuses everything.
struct Refuses;

impl keylane::Processor for Refuses {
    fn process(&mut self, _: &keylane::Event) {
        panic!("{DELIBERATE}");
    }
}

#[test]
fn a_canary_that_does_well_is_followed() {
    within(60, || {
        let (host, folder) = (host(), Folder::new());
        let first = host.load(good_library()).expect("it loads");
        let second = host.load(folder.build("2.so", &["VERSION=\"2.0.0\""])).expect("it loads");
        let bus = started(&first, 4);
        emit(&bus, 0, 1000);
        let rollout = Rollout::canary(9).events(1).within(Duration::from_millis(50));
        bus.replace_processor_gradually("it", second.processor("{}").expect("a factory"), rollout)
            .expect("it does well");
        assert_eq!(bus.stats().processors[0].generation, 2);
        emit(&bus, 1000, 2000);
        assert_eq!(ended(&host, &bus), 1999 * 1000);
        assert_eq!(bus.stats().processors[0].events, 2000, "the numbers of both generations");
        assert_eq!(count(&host, "it", "shutdown_swap"), 4);
    });
}
