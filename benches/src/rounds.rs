//! Rounds: contenders taking turns, and how quiet the machine was meanwhile.

use std::cell::RefCell;

use crate::machine::Elsewhere;

/// A disturbed round is repeated as long as fewer than so many times the wanted number were run.
const PATIENCE: usize = 3;

/// How often contenders take turns.
#[derive(Debug)]
pub(crate) struct Rounds {
    /// Rounds that count.
    pub(crate) count: usize,
    /// The share of the machine that others may take during a round, 0 to 1; above it the round is repeated.
    calm: Option<f64>,
    tally: RefCell<Tally>,
}

/// What became of the rounds since the last look.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// The largest share of the machine that others took during a round that counts.
    pub(crate) elsewhere: Option<f64>,
    /// Rounds that were run again because the machine was not calm.
    pub(crate) repeated: usize,
}

impl Rounds {
    pub(crate) fn new(count: usize, calm: Option<f64>) -> Self {
        Self { count, calm, tally: RefCell::default() }
    }

    /// Runs `contenders` in turn, A B C A B C, and returns the counted laps of each.
    ///
    /// One round goes first and is not counted: it pays for page faults, lazy initialisation and a clock frequency that has yet
    /// to rise. Taking turns spreads whatever a shared machine does over everybody, and gives ratios of laps that lie close together in
    /// time. A round during which others took too much of the machine is repeated whole, for everybody: what decides is what others did,
    /// never what was measured.
    ///
    /// # Errors
    ///
    /// The first error of a contender ends the run.
    pub(crate) fn interleave<T, E>(
        &self,
        contenders: usize,
        mut run: impl FnMut(usize) -> Result<T, E>,
    ) -> Result<Vec<Vec<T>>, E> {
        let mut laps: Vec<Vec<T>> =
            (0..contenders).map(|_| Vec::with_capacity(self.count)).collect();
        let mut round = || (0..contenders).map(&mut run).collect::<Result<Vec<T>, E>>();
        round()?;
        let (mut counted, mut tries) = (0, 0);
        while counted < self.count {
            let meter = Elsewhere::start();
            let lap = round()?;
            let elsewhere = meter.share();
            tries += 1;
            let disturbed = elsewhere.zip(self.calm).is_some_and(|(share, calm)| share > calm);
            let mut tally = self.tally.borrow_mut();
            if disturbed && tries <= (PATIENCE - 1) * self.count + counted {
                tally.repeated += 1;
                continue;
            }
            counted += 1;
            // No figure is below every other one.
            tally.elsewhere = [tally.elsewhere, elsewhere].into_iter().flatten().reduce(f64::max);
            for (laps, lap) in laps.iter_mut().zip(lap) {
                laps.push(lap);
            }
        }
        Ok(laps)
    }

    /// The tally since the last call.
    pub(crate) fn tally(&self) -> Tally {
        self.tally.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(rounds: &Rounds) -> (Vec<usize>, Vec<Vec<usize>>) {
        let mut order = Vec::new();
        let laps = rounds.interleave(3, |contender| {
            order.push(contender);
            Ok::<_, ()>(order.len())
        });
        (order, laps.unwrap())
    }

    #[test]
    fn contenders_take_turns_and_the_first_round_does_not_count() {
        let (order, laps) = counted(&Rounds::new(2, None));
        assert_eq!(order, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
        assert_eq!(laps, [[4, 7], [5, 8], [6, 9]]);
    }

    #[test]
    fn disturbed_rounds_are_repeated_and_not_for_ever() {
        // Nothing is as calm as that, so every round is disturbed wherever the system tells at all.
        let rounds = Rounds::new(2, Some(-1.0));
        let (order, laps) = counted(&rounds);
        assert!(laps.iter().all(|laps| laps.len() == 2));
        let Tally { elsewhere, repeated } = rounds.tally();
        assert_eq!(order.len(), 3 * (1 + 2 + repeated));
        assert_eq!(elsewhere.is_some(), repeated > 0);
        assert!(repeated <= 2 * PATIENCE);
        assert_eq!(rounds.tally().repeated, 0, "a tally is taken once");
    }
}
