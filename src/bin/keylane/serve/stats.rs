//! `GET /stats.json`: the same numbers for programs.

use std::collections::BTreeMap;

use keylane::http::StatusCounts;
use keylane::ingest::{in_flight, printable};
use keylane::plugin::PluginStats;
use keylane::{Stats, Summary};
use serde::Serialize;

use super::state::State;
use crate::processors::count::Hottest;
use crate::processors::ndjson::Written;
use crate::processors::plugins::Plugins;

/// How many of the hottest keys are told.
const TOP: usize = 10;

#[derive(Serialize)]
struct Everything {
    version: &'static str,
    uptime_s: f64,
    /// `serving` or `draining`.
    state: &'static str,
    ingest: Ingest,
    /// Events processed by type; `null` without the processor `count`.
    types: Option<BTreeMap<String, u64>>,
    /// The hottest keys; `null` without the processor `count`.
    keys: Option<Hottest>,
    outputs: Vec<Written>,
    http: Http,
    access_log: Option<Log>,
    /// What the plugins did and counted; `null` without plugins.
    plugins: Option<PluginStats>,
    latency_ns: Summary,
    bus: Stats,
}

#[derive(Serialize)]
struct Ingest {
    accepted: u64,
    refused: u64,
    invalid: u64,
    rejected_requests: u64,
    types: usize,
    types_limit: usize,
    in_flight_bytes: u64,
}

#[derive(Serialize)]
struct Http {
    requests: StatusCounts,
    duration_s: Duration,
    connections: Option<usize>,
    connections_accepted: Option<u64>,
    connection_errors: u64,
    lost_events: Lost,
}

#[derive(Serialize)]
struct Duration {
    count: u64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

#[derive(Serialize)]
struct Lost {
    start: u64,
    end: u64,
    traffic: u64,
    connection: u64,
}

#[derive(Serialize)]
struct Log {
    lines: u64,
    diverted: u64,
    lost: u64,
    write_errors: u64,
    reopen_errors: u64,
}

/// One JSON object.
pub(crate) fn json(state: &State) -> String {
    let intake = state.intake.stats();
    let counts = state.processors.counts();
    let counted = counts.map(|counts| counts.types());
    let (types, len, limit) = {
        let names = state.intake.types();
        let types = counted.map(|counted| {
            counted.into_iter().map(|(kind, events)| (names.name(kind), events)).collect()
        });
        (types, names.len(), names.limit())
    };
    let total = state.durations.total();
    let quantile = |quantile| total.quantile(quantile).as_secs_f64();
    let connections = state.connections();
    let losses = state.losses();
    let bus = state.stats();
    let everything = Everything {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: state.uptime().as_secs_f64(),
        state: if state.is_draining() { "draining" } else { "serving" },
        ingest: Ingest {
            accepted: intake.accepted,
            refused: intake.refused,
            invalid: intake.invalid,
            rejected_requests: intake.rejected_requests,
            types: len,
            types_limit: limit,
            in_flight_bytes: in_flight::bytes(),
        },
        types,
        keys: counts.map(|counts| counts.hottest(TOP)),
        outputs: state.processors.written(),
        http: Http {
            requests: state.statuses.snapshot(),
            duration_s: Duration {
                count: total.count(),
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                p999: quantile(0.999),
                max: total.max().as_secs_f64(),
            },
            connections: connections.map(|connections| connections.open),
            connections_accepted: connections.map(|connections| connections.accepted),
            connection_errors: state.connection_errors.count(),
            lost_events: Lost {
                start: losses.starts,
                end: losses.ends,
                traffic: losses.traffic,
                connection: connections.map_or(0, |connections| connections.lost_events),
            },
        },
        access_log: state.log.as_ref().map(|log| {
            let log = log.stats();
            Log {
                lines: log.lines,
                diverted: log.diverted,
                lost: log.lost,
                write_errors: log.write_errors,
                reopen_errors: log.reopen_errors,
            }
        }),
        plugins: state.processors.plugins().map(Plugins::stats),
        latency_ns: bus.latency.clone(),
        bus,
    };
    match serde_json::to_string(&everything) {
        Ok(json) => format!("{}\n", printable::json(&json)),
        // Numbers, strings and lists always serialise; if that ever changes, the reader still gets an object.
        Err(error) => format!("{}\n", serde_json::json!({ "error": error.to_string() })),
    }
}
