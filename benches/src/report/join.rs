//! Adding a run to an earlier report.

use super::{Report, Scenario};

impl Report {
    /// Takes over whatever `earlier` has and this report has not measured again: whole scenarios, and of a scenario that
    /// was measured in parts the other cells, figures, tables and curves.
    pub(crate) fn join(&mut self, earlier: Self) {
        for before in earlier.scenarios {
            match self.scenarios.iter_mut().find(|scenario| scenario.name == before.name) {
                Some(now) => now.join(before),
                None => self.scenarios.push(before),
            }
        }
    }
}

impl Scenario {
    fn join(&mut self, earlier: Self) {
        fn merge<T>(now: &mut Vec<T>, before: Vec<T>, same: impl Fn(&T, &T) -> bool) {
            let mut merged: Vec<T> =
                before.into_iter().filter(|old| !now.iter().any(|new| same(new, old))).collect();
            merged.append(now);
            *now = merged;
        }
        merge(&mut self.notes, earlier.notes, |new, old| new == old);
        merge(&mut self.contenders, earlier.contenders, |new, old| new.name == old.name);
        merge(&mut self.cells, earlier.cells, |new, old| new.name == old.name);
        merge(&mut self.figures, earlier.figures, |new, old| new.name == old.name);
        let tables: Vec<String> = self.tables.iter().map(|table| table.name.clone()).collect();
        merge(&mut self.tables, earlier.tables, |new, old| new.name == old.name);
        let measured_again = |panel: &String| tables.contains(panel);
        let curves = earlier.curves.into_iter().filter(|old| !measured_again(&old.panel)).collect();
        merge(&mut self.curves, curves, |new, old| {
            new.panel == old.panel && new.contender == old.contender
        });
        self.elsewhere = match (self.elsewhere, earlier.elsewhere) {
            (Some(now), Some(before)) => Some(now.max(before)),
            (now, before) => now.or(before),
        };
    }
}
