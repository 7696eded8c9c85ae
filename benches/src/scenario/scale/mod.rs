//! `scale`: what one event costs as keys, producers, shards and values grow. The rival is keylane itself: a curve
//! should be flat.
//!
//! Keys are written on the stack for each event. Ten million of them in memory would show the cache misses of whoever
//! reads them, on both sides, and not those of the bus.

mod load;
mod mesh;

use super::Plan;
use crate::contender::{Card, Role};
use crate::measure::Lap;
use crate::report::{Curve, Scenario, Table};
use load::Load;

const EVENTS: u64 = 1_000_000;
const KEYS: [u64; 6] = [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
const PRODUCERS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const SHARDS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const VALUES: [usize; 7] = [0, 8, 32, 64, 256, 1024, 4096];
const MESHES: [(usize, usize); 4] = [(1, 1), (8, 8), (64, 8), (64, 64)];

pub(super) fn run(plan: &Plan) -> Result<Scenario, String> {
    let card = Card {
        name: "keylane",
        role: Role::Keylane,
        package: Some("keylane"),
        settings: "Producer per thread, emit_blocking; defaults otherwise; the processor reads the value's first byte",
    };
    let what = "nanoseconds of CPU and of wall time per event, all threads; one thing grows, the others stay at 1,000 keys, \
                1 producer, 1 shard and 8 bytes";
    let mut scenario = Scenario::new("scale", what.to_owned(), std::slice::from_ref(&card));
    if plan.admits(&card) {
        let base = Load { keys: 1_000, producers: 1, shards: 1, value: 8, capacity: plan.capacity };
        let keys = KEYS.map(|keys| (keys, Load { keys, ..base }));
        grow(plan, &mut scenario, "keys", &keys)?;
        let producers = PRODUCERS.map(|producers| (producers as u64, Load { producers, ..base }));
        grow(plan, &mut scenario, "producers", &producers)?;
        let shards = SHARDS.map(|shards| (shards as u64, Load { shards, ..base }));
        grow(plan, &mut scenario, "shards", &shards)?;
        let values = VALUES.map(|value| (value as u64, Load { value, ..base }));
        grow(plan, &mut scenario, "value bytes", &values)?;
        scenario.note(
            "values of more than 32 bytes are boxed by the emit and freed by the shard".to_owned(),
        );
        scenario.tables.push(idle_mesh(plan)?);
    }
    Ok(scenario.done(plan))
}

/// Lets the sizes of one thing take turns.
fn grow(
    plan: &Plan,
    scenario: &mut Scenario,
    name: &str,
    loads: &[(u64, Load)],
) -> Result<(), String> {
    let events = plan.events(EVENTS);
    eprintln!("scale, {name}: {} sizes, {} rounds and one more", loads.len(), plan.rounds.count);
    let laps = plan.rounds.interleave(loads.len(), |index| {
        let (size, load) = loads[index];
        load.run(events).map_err(|error| format!("scale, {size} {name}: {error}"))
    })?;
    let mut table = Table::new(name, &[("CPU", "ns per event"), ("wall", "ns per event")]);
    let wall = |lap: &Lap| lap.wall_ns / lap.operations as f64;
    for ((size, _), laps) in loads.iter().zip(&laps) {
        table.row(
            &size.to_string(),
            Role::Keylane,
            [laps.iter().map(Lap::cpu).collect(), laps.iter().map(wall).collect()],
        );
    }
    for column in ["CPU", "wall"] {
        let point =
            |(size, _): &(u64, Load)| Some((*size as f64, table.value(&size.to_string(), column)?));
        scenario.curves.push(Curve {
            panel: name.to_owned(),
            contender: column.to_owned(),
            role: Role::Keylane,
            points: loads.iter().filter_map(point).collect(),
        });
    }
    scenario.tables.push(table);
    Ok(())
}

/// Memory of buses of which every producer has a ring to every shard, and that have nothing to do.
fn idle_mesh(plan: &Plan) -> Result<Table, String> {
    let mut table = Table::new("idle mesh", &[("in all", "KiB"), ("per ring", "KiB")]);
    for (producers, shards) in MESHES {
        if plan.quick && producers * shards > 64 {
            continue;
        }
        let Some(kibibytes) = mesh::resident(producers, shards, plan.capacity)? else { continue };
        let rings = (producers * shards) as f64;
        let name = format!("{producers}x{shards}");
        table.row(&name, Role::Keylane, [vec![kibibytes], vec![kibibytes / rings]]);
    }
    Ok(table)
}
