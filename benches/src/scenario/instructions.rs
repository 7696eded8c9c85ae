//! `instructions`: what one emit is made of. Counts do not depend on the moment, on neighbours or on how far apart the cores are.
//!
//! callgrind counts what the producer's thread executes between start and finish of `dispatch` and `batch` at 1x1, in two runs
//! of different lengths, both short enough that the buffer never fills; the difference belongs to the events alone.

use std::env;
use std::process::{Command, Stdio};

use super::stream::admitted;
use super::{Name, Plan};
use crate::contender::Role;
use crate::report::{Scenario, Table};
use crate::workload::{BATCH, Pace};

/// Events of the shorter and of the longer run; whole batches, fewer than slots.
const EVENTS: [u64; 2] = [2 * BATCH as u64, 14 * BATCH as u64];
/// Rounds of a run: one counts for the scenario, and one goes before it.
const ROUNDS: u64 = 2;
/// The function that is counted, with all that it calls.
const AT_WORK: &str = "*measure::at_work*";
/// What callgrind counts, in the order in which it tells.
const COUNTED: [&str; 3] = ["instructions", "loads", "stores"];

type Counts = [f64; COUNTED.len()];

pub(super) fn run(plan: &Plan) -> Result<Scenario, String> {
    let what = "what a producer's thread executes per event at 1x1 while there is room, counted by callgrind: the work of `dispatch` and \
                `batch`, draw and hash and stamp included"
        .to_owned();
    let mut scenario = Scenario::new("instructions", what, &[]);
    if let Err(error) = Command::new("valgrind").arg("--version").output() {
        scenario.note(format!("nobody takes part: valgrind: {error}"));
        return Ok(scenario);
    }
    for (name, work, pace) in
        [("single", Name::Dispatch, Pace::Single), ("batch", Name::Batch, Pace::Batch)]
    {
        let mut columns = COUNTED.map(|counted| (counted, "per event")).to_vec();
        columns.push(("beyond the floor", "instructions"));
        let mut table = Table::new(name, &columns);
        let mut rows = Vec::new();
        for contender in admitted(plan, pace) {
            let card = contender.card();
            // Each takes some seconds; a quick run shows that it works.
            if plan.quick && !matches!(card.role, Role::Keylane | Role::Floor) {
                continue;
            }
            eprintln!("instructions, {name}: {}", card.name);
            match per_event(work, card.name) {
                Ok(counts) => rows.push((card, counts)),
                Err(error) => {
                    scenario.note(format!("{name}: {} takes no part: {error}", card.name))
                }
            }
        }
        let floor = rows.iter().find(|(card, _)| card.role == Role::Floor);
        let floor = floor.map(|(_, [instructions, ..])| *instructions);
        for (card, counts) in &rows {
            let beyond = floor.map(|floor| counts[0] - floor);
            let figures = counts.iter().copied().map(Some).chain([beyond]);
            table.row(card.name, card.role, figures.map(|figure| figure.into_iter().collect()));
        }
        scenario.tables.push(table);
    }
    scenario.note(format!(
        "runs of {} and {} events; what a round does once, such as opening a ring, is in both and falls out",
        EVENTS[0], EVENTS[1]
    ));
    scenario.note("a load that waits for another core is counted like any other".to_owned());
    Ok(scenario)
}

/// What one event takes.
fn per_event(work: Name, contender: &str) -> Result<Counts, String> {
    let [fewer, more] = EVENTS;
    let (before, after) = (count(work, contender, fewer)?, count(work, contender, more)?);
    let events = (ROUNDS * (more - fewer)) as f64;
    Ok(std::array::from_fn(|index| (after[index] - before[index]) / events))
}

/// Runs this program under callgrind.
fn count(work: Name, contender: &str, events: u64) -> Result<Counts, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--cache-sim=yes", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect={AT_WORK}"))
        .arg(program)
        .arg(work.text())
        .args(["--cells", "1x1", "--rounds", "1", "--capacity", "1024", "--work-only"])
        .args(["--only", contender, "--events", &events.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let last = said.lines().last().unwrap_or_default();
        return Err(format!("{}: {last}", output.status));
    }
    counts(&said).ok_or_else(|| "callgrind has counted nothing".to_owned())
}

/// The counts in what callgrind prints at its end.
fn counts(said: &str) -> Option<Counts> {
    let (_, collected) = said.lines().find_map(|line| line.split_once("Collected : "))?;
    let mut numbers = collected.split_ascii_whitespace().map(|number| number.parse().ok());
    let mut counts = [0.0; COUNTED.len()];
    for count in &mut counts {
        *count = numbers.next()??;
    }
    (counts[0] > 0.0).then_some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_the_first_of_what_is_collected() {
        let said = "==7== Events    : Ir Dr Dw I1mr D1mr D1mw ILmr DLmr DLmw\n\
                    ==7== Collected : 541712 100110 148817 269 3480 3577 101 4 1963\n==7== \n";
        assert_eq!(counts(said), Some([541_712.0, 100_110.0, 148_817.0]));
        assert_eq!(counts("==7== Collected : 0\n"), None);
        assert_eq!(counts("==7== Collected : 0 0 0\n"), None);
        assert_eq!(counts(""), None);
    }
}
