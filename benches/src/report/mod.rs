//! The report: one JSON file for machines, tables and plots for people.
//!
//! It is read back as well: a later run may add scenarios or cells to it, and the plots are drawn from it, so that
//! nobody has to measure again to look at a figure in another way.

mod goals;
mod join;
mod markdown;
mod text;

use serde::{Deserialize, Serialize};

use crate::contender::{Card, Role};
use crate::machine::Machine;
use crate::measure::{Lap, Spread};
use crate::rounds::Tally;
use crate::scenario::Plan;

pub(crate) use goals::Goal;
pub(crate) use text::LEGEND;

/// Everything that was measured on one machine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) scenarios: Vec<Scenario>,
    /// What keylane wants to reach, and whether these figures show it.
    pub(crate) goals: Vec<Goal>,
}

/// One scenario's results.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) notes: Vec<String>,
    pub(crate) contenders: Vec<Entrant>,
    /// Throughput, everybody at the same work.
    pub(crate) cells: Vec<Cell>,
    /// Limits of the machine.
    pub(crate) figures: Vec<Figure>,
    /// Everything else that has a number.
    pub(crate) tables: Vec<Table>,
    pub(crate) curves: Vec<Curve>,
    /// The largest share of the machine that others took during a round that counts, 0 to 1.
    pub(crate) elsewhere: Option<f64>,
}

/// A contender as the report introduces it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entrant {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) version: Option<String>,
    /// Mode and settings in words.
    pub(crate) settings: String,
}

/// What one part of the work costs on this machine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) ns: Spread,
}

/// Figures of several kinds, a row for each contender.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<TableRow>,
}

/// One kind of figure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) unit: String,
    /// Whether tables for people show the smallest and the largest round beside the median.
    #[serde(default)]
    pub(crate) ranged: bool,
}

/// One contender's figures.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TableRow {
    pub(crate) contender: String,
    pub(crate) role: Role,
    /// One for each column; `None` where the column means nothing for this contender.
    pub(crate) values: Vec<Option<Spread>>,
}

/// One line of a plot.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Curve {
    /// The panel that it belongs to.
    pub(crate) panel: String,
    pub(crate) contender: String,
    pub(crate) role: Role,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Scenario {
    /// An empty scenario.
    pub(crate) fn new(name: &str, what: String, cards: &[Card]) -> Self {
        Self {
            name: name.to_owned(),
            what,
            notes: Vec::new(),
            contenders: cards.iter().map(Entrant::new).collect(),
            cells: Vec::new(),
            figures: Vec::new(),
            tables: Vec::new(),
            curves: Vec::new(),
            elsewhere: None,
        }
    }

    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Closes the scenario with what is known of its rounds.
    pub(crate) fn done(mut self, plan: &Plan) -> Self {
        let Tally { elsewhere, repeated } = plan.rounds.tally();
        self.elsewhere = elsewhere;
        let count = plan.rounds.count;
        self.note(match repeated {
            0 => format!("{count} rounds"),
            _ => format!(
                "{count} rounds; {repeated} more were repeated, because others used the machine"
            ),
        });
        self
    }

    fn cell(&self, name: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.name == name)
    }

    /// The median in a table.
    pub(crate) fn value(&self, table: &str, contender: &str, column: &str) -> Option<f64> {
        let table = self.tables.iter().find(|candidate| candidate.name == table)?;
        table.value(contender, column)
    }
}

impl Entrant {
    fn new(card: &Card) -> Self {
        Self {
            name: card.name.to_owned(),
            role: card.role,
            version: card.package.and_then(locked_version).map(str::to_owned),
            settings: card.settings.to_owned(),
        }
    }
}

impl Column {
    /// A contender's figure as people read it.
    fn show(&self, value: Option<Spread>) -> String {
        match value.map(|spread| [spread.median, spread.min, spread.max].map(text::number)) {
            None => "-".to_owned(),
            Some([median, min, max]) if self.ranged => format!("{median} [{min} .. {max}]"),
            Some([median, ..]) => median,
        }
    }
}

impl Table {
    /// An empty table with columns of `(name, unit)`.
    pub(crate) fn new(name: &str, columns: &[(&str, &str)]) -> Self {
        let column = |&(name, unit): &(&str, &str)| Column {
            name: name.into(),
            unit: unit.into(),
            ranged: false,
        };
        Self {
            name: name.to_owned(),
            columns: columns.iter().map(column).collect(),
            rows: Vec::new(),
        }
    }

    /// Shows the smallest and the largest round of these columns as well.
    pub(crate) fn with_ranges(mut self, columns: &[&str]) -> Self {
        for column in &mut self.columns {
            column.ranged |= columns.contains(&column.name.as_str());
        }
        self
    }

    /// Adds a row from the rounds of one contender: for each column its figures, none for no value.
    pub(crate) fn row(
        &mut self,
        contender: &str,
        role: Role,
        rounds: impl IntoIterator<Item = Vec<f64>>,
    ) {
        let values: Vec<_> = rounds.into_iter().map(Spread::of).collect();
        debug_assert_eq!(values.len(), self.columns.len(), "a value for each column");
        self.rows.push(TableRow { contender: contender.to_owned(), role, values });
    }

    pub(crate) fn value(&self, contender: &str, column: &str) -> Option<f64> {
        let place = self.columns.iter().position(|candidate| candidate.name == column)?;
        let row = self.rows.iter().find(|row| row.contender == contender)?;
        Some(row.values[place]?.median)
    }
}

/// One cell: the same work, everybody's rounds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) rows: Vec<Row>,
    /// The rival that keylane compares worst with, round by round.
    pub(crate) best_rival: Option<String>,
    /// How many times its rate keylane's rate is.
    pub(crate) keylane_to_best_rival: Option<Spread>,
}

/// One contender in one cell.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) contender: String,
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
                    contender: card.name.to_owned(),
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
        let name = name.to_owned();
        let mut cell = Self { name, rows, best_rival: None, keylane_to_best_rival: None };
        cell.find_best_rival();
        cell
    }

    /// The rounds of a rival with the higher median rate may be those in which keylane was faster, too. What counts is the median of the
    /// ratios; without keylane, the rate.
    fn find_best_rival(&mut self) {
        let ratio = |row: &Row| row.keylane_to_this.map_or(f64::INFINITY, |ratio| ratio.median);
        let rivals = self.rows.iter().filter(|row| row.role == Role::Rival);
        let best = rivals.min_by(|one, other| ratio(one).total_cmp(&ratio(other)));
        self.best_rival = best.map(|row| row.contender.clone());
        self.keylane_to_best_rival = best.and_then(|row| row.keylane_to_this);
    }

    pub(crate) fn row(&self, contender: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.contender == contender)
    }
}

impl Report {
    /// Draws all conclusions again from what was measured.
    pub(crate) fn conclude(&mut self) {
        for cell in self.scenarios.iter_mut().flat_map(|scenario| &mut scenario.cells) {
            cell.find_best_rival();
        }
        self.check_goals();
    }
}

/// The version of a package that this binary was built with.
fn locked_version(package: &str) -> Option<&'static str> {
    const LOCK: &str = include_str!("../../../Cargo.lock");
    let mut lines = LOCK.lines();
    lines.find(|line| {
        line.strip_prefix("name = ").is_some_and(|name| name.trim_matches('"') == package)
    })?;
    Some(lines.next()?.strip_prefix("version = ")?.trim_matches('"'))
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
        let order: Vec<_> = cell.rows.iter().map(|row| row.contender.as_str()).collect();
        assert_eq!(order, ["keylane", "faster", "fast", "slow", "floor"]);
        assert_eq!(cell.best_rival, Some("fast".to_owned()));
        let ratio = cell.keylane_to_best_rival.unwrap();
        assert_eq!((ratio.median, ratio.min, ratio.max), (2.0, 2.0, 2.0));
        assert_eq!(cell.rows[3].cpu_to_keylane.unwrap().median, 4.0);
    }

    #[test]
    fn rivals_have_a_version() {
        for package in [
            "crossbeam-channel",
            "kanal",
            "crossfire",
            "tokio",
            "flume",
            "rtrb",
            "thingbuf",
            "disruptor",
        ] {
            assert!(locked_version(package).is_some(), "{package}");
        }
        assert_eq!(locked_version("no-such-package"), None);
    }
}
