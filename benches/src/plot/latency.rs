//! Latency as percentile curves, a panel for each rate.

use super::axes::{Axis, Panel, Scale, apart};
use super::svg::{Anchor, INK, OURS, Svg};
use crate::contender::Role;
use crate::report::{Curve, Scenario};

const HEIGHT: f64 = 330.0;
const PITCH: f64 = HEIGHT + 92.0;
const TOP: f64 = 130.0;
const TICKS: [(f64, &str); 6] = [
    (std::f64::consts::LOG10_2, "p50"),
    (1.0, "p90"),
    (2.0, "p99"),
    (3.0, "p99.9"),
    (4.0, "p99.99"),
    (5.0, "p99.999"),
];
/// Strokes of the rivals, in the order of their first appearance.
const STROKES: [&str; 9] = [
    "#bc4c00", "#116329", "#8250df", "#9a6700", "#a40e26", "#1b7c83", "#bf3989", "#6e7781",
    "#4d2d00",
];

/// The curves; `None` when there are none.
pub(super) fn draw(scenario: &Scenario, foot: &str) -> Option<String> {
    let mut panels: Vec<&str> = Vec::new();
    for curve in &scenario.curves {
        if !panels.contains(&curve.panel.as_str()) {
            panels.push(&curve.panel);
        }
    }
    panels.sort_by_key(|panel| crate::scenario::RATE_NAMES.iter().position(|name| name == panel));
    let height = TOP + PITCH * panels.len() as f64 + 10.0;
    let mut svg = Svg::page(
        980.0,
        height,
        "How late events are seen, at three rates",
        "Time from the moment an event was due to the moment its consumer saw it, one sender and one receiver, all rounds together. Lower is better.\n\
         Blue: keylane, by wait strategy. Dotted: the least the machine allows, a bare word in a cache line, to a receiver that \
         spins or parks.",
    );
    let rivals: Vec<&str> = {
        let all = scenario.contenders.iter().filter(|one| one.role == Role::Rival);
        all.map(|one| one.name.as_str()).collect()
    };
    for (index, name) in panels.iter().enumerate() {
        let curves: Vec<&Curve> =
            scenario.curves.iter().filter(|curve| curve.panel == *name).collect();
        panel(&mut svg, name, &curves, &rivals, TOP + PITCH * index as f64);
    }
    (!panels.is_empty()).then(|| svg.finish(foot))
}

fn panel(svg: &mut Svg, name: &str, curves: &[&Curve], rivals: &[&str], top: f64) {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let last = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let lowest = points().map(|(_, y)| *y).fold(f64::MAX, f64::min).max(1.0);
    let highest = points().map(|(_, y)| *y).fold(1.0, f64::max);
    let tens = |value: f64, round: fn(f64) -> f64| 10_f64.powf(round(value.log10()));
    let (from, to) = (tens(lowest, f64::floor), tens(highest, f64::ceil));
    let panel = Panel {
        left: 96.0,
        top,
        width: 700.0,
        height: HEIGHT,
        x: Axis {
            label: "share of the events that are faster".to_owned(),
            scale: Scale::Linear,
            from: TICKS[0].0,
            to: last,
            ticks: TICKS
                .iter()
                .filter(|(nines, _)| *nines <= last)
                .map(|(nines, label)| (*nines, (*label).to_owned()))
                .collect(),
        },
        y: Axis {
            label: "delay".to_owned(),
            scale: Scale::Log,
            from,
            to,
            ticks: decades(from, to),
        },
    };
    panel.frame(svg, &format!("{name}: one event every {}", interval(name)));
    let mut ends = Vec::new();
    for curve in curves {
        let (stroke, width, dash) = style(curve, rivals);
        let drawn: Vec<(f64, f64)> = curve
            .points
            .iter()
            .filter(|(nines, _)| *nines >= TICKS[0].0 - 1e-9)
            .map(|point| panel.at(*point))
            .collect();
        svg.curve(&drawn, stroke, width, dash);
        ends.push((curve.contender.as_str(), stroke, drawn.last().map_or(top, |(_, y)| *y)));
    }
    let heights: Vec<f64> = ends.iter().map(|(_, _, y)| *y).collect();
    let placed = apart(&heights, 14.0, top + HEIGHT);
    let right = panel.left + panel.width;
    for ((name, stroke, y), place) in ends.iter().zip(placed) {
        svg.line((right, *y), (right + 14.0, place), stroke, "");
        if name.starts_with("keylane") {
            svg.bold(right + 18.0, place + 4.0, Anchor::Start, 12.0, stroke, name);
        } else {
            svg.text(right + 18.0, place + 4.0, Anchor::Start, 12.0, stroke, name);
        }
    }
}

fn style(curve: &Curve, rivals: &[&str]) -> (&'static str, f64, &'static str) {
    match (curve.role, curve.contender.as_str()) {
        (Role::Keylane, _) => (OURS, 3.5, ""),
        (Role::Variant, "keylane-spin") => (OURS, 2.5, "9 3"),
        (Role::Variant, _) => ("#218bff", 2.5, "3 3"),
        (Role::Floor, _) => (INK, 1.5, "1 4"),
        _ => {
            let place = rivals.iter().position(|name| *name == curve.contender).unwrap_or_default();
            (STROKES[place % STROKES.len()], 1.4, "")
        }
    }
}

fn interval(rate: &str) -> &'static str {
    match rate {
        "1k/s" => "millisecond",
        "100k/s" => "10 microseconds",
        _ => "microsecond",
    }
}

/// A tick at every tenfold, with its unit.
fn decades(from: f64, to: f64) -> Vec<(f64, String)> {
    let mut ticks = Vec::new();
    let mut value = from;
    while value <= to * 1.001 {
        let label = match value {
            ..999.0 => format!("{value:.0} ns"),
            ..999_999.0 => format!("{:.0} µs", value / 1e3),
            ..999_999_999.0 => format!("{:.0} ms", value / 1e6),
            _ => format!("{:.0} s", value / 1e9),
        };
        ticks.push((value, label));
        value *= 10.0;
    }
    ticks
}
