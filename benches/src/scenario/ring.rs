//! `ring`: a bare single-producer single-consumer ring between two threads.

use super::{Plan, compare};
use crate::contender::Card;
use crate::contender::ring::{Ring, Size, rings};
use crate::report::Scenario;

const ITEMS: u64 = 10_000_000;

pub(super) fn run(plan: &Plan) -> Result<Scenario, String> {
    let contenders: Vec<Box<dyn Ring>> =
        rings().into_iter().filter(|contender| plan.admits(&contender.card())).collect();
    let cards: Vec<Card> = contenders.iter().map(|contender| contender.card()).collect();
    let items = plan.events(ITEMS);
    let mut scenario = Scenario::new(
        "ring",
        "one producer, one consumer, no key and no stamp; a full or empty ring backs off from \
         spinning to yielding"
            .to_owned(),
        &cards,
    );
    scenario.note(format!("{items} items; {} slots", plan.capacity));
    for (cell, size) in [("u64", Size::Word), ("64 bytes", Size::Line)] {
        scenario.cells.push(compare(cell, &plan.rounds, &cards, |index| {
            contenders[index].run(size, items, plan.capacity)
        })?);
    }
    Ok(scenario.done(plan))
}
