//! `async`: tasks of a tokio runtime emit as fast as they are let, and wait for room as futures.

use super::{Plan, compare};
use crate::contender::Card;
use crate::contender::tasks::{Crowd, Tasks, tasks};
use crate::report::Scenario;

const EVENTS: u64 = 1_000_000;
const TASKS: [usize; 3] = [1, 64, 4096];

pub(super) fn run(plan: &Plan) -> Result<Scenario, String> {
    let contenders: Vec<Box<dyn Tasks>> =
        tasks().into_iter().filter(|contender| plan.admits(&contender.card())).collect();
    let cards: Vec<Card> = contenders.iter().map(|contender| contender.card()).collect();
    let what = "tasks on a tokio runtime with a worker per core; each emits its share of the events and awaits room; one \
                consumer checks each task's order"
        .to_owned();
    let mut scenario = Scenario::new("async", what, &cards);
    let events = plan.events(EVENTS);
    scenario.note(format!(
        "{events} events; {} slots per worker, rivals the total per channel",
        plan.capacity
    ));
    for count in TASKS {
        let crowd = Crowd { tasks: count, events, capacity: plan.capacity };
        let name = if count == 1 { "1 task".to_owned() } else { format!("{count} tasks") };
        scenario.cells.push(compare(&name, &plan.rounds, &cards, |index| {
            contenders[index].run(&crowd, &plan.keys)
        })?);
    }
    Ok(scenario.done(plan))
}
