//! A storm of swaps: a stateful plugin is replaced ten times a second while producers emit as fast as they can. Nothing is lost, nothing comes
//! twice, the order of every key is kept, the states add up, and memory stays within what the loaded libraries take.
//!
//! `KEYLANE_STORM_SECONDS=60` for longer than the usual 20 seconds.

mod plugin_support;
mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keylane::plugin::Plugin;
use keylane::{Bus, Key};
use plugin_support::{Folder, KIND, builder, count};
use support::{alone, resident_bytes};

/// Different libraries that follow one another.
const LIBRARIES: usize = 8;
const PRODUCERS: usize = 4;
/// What the process may grow by once all libraries are loaded: the rings, and what allocators keep.
const ALLOWED_GROWTH: u64 = 32 << 20;

fn seconds() -> u64 {
    std::env::var("KEYLANE_STORM_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// Keys whose hashes fall into different places of the plugin's table.
fn keys() -> Vec<Key> {
    let mut taken = [false; 64];
    let fresh = |key: &Key| {
        let place = key.hash().expect("a key") % 64;
        !std::mem::replace(&mut taken[place as usize], true)
    };
    (0_u64..).map(Key::from).filter(fresh).take(32).collect()
}

fn storm(shards: usize) {
    let folder = Folder::new();
    let host = builder().max_libraries(LIBRARIES).build().expect("a thread");
    let plugins: Vec<Plugin> = (0..LIBRARIES)
        .map(|number| {
            let (version, padding) =
                (format!("VERSION=\"{}.0.0\"", number + 1), format!("PADDING=\"{number}\""));
            let path = folder.build(&format!("{number}.so"), &[&version, &padding]);
            host.load(path).expect("it loads")
        })
        .collect();
    let bus = Bus::builder()
        .shards(shards)
        .capacity(256)
        .processor("storm", plugins[0].processor("{}").expect("a factory"))
        .build()
        .expect("a bus");

    let (stop, sum) = (AtomicBool::new(false), AtomicU64::new(0));
    let keys = keys();
    let mut swaps = 0;
    let mut resident = 0;
    thread::scope(|scope| {
        for keys in keys.chunks(keys.len() / PRODUCERS) {
            let (mut producer, stop, sum) = (bus.producer(), &stop, &sum);
            scope.spawn(move || {
                let mut number = 0_u64;
                let mut emitted = 0;
                while !stop.load(Ordering::Relaxed) {
                    let batch = (number..number + 64)
                        .map(|number| (KIND, number.into(), keys[number as usize % keys.len()]));
                    emitted += (number..number + 64).sum::<u64>();
                    assert_eq!(producer.emit_batch(batch).expect("open"), 64);
                    number += 64;
                }
                sum.fetch_add(emitted, Ordering::Relaxed);
            });
        }
        let began = Instant::now();
        let end = began + Duration::from_secs(seconds());
        while Instant::now() < end {
            swaps += 1;
            let plugin = &plugins[swaps % LIBRARIES];
            bus.replace_processor("storm", plugin.processor("{}").expect("a factory"))
                .expect("a swap");
            if swaps == LIBRARIES {
                // Each has run by now.
                resident = resident_bytes();
            }
            let next = began + Duration::from_millis(100) * swaps as u32;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let report = bus.shutdown(Duration::from_secs(120));
    let grown = resident_bytes().saturating_sub(resident);
    let stats = host.stats();
    println!(
        "{shards} shards: {swaps} swaps, {report}, {grown} bytes grown, longest hand-over {} ns",
        stats.longest_hand_over_ns
    );

    assert!(report.is_clean(), "{report}");
    assert_eq!((report.accepted, report.faulted), (report.processed, 0));
    assert_eq!(count(&host, "storm", "events"), report.accepted, "each once");
    assert_eq!(count(&host, "storm", "sum"), sum.load(Ordering::Relaxed), "the states add up");
    assert_eq!(count(&host, "storm", "disorder"), 0, "per key in order");
    assert_eq!(count(&host, "storm", "gap"), 0);
    assert_eq!(count(&host, "storm", "loaded"), (swaps * shards) as u64, "every state arrived");
    assert_eq!(bus.stats().processors[0].generation, swaps as u64 + 1);
    assert!(host.settle(Duration::from_secs(60)));
    let stats = host.stats();
    let instances = ((swaps + 1) * shards) as u64;
    assert_eq!((stats.created, stats.destroyed), (instances, instances));
    assert_eq!(stats.resident_libraries, LIBRARIES as u64);
    if swaps > LIBRARIES {
        assert!(grown < ALLOWED_GROWTH, "{grown} bytes more than when all libraries were loaded");
    }
}

#[test]
fn two_shards() {
    alone("two_shards", || storm(2));
}

#[test]
fn eight_shards() {
    alone("eight_shards", || storm(8));
}
