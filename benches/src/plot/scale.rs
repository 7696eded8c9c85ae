//! What an event costs as one thing grows, a panel for each thing.

use super::axes::{Axis, Panel, Scale, step};
use super::svg::{Anchor, FADED, OURS, Svg};
use crate::report::{Curve, Scenario};

const PANELS: [(&str, &str, &str); 4] = [
    ("keys", "distinct keys", "keys, 1 producer, 1 shard"),
    ("producers", "producer threads", "producers, 1 shard"),
    ("shards", "shards", "shards, 1 producer"),
    ("value bytes", "bytes of a value", "size of the value, 1 producer, 1 shard"),
];
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 210.0;
const WALL: &str = "#bc4c00";

/// The panels; `None` when there are no figures.
pub(super) fn draw(scenario: &Scenario, foot: &str) -> Option<String> {
    let mut svg = Svg::page(
        980.0,
        770.0,
        "What one event costs as things grow",
        "Nanoseconds per event with everything that belongs to it: drawing and writing its key, hash, stamp, emit, processing.\n\
         Blue: CPU time of all threads. Orange: wall time. The band reaches from the least CPU time to 15 % above it.",
    );
    let mut drawn = 0;
    for (index, (name, label, title)) in PANELS.into_iter().enumerate() {
        let curve = |what: &str| {
            scenario.curves.iter().find(|curve| curve.panel == name && curve.contender == what)
        };
        let (Some(cpu), Some(wall)) = (curve("CPU"), curve("wall")) else { continue };
        let at = (96.0 + 470.0 * (index % 2) as f64, 126.0 + 310.0 * (index / 2) as f64);
        panel(&mut svg, at, label, title, cpu, wall);
        drawn += 1;
    }
    (drawn > 0).then(|| svg.finish(foot))
}

fn panel(
    svg: &mut Svg,
    (left, top): (f64, f64),
    label: &str,
    title: &str,
    cpu: &Curve,
    wall: &Curve,
) {
    // A value of no bytes has a place on a logarithmic axis, too: left of the smallest.
    let place = |x: f64| if x == 0.0 { 2.0 } else { x };
    let xs: Vec<f64> = cpu.points.iter().map(|(x, _)| *x).collect();
    let highest = cpu.points.iter().chain(&wall.points).map(|(_, y)| *y).fold(1.0, f64::max);
    let step = step(highest);
    // Some room above the highest point, for its label.
    let to = (highest * 1.1 / step).ceil() * step;
    let ticks = (0..=(to / step).round() as u32).map(|tick| f64::from(tick) * step);
    let panel = Panel {
        left,
        top,
        width: WIDTH,
        height: HEIGHT,
        x: Axis {
            label: label.to_owned(),
            scale: Scale::Log,
            from: place(xs.first().copied().unwrap_or(1.0)),
            to: xs.last().copied().unwrap_or(10.0),
            ticks: xs.iter().map(|x| (place(*x), count(*x))).collect(),
        },
        y: Axis {
            label: "ns per event".to_owned(),
            scale: Scale::Linear,
            from: 0.0,
            to,
            ticks: ticks.map(|tick| (tick, format!("{tick:.0}"))).collect(),
        },
    };
    let least = cpu.points.iter().map(|(_, y)| *y).fold(f64::MAX, f64::min);
    let ((x, low), (_, high)) =
        (panel.at((panel.x.from, least)), panel.at((panel.x.from, least * 1.15)));
    svg.rect((x, high), (WIDTH, low - high), "#ddf4ff");
    panel.frame(svg, title);
    for (curve, stroke, width) in [(wall, WALL, 1.8), (cpu, OURS, 2.8)] {
        let points: Vec<(f64, f64)> =
            curve.points.iter().map(|(x, y)| panel.at((place(*x), *y))).collect();
        svg.curve(&points, stroke, width, "");
        points.iter().for_each(|point| svg.dot(*point, stroke));
    }
    for (x, y) in [cpu.points.first(), cpu.points.last()].into_iter().flatten() {
        let (right, height) = panel.at((place(*x), *y));
        let last = *x == panel.x.to;
        let (shift, anchor) = if last { (-4.0, Anchor::End) } else { (6.0, Anchor::Start) };
        svg.text(right + shift, height - 9.0, anchor, 11.0, FADED, &format!("{y:.0}"));
    }
}

fn count(value: f64) -> String {
    match value {
        ..10_000.0 => format!("{value:.0}"),
        ..1_000_000.0 => format!("{:.0}k", value / 1e3),
        _ => format!("{:.0}M", value / 1e6),
    }
}
