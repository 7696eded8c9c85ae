//! What is measured, one scenario a file.
//!
//! A scenario fixes the work and the cells, lets the contenders take turns in each, and returns its
//! part of the report. It knows contenders only by their trait.

mod floor;
mod ring;
mod stream;

use std::sync::Arc;

use clap::ValueEnum;

use crate::contender::{Card, Role};
use crate::measure::{Lap, interleave};
use crate::report::{Cell, Scenario};
use crate::workload::{Keys, Pace, Shape};

/// Every scenario there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Physical limits: hash and stamp alone, a cache line ping, a park ping.
    Floor,
    /// Events one at a time from P producers to S shards.
    Dispatch,
    /// The same in batches of 64 under one stamp.
    Batch,
    /// Bare rings, one producer and one consumer, no key and no stamp.
    Ring,
}

/// What all scenarios of a run have in common.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) cells: Vec<Shape>,
    pub(crate) rounds: usize,
    /// Overrides each scenario's own number.
    pub(crate) events: Option<u64>,
    pub(crate) capacity: usize,
    /// Contenders by name; empty for all that are not alternates.
    pub(crate) only: Vec<String>,
    pub(crate) all_modes: bool,
    pub(crate) quick: bool,
    pub(crate) keys: Arc<Keys>,
}

impl Plan {
    fn events(&self, usual: u64) -> u64 {
        self.events.unwrap_or(if self.quick { 50_000 } else { usual })
    }

    fn admits(&self, card: &Card) -> bool {
        if self.only.is_empty() {
            self.all_modes || card.role != Role::Alternate
        } else {
            self.only.iter().any(|name| name == card.name)
        }
    }
}

/// Runs one scenario.
///
/// # Errors
///
/// Names the contender and the cell whose round went wrong.
pub(crate) fn run(name: Name, plan: &Plan) -> Result<Scenario, String> {
    match name {
        Name::Floor => floor::run(plan),
        Name::Dispatch => stream::run(plan, Pace::Single),
        Name::Batch => stream::run(plan, Pace::Batch),
        Name::Ring => ring::run(plan),
    }
}

/// Names that `--only` understands.
pub(crate) fn contenders() -> Vec<&'static str> {
    let streams = crate::contender::streams();
    let rings = crate::contender::ring::rings();
    let streams = streams.iter().map(|contender| contender.card().name);
    streams.chain(rings.iter().map(|contender| contender.card().name)).collect()
}

/// Lets the contenders of one cell take turns.
fn compare(
    cell: &str,
    rounds: usize,
    cards: &[Card],
    mut run: impl FnMut(usize) -> Result<Lap, String>,
) -> Result<Cell, String> {
    eprintln!("cell {cell}: {} contenders, {rounds} rounds and one more", cards.len());
    let laps = interleave(cards.len(), rounds, |contender| {
        run(contender).map_err(|error| format!("{}, cell {cell}: {error}", cards[contender].name))
    })?;
    Ok(Cell::new(cell, cards, &laps))
}
