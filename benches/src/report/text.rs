//! The report as tables for people.

use std::fmt;

use super::{Cell, Column, Report, Scenario, Table};
use crate::machine::Machine;
use crate::measure::Spread;

/// How to read the tables of rates.
pub(crate) const LEGEND: &str = "M/s: millions of events per second, median [min .. max] of interleaved rounds, after one \
     that does not count\n\
     keylane is: keylane's rate over this one's; CPU is: this one's CPU time per event over keylane's; medians of \
     round-by-round ratios\n\
     *: the best rival";

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
        writeln!(
            f,
            "{}, {} cores; {}; governor {}, clock source {}",
            self.cpu,
            self.cores,
            self.kernel,
            known(&self.governor),
            known(&self.clock_source)
        )?;
        write!(f, "{}, {}; revision {}", self.rustc, self.profile, known(&self.revision))
    }
}

impl Report {
    /// Everybody who took part, with version and settings.
    pub(crate) fn entrants(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for entrant in self.scenarios.iter().flat_map(|scenario| &scenario.contenders) {
            let version =
                entrant.version.as_ref().map_or(String::new(), |version| format!(" {version}"));
            let line = format!("  {}{version}: {}\n", entrant.name, entrant.settings);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines.concat()
    }

    /// What was to be reached, and what was.
    pub(crate) fn goals_table(&self) -> String {
        let mut text = format!("  {:<8} {:>10} {:>10}  goal\n", "", "found", "wanted");
        for goal in &self.goals {
            let verdict = if goal.reached { "reached" } else { "MISSED" };
            text += &format!(
                "  {verdict:<8} {:>10.2} {:>10}  {}\n",
                goal.found,
                goal.bound(),
                goal.what
            );
        }
        text
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "== {} == {}", self.name, self.what)?;
        for note in &self.notes {
            writeln!(f, "   {note}")?;
        }
        if let Some(share) = self.elsewhere {
            writeln!(
                f,
                "   others took up to {:.0} % of the machine during a round",
                share * 100.0
            )?;
        }
        for figure in &self.figures {
            let Spread { median, min, max } = figure.ns;
            writeln!(
                f,
                "  {:<20} {median:>10.1} ns {:<21} {}",
                figure.name,
                format!("[{min:.1} .. {max:.1}]"),
                figure.what
            )?;
        }
        for cell in &self.cells {
            write!(f, "{cell}")?;
        }
        for table in &self.tables {
            write!(f, "{table}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n  {:<20} {:>10} {:<19} {:>12} {:>11} {:>8}",
            self.name, "M/s", "[min .. max]", "ns CPU/event", "keylane is", "CPU is"
        )?;
        for row in &self.rows {
            let mark = if Some(&row.contender) == self.best_rival.as_ref() { "*" } else { "" };
            let Spread { median, min, max } = row.million_per_second;
            let ratio = |spread: Option<Spread>| {
                spread.map_or_else(|| "-".to_owned(), |spread| format!("{:.2}x", spread.median))
            };
            writeln!(
                f,
                "  {:<20} {median:>10.2} {:<19} {:>12.1} {:>11} {:>8}",
                format!("{}{mark}", row.contender),
                format!("[{min:.2} .. {max:.2}]"),
                row.cpu_ns_per_event.median,
                ratio(row.keylane_to_this),
                ratio(row.cpu_to_keylane),
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n  {:<20}", self.name)?;
        let width = |column: &Column| if column.ranged { 24 } else { 12 };
        for column in &self.columns {
            write!(f, " {:>1$}", column.name, width(column))?;
        }
        write!(f, "\n  {:<20}", "")?;
        for column in &self.columns {
            write!(f, " {:>1$}", column.unit, width(column))?;
        }
        writeln!(f)?;
        for row in &self.rows {
            write!(f, "  {:<20}", row.contender)?;
            for (column, value) in self.columns.iter().zip(&row.values) {
                write!(f, " {:>1$}", column.show(*value), width(column))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Three digits that matter, or all in front of the point.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        ..0.1 => format!("{value:.4}"),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
