//! The report as a page for the documentation, with the plots that lie beside it.

use std::fmt::Write;

use super::text::number;
use super::{Cell, Report, Scenario, Table};

/// Scenarios with their headlines and plots, in the order of the page.
const PARTS: [(&str, &str, &[&str]); 13] = [
    ("floor", "What the machine allows", &[]),
    ("instructions", "What an emit is made of", &[]),
    ("dispatch", "Throughput, one event at a time", &["dispatch.svg", "emit.svg"]),
    ("batch", "Throughput in batches of 64", &["batch.svg"]),
    ("ring", "Bare rings", &["ring.svg"]),
    ("skew", "One hot key", &["skew.svg"]),
    ("async", "Tasks that await room", &["async.svg"]),
    ("latency", "Latency", &["latency.svg"]),
    ("idle", "Nothing to do", &[]),
    ("scale", "As things grow", &["scale.svg"]),
    ("shutdown", "Shutdown with full rings", &[]),
    ("http", "Observing HTTP requests", &["http.svg"]),
    ("plugin", "Plugins", &["plugin.svg"]),
];

impl Report {
    /// The page; it names those of `plots` that belong to a scenario.
    pub(crate) fn markdown(&self, plots: &[&str]) -> String {
        let mut page = String::from("# Results of a run\n\n");
        // Writing to a string does not fail, here and below.
        let _ = writeln!(page, "```text\n{}\n```\n", self.machine);
        page += "Written by `keylane-benches`, together with `report.json`, which has every single round. How it was \
                 measured: [the method](../benchmarks.md).\n";
        if !self.goals.is_empty() {
            page += "\n## Goals\n\n| | found | wanted | goal |\n|---|---|---|---|\n";
            for goal in &self.goals {
                let verdict = if goal.reached { "reached" } else { "**missed**" };
                let found = number(goal.found);
                let _ =
                    writeln!(page, "| {verdict} | {found} | {} | {} |", goal.bound(), goal.what);
            }
        }
        for (name, title, drawn) in PARTS {
            let Some(scenario) = self.scenarios.iter().find(|scenario| scenario.name == name)
            else {
                continue;
            };
            let _ = writeln!(page, "\n## {title}\n\n`{name}`: {}.", scenario.what);
            for plot in drawn.iter().filter(|plot| plots.contains(plot)) {
                let _ = writeln!(page, "\n![{title}]({plot})");
            }
            part(&mut page, scenario);
        }
        page
    }
}

fn part(page: &mut String, scenario: &Scenario) {
    if !scenario.figures.is_empty() {
        *page += "\n| part | ns | from | to | what |\n|---|---|---|---|---|\n";
        for figure in &scenario.figures {
            let [median, min, max] = [figure.ns.median, figure.ns.min, figure.ns.max].map(number);
            let _ =
                writeln!(page, "| {} | {median} | {min} | {max} | {} |", figure.name, figure.what);
        }
    }
    if !scenario.cells.is_empty() {
        *page += "\n| cell | keylane, M/s | best rival, M/s | ratio | smallest and largest round | CPU per event, keylane | \
                  that rival |\n|---|---|---|---|---|---|---|\n";
        for cell in &scenario.cells {
            cell_row(page, cell);
        }
    }
    for table in &scenario.tables {
        self::table(page, table);
    }
    if !scenario.notes.is_empty() {
        page.push('\n');
        for note in &scenario.notes {
            let _ = writeln!(page, "- {note}");
        }
    }
    if let Some(share) = scenario.elsewhere {
        let _ = writeln!(
            page,
            "\nOthers took up to {:.0} % of the machine during a round.",
            share * 100.0
        );
    }
}

fn cell_row(page: &mut String, cell: &Cell) {
    let (Some(ours), Some(ratio)) = (cell.row("keylane"), cell.keylane_to_best_rival) else {
        return;
    };
    let Some(rival) = cell.best_rival.as_ref().and_then(|name| cell.row(name)) else { return };
    let _ = writeln!(
        page,
        "| {} | {} | {} ({}) | **{:.2}** | {:.2} .. {:.2} | {} ns | {} ns |",
        cell.name,
        number(ours.million_per_second.median),
        number(rival.million_per_second.median),
        rival.contender,
        ratio.median,
        ratio.min,
        ratio.max,
        number(ours.cpu_ns_per_event.median),
        number(rival.cpu_ns_per_event.median),
    );
}

fn table(page: &mut String, table: &Table) {
    let _ = write!(page, "\n| {} |", table.name);
    for column in &table.columns {
        let unit =
            if column.unit.is_empty() { String::new() } else { format!(", {}", column.unit) };
        let _ = write!(page, " {}{unit} |", column.name);
    }
    let _ = writeln!(page, "\n|---|{}", "---|".repeat(table.columns.len()));
    for row in &table.rows {
        let _ = write!(page, "| {} |", row.contender);
        for (column, value) in table.columns.iter().zip(&row.values) {
            let _ = write!(page, " {} |", column.show(*value));
        }
        page.push('\n');
    }
}
