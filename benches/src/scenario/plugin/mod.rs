//! `plugin`: what an event costs in a processor that was linked in, and in the same processor as a library.
//!
//! The work is small on purpose, a count and a sum: what a plugin costs beyond it does not depend on it, and would be lost in a larger
//! one.

mod library;
mod line;
mod linked;

use super::Plan;
use crate::contender::{Card, Role};
use crate::report::{Curve, Scenario, Table};
use library::{Library, Missing};
use line::Contender;
use linked::{Converted, Direct};

const SIZES: [u64; 5] = [1, 4, 16, 64, 256];
const EVENTS: u64 = 1_280_000;
/// A batch takes its microsecond even when there is little in it.
const MOST_BATCHES: u64 = 20_000;

pub(super) fn cards() -> Vec<Card> {
    let card = |name, role, package, settings| Card { name, role, package, settings };
    vec![
        card(
            "static",
            Role::Floor,
            None,
            "a Processor of this program, process_batch on its events as they are: the floor of any dispatch",
        ),
        card(
            "static-abi",
            Role::Floor,
            None,
            "a Processor of this program that writes each event as the struct of the C ABI, one time for the whole batch, and calls a \
             function that is not inlined: the floor of any C interface",
        ),
        card(
            "so-rust",
            Role::Keylane,
            Some("keylane-plugin"),
            "a plugin by the SDK, `process` for each event, this workspace's profile, without link-time optimisation",
        ),
        card(
            "so-c",
            Role::Variant,
            Some("keylane-plugin-abi"),
            "a plugin by the bare header, cc -O2",
        ),
    ]
}

/// Contenders by name.
type Line = Vec<(&'static str, Contender)>;

/// Those that take part, and notes about those that cannot.
fn contenders(cards: &[Card]) -> Result<(Line, Vec<String>), String> {
    // First in number, so that its figures are at hand.
    let (mut contenders, mut notes) = (vec![("nothing", Contender::Nothing)], Vec::new());
    for card in cards {
        let library = |found: Result<Library, Missing>| found.map(Contender::Library);
        let contender = match card.name {
            "static" => Ok(Contender::Linked(Direct::boxed)),
            "static-abi" => Ok(Contender::Linked(Converted::boxed)),
            "so-rust" => library(Library::rust()?),
            _ => library(Library::c()?),
        };
        match contender {
            Ok(contender) => contenders.push((card.name, contender)),
            Err(missing) => notes.push(format!("{} takes no part: {missing}", card.name)),
        }
    }
    Ok((contenders, notes))
}

pub(super) fn run(plan: &Plan) -> Result<Scenario, String> {
    let mut cards = cards();
    cards.retain(|card| plan.admits(card));
    let what = "one shard, all contenders as processors in line, each counts events by type and sums up their values; nanoseconds \
                per event in each, by the size of a batch";
    let (contenders, notes) = contenders(&cards)?;
    cards.retain(|card| contenders.iter().any(|(name, _)| *name == card.name));
    let mut scenario = Scenario::new("plugin", what.to_owned(), &cards);
    notes.into_iter().for_each(|note| scenario.note(note));
    eprintln!(
        "plugin: {} contenders, {} sizes of a batch, {} rounds and one more",
        cards.len(),
        SIZES.len(),
        plan.rounds.count
    );
    let events = plan.events(EVENTS);
    let mut turns = 0;
    let rounds = plan.rounds.interleave(SIZES.len(), |index| {
        let size = SIZES[index];
        let first = turns / SIZES.len() % contenders.len();
        turns += 1;
        let batches = (events / size).clamp(1, MOST_BATCHES);
        line::run(&contenders, first, size, batches)
            .map_err(|error| format!("plugin, batches of {size}: {error}"))
    })?;
    let mut clock = Vec::new();
    for (size, rounds) in SIZES.into_iter().zip(&rounds) {
        clock.extend(rounds.iter().map(|nanos| nanos[0]));
        scenario.tables.push(table(size, &cards, rounds));
    }
    for card in &cards {
        let point =
            |(size, table): (u64, &Table)| Some((size as f64, table.value(card.name, TIME)?));
        scenario.curves.push(Curve {
            panel: "batch".to_owned(),
            contender: card.name.to_owned(),
            role: card.role,
            points: SIZES.into_iter().zip(&scenario.tables).filter_map(point).collect(),
        });
    }
    clock.sort_by(f64::total_cmp);
    scenario.note(format!(
        "two readings of the clock and a call of a processor that does nothing took {:.1} to {:.1} ns per batch; they are subtracted",
        clock.first().copied().unwrap_or_default(),
        clock.last().copied().unwrap_or_default(),
    ));
    scenario.note(
        "every round: the mean of the middle half of all batches; every contender was first in line in turn, and its counts were \
         compared with what was sent"
            .to_owned(),
    );
    Ok(scenario.done(plan))
}

const TIME: &str = "time";

/// One size of a batch: what an event took, and how many times that is of the floors, round by round.
fn table(size: u64, cards: &[Card], rounds: &[Vec<f64>]) -> Table {
    let columns = [
        (TIME, "ns per event"),
        ("smallest", "ns per event"),
        ("largest", "ns per event"),
        ("to static", "times"),
        ("to abi", "times"),
    ];
    let mut table = Table::new(&format!("batches of {size}"), &columns);
    let per_event = |contender: usize| -> Vec<f64> {
        // The first in number is the one that does nothing.
        rounds.iter().map(|nanos| (nanos[contender + 1] - nanos[0]) / size as f64).collect()
    };
    for (index, card) in cards.iter().enumerate() {
        let own = per_event(index);
        let times = |floor: &str| -> Vec<f64> {
            let Some(floor) = cards.iter().position(|card| card.name == floor) else {
                return Vec::new();
            };
            let floors = per_event(floor);
            // What is too short to be told from nothing is not divided by.
            let pairs = own.iter().zip(&floors).filter(|(_, floor)| **floor > 0.0);
            pairs.map(|(own, floor)| own / floor).collect()
        };
        let bound =
            |choose: fn(f64, f64) -> f64| own.iter().copied().reduce(choose).into_iter().collect();
        table.row(
            card.name,
            card.role,
            [own.clone(), bound(f64::min), bound(f64::max), times("static"), times("static-abi")],
        );
    }
    table
}
