//! `http`: requests of an axum service, bare and under observation.
//!
//! Over sockets the server has one thread and the client another. What a request costs *on its path* is CPU time of the server's thread; what
//! it costs *in all* is that of the process less the client's thread, with everything written out that was to be written. In process the
//! same services are called in a loop.

mod client;
mod in_process;
mod observed;
mod server;

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::Plan;
use crate::contender::{Card, Role};
use crate::cpu::{process_cpu, thread_cpu};
use crate::report::{Scenario, Table};
use client::Closed;
use observed::{Observed, Way, ways};
use server::Server;

const REQUESTS: u64 = 40_000;
const WARM_UP: u64 = 1_000;
const CONNECTIONS: usize = 16;
/// Requests per second, and seconds of a round, beside a processor that sleeps.
const RATE: u64 = 2_000;
const SECONDS: f64 = 0.5;

/// One round of a way to observe; microseconds of CPU per request.
#[derive(Debug, Clone, Copy)]
struct Served {
    thousand_per_second: f64,
    on_path: f64,
    in_all: f64,
    lost: f64,
}

pub(super) fn cards() -> Vec<Card> {
    let sleeper = Card {
        name: "keylane-slow",
        role: Role::Variant,
        package: Some("keylane"),
        settings: "as keylane, with a ring of 1,024 slots and a third processor that sleeps 100 ms at every event",
    };
    ways().into_iter().map(|(card, _)| card).chain([sleeper]).collect()
}

pub(super) fn run(plan: &Plan) -> Result<Scenario, String> {
    let cards = cards();
    let what = format!(
        "an axum service on one thread, one client with {CONNECTIONS} kept connections; CPU per request on the server's \
         thread, and of everything but the client"
    );
    let mut scenario = Scenario::new("http", what, &cards);
    scenario.note(
        "every log is checked to have a line for each request, every counter to have counted them, less what was counted as lost"
            .to_owned(),
    );
    scenario.note(in_process::note());
    scenario.tables.push(requests(plan)?);
    scenario.tables.extend(in_process::tables(plan)?);
    scenario.tables.push(beside_a_sleeper(plan)?);
    Ok(scenario.done(plan))
}

fn requests(plan: &Plan) -> Result<Table, String> {
    let ways = admitted(plan);
    eprintln!("http: {} contenders, {} rounds and one more", ways.len(), plan.rounds.count);
    let asked = plan.events(REQUESTS);
    let rounds = plan.rounds.interleave(ways.len(), |index| {
        let (card, way) = &ways[index];
        serve(way.start()?, asked).map_err(|error| format!("http, {}: {error}", card.name))
    })?;
    let columns = [
        ("requests", "1000/s"),
        ("on path", "us CPU"),
        ("in all", "us CPU"),
        ("added on path", "us CPU"),
        ("added in all", "us CPU"),
        ("lost", "events"),
    ];
    let mut table = Table::new("requests", &columns);
    let bare = &rounds[0];
    for ((card, _), served) in ways.iter().zip(&rounds) {
        let of = |figure: fn(&Served) -> f64| each(served, figure);
        let added = |figure: fn(&Served) -> f64| added(card, served, bare, figure);
        table.row(
            card.name,
            card.role,
            [
                of(|served| served.thousand_per_second),
                of(|served| served.on_path),
                of(|served| served.in_all),
                added(|served| served.on_path),
                added(|served| served.in_all),
                if loses(card) { of(|served| served.lost) } else { Vec::new() },
            ],
        );
    }
    Ok(table)
}

/// Those that take part, the bare service first.
fn admitted(plan: &Plan) -> Vec<(Card, Way)> {
    let mut ways = ways();
    ways.retain(|(card, _)| card.role == Role::Floor || plan.admits(card));
    ways
}

/// A figure of each round.
fn each<T>(rounds: &[T], figure: fn(&T) -> f64) -> Vec<f64> {
    rounds.iter().map(figure).collect()
}

/// What observing adds to a figure of the bare service, round by round; nothing for that itself.
fn added<T>(card: &Card, rounds: &[T], bare: &[T], figure: fn(&T) -> f64) -> Vec<f64> {
    if card.role == Role::Floor {
        return Vec::new();
    }
    rounds.iter().zip(bare).map(|(observed, bare)| figure(observed) - figure(bare)).collect()
}

/// Whether it drops what it has no room for, instead of waiting.
fn loses(card: &Card) -> bool {
    matches!(card.role, Role::Keylane | Role::Variant)
}

fn serve(observed: Observed<Server>, requests: u64) -> Result<Served, String> {
    let Observed { place: server, observer } = observed;
    let mut client =
        Closed::open(server.address, CONNECTIONS).map_err(|error| error.to_string())?;
    let warm = client.ask(WARM_UP).map_err(|error| error.to_string())?;
    let others = || process_cpu().saturating_sub(thread_cpu());
    let (all, path, start) = (others(), server.cpu(), Instant::now());
    let asked = client.ask(requests).map_err(|error| error.to_string())?;
    let (path, wall) = (server.cpu().saturating_sub(path), start.elapsed());
    drop(client);
    // The check of the log reads it, which is nobody's cost: it happens on this thread.
    server.stop()?;
    let outcome = observer.finish(warm + asked)?;
    let all = others().saturating_sub(all);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / asked as f64;
    Ok(Served {
        thousand_per_second: asked as f64 / wall.as_secs_f64() / 1e3,
        on_path: each(path),
        in_all: each(all),
        lost: outcome.lost as f64,
    })
}

/// Whether a slow processor is felt by the requests.
fn beside_a_sleeper(plan: &Plan) -> Result<Table, String> {
    let mut ways = ways();
    ways.retain(|(card, _)| matches!(card.name, "bare" | "keylane"));
    let mut ways: Vec<_> =
        ways.into_iter().map(|(card, way)| (card.name, card.role, way)).collect();
    ways.push(("keylane-slow", Role::Variant, Way::Sleeper));
    let requests = (plan.seconds(SECONDS).as_secs_f64() * RATE as f64).ceil() as u64;
    let interval = Duration::from_secs(1) / RATE as u32;
    eprintln!(
        "http, slow processor: {} contenders, {} rounds and one more",
        ways.len(),
        plan.rounds.count
    );
    let rounds = plan.rounds.interleave(ways.len(), |index| {
        let (name, _, way) = ways[index];
        let Observed { place: server, observer } = way.start::<Server>()?;
        let delays = client::on_schedule(server.address, requests, interval);
        let delays = delays.map_err(|error| format!("http, {name}: {error}"))?;
        server.stop()?;
        let outcome = observer.finish(requests + client::WARM_UP)?;
        Ok::<_, String>((delays, outcome.lost))
    })?;
    let columns = [("p50", "us"), ("p99", "us"), ("max", "us"), ("lost", "events")];
    let mut table = Table::new("slow processor", &columns);
    for ((name, role, _), rounds) in ways.iter().zip(rounds) {
        let of = |quantile: f64| {
            let of = |delays: &Histogram<u64>| delays.value_at_quantile(quantile) as f64 / 1e3;
            rounds.iter().map(|(delays, _)| of(delays)).collect::<Vec<_>>()
        };
        let lost = match role {
            Role::Floor => Vec::new(),
            _ => rounds.iter().map(|(_, lost)| *lost as f64).collect(),
        };
        table.row(name, *role, [of(0.5), of(0.99), of(1.0), lost]);
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_observes_every_request() {
        for (card, way) in ways() {
            let served = serve(way.start().unwrap(), 100);
            assert!(served.is_ok(), "{}: {served:?}", card.name);
        }
    }

    #[test]
    fn a_sleeper_loses_events_and_no_request() {
        let Observed { place: server, observer } = Way::Sleeper.start::<Server>().unwrap();
        let mut client = Closed::open(server.address, 1).unwrap();
        let asked = client.ask(3_000).unwrap();
        drop(client);
        server.stop().unwrap();
        let outcome = observer.finish(asked).unwrap();
        assert!(outcome.lost > 0, "3,000 starts and ends do not fit into a ring of 1,024");
    }
}
