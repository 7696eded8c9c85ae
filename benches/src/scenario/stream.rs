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
    let contenders = admitted(plan, Pace::Single);
    let what = describe("one stamp per event");
    let mut scenario = sweep(plan, "dispatch", what, Pace::Single, &contenders)?;
    // With one producer keylane's stamps are plain, because it sees that nobody else emits; so are the rivals' in these.
    let cards = cards(&contenders);
    let alone = plan.cells.iter().filter(|shape| shape.producers == 1 && !plan.work_only);
    for shape in alone {
        let work = Work { stamp: Stamp::Plain, ..work(plan, *shape, Pace::Single, 0) };
        scenario.cells.push(compare(&format!("{shape} plain"), &plan.rounds, &cards, |index| {
            contenders[index].run(&work, &plan.keys)
        })?);
    }
    if scenario.cells.iter().any(|cell| cell.name.ends_with("plain")) {
        scenario.note("plain: the rivals' stamps are plain, too, as for users who know that there is one producer".to_owned());
    }
    Ok(scenario.done(plan))
}

pub(super) fn batch(plan: &Plan) -> Result<Scenario, String> {
    let contenders = admitted(plan, Pace::Batch);
    let what = describe(&format!("one stamp per {BATCH} events"));
    Ok(sweep(plan, "batch", what, Pace::Batch, &contenders)?.done(plan))
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

fn sweep(
    plan: &Plan,
    name: &str,
    what: String,
    pace: Pace,
    contenders: &[Box<dyn Stream>],
) -> Result<Scenario, String> {
    let cards = cards(contenders);
    let mut scenario = Scenario::new(name, what, &cards);
    for shape in &plan.cells {
        let work = work(plan, *shape, pace, 0);
        scenario.note(format!(
            "{shape}: {} events; {} slots per producer and shard, rivals {} per channel",
            work.events,
            work.capacity,
            work.shared_capacity()
        ));
        scenario.cells.push(compare(&shape.to_string(), &plan.rounds, &cards, |index| {
            contenders[index].run(&work, &plan.keys)
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
