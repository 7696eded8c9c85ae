//! `GET /metrics`: what a Prometheus would make of it.

use std::collections::{BTreeMap, HashSet};

use crate::client::*;
use crate::server::*;

/// Reads the text format, and fails on what Prometheus would not take.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut families, mut current) = (BTreeMap::new(), HashSet::new(), String::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a help");
            assert!(families.insert(name.to_owned()), "{name} comes twice");
            assert!(!help.is_empty());
            current = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert_eq!(name, current);
            assert!(["counter", "gauge", "histogram", "summary"].contains(&kind), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a sample and a value");
            let name = sample.split('{').next().expect("a name");
            let base = ["_sum", "_count", "_bucket"]
                .iter()
                .fold(name, |name, suffix| name.strip_suffix(suffix).unwrap_or(name));
            assert!(name == current || base == current, "{line} stands under {current}");
            assert!(
                samples.insert(sample.to_owned(), value.parse().expect("a number")).is_none(),
                "{sample} comes twice"
            );
        }
    }
    samples
}

#[test]
fn the_numbers_add_up() {
    let server = Server::start(&["--shards", "2", "--access-log", "none"]);
    let address = server.address;
    let hundred: String = (0..100).map(|n| event("order.paid", &format!("order-{n}"), n)).collect();
    post(address, &hundred).expect(202);
    post(address, "x").expect(400);
    get(address, "/nope").expect(404);
    // Events and the ends of requests come over the bus, so they are counted a moment later.
    let mut metrics = BTreeMap::new();
    eventually("counted", || {
        let answer = get(address, "/metrics").expect(200);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        metrics = samples(&answer.body);
        let at_least = |sample: &str, value: f64| metrics.get(sample) >= Some(&value);
        at_least("keylane_http_requests_total{class=\"4xx\"}", 2.0)
            && at_least("keylane_http_requests_total{class=\"2xx\"}", 2.0)
            && at_least("keylane_events_total{type=\"order.paid\"}", 100.0)
            && at_least("keylane_http_request_duration_seconds_count", 4.0)
            && [0, 1].iter().all(|shard| {
                let sample = format!(
                    "keylane_processor_events_total{{processor=\"count\",shard=\"{shard}\"}}"
                );
                at_least(&sample, 1.0)
            })
    });
    let sum = |name: &str| -> f64 {
        metrics
            .iter()
            .filter(|(sample, _)| sample.split('{').next() == Some(name))
            .map(|(_, value)| value)
            .sum()
    };
    assert_eq!(metrics["keylane_ingest_events_total{outcome=\"accepted\"}"], 100.0);
    assert_eq!(metrics["keylane_ingest_events_total{outcome=\"invalid\"}"], 1.0);
    assert_eq!(metrics["keylane_events_total{type=\"order.paid\"}"], 100.0);
    assert_eq!(metrics["keylane_http_requests_total{class=\"4xx\"}"], 2.0);
    assert!(sum("keylane_bus_processed_total") <= sum("keylane_bus_accepted_total"));
    assert!(sum("keylane_bus_accepted_total") >= 100.0);
    assert_eq!(sum("keylane_http_events_lost_total"), 0.0);
    let count = metrics["keylane_http_request_duration_seconds_count"];
    assert!(count >= 4.0);
    assert_eq!(metrics["keylane_http_request_duration_seconds_bucket{le=\"+Inf\"}"], count);
    let buckets: Vec<f64> = ["0.0001", "0.001", "0.01", "0.1", "1", "10", "+Inf"]
        .iter()
        .map(|bound| {
            metrics[&format!("keylane_http_request_duration_seconds_bucket{{le=\"{bound}\"}}")]
        })
        .collect();
    assert!(buckets.is_sorted(), "{buckets:?}");
    assert!(metrics["keylane_http_request_duration_seconds_sum"] > 0.0);
    server.stop().expect(0);
}
