//! `latency`: events at a fixed rate, one way, up to the slowest.

use hdrhistogram::Histogram;

use super::Plan;
use crate::contender::Card;
use crate::contender::hop::{Hop, Schedule, hops};
use crate::report::{Curve, Scenario, Table};

/// Events per second, and seconds of a round. Slow rates need longer rounds for a tail.
const RATES: [(&str, u64, f64); 3] =
    [("1k/s", 1_000, 2.0), ("100k/s", 100_000, 0.25), ("1M/s", 1_000_000, 0.25)];
/// Names that `--rates` understands.
pub(crate) const RATE_NAMES: [&str; 3] = [RATES[0].0, RATES[1].0, RATES[2].0];
const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];
/// A percentile is known when so many events lie beyond it.
const BEYOND: f64 = 5.0;
/// Points of a curve in each tenfold of rarity.
const POINTS_PER_NINE: u32 = 12;

pub(super) fn run(plan: &Plan) -> Result<Scenario, String> {
    let contenders: Vec<Box<dyn Hop>> =
        hops().into_iter().filter(|contender| plan.admits(&contender.card())).collect();
    let cards: Vec<Card> = contenders.iter().map(|contender| contender.card()).collect();
    let what = "nanoseconds from the moment an event was due to the moment its consumer saw it; one sender on a fixed \
                schedule that spins, one receiver; medians of the rounds' percentiles, or of all rounds together where one has not five \
                events beyond, or nothing where all have not"
        .to_owned();
    let mut scenario = Scenario::new("latency", what, &cards);
    scenario.note(
        "the schedule does not wait for slow receivers: an event that could not be sent in time counts from when it was due"
            .to_owned(),
    );
    scenario.note("receiver: CPU of everybody but the sender, in per cent of a core".to_owned());
    for (name, rate, seconds) in RATES {
        if !plan.rates.is_empty() && !plan.rates.iter().any(|wanted| wanted == name) {
            continue;
        }
        let events = (plan.seconds(seconds).as_secs_f64() * rate as f64).ceil() as u64;
        let schedule = Schedule { events, interval: 1_000_000_000 / rate, capacity: plan.capacity };
        eprintln!(
            "latency {name}: {} contenders, {} rounds and one more",
            cards.len(),
            plan.rounds.count
        );
        let heard = plan.rounds.interleave(cards.len(), |index| {
            let heard = contenders[index].run(&schedule, &plan.keys);
            heard.map_err(|error| format!("{}, {name}: {error}", cards[index].name))
        })?;
        let mut columns = QUANTILES.map(|(name, _)| (name, "ns")).to_vec();
        columns.push(("receiver", "% of a core"));
        let mut table = Table::new(name, &columns);
        for (card, heard) in cards.iter().zip(&heard) {
            let mut all = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)
                .map_err(|error| error.to_string())?;
            for heard in heard {
                all.add(&heard.delays).map_err(|error| error.to_string())?;
            }
            let each: Vec<_> = heard.iter().map(|heard| &heard.delays).collect();
            let mut rounds: Vec<Vec<f64>> =
                QUANTILES.iter().map(|(_, quantile)| percentile(&each, &all, *quantile)).collect();
            rounds.push(heard.iter().map(|heard| heard.cores * 100.0).collect());
            table.row(card.name, card.role, rounds);
            scenario.curves.push(Curve {
                panel: name.to_owned(),
                contender: card.name.to_owned(),
                role: card.role,
                points: curve(&all),
            });
        }
        scenario.note(format!("{name}: {events} events a round"));
        scenario.tables.push(table);
    }
    Ok(scenario.done(plan))
}

/// A percentile of each round; of all rounds together, when one round has too few events for it; or nothing, when all have.
fn percentile(each: &[&Histogram<u64>], all: &Histogram<u64>, quantile: f64) -> Vec<f64> {
    let is_known = |delays: &Histogram<u64>| {
        quantile >= 1.0 || delays.len() as f64 * (1.0 - quantile) >= BEYOND
    };
    let of = |delays: &Histogram<u64>| delays.value_at_quantile(quantile) as f64;
    if each.iter().all(|delays| is_known(delays)) {
        each.iter().map(|delays| of(delays)).collect()
    } else if is_known(all) {
        vec![of(all)]
    } else {
        Vec::new()
    }
}

/// Delays at ever rarer quantiles: x is the number of nines, so that 1 is p90 and 3 is p99.9.
fn curve(delays: &Histogram<u64>) -> Vec<(f64, f64)> {
    let nines = (delays.len().max(1) as f64).log10();
    let steps = (nines * f64::from(POINTS_PER_NINE)).floor() as u32;
    let rarities = (0..=steps).map(|step| f64::from(step) / f64::from(POINTS_PER_NINE));
    rarities
        .chain([nines])
        .map(|nines| (nines, delays.value_at_quantile(1.0 - 10_f64.powf(-nines)) as f64))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_needs_events_beyond_it() {
        let round = |from: u64| {
            let mut delays = Histogram::<u64>::new_with_bounds(1, 1_000_000, 3).expect("bounds");
            (from..from + 1000).for_each(|delay| delays.record(delay).expect("within bounds"));
            delays
        };
        let (one, two) = (round(1), round(1001));
        let mut all = one.clone();
        all.add(&two).expect("the same bounds");
        let of = |quantile| percentile(&[&one, &two], &all, quantile);
        assert_eq!(of(0.5), [500.0, 1500.0]);
        assert_eq!(of(0.997).len(), 1);
        assert!(of(0.999).is_empty());
        assert_eq!(of(1.0).len(), 2);
    }
}
