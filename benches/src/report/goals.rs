//! What keylane wants to reach on a machine with two cores, checked against the figures of a report.
//!
//! A goal without figures is left out; one that is missed is printed as missed.

use serde::{Deserialize, Serialize};

use super::{Cell, Report, Scenario};
use crate::contender::Role;

/// One goal and what was found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) found: f64,
    pub(crate) at_least: Option<f64>,
    pub(crate) at_most: Option<f64>,
    pub(crate) reached: bool,
}

impl Goal {
    /// What was wanted, as text.
    pub(crate) fn bound(&self) -> String {
        match (self.at_least, self.at_most) {
            (Some(least), _) => format!(">= {least}"),
            (None, Some(most)) => format!("<= {most}"),
            (None, None) => String::new(),
        }
    }
}

#[derive(Debug, Default)]
struct Goals(Vec<Goal>);

impl Goals {
    fn at_least(&mut self, what: impl Into<String>, least: f64, found: Option<f64>) {
        if let Some(found) = found {
            let reached = found >= least;
            self.0.push(Goal {
                what: what.into(),
                found,
                at_least: Some(least),
                at_most: None,
                reached,
            });
        }
    }

    fn at_most(&mut self, what: impl Into<String>, most: f64, found: Option<f64>) {
        if let Some(found) = found {
            let reached = found <= most;
            self.0.push(Goal {
                what: what.into(),
                found,
                at_least: None,
                at_most: Some(most),
                reached,
            });
        }
    }
}

impl Report {
    /// Checks every goal that there are figures for.
    pub(super) fn check_goals(&mut self) {
        let mut goals = Goals::default();
        let scenario = |name: &str| self.scenarios.iter().find(|scenario| scenario.name == name);
        scenario("dispatch").inspect(|dispatch| of_dispatch(&mut goals, dispatch));
        scenario("batch").inspect(|batch| of_batch(&mut goals, batch));
        scenario("ring").inspect(|ring| of_ring(&mut goals, ring));
        scenario("latency").inspect(|latency| of_latency(&mut goals, latency));
        scenario("idle").inspect(|idle| of_idle(&mut goals, idle));
        scenario("async").inspect(|tasks| of_async(&mut goals, tasks));
        scenario("scale").inspect(|scale| of_scale(&mut goals, scale));
        scenario("shutdown").inspect(|shutdown| of_shutdown(&mut goals, shutdown));
        scenario("http").inspect(|http| of_http(&mut goals, http));
        scenario("plugin").inspect(|plugin| of_plugin(&mut goals, plugin));
        self.goals = goals.0;
    }
}

fn to_best_rival(cell: &Cell) -> Option<f64> {
    Some(cell.keylane_to_best_rival?.median)
}

fn of_dispatch(goals: &mut Goals, dispatch: &Scenario) {
    for cell in &dispatch.cells {
        let least = match cell.name.as_str() {
            "1x1" => 1.8,
            "2x1" => 1.5,
            _ => 1.1,
        };
        goals.at_least(
            format!("dispatch {}: times the best rival", cell.name),
            least,
            to_best_rival(cell),
        );
    }
    for name in ["1x1", "1x1 plain"] {
        let floor = dispatch.cell(name).and_then(|cell| cell.row("floor")?.keylane_to_this);
        let times = floor.map(|ratio| 1.0 / ratio.median);
        goals.at_most(format!("dispatch {name}: times the floor"), 1.15, times);
    }
}

fn of_batch(goals: &mut Goals, batch: &Scenario) {
    for cell in &batch.cells {
        goals.at_least(
            format!("batch {}: times the best rival", cell.name),
            4.0,
            to_best_rival(cell),
        );
    }
}

fn of_ring(goals: &mut Goals, ring: &Scenario) {
    for cell in &ring.cells {
        // How many times its rate keylane's is, one item at a time.
        let ratio = |name: &str| Some(cell.row(name)?.keylane_to_this?.median);
        goals.at_least(format!("ring {}: times rtrb", cell.name), 1.0, ratio("rtrb"));
        let groups = ratio("rtrb-chunks").zip(ratio("keylane-groups"));
        let groups = groups.map(|(chunks, groups)| chunks / groups);
        goals.at_least(format!("ring {}, groups: times rtrb-chunks", cell.name), 1.0, groups);
    }
}

fn of_latency(goals: &mut Goals, latency: &Scenario) {
    for table in &latency.tables {
        let median = |contender| table.value(contender, "p50");
        // Below this rate every event finds the shard asleep.
        if table.name == "1k/s" {
            for contender in ["keylane", "keylane-park"] {
                let ratio =
                    median(contender).zip(median("park-ping")).map(|(ours, ping)| ours / ping);
                goals.at_most(
                    format!("latency {}, {contender}: p50, times the park ping", table.name),
                    1.3,
                    ratio,
                );
            }
        } else {
            let hot = median("keylane-spin").map(|ns| ns / 1e3);
            goals.at_most(format!("latency {}, keylane-spin: p50 in us", table.name), 0.3, hot);
        }
        let rivals = table.rows.iter().filter(|row| row.role == Role::Rival);
        let best = rivals.filter_map(|row| table.value(&row.contender, "p99.9")).reduce(f64::min);
        let ours = table.value("keylane", "p99.9");
        let ratio = ours.zip(best).map(|(ours, best)| ours / best);
        goals.at_most(format!("latency {}: p99.9, times the best rival's", table.name), 1.0, ratio);
    }
}

fn of_idle(goals: &mut Goals, idle: &Scenario) {
    for contender in ["keylane", "keylane-park"] {
        let share = idle.value("idle", contender, "CPU");
        goals.at_most(format!("idle, {contender}: per cent of a core"), 0.1, share);
    }
}

fn of_async(goals: &mut Goals, tasks: &Scenario) {
    for cell in &tasks.cells {
        let ratio = |rival| Some(cell.row(rival)?.keylane_to_this?.median);
        let slowest = ["tokio", "tokio-task"].into_iter().filter_map(ratio).reduce(f64::min);
        goals.at_least(format!("async, {}: times tokio's best", cell.name), 1.5, slowest);
    }
}

fn of_scale(goals: &mut Goals, scale: &Scenario) {
    // The largest cost over the smallest within the range that is to be flat.
    for (table, last) in [("keys", 1e6), ("producers", 8.0)] {
        let Some(table) = scale.tables.iter().find(|candidate| candidate.name == table) else {
            continue;
        };
        let costs =
            table.rows.iter().filter(|row| row.contender.parse().is_ok_and(|x: f64| x <= last));
        let costs: Vec<f64> = costs.filter_map(|row| table.value(&row.contender, "CPU")).collect();
        let smallest = costs.iter().copied().reduce(f64::min);
        let ratio =
            costs.iter().copied().reduce(f64::max).zip(smallest).map(|(most, least)| most / least);
        goals.at_most(
            format!("scale, {} up to {last}: highest over lowest CPU per event", table.name),
            1.15,
            ratio,
        );
    }
}

fn of_shutdown(goals: &mut Goals, shutdown: &Scenario) {
    for table in &shutdown.tables {
        goals.at_most(
            format!("shutdown {}: ms beyond the last event", table.name),
            5.0,
            table.value("keylane", "beyond"),
        );
        goals.at_most(
            format!("shutdown {}: events lost", table.name),
            0.0,
            table.value("keylane", "lost"),
        );
    }
}

fn of_http(goals: &mut Goals, http: &Scenario) {
    let over_sockets = http.value("requests", "keylane", "added on path");
    goals.at_most("http: us of CPU added on the request path", 1.0, over_sockets);
    for column in ["added on path", "added in all"] {
        let share = share_of_trace(http, "requests", column);
        goals.at_most(format!("http: {column}, as a share of TraceLayer's"), 0.5, share);
    }
    let in_process = http.value("in process", "keylane", "added on path").map(|ns| ns / 1e3);
    goals.at_most("http in process: us added on the request's path", 1.0, in_process);
    let share = share_of_trace(http, "in process", "added on path");
    goals.at_most("http in process: added on path, as a share of TraceLayer's", 0.5, share);
    let slow = |column| http.value("slow processor", "keylane-slow", column);
    let ratio = slow("p99")
        .zip(http.value("slow processor", "bare", "p99"))
        .map(|(ours, bare)| ours / bare);
    goals.at_most("http: p99 with a processor that sleeps, times bare axum's", 1.2, ratio);
}

/// What keylane adds, as a share of what `TraceLayer` adds in whichever of its modes adds less.
fn share_of_trace(http: &Scenario, table: &str, column: &str) -> Option<f64> {
    let added = |contender| http.value(table, contender, column);
    let theirs = ["trace-buffered", "trace-non-blocking"].into_iter().filter_map(added);
    Some(added("keylane")? / theirs.reduce(f64::min)?)
}

fn of_plugin(goals: &mut Goals, plugin: &Scenario) {
    // Below 16 events the call itself is most of what there is.
    for size in [16, 64, 256] {
        for contender in ["so-rust", "so-c"] {
            for (column, floor) in [("to static", "static"), ("to abi", "static-abi")] {
                goals.at_most(
                    format!("plugin, batches of {size}, {contender}: times {floor}"),
                    1.1,
                    plugin.value(&format!("batches of {size}"), contender, column),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Table;

    #[test]
    fn the_layer_called_in_process_is_held_against_the_cheaper_trace() {
        let mut http = Scenario::new("http", String::new(), &[]);
        let mut table = Table::new("in process", &[("added on path", "ns CPU")]);
        for (contender, role, ns) in [
            ("keylane", Role::Keylane, 800.0),
            ("trace-buffered", Role::Rival, 1_000.0),
            ("trace-non-blocking", Role::Rival, 2_000.0),
        ] {
            table.row(contender, role, [vec![ns]]);
        }
        http.tables.push(table);
        let mut goals = Goals::default();
        of_http(&mut goals, &http);
        let found: Vec<_> =
            goals.0.iter().map(|goal| (goal.what.as_str(), goal.found, goal.reached)).collect();
        assert_eq!(
            found,
            [
                ("http in process: us added on the request's path", 0.8, true),
                ("http in process: added on path, as a share of TraceLayer's", 0.8, false),
            ]
        );
    }
}
