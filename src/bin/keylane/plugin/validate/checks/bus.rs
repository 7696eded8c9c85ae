//! The plugin on a real bus: several shards and producers, replaced again and again.

use std::time::{Duration, Instant};

use keylane::plugin::{Plugin, PluginFactory};
use keylane::{Bus, EventType, Key, Producer};

use super::{Subject, Talk};

const SHARDS: usize = 4;
const PRODUCERS: usize = 2;
const SWAPS: usize = 10;
/// How many events each producer emits.
const EVENTS: usize = 20_000;
/// How long the producers may take.
const LONGEST: Duration = Duration::from_secs(5);

fn factory(plugin: &Plugin, subject: &Subject, talk: &Talk) -> Option<PluginFactory> {
    let factory = match &subject.id {
        Some(id) => plugin.processor_with_id(id, &subject.config),
        None => plugin.processor(&subject.config),
    };
    factory.inspect_err(|error| talk.fail(error.to_string())).ok()
}

fn produce(mut producer: Producer, number: usize) {
    let until = Instant::now() + LONGEST;
    for n in 0..EVENTS {
        let (kind, key) =
            (EventType::user((n % 5) as u16), Key::from(format!("{number}-{}", n % 50).as_str()));
        let accepted = match n % 4 {
            0 => producer.emit_blocking(kind, n as u64, key).is_ok(),
            1 => producer.emit_blocking(kind, "a text", key).is_ok(),
            2 => producer.emit_blocking(kind, n as f64, key).is_ok(),
            _ => producer.emit_blocking(kind, vec![1_u8, 2, 3], key).is_ok(),
        };
        if !accepted || Instant::now() > until {
            return;
        }
    }
}

pub(super) fn run(subject: &Subject, talk: &Talk) {
    talk.step("loading the library");
    let loaded = subject.host().and_then(|host| {
        let plugin = host.load(&subject.path).map_err(|error| error.to_string())?;
        Ok((host, plugin))
    });
    let (host, plugin) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return talk.fail(error),
    };
    let Some(first) = factory(&plugin, subject, talk) else { return };
    talk.step(format!("a bus of {SHARDS} shards"));
    let bus = match Bus::builder().shards(SHARDS).processor("validate", first).build() {
        Ok(bus) => bus,
        Err(error) => return talk.fail(error.to_string()),
    };
    talk.step(format!("{PRODUCERS} producers emit while the plugin is replaced {SWAPS} times"));
    std::thread::scope(|scope| {
        for number in 0..PRODUCERS {
            let producer = bus.producer();
            scope.spawn(move || produce(producer, number));
        }
        for swap in 0..SWAPS {
            let Some(next) = factory(&plugin, subject, talk) else { return };
            if let Err(error) = bus.replace_processor("validate", next) {
                talk.fail(format!("swap number {swap}: {error}"));
                break;
            }
        }
    });
    talk.step("shutdown of the bus");
    let report = bus.shutdown(Duration::from_secs(10));
    talk.step("destroying the instances");
    if !host.settle(Duration::from_secs(5)) {
        talk.fail("instances were not destroyed within 5 s");
    }
    if report.abandoned > 0 {
        talk.fail(format!(
            "{} of {} events were not processed within 10 s",
            report.abandoned, report.accepted
        ));
    }
    let stats = host.stats();
    for (count, what) in [
        (stats.panics, "panics"),
        (stats.fatal, "instances given up"),
        (stats.thread_violations, "calls of the host from a wrong thread"),
        (stats.create_failures, "instances that could not be created"),
        (stats.quarantines, "shards on which it was taken out of service"),
        (stats.emit_lost, "derived events lost"),
    ] {
        if count > 0 {
            talk.fail(format!("{count} {what}"));
        }
    }
    if stats.created != stats.destroyed {
        talk.fail(format!(
            "{} instances were created, and {} destroyed",
            stats.created, stats.destroyed
        ));
    }
    if report.faulted > 0 {
        talk.warn(format!("it refuses {} of {} usual events", report.faulted, report.accepted));
    }
}
