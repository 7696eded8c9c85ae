//! The report: one JSON file for machines, one table for people.

use std::fmt;

use serde::Serialize;

use crate::contender::{Card, Role};
use crate::machine::{Elsewhere, Machine};
use crate::measure::{Lap, Spread};

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// The arguments the run was started with.
    pub(crate) arguments: Vec<String>,
    /// Rounds that count; one more went before each cell.
    pub(crate) rounds: usize,
    pub(crate) scenarios: Vec<Scenario>,
}

/// One scenario's results.
#[derive(Debug, Serialize)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: String,
    pub(crate) notes: Vec<String>,
    pub(crate) contenders: Vec<Entrant>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) figures: Vec<Figure>,
    /// Share of the machine that other processes took meanwhile, 0 to 1.
    pub(crate) elsewhere: Option<f64>,
    #[serde(skip)]
    meter: Elsewhere,
}

/// A contender as the report introduces it.
#[derive(Debug, Serialize)]
pub(crate) struct Entrant {
    #[serde(flatten)]
    pub(crate) card: Card,
    pub(crate) version: Option<&'static str>,
}

/// A single figure of the floor.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) what: String,
    pub(crate) ns: Spread,
}

impl Scenario {
    pub(crate) fn new(name: &'static str, what: String, cards: Vec<Card>) -> Self {
        let contenders = cards
            .into_iter()
            .map(|card| Entrant { version: card.package.and_then(locked_version), card })
            .collect();
        Self {
            name,
            what,
            notes: Vec::new(),
            contenders,
            cells: Vec::new(),
            figures: Vec::new(),
            elsewhere: None,
            meter: Elsewhere::start(),
        }
    }

    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Closes the scenario's own measurement of its surroundings.
    pub(crate) fn done(mut self) -> Self {
        self.elsewhere = self.meter.share();
        self
    }
}

/// One cell: the same work, everybody's rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) rows: Vec<Row>,
    /// The rival with the highest median rate.
    pub(crate) best_rival: Option<&'static str>,
    /// How many times its rate keylane's rate is.
    pub(crate) keylane_to_best_rival: Option<Spread>,
}

/// One contender in one cell.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) contender: &'static str,
    pub(crate) role: Role,
    pub(crate) million_per_second: Spread,
    pub(crate) cpu_ns_per_event: Spread,
    /// How many times this rate keylane's rate is, round by round.
    pub(crate) keylane_to_this: Option<Spread>,
    /// How many times keylane's CPU time this one takes, round by round.
    pub(crate) cpu_to_keylane: Option<Spread>,
    pub(crate) laps: Vec<Lap>,
}

impl Cell {
    pub(crate) fn new(name: &str, cards: &[Card], laps: &[Vec<Lap>]) -> Self {
        let keylane =
            cards.iter().position(|card| card.role == Role::Keylane).map(|index| &laps[index]);
        let mut rows: Vec<Row> = cards
            .iter()
            .zip(laps)
            .filter_map(|(card, laps)| {
                Some(Row {
                    contender: card.name,
                    role: card.role,
                    million_per_second: Spread::of(laps.iter().map(Lap::rate))?,
                    cpu_ns_per_event: Spread::of(laps.iter().map(Lap::cpu))?,
                    keylane_to_this: keylane
                        .and_then(|keylane| Spread::of_ratios(keylane, laps, Lap::rate)),
                    cpu_to_keylane: keylane
                        .and_then(|keylane| Spread::of_ratios(laps, keylane, Lap::cpu)),
                    laps: laps.clone(),
                })
            })
            .collect();
        rows.sort_by(|one, other| {
            let place = |row: &Row| match row.role {
                Role::Keylane => 0,
                Role::Variant => 1,
                Role::Rival | Role::Alternate => 2,
                Role::Floor => 3,
            };
            place(one)
                .cmp(&place(other))
                .then(other.million_per_second.median.total_cmp(&one.million_per_second.median))
        });
        let best = rows.iter().find(|row| row.role == Role::Rival);
        Self {
            name: name.to_owned(),
            best_rival: best.map(|row| row.contender),
            keylane_to_best_rival: best.and_then(|row| row.keylane_to_this),
            rows,
        }
    }
}

/// The version of a package that this binary was built with.
fn locked_version(package: &str) -> Option<&'static str> {
    const LOCK: &str = include_str!("../../Cargo.lock");
    let mut lines = LOCK.lines();
    lines.find(|line| {
        line.strip_prefix("name = ").is_some_and(|name| name.trim_matches('"') == package)
    })?;
    Some(lines.next()?.strip_prefix("version = ")?.trim_matches('"'))
}

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
    /// How to read the tables that follow.
    pub(crate) fn legend(&self) -> String {
        format!(
            "M events/s: median [min .. max] of {} interleaved rounds, after one that does not \
             count\n\
             keylane is: keylane's rate over this one's; CPU is: this one's CPU time per event \
             over keylane's; medians of round-by-round ratios\n\
             *: the best rival",
            self.rounds
        )
    }

    /// Everybody who took part, with version and settings.
    pub(crate) fn entrants(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for Entrant { card, version } in self.scenarios.iter().flat_map(|part| &part.contenders) {
            let version = version.map_or(String::new(), |version| format!(" {version}"));
            let line = format!("  {}{version}: {}\n", card.name, card.settings);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines.concat()
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "== {} == {}", self.name, self.what)?;
        for note in &self.notes {
            writeln!(f, "   {note}")?;
        }
        if let Some(share) = self.elsewhere {
            writeln!(f, "   other processes took {:.0} % of the machine", share * 100.0)?;
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
        Ok(())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n  {:<20} {:>10} {:<19} {:>12} {:>11} {:>8}",
            self.name, "M events/s", "[min .. max]", "ns CPU/event", "keylane is", "CPU is"
        )?;
        for row in &self.rows {
            let mark = if Some(row.contender) == self.best_rival { "*" } else { "" };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn card(name: &'static str, role: Role) -> Card {
        Card { name, role, package: None, settings: "" }
    }

    fn laps(walls: &[f64]) -> Vec<Lap> {
        walls
            .iter()
            .map(|wall_ns| Lap { operations: 1000, wall_ns: *wall_ns, cpu_ns: 2.0 * wall_ns })
            .collect()
    }

    #[test]
    fn ratios_pair_rounds_and_the_best_rival_is_no_alternate() {
        let cards = [
            card("keylane", Role::Keylane),
            card("slow", Role::Rival),
            card("fast", Role::Rival),
            card("faster", Role::Alternate),
            card("floor", Role::Floor),
        ];
        let laps = [
            laps(&[10.0, 20.0, 30.0]),
            laps(&[40.0, 80.0, 120.0]),
            laps(&[20.0, 40.0, 60.0]),
            laps(&[15.0, 15.0, 15.0]),
            laps(&[5.0, 5.0, 5.0]),
        ];
        let cell = Cell::new("1x1", &cards, &laps);
        let order: Vec<_> = cell.rows.iter().map(|row| row.contender).collect();
        assert_eq!(order, ["keylane", "faster", "fast", "slow", "floor"]);
        assert_eq!(cell.best_rival, Some("fast"));
        let ratio = cell.keylane_to_best_rival.unwrap();
        assert_eq!((ratio.median, ratio.min, ratio.max), (2.0, 2.0, 2.0));
        assert_eq!(cell.rows[3].cpu_to_keylane.unwrap().median, 4.0);
    }

    #[test]
    fn rivals_have_a_version() {
        for package in ["crossbeam-channel", "kanal", "crossfire", "tokio", "flume", "rtrb"] {
            assert!(locked_version(package).is_some(), "{package}");
        }
        assert_eq!(locked_version("no-such-package"), None);
    }
}
