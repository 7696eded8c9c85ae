//! What is measured, one scenario a file.
//!
//! A scenario fixes the work and the cells, lets the contenders take turns in each, and returns its
//! part of the report. It knows contenders only by their trait.

mod async_emit;
mod floor;
mod http;
mod idle;
mod instructions;
mod latency;
#[cfg(target_os = "linux")]
mod plugin;
mod ring;
mod scale;
mod shutdown;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;

use crate::contender::{self, Card, Role};
use crate::measure::Lap;
use crate::report::{Cell, Scenario};
use crate::rounds::Rounds;
use crate::workload::{Keys, Shape};

/// Every scenario there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Physical limits: hash and stamp alone, a cache line ping, a park ping.
    Floor,
    /// What one emit is made of, counted by callgrind; needs valgrind.
    Instructions,
    /// Events one at a time from P producers to S shards.
    Dispatch,
    /// The same in batches of 64 under one stamp.
    Batch,
    /// Bare rings, one producer and one consumer, no key and no stamp.
    Ring,
    /// Events at fixed rates: how long each takes, up to the slowest.
    Latency,
    /// What a bus costs that has nothing to do.
    Idle,
    /// Dispatch when one key takes a large share.
    Skew,
    /// Tasks that emit and wait for room as futures.
    Async,
    /// What an event costs as keys, producers, shards and values grow.
    Scale,
    /// The end of a bus whose rings are full.
    Shutdown,
    /// Requests of an HTTP server, bare and under observation.
    Http,
    /// The same processor linked in, and as libraries in Rust and C.
    #[cfg(target_os = "linux")]
    Plugin,
}

impl Name {
    /// The name as the command line has it.
    pub(crate) fn text(self) -> String {
        let value = self.to_possible_value().expect("no scenario is left out");
        value.get_name().to_owned()
    }
}

pub(crate) use latency::RATE_NAMES;

/// What all scenarios of a run have in common.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) cells: Vec<Shape>,
    pub(crate) rounds: Rounds,
    /// Overrides each scenario's own number.
    pub(crate) events: Option<u64>,
    /// Overrides each scenario's own length of a round.
    pub(crate) seconds: Option<f64>,
    /// Rates of `latency`; empty for all.
    pub(crate) rates: Vec<String>,
    pub(crate) capacity: usize,
    /// Contenders by name; empty for all that are not alternates.
    pub(crate) only: Vec<String>,
    pub(crate) all_modes: bool,
    pub(crate) quick: bool,
    /// Only the work counts, which is measured from outside.
    pub(crate) work_only: bool,
    pub(crate) keys: Arc<Keys>,
}

impl Plan {
    fn events(&self, usual: u64) -> u64 {
        self.events.unwrap_or(if self.quick { 20_000 } else { usual })
    }

    /// How long a round lasts that is not measured in events.
    fn seconds(&self, usual: f64) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(if self.quick { 0.02 } else { usual }))
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
    let before = floor::core_distance();
    let mut scenario = work(name, plan)?;
    if let Some((before, after)) = before.zip(floor::core_distance()) {
        scenario.note(format!(
            "a cache line took {before:.0} ns from core to core before, {after:.0} ns after"
        ));
    }
    Ok(scenario)
}

/// The work of one scenario, and nothing else.
pub(crate) fn work(name: Name, plan: &Plan) -> Result<Scenario, String> {
    match name {
        Name::Floor => floor::run(plan),
        Name::Instructions => instructions::run(plan),
        Name::Dispatch => stream::dispatch(plan),
        Name::Batch => stream::batch(plan),
        Name::Ring => ring::run(plan),
        Name::Latency => latency::run(plan),
        Name::Idle => idle::run(plan),
        Name::Skew => stream::skew(plan),
        Name::Async => async_emit::run(plan),
        Name::Scale => scale::run(plan),
        Name::Shutdown => shutdown::run(plan),
        Name::Http => http::run(plan),
        #[cfg(target_os = "linux")]
        Name::Plugin => plugin::run(plan),
    }
}

/// Names that `--only` understands.
pub(crate) fn contenders() -> Vec<&'static str> {
    let cards = contender::streams().into_iter().map(|contender| contender.card());
    let cards = cards.chain(contender::ring::rings().into_iter().map(|contender| contender.card()));
    let cards = cards.chain(contender::hop::hops().into_iter().map(|contender| contender.card()));
    let cards =
        cards.chain(contender::tasks::tasks().into_iter().map(|contender| contender.card()));
    let cards = cards.chain(idle::cards()).chain(shutdown::cards()).chain(http::cards());
    #[cfg(target_os = "linux")]
    let cards = cards.chain(plugin::cards());
    let mut names: Vec<_> = cards.map(|card| card.name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Lets the contenders of one cell take turns.
fn compare(
    cell: &str,
    rounds: &Rounds,
    cards: &[Card],
    mut run: impl FnMut(usize) -> Result<Lap, String>,
) -> Result<Cell, String> {
    eprintln!("cell {cell}: {} contenders, {} rounds and one more", cards.len(), rounds.count);
    let laps = rounds.interleave(cards.len(), |contender| {
        run(contender).map_err(|error| format!("{}, cell {cell}: {error}", cards[contender].name))
    })?;
    Ok(Cell::new(cell, cards, &laps))
}
