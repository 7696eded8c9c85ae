//! Throughput as a map: how many times each rival's rate keylane's is, cell by cell.

use super::svg::{Anchor, FADED, INK, OURS, Svg};
use crate::contender::Role;
use crate::report::Scenario;

const LEFT: f64 = 190.0;
const TOP: f64 = 128.0;
const ROW: f64 = 30.0;
const COLUMN: f64 = 78.0;
/// A ratio that has the full colour.
const FULL: f64 = 4.0;

/// A map of a scenario with cells; `None` when there is nothing to compare.
pub(super) fn draw(
    scenario: &Scenario,
    title: &str,
    columns: &str,
    unit: &str,
    foot: &str,
) -> Option<String> {
    let first = scenario.cells.first()?;
    let mut names: Vec<&str> = Vec::new();
    for row in scenario.cells.iter().flat_map(|cell| &cell.rows) {
        if row.role != Role::Keylane && !names.contains(&row.contender.as_str()) {
            names.push(&row.contender);
        }
    }
    first.row("keylane")?;
    let ratio =
        |name: &str, cell: usize| Some(scenario.cells[cell].row(name)?.keylane_to_this?.median);
    let cells = 0..scenario.cells.len();
    let role =
        |name: &str| scenario.contenders.iter().find(|one| one.name == name).map(|one| one.role);
    // The closest rivals first; floors last, whatever they do.
    let closeness = |name: &str| {
        let logs: Vec<f64> =
            cells.clone().filter_map(|cell| Some(ratio(name, cell)?.ln())).collect();
        (logs.iter().sum::<f64>() / logs.len().max(1) as f64, role(name) == Some(Role::Floor))
    };
    names.sort_by(|one, other| {
        let ((one, one_floor), (other, other_floor)) = (closeness(one), closeness(other));
        one_floor.cmp(&other_floor).then(one.total_cmp(&other))
    });

    let width = (LEFT + COLUMN * scenario.cells.len() as f64 + 30.0).max(800.0);
    let height = TOP + ROW * (names.len() + 1) as f64 + 86.0;
    let reading = format!(
        "Rate of keylane over the rate of each rival in the same round. Above 1 keylane is faster, below 1 the rival is.\n\
         Columns: {columns}."
    );
    let mut svg = Svg::page(width, height, title, &reading);
    for (index, cell) in scenario.cells.iter().enumerate() {
        let x = LEFT + COLUMN * (index as f64 + 0.5);
        svg.bold(x, TOP - 10.0, Anchor::Middle, 12.0, INK, &cell.name);
        let rate = cell.row("keylane").map_or(f64::NAN, |row| row.million_per_second.median);
        svg.bold(x, TOP + 20.0, Anchor::Middle, 13.0, OURS, &format!("{rate:.1}"));
    }
    svg.bold(LEFT - 12.0, TOP + 20.0, Anchor::End, 13.0, OURS, &format!("keylane, {unit}"));
    for (line, name) in names.iter().enumerate() {
        let y = TOP + ROW * (line + 1) as f64;
        let (label, ink) = match role(name) {
            Some(Role::Floor) => (format!("{name} (no transport)"), FADED),
            Some(Role::Variant) => ((*name).to_owned(), OURS),
            _ => ((*name).to_owned(), INK),
        };
        svg.text(LEFT - 12.0, y + 20.0, Anchor::End, 13.0, ink, &label);
        for cell in cells.clone() {
            let x = LEFT + COLUMN * cell as f64;
            let Some(ratio) = ratio(name, cell) else { continue };
            let (fill, ink) = colour(ratio);
            svg.rect((x + 1.0, y + 1.0), (COLUMN - 2.0, ROW - 2.0), &fill);
            let text = if ratio < 9.95 { format!("{ratio:.2}") } else { format!("{ratio:.0}") };
            svg.text(x + COLUMN / 2.0, y + 20.0, Anchor::Middle, 13.0, ink, &text);
        }
    }
    let y = height - 58.0;
    for (index, ratio) in [0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0].into_iter().enumerate() {
        let x = LEFT + 62.0 * index as f64;
        let (fill, ink) = colour(ratio);
        svg.rect((x, y), (60.0, 20.0), &fill);
        svg.text(x + 30.0, y + 14.0, Anchor::Middle, 11.0, ink, &format!("{ratio}"));
    }
    svg.text(LEFT - 12.0, y + 14.0, Anchor::End, 11.0, FADED, "keylane / rival");
    Some(svg.finish(foot))
}

/// The colour of a ratio, and that of text on it: blue where keylane is faster, orange where the rival is.
fn colour(ratio: f64) -> (String, &'static str) {
    let strength = (ratio.ln() / FULL.ln()).clamp(-1.0, 1.0);
    let full = if strength >= 0.0 { [5.0, 80.0, 174.0] } else { [188.0, 76.0, 0.0] };
    let mix = |channel: f64| 255.0 - (255.0 - channel) * strength.abs();
    let [red, green, blue] = full.map(mix);
    let ink = if strength.abs() > 0.55 { "#ffffff" } else { INK };
    (format!("#{:02x}{:02x}{:02x}", red as u8, green as u8, blue as u8), ink)
}
