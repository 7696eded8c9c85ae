//! `dispatch` and `batch`: P producers emit keyed events to S shards, as fast as they are taken.
//!
//! Closed loop: a full buffer slows its producer down, so this measures throughput and says nothing
//! about latency.

use super::{Plan, compare};
use crate::contender::{Card, Stream, streams};
use crate::report::Scenario;
use crate::workload::{BATCH, KEY_BYTES, KEYS, KINDS, Pace, STAMP, Work};

/// Long enough that starting the threads does not show, short enough for a dozen contenders.
const EVENTS: u64 = 4_000_000;

pub(super) fn run(plan: &Plan, pace: Pace) -> Result<Scenario, String> {
    let contenders: Vec<Box<dyn Stream>> = streams()
        .into_iter()
        .filter(|contender| contender.takes(pace) && plan.admits(&contender.card()))
        .collect();
    let cards: Vec<Card> = contenders.iter().map(|contender| contender.card()).collect();
    let stamps = match pace {
        Pace::Single => "one stamp per event".to_owned(),
        Pace::Batch => format!("one stamp per {BATCH} events"),
    };
    let mut scenario = Scenario::new(
        match pace {
            Pace::Single => "dispatch",
            Pace::Batch => "batch",
        },
        format!(
            "producers x shards; {KEY_BYTES}-byte string key out of {KEYS}, seahash, {STAMP}, \
             {stamps}, 64-byte event of {KINDS} types; the consumer counts per type and checks \
             the order of each key"
        ),
        cards.clone(),
    );
    for shape in &plan.cells {
        let work =
            Work { shape: *shape, pace, events: plan.events(EVENTS), capacity: plan.capacity };
        scenario.note(format!(
            "{shape}: {} events; {} slots per producer and shard, rivals {} per channel",
            work.events,
            work.capacity,
            work.shared_capacity()
        ));
        scenario.cells.push(compare(&shape.to_string(), plan.rounds, &cards, |index| {
            contenders[index].run(&work, &plan.keys)
        })?);
    }
    Ok(scenario.done())
}
