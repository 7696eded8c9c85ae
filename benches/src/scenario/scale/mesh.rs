//! Memory of a bus that has nothing to do.

use std::time::Duration;

use keylane::{Bus, EventType, Key, NoopProcessorFactory};

/// KiB of memory in use because of a bus with a ring from each of `producers` to each of `shards`, each used once; `None`
/// where the system does not tell.
///
/// # Errors
///
/// When the bus cannot be built or loses an event.
pub(super) fn resident(
    producers: usize,
    shards: usize,
    capacity: usize,
) -> Result<Option<f64>, String> {
    let Some(before) = resident_kibibytes() else { return Ok(None) };
    let bus =
        Bus::builder().shards(shards).capacity(capacity).processor("nothing", NoopProcessorFactory);
    let bus = bus.build().map_err(|error| error.to_string())?;
    let keys: Vec<u64> = (0..shards)
        .map(|shard| {
            let leads_here = |key: &u64| Key::from(*key).shard(shards) == Some(shard);
            (0..).find(leads_here).unwrap_or_default()
        })
        .collect();
    let mut handles: Vec<_> = (0..producers).map(|_| bus.producer()).collect();
    for producer in &mut handles {
        for key in &keys {
            producer
                .emit_blocking(EventType::user(0), *key, *key)
                .map_err(|error| error.to_string())?;
        }
    }
    let after = resident_kibibytes();
    drop(handles);
    let report = bus.shutdown(Duration::from_secs(60));
    if report.processed != (producers * shards) as u64 {
        return Err(format!("the shutdown report of an idle mesh: {report:?}"));
    }
    Ok(after.map(|after| (after - before).max(0.0)))
}

fn resident_kibibytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}
