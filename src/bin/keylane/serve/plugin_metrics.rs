//! The plugins' part of `GET /metrics`: the host's numbers, and what the plugins themselves count.
//!
//! Names of metrics are the plugins' own, so they are values of the label `name` here: no plugin can write a number into the metric
//! of another, or of the server. Their labels become labels behind it.

use std::fmt::Display;

use keylane::ingest::printable::escaped;
use keylane::plugin::{PluginMetric, PluginMetricValue, PluginStats};

use super::exposition::{Exposition, Family, Kind};

/// A number of the host.
type OfHost = fn(&PluginStats) -> u64;

const HOST: [(&str, Kind, &str, OfHost); 21] = [
    ("keylane_plugin_libraries", Kind::Gauge, "Libraries in memory; none is ever unloaded.", |s| {
        s.resident_libraries
    }),
    ("keylane_plugin_libraries_limit", Kind::Gauge, "The most libraries in memory.", |s| {
        s.max_libraries
    }),
    ("keylane_plugin_library_bytes", Kind::Gauge, "The sizes of their files.", |s| {
        s.resident_bytes
    }),
    ("keylane_plugin_loads_total", Kind::Counter, "Loads that gave a plugin.", |s| s.loaded),
    ("keylane_plugin_created_total", Kind::Counter, "Instances created.", |s| s.created),
    ("keylane_plugin_destroyed_total", Kind::Counter, "Instances destroyed.", |s| s.destroyed),
    (
        "keylane_plugin_create_failures_total",
        Kind::Counter,
        "Calls of create that gave no instance.",
        |s| s.create_failures,
    ),
    ("keylane_plugin_batches_total", Kind::Counter, "Batches given to plugins.", |s| s.batches),
    (
        "keylane_plugin_again_total",
        Kind::Counter,
        "Times that an instance could not take an event for now.",
        |s| s.again,
    ),
    (
        "keylane_plugin_refused_events_total",
        Kind::Counter,
        "Events that instances refused for good.",
        |s| s.refused_events,
    ),
    ("keylane_plugin_fatal_total", Kind::Counter, "Instances given up for an error.", |s| s.fatal),
    ("keylane_plugin_panics_total", Kind::Counter, "Instances given up for a panic.", |s| s.panics),
    (
        "keylane_plugin_restarts_total",
        Kind::Counter,
        "Instances created in place of one that was given up.",
        |s| s.restarts,
    ),
    (
        "keylane_plugin_quarantines_total",
        Kind::Counter,
        "Times that a plugin was taken out of service on a shard.",
        |s| s.quarantines,
    ),
    ("keylane_plugin_emitted_total", Kind::Counter, "Derived events.", |s| s.emitted),
    ("keylane_plugin_emit_refused_total", Kind::Counter, "Derived events refused at once.", |s| {
        s.emit_refused
    }),
    ("keylane_plugin_emit_lost_total", Kind::Counter, "Derived events lost in the end.", |s| {
        s.emit_lost
    }),
    ("keylane_plugin_log_lines_dropped_total", Kind::Counter, "Lines of logs left out.", |s| {
        s.log_lines_dropped
    }),
    (
        "keylane_plugin_thread_violations_total",
        Kind::Counter,
        "Calls of the host from a wrong thread.",
        |s| s.thread_violations,
    ),
    ("keylane_plugin_hand_overs_total", Kind::Counter, "States handed over in a swap.", |s| {
        s.hand_overs
    }),
    (
        "keylane_plugin_without_manifest_total",
        Kind::Counter,
        "Loads of libraries without a manifest.",
        |s| s.without_manifest,
    ),
];

/// Writes all of it.
pub(super) fn write(stats: &PluginStats, out: &mut Exposition) {
    for (name, kind, help, value) in HOST {
        out.family(name, kind, help).sample(&[], value(stats));
    }
    let mut refused = out.family(
        "keylane_plugin_load_refused_total",
        Kind::Counter,
        "Loads refused, by the reason.",
    );
    for (reason, count) in &stats.refused {
        refused.sample(&[("reason", reason)], count);
    }
    out.family(
        "keylane_plugin_longest_hand_over_seconds",
        Kind::Gauge,
        "The longest time that a swap has held a shard up.",
    )
    .sample(&[], stats.longest_hand_over_ns as f64 / 1e9);
    let mut counters =
        out.family("keylane_plugin_counter_total", Kind::Counter, "Counters of plugins.");
    for metric in &stats.metrics {
        if let PluginMetricValue::Counter(value) = &metric.value {
            sample(&mut counters, metric, "", None, value);
        }
    }
    let mut gauges = out.family("keylane_plugin_gauge", Kind::Gauge, "Gauges of plugins.");
    for metric in &stats.metrics {
        if let PluginMetricValue::Gauge(value) = &metric.value {
            sample(&mut gauges, metric, "", None, value);
        }
    }
    let mut histograms =
        out.family("keylane_plugin_histogram", Kind::Histogram, "Histograms of plugins.");
    for metric in &stats.metrics {
        if let PluginMetricValue::Histogram { buckets, sum } = &metric.value {
            let mut all = 0;
            for (bound, count) in buckets {
                all += count;
                // The format counts what is not above a bound, and these are whole numbers below it.
                sample(&mut histograms, metric, "_bucket", Some(&(bound - 1)), &all);
            }
            sample(&mut histograms, metric, "_bucket", Some(&"+Inf"), &all);
            sample(&mut histograms, metric, "_sum", None, sum);
            sample(&mut histograms, metric, "_count", None, &all);
        }
    }
}

fn sample(
    family: &mut Family<'_>,
    metric: &PluginMetric,
    suffix: &str,
    le: Option<&dyn Display>,
    value: &dyn Display,
) {
    let (processor, name) = (escaped(&metric.processor), escaped(&metric.name));
    let own = own_labels(&metric.labels);
    let mut labels: Vec<(&str, &dyn Display)> =
        vec![("processor", &processor), ("shard", &metric.shard), ("name", &name)];
    labels.extend(own.iter().map(|(label, text)| (label.as_str(), text as &dyn Display)));
    labels.extend(le.map(|le| ("le", le)));
    family.suffixed(suffix, &labels, value);
}

/// The labels that a plugin gave, under names that the format allows and that are free.
fn own_labels(json: &str) -> Vec<(String, String)> {
    let Ok(serde_json::Value::Object(members)) = serde_json::from_str(json) else {
        return Vec::new();
    };
    let mut labels: Vec<(String, String)> = Vec::new();
    for (name, value) in members {
        let mut label: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let taken = |label: &str| ["processor", "shard", "name", "le"].contains(&label);
        if taken(&label) || !label.starts_with(|c: char| c.is_ascii_alphabetic()) {
            label.insert_str(0, "plugin_");
        }
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if labels.iter().all(|(known, _)| *known != label) {
            labels.push((label, escaped(&text).into_owned()));
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_plugins_cannot_pass_for_ours() {
        let labels = own_labels(r#"{"shard":"7","a b":1,"a-b":2,"__x":"y\u001b"}"#);
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(labels, [("plugin___x", "y\\u{1b}"), ("a_b", "1"), ("plugin_shard", "7")]);
        assert!(own_labels("").is_empty() && own_labels("[1]").is_empty());
    }
}
