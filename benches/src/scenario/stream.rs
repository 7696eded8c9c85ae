//! `dispatch`, `batch` and `skew`: P producers emit keyed events to S shards, as fast as they are taken.
//!
//! Closed loop: a full buffer slows its producer down, so this measures throughput and says nothing
//! about latency.

use super::{Plan, compare};
use crate::contender::{Card, Stream, streams};
use crate::report::Scenario;
use crate::workload::{BATCH, KEY_BYTES, KEYS, KINDS, Pace, STAMP, Shape, Stamp, Work};

/// Long enough that starting the threads does not show, short enough for a dozen contenders.
const EVENTS: u64 = 2_000_000;
/// How many of a hundred events have the hot key.
const HOT: [u32; 3] = [0, 50, 99];
/// Those who take part in `skew` unless others are asked for.
const SKEWED: [&str; 6] =
    ["keylane", "keylane-emitter", "crossbeam", "crossfire", "kanal", "floor"];

pub(super) fn dispatch(plan: &Plan) -> Result<Scenario, String> {
    let what = describe("one stamp per event");
    let mut cells = cells(plan, Pace::Single);
    if !plan.work_only {
        // With one producer keylane's stamps are plain, because it sees that nobody else emits; so are the rivals' in these.
        let alone = cells.iter().filter(|(_, work)| work.shape.producers == 1);
        let plain = |(name, work): &(String, Work)| {
            (format!("{name} plain"), Work { stamp: Stamp::Plain, ..*work })
        };
        let plain: Vec<_> = alone.map(plain).collect();
        cells.extend(plain);
    }
    let with_plain = cells.iter().any(|(_, work)| work.stamp == Stamp::Plain);
    let mut scenario = sweep(plan, "dispatch", what, Pace::Single, &cells)?;
    if with_plain {
        scenario.note("plain: the rivals' stamps are plain, too, as for users who know that there is one producer".to_owned());
    }
    Ok(scenario.done(plan))
}

pub(super) fn batch(plan: &Plan) -> Result<Scenario, String> {
    let what = describe(&format!("one stamp per {BATCH} events"));
    Ok(sweep(plan, "batch", what, Pace::Batch, &cells(plan, Pace::Batch))?.done(plan))
}

pub(super) fn skew(plan: &Plan) -> Result<Scenario, String> {
    let mut contenders = admitted(plan, Pace::Single);
    if plan.only.is_empty() && !plan.all_modes {
        contenders.retain(|contender| SKEWED.contains(&contender.card().name));
    }
    let cards = cards(&contenders);
    let what =
        "producers x shards, and the share of the one hot key; the work of dispatch".to_owned();
    let mut scenario = Scenario::new("skew", what, &cards);
    for shape in [Shape { producers: 2, shards: 2 }, Shape { producers: 8, shards: 2 }] {
        for hot in HOT {
            let work = work(plan, shape, Pace::Single, hot);
            scenario.cells.push(compare(
                &format!("{shape} {hot} %"),
                &plan.rounds,
                &cards,
                |index| contenders[index].run(&work, &plan.keys),
            )?);
        }
    }
    Ok(scenario.done(plan))
}

/// The cells that are asked for, by name.
fn cells(plan: &Plan, pace: Pace) -> Vec<(String, Work)> {
    plan.cells.iter().map(|shape| (shape.to_string(), work(plan, *shape, pace, 0))).collect()
}

fn sweep(
    plan: &Plan,
    name: &str,
    what: String,
    pace: Pace,
    cells: &[(String, Work)],
) -> Result<Scenario, String> {
    let contenders = admitted(plan, pace);
    let cards = cards(&contenders);
    let mut scenario = Scenario::new(name, what, &cards);
    for (cell, work) in cells {
        scenario.note(format!(
            "{cell}: {} events; {} slots per producer and shard, rivals {} per channel",
            work.events,
            work.capacity,
            work.shared_capacity()
        ));
        scenario.cells.push(compare(cell, &plan.rounds, &cards, |index| {
            contenders[index].run(work, &plan.keys)
        })?);
    }
    Ok(scenario)
}

/// Those who have a way for this pace, as far as they are asked for.
pub(super) fn admitted(plan: &Plan, pace: Pace) -> Vec<Box<dyn Stream>> {
    let mut contenders = streams();
    contenders.retain(|contender| contender.takes(pace) && plan.admits(&contender.card()));
    contenders
}

fn cards(contenders: &[Box<dyn Stream>]) -> Vec<Card> {
    contenders.iter().map(|contender| contender.card()).collect()
}

fn work(plan: &Plan, shape: Shape, pace: Pace, hot: u32) -> Work {
    Work {
        shape,
        pace,
        events: plan.events(EVENTS),
        capacity: plan.capacity,
        hot,
        stamp: Stamp::Ordered,
    }
}

fn describe(stamps: &str) -> String {
    format!(
        "producers x shards; {KEY_BYTES}-byte string key out of {KEYS}, seahash, {STAMP}, {stamps}, 64-byte event of \
         {KINDS} types; the consumer counts per type and checks the order of each key"
    )
}
