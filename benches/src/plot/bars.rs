//! Costs as bars made of parts.

use super::axes::step;
use super::svg::{Anchor, FADED, GRID, INK, Svg};
use crate::contender::Role;
use crate::report::{Report, Scenario};

const LEFT: f64 = 200.0;
const WIDTH: f64 = 620.0;
const TOP: f64 = 140.0;
const ROW: f64 = 44.0;
/// Between the last bar of a panel and the first of the next: ticks, unit and headline.
const GAP: f64 = 76.0;

const HASH: (&str, &str) = ("hash of the key", "#6e7781");
const STAMP: (&str, &str) = ("time stamp", "#afb8c1");
const OWN: (&str, &str) = ("keylane's own part", "#0550ae");
const LINE: (&str, &str) = ("way to the other core", "#80ccff");
const CHANNEL: (&str, &str) = ("channel, with that way", "#fb8f44");
const PATH: (&str, &str) = ("on the thread that serves", "#0550ae");
const BESIDE: (&str, &str) = ("on other threads", "#80ccff");

/// A bar: its label, and its parts with what they are.
type Bar = (String, Vec<((&'static str, &'static str), f64)>);

/// Bars with one scale.
struct Panel {
    /// What sets it apart from the others; empty for an only one.
    headline: &'static str,
    unit: &'static str,
    bars: Vec<Bar>,
}

/// Where the nanoseconds of one emit go; `None` without the figures for it.
pub(super) fn emit(report: &Report, foot: &str) -> Option<String> {
    let scenario = |name: &str| report.scenarios.iter().find(|scenario| scenario.name == name);
    let floor = scenario("floor")?;
    let figure =
        |name: &str| Some(floor.figures.iter().find(|figure| figure.name == name)?.ns.median);
    let (both, hash) = (figure("hash + plain stamp")?, figure("hash")?);
    let (hash, stamp) = (hash.min(both), (both - hash).max(0.0));
    let own = (figure("emit, line at hand")? - both).max(0.0);
    let cell = scenario("dispatch")?.cells.iter().find(|cell| cell.name == "1x1 plain")?;
    let total = |name: &str| Some(1e3 / cell.row(name)?.million_per_second.median);
    let rest = |total: f64, known: f64| (total - known).max(0.0);
    let mut bars: Vec<Bar> = vec![(
        "keylane".to_owned(),
        vec![(HASH, hash), (STAMP, stamp), (OWN, own), (LINE, rest(total("keylane")?, both + own))],
    )];
    let rivals = cell.rows.iter().filter(|row| row.role == Role::Rival).take(4);
    for row in rivals {
        let channel = rest(total(&row.contender)?, both);
        bars.push((row.contender.clone(), vec![(HASH, hash), (STAMP, stamp), (CHANNEL, channel)]));
    }
    bars.push(("nothing sent".to_owned(), vec![(HASH, hash), (STAMP, stamp)]));
    let reading = "One producer, one shard, plain stamps, as fast as they can: wall time per event. Shorter is better. \
                   Hash and stamp are the same for all;\nkeylane's own part was measured with the ring in the cache of the \
                   producer's core; the last part is what remains of the whole.";
    let panel = Panel { headline: "", unit: "ns per event", bars };
    Some(draw("Where the nanoseconds of one emit go", reading, &[panel], foot))
}

/// CPU time per request, over sockets and in process; `None` without figures.
pub(super) fn http(scenario: &Scenario, foot: &str) -> Option<String> {
    let panel = |name: &str, headline, unit| {
        let table = scenario.tables.iter().find(|table| table.name == name)?;
        let bar = |contender: &str| {
            let path = table.value(contender, "on path")?;
            let beside = (table.value(contender, "in all")? - path).max(0.0);
            Some((contender.to_owned(), vec![(PATH, path), (BESIDE, beside)]))
        };
        let bars: Vec<Bar> = table.rows.iter().filter_map(|row| bar(&row.contender)).collect();
        (!bars.is_empty()).then_some(Panel { headline, unit, bars })
    };
    let panels = [
        panel(
            "requests",
            "Over sockets, one client with kept connections",
            "µs of CPU per request",
        ),
        panel(
            "in process",
            "In process, called in a loop without a network",
            "ns of CPU per request",
        ),
    ];
    let panels: Vec<Panel> = panels.into_iter().flatten().collect();
    let reading = "An axum service, bare and observed: CPU time per request. Shorter is better.\n\
                   keylane logs to a file and counts; trace-*: TraceLayer logs to a file; axum-prometheus counts and logs nothing.";
    (!panels.is_empty()).then(|| draw("What observing a request costs", reading, &panels, foot))
}

fn draw(title: &str, reading: &str, panels: &[Panel], foot: &str) -> String {
    let bars = || panels.iter().flat_map(|panel| &panel.bars);
    let height = TOP + ROW * bars().count() as f64 + GAP * panels.len() as f64;
    let mut svg = Svg::page(980.0, height, title, reading);
    let mut legend: Vec<(&str, &str)> = Vec::new();
    for (what, _) in bars().flat_map(|(_, parts)| parts) {
        if !legend.contains(what) {
            legend.push(*what);
        }
    }
    let mut x = 24.0;
    for (what, fill) in legend {
        svg.rect((x, TOP - 42.0), (14.0, 14.0), fill);
        svg.text(x + 19.0, TOP - 30.5, Anchor::Start, 11.0, INK, what);
        x += 36.0 + 6.6 * what.chars().count() as f64;
    }
    let mut top = TOP;
    for panel in panels {
        self::panel(&mut svg, panel, top);
        top += ROW * panel.bars.len() as f64 + GAP;
    }
    svg.finish(foot)
}

fn panel(svg: &mut Svg, panel: &Panel, top: f64) {
    let Panel { headline, unit, bars } = panel;
    let longest = bars.iter().map(|(_, parts)| sum(parts)).fold(1e-9, f64::max);
    let scale = WIDTH / longest;
    svg.bold(LEFT, top - 14.0, Anchor::Start, 12.0, INK, headline);
    let bottom = top + ROW * bars.len() as f64;
    let step = step(longest);
    for tick in 0..=(longest / step).floor() as u32 {
        let value = step * f64::from(tick);
        let x = LEFT + value * scale;
        svg.line((x, top - 8.0), (x, bottom), GRID, "");
        svg.text(x, bottom + 16.0, Anchor::Middle, 11.0, INK, &format!("{value:.0}"));
    }
    svg.text(LEFT + WIDTH / 2.0, bottom + 34.0, Anchor::Middle, 12.0, FADED, unit);
    for (line, (label, parts)) in bars.iter().enumerate() {
        let y = top + ROW * line as f64;
        svg.text(LEFT - 12.0, y + 21.0, Anchor::End, 13.0, INK, label);
        let mut x = LEFT;
        for ((_, fill), value) in parts {
            let width = value * scale;
            svg.rect((x, y + 2.0), (width, ROW - 14.0), fill);
            if width > 34.0 {
                let dark = ["#0550ae", "#6e7781"].contains(fill);
                let ink = if dark { "#ffffff" } else { INK };
                svg.text(x + width / 2.0, y + 21.0, Anchor::Middle, 12.0, ink, &short(*value));
            }
            x += width;
        }
        svg.bold(x + 8.0, y + 21.0, Anchor::Start, 13.0, INK, &short(sum(parts)));
    }
}

fn sum(parts: &[((&str, &str), f64)]) -> f64 {
    parts.iter().map(|(_, value)| value).sum()
}

fn short(value: f64) -> String {
    if value < 20.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}
