//! `GET /metrics`: every number, for Prometheus.

use std::fmt::Display;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use keylane::ingest::printable::escaped;
use keylane::{ProcessorStats, ShardStats, Stats, Summary};

use super::exposition::{Exposition, Kind};
use super::plugin_metrics;
use super::state::State;

/// A number of a shard.
type OfShard = fn(&ShardStats) -> u64;

/// A number of a processor.
type OfProcessor = fn(&ProcessorStats) -> u64;

/// Counters and gauges of a shard: name, kind, help, value.
const SHARD: [(&str, Kind, &str, OfShard); 10] = [
    ("keylane_bus_accepted_total", Kind::Counter, "Events that the bus accepted.", |s| s.accepted),
    ("keylane_bus_refused_total", Kind::Counter, "Emits that the bus refused.", |s| s.refused),
    ("keylane_bus_processed_total", Kind::Counter, "Events that all processors processed.", |s| {
        s.processed
    }),
    ("keylane_bus_faulted_total", Kind::Counter, "Events that a processor panicked on.", |s| {
        s.faulted
    }),
    ("keylane_bus_drop_faults_total", Kind::Counter, "Panics in destructors of values.", |s| {
        s.drop_faults
    }),
    ("keylane_bus_batches_total", Kind::Counter, "Batches that were delivered.", |s| s.batches),
    (
        "keylane_bus_parks_total",
        Kind::Counter,
        "Times that the thread of the shard went to sleep.",
        |s| s.parks,
    ),
    ("keylane_bus_depth", Kind::Gauge, "Events accepted and not yet processed.", |s| s.depth),
    ("keylane_bus_depth_high_water", Kind::Gauge, "The largest depth so far.", |s| s.high_water),
    ("keylane_bus_rings", Kind::Gauge, "Rings that lead to the shard.", |s| s.rings as u64),
];

/// Counters and gauges of a processor on a shard.
const PROCESSOR: [(&str, Kind, &str, OfProcessor); 6] = [
    (
        "keylane_processor_events_total",
        Kind::Counter,
        "Events that the processor processed.",
        |p| p.events,
    ),
    (
        "keylane_processor_faults_total",
        Kind::Counter,
        "Events that the processor panicked on.",
        |p| p.faults,
    ),
    (
        "keylane_processor_skipped_total",
        Kind::Counter,
        "Events that the processor missed in quarantine.",
        |p| p.skipped,
    ),
    (
        "keylane_processor_restarts_total",
        Kind::Counter,
        "Instances built anew after a fault.",
        |p| p.restarts,
    ),
    (
        "keylane_processor_quarantined",
        Kind::Gauge,
        "Whether the processor is in quarantine.",
        |p| p.quarantined,
    ),
    ("keylane_processor_generation", Kind::Gauge, "1, and one more with each replacement.", |p| {
        p.generation
    }),
];

/// The whole text.
pub(crate) fn text(state: &State) -> String {
    let mut out = Exposition::default();
    process(state, &mut out);
    let stats = state.stats();
    bus(&stats, &mut out);
    processors(&stats, &mut out);
    events(state, &mut out);
    requests(state, &mut out);
    losses(state, &mut out);
    if let Some(plugins) = state.processors.plugins() {
        plugin_metrics::write(&plugins.stats(), &mut out);
    }
    out.finish()
}

fn process(state: &State, out: &mut Exposition) {
    out.family("keylane_build_info", Kind::Gauge, "The version, as a label.")
        .sample(&[("version", &env!("CARGO_PKG_VERSION"))], 1);
    let started = state.progress.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    out.family(
        "process_start_time_seconds",
        Kind::Gauge,
        "When it was started, in seconds since 1970.",
    )
    .sample(&[], started.as_secs_f64());
    out.family("keylane_ready", Kind::Gauge, "1 while requests are taken, 0 while it shuts down.")
        .sample(&[], u8::from(!state.is_draining()));
}

fn bus(stats: &Stats, out: &mut Exposition) {
    for (name, kind, help, value) in SHARD {
        let mut family = out.family(name, kind, help);
        for shard in &stats.shards {
            family.sample(&[("shard", &shard.shard)], value(shard));
        }
    }
    let mut parked = out.family(
        "keylane_bus_parked_seconds_total",
        Kind::Counter,
        "Time that the thread of the shard slept.",
    );
    for shard in &stats.shards {
        parked.sample(&[("shard", &shard.shard)], shard.parked_ns as f64 / 1e9);
    }
    let mut latency = out.family(
        "keylane_bus_latency_seconds",
        Kind::Summary,
        "From emit to the start of processing, since the start.",
    );
    for shard in &stats.shards {
        let labels: [(&str, &dyn Display); 1] = [("shard", &shard.shard)];
        for quantile in [0.5, 0.9, 0.99, 0.999] {
            let seconds = shard.latency.quantile(quantile) as f64 / 1e9;
            latency.sample(&[labels[0], ("quantile", &quantile)], seconds);
        }
        latency.suffixed("_sum", &labels, sum(&shard.latency));
        latency.suffixed("_count", &labels, shard.latency.count());
    }
}

/// The sum of nanoseconds in a summary, in seconds: as exact as the summary is.
fn sum(summary: &Summary) -> f64 {
    summary.mean() * summary.count() as f64 / 1e9
}

fn processors(stats: &Stats, out: &mut Exposition) {
    for (name, kind, help, value) in PROCESSOR {
        let mut family = out.family(name, kind, help);
        for shard in &stats.shards {
            for processor in &shard.processors {
                let labels: [(&str, &dyn Display); 2] =
                    [("processor", &processor.name), ("shard", &shard.shard)];
                family.sample(&labels, value(processor));
            }
        }
    }
    let mut time = out.family(
        "keylane_processor_seconds_total",
        Kind::Counter,
        "Time that the processor took.",
    );
    for processor in &stats.processors {
        time.sample(&[("processor", &processor.name)], sum(&processor.time));
    }
}

fn events(state: &State, out: &mut Exposition) {
    let intake = state.intake.stats();
    out.family(
        "keylane_ingest_events_total",
        Kind::Counter,
        "Events that were sent here, by what became of them.",
    )
    .sample(&[("outcome", &"accepted")], intake.accepted)
    .sample(&[("outcome", &"refused")], intake.refused)
    .sample(&[("outcome", &"invalid")], intake.invalid);
    out.family(
        "keylane_ingest_rejected_requests_total",
        Kind::Counter,
        "Requests of which nothing was accepted for what is in them.",
    )
    .sample(&[], intake.rejected_requests);
    let (types, limit) = {
        let types = state.intake.types();
        (types.len(), types.limit())
    };
    out.family("keylane_ingest_types", Kind::Gauge, "Names of types that were seen.")
        .sample(&[], types);
    out.family("keylane_ingest_types_limit", Kind::Gauge, "The most names of types.")
        .sample(&[], limit);
    out.family(
        "keylane_ingest_in_flight_bytes",
        Kind::Gauge,
        "Bytes of events above 1 KiB that wait to be processed.",
    )
    .sample(&[], keylane::ingest::in_flight::bytes());
    out.family(
        "keylane_http_body_bytes",
        Kind::Gauge,
        "Bytes of bodies that are being read or checked.",
    )
    .sample(&[], state.progress.body_bytes.load(Ordering::Relaxed));
    if let Some(counts) = state.processors.counts() {
        let counted = counts.types();
        let names = state.intake.types();
        let mut family = out.family(
            "keylane_events_total",
            Kind::Counter,
            "Events that were processed, by type.",
        );
        for (kind, events) in counted {
            family.sample(&[("type", &escaped(&names.name(kind)))], events);
        }
    }
    let outputs = state.processors.written();
    if !outputs.is_empty() {
        let mut family = out.family(
            "keylane_output_events_total",
            Kind::Counter,
            "Events by whether an output has them.",
        );
        for output in outputs {
            let labels = |what| -> [(&str, &dyn Display); 2] {
                [("output", &output.path), ("outcome", what)]
            };
            family.sample(&labels(&"written"), output.written);
            family.sample(&labels(&"unwritten"), output.unwritten);
        }
    }
}

fn requests(state: &State, out: &mut Exposition) {
    let counts = state.statuses.snapshot();
    let classes = [
        counts.status_1xx,
        counts.status_2xx,
        counts.status_3xx,
        counts.status_4xx,
        counts.status_5xx,
    ];
    let mut family = out.family(
        "keylane_http_requests_total",
        Kind::Counter,
        "Requests that have ended, by the class of their status.",
    );
    for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(classes) {
        family.sample(&[("class", class)], count);
    }
    let other = counts.all.saturating_sub(classes.iter().sum());
    family.sample(&[("class", &"other")], other);

    let total = state.durations.total();
    let mut family = out.family(
        "keylane_http_request_duration_seconds",
        Kind::Histogram,
        "From the head of a request to the end of its response.",
    );
    for (bound, count) in total.cumulative() {
        family.suffixed("_bucket", &[("le", &bound)], count);
    }
    family.suffixed("_bucket", &[("le", &"+Inf")], total.count());
    family.suffixed("_sum", &[], total.sum().as_secs_f64());
    family.suffixed("_count", &[], total.count());

    out.family("keylane_http_connection_errors_total", Kind::Counter, "What went wrong outside of requests: accepts, handshakes, heads, clients that do not read.")
        .sample(&[], state.connection_errors.count());
    if let Some(connections) = state.connections() {
        out.family("keylane_http_connections", Kind::Gauge, "Connections that are open.")
            .sample(&[], connections.open);
        out.family(
            "keylane_http_connections_total",
            Kind::Counter,
            "Connections that were accepted.",
        )
        .sample(&[], connections.accepted);
    }
}

fn losses(state: &State, out: &mut Exposition) {
    let losses = state.losses();
    let of_connections = state.connections().map_or(0, |connections| connections.lost_events);
    out.family(
        "keylane_http_events_lost_total",
        Kind::Counter,
        "Events about requests and connections that found no room on the bus.",
    )
    .sample(&[("event", &"start")], losses.starts)
    .sample(&[("event", &"end")], losses.ends)
    .sample(&[("event", &"traffic")], losses.traffic)
    .sample(&[("event", &"connection")], of_connections);
    if let Some(log) = &state.log {
        let log = log.stats();
        out.family(
            "keylane_access_log_lines_total",
            Kind::Counter,
            "Lines of the access log by what became of them.",
        )
        .sample(&[("outcome", &"written")], log.lines)
        .sample(&[("outcome", &"diverted")], log.diverted)
        .sample(&[("outcome", &"lost")], log.lost);
        out.family(
            "keylane_access_log_write_errors_total",
            Kind::Counter,
            "Writes of the access log that failed.",
        )
        .sample(&[], log.write_errors);
        out.family(
            "keylane_access_log_reopen_errors_total",
            Kind::Counter,
            "Times that the access log could not be opened again.",
        )
        .sample(&[], log.reopen_errors);
    }
}
