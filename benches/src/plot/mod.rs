//! The plots of a report: SVG, one file each, readable without the text around them.
//!
//! Drawn from the report alone, so that they can be drawn again without measuring again.

mod axes;
mod bars;
mod heatmap;
mod latency;
mod plugin;
mod scale;
mod svg;

use crate::report::{Report, Scenario};

/// File names and contents of all plots that there are figures for.
pub(crate) fn draw(report: &Report) -> Vec<(&'static str, String)> {
    let machine = &report.machine;
    let foot = format!(
        "{}, {} cores; {}; {}. Medians of interleaved rounds in one run.",
        machine.cpu, machine.cores, machine.kernel, machine.rustc
    );
    let scenario = |name: &str| report.scenarios.iter().find(|scenario| scenario.name == name);
    let map = |name: &str, title: &str, columns: &str, unit: &str| {
        scenario(name).and_then(|found| heatmap::draw(found, title, columns, unit, &foot))
    };
    let one = |name: &str, draw: fn(&Scenario, &str) -> Option<String>| {
        scenario(name).and_then(|found| draw(found, &foot))
    };
    let events = "M events/s";
    let shapes = "producers x shards";
    let with_plain = "producers x shards; plain: the rivals' stamps have no fence either, as keylane's with one producer";
    let plots = [
        ("dispatch.svg", map("dispatch", "Throughput, one event at a time", with_plain, events)),
        ("batch.svg", map("batch", "Throughput in batches of 64", shapes, events)),
        ("ring.svg", map("ring", "Throughput of bare rings", "size of an item", "M items/s")),
        (
            "skew.svg",
            map(
                "skew",
                "Throughput with one hot key",
                "producers x shards, and the hot key's share",
                events,
            ),
        ),
        (
            "async.svg",
            map("async", "Throughput of tasks that await room", "tasks that emit", events),
        ),
        ("latency.svg", one("latency", latency::draw)),
        ("scale.svg", one("scale", scale::draw)),
        ("emit.svg", bars::emit(report, &foot)),
        ("http.svg", one("http", bars::http)),
        ("plugin.svg", one("plugin", plugin::draw)),
    ];
    plots.into_iter().filter_map(|(name, svg)| Some((name, svg?))).collect()
}
