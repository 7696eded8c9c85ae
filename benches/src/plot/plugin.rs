//! What an event costs linked in and in libraries, over the size of a batch.

use super::axes::{Axis, Panel, Scale, apart};
use super::svg::{Anchor, OURS, Svg};
use crate::report::{Curve, Scenario};

const PANEL: &str = "batch";
const TICKS: [f64; 10] = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];

/// Contenders, how they are called in the plot, and their strokes.
const LINES: [(&str, &str, &str, &str); 4] = [
    ("static", "linked in", "#6e7781", ""),
    ("static-abi", "linked in, events as C structs", "#6e7781", "6 4"),
    ("so-rust", "library in Rust", OURS, ""),
    ("so-c", "library in C", "#bc4c00", ""),
];

/// The curves; `None` when there are no figures.
pub(super) fn draw(scenario: &Scenario, foot: &str) -> Option<String> {
    let curve = |name: &str| {
        let mut curves = scenario.curves.iter();
        curves.find(|curve| {
            curve.panel == PANEL && curve.contender == name && !curve.points.is_empty()
        })
    };
    let lines: Vec<(&str, &str, &str, &Curve)> = LINES
        .into_iter()
        .filter_map(|(name, label, stroke, dash)| Some((label, stroke, dash, curve(name)?)))
        .collect();
    let points = || lines.iter().flat_map(|(.., curve)| &curve.points);
    let (_, first) = points().next()?;
    let bound = |choose: fn(f64, f64) -> f64| points().map(|(_, y)| *y).fold(*first, choose);
    // A time that is lost in the clock's noise lies on the lower edge.
    let lowest = TICKS.into_iter().rfind(|tick| *tick <= bound(f64::min)).unwrap_or(TICKS[0]);
    let highest = TICKS.into_iter().find(|tick| *tick >= bound(f64::max)).unwrap_or(TICKS[9]);
    let sizes: Vec<f64> = lines.first()?.3.points.iter().map(|(x, _)| *x).collect();
    let mut svg = Svg::page(
        980.0,
        560.0,
        "What an event costs in a plugin",
        "Nanoseconds per event in a processor that counts events by type and sums up their values. Lower is better; both axes are logarithmic.\n\
         Grey: linked into the program, on events as they are, and on events written as C structs first. Colours: the same work in libraries.",
    );
    let panel = Panel {
        left: 96.0,
        top: 120.0,
        width: 590.0,
        height: 340.0,
        x: Axis {
            label: "events in a batch".to_owned(),
            scale: Scale::Log,
            from: *sizes.first()?,
            to: *sizes.last()?,
            ticks: sizes.iter().map(|x| (*x, format!("{x:.0}"))).collect(),
        },
        y: Axis {
            label: "ns per event".to_owned(),
            scale: Scale::Log,
            from: lowest,
            to: highest,
            ticks: TICKS
                .into_iter()
                .filter(|tick| (lowest..=highest).contains(tick))
                .map(|tick| (tick, tick.to_string()))
                .collect(),
        },
    };
    panel.frame(&mut svg, "one shard, all of them in line");
    let ends: Vec<f64> =
        lines.iter().filter_map(|(.., curve)| Some(panel.at(*curve.points.last()?).1)).collect();
    let labels = apart(&ends, 18.0, panel.top + panel.height);
    for ((label, stroke, dash, curve), height) in lines.iter().zip(labels) {
        let places: Vec<(f64, f64)> = curve.points.iter().map(|point| panel.at(*point)).collect();
        svg.curve(&places, stroke, 2.4, dash);
        places.iter().for_each(|place| svg.dot(*place, stroke));
        let nanos = curve.points.last().map_or(0.0, |(_, y)| *y);
        let text = format!("{label}: {nanos:.1} ns");
        svg.text(panel.left + panel.width + 12.0, height + 4.0, Anchor::Start, 12.0, stroke, &text);
    }
    Some(svg.finish(foot))
}
