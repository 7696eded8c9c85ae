//! What is known about each type: all that ever came, the window that is open, and the one before it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// The name under which types are counted that the table has no room for.
const OTHER: &str = "other";

/// How many events, and what their values come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    count: u64,
    /// How many of them had a number.
    values: u64,
    sum: f64,
    /// Of no meaning while there are no values.
    min: f64,
    max: f64,
}

impl Summary {
    const EMPTY: Self = Self { count: 0, values: 0, sum: 0.0, min: 0.0, max: 0.0 };

    fn add(&mut self, number: Option<f64>) {
        self.count += 1;
        let Some(number) = number else { return };
        let first = self.values == 0;
        self.values += 1;
        self.sum += number;
        self.min = if first { number } else { self.min.min(number) };
        self.max = if first { number } else { self.max.max(number) };
    }
}

/// A window: its number, by which it begins at `number * seconds`, and what came in it by type.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Window {
    number: i64,
    by_type: BTreeMap<String, Summary>,
}

/// Everything that is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Table {
    seconds: u32,
    totals: BTreeMap<String, Summary>,
    open: Option<Window>,
    closed: Option<Window>,
    /// Events that came after their window was closed; they are in the totals only.
    late: u64,
}

impl Table {
    pub(crate) fn new(seconds: u32) -> Self {
        Self { seconds, totals: BTreeMap::new(), open: None, closed: None, late: 0 }
    }

    /// Takes over what another instance knew. Its windows are of use only if they are as long as this one's.
    pub(crate) fn load(&mut self, from: Table) {
        let seconds = self.seconds;
        *self = if from.seconds == seconds {
            from
        } else {
            Self { open: None, closed: None, seconds, ..from }
        };
    }

    fn window_of(&self, wall_ns: i64) -> i64 {
        wall_ns.div_euclid(i64::from(self.seconds) * 1_000_000_000)
    }

    /// Whether a window is open.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Counts an event.
    pub(crate) fn add(&mut self, kind: &str, wall_ns: i64, number: Option<f64>, max_types: usize) {
        let kind = if self.totals.contains_key(kind) || self.totals.len() < max_types {
            kind
        } else {
            OTHER
        };
        entry(&mut self.totals, kind).add(number);

        let window = self.window_of(wall_ns);
        if self.open.as_ref().is_some_and(|open| open.number < window) {
            self.closed = self.open.take();
        }
        let newest_closed = self.closed.as_ref().map_or(i64::MIN, |closed| closed.number);
        if window <= newest_closed {
            self.late += 1;
            return;
        }
        let open =
            self.open.get_or_insert_with(|| Window { number: window, by_type: BTreeMap::new() });
        if open.number == window {
            entry(&mut open.by_type, kind).add(number);
        } else {
            self.late += 1;
        }
    }

    /// Closes the window that is open, if its time is over.
    pub(crate) fn turn(&mut self, now_wall_ns: i64) -> bool {
        let now = self.window_of(now_wall_ns);
        let over = self.open.as_ref().is_some_and(|open| open.number < now);
        if over {
            self.closed = self.open.take();
        }
        over
    }

    /// The text that Prometheus reads (text format 0.0.4).
    pub(crate) fn to_prometheus(&self, shard: usize) -> String {
        let mut out = String::new();
        let mut family = |name: &str,
                          kind: &str,
                          help: &str,
                          of: &BTreeMap<String, Summary>,
                          get: fn(&Summary) -> Option<f64>| {
            let mut lines =
                of.iter().filter_map(|(kind, summary)| Some((kind, get(summary)?))).peekable();
            if lines.peek().is_none() {
                return;
            }
            // Writing to a string does not fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (kind, value) in lines {
                let _ =
                    writeln!(out, "{name}{{type=\"{}\",shard=\"{shard}\"}} {value}", escaped(kind));
            }
        };
        let count = |summary: &Summary| Some(summary.count as f64);
        let sum = |summary: &Summary| (summary.values > 0).then_some(summary.sum);
        let min = |summary: &Summary| (summary.values > 0).then_some(summary.min);
        let max = |summary: &Summary| (summary.values > 0).then_some(summary.max);
        family(
            "keylane_rollup_events_total",
            "counter",
            "Events since the beginning.",
            &self.totals,
            count,
        );
        family(
            "keylane_rollup_value_sum",
            "gauge",
            "Sum of the values since the beginning.",
            &self.totals,
            sum,
        );
        if let Some(closed) = &self.closed {
            let of = &closed.by_type;
            family(
                "keylane_rollup_window_events",
                "gauge",
                "Events of the last whole window.",
                of,
                count,
            );
            family(
                "keylane_rollup_window_sum",
                "gauge",
                "Sum of the values of the last whole window.",
                of,
                sum,
            );
            family(
                "keylane_rollup_window_min",
                "gauge",
                "Smallest value of the last whole window.",
                of,
                min,
            );
            family(
                "keylane_rollup_window_max",
                "gauge",
                "Largest value of the last whole window.",
                of,
                max,
            );
            let start = closed.number.saturating_mul(self.seconds.into());
            let _ = writeln!(
                out,
                "# HELP keylane_rollup_window_start_seconds Beginning of the last whole window, since 1970.\n\
                 # TYPE keylane_rollup_window_start_seconds gauge\n\
                 keylane_rollup_window_start_seconds{{shard=\"{shard}\"}} {start}"
            );
        }
        let _ = writeln!(
            out,
            "# HELP keylane_rollup_late_events_total Events that came after their window was closed.\n\
             # TYPE keylane_rollup_late_events_total counter\n\
             keylane_rollup_late_events_total{{shard=\"{shard}\"}} {}",
            self.late
        );
        out
    }
}

/// The summary of a type, without a new string when it is there.
fn entry<'a>(of: &'a mut BTreeMap<String, Summary>, kind: &str) -> &'a mut Summary {
    if !of.contains_key(kind) {
        of.insert(kind.to_owned(), Summary::EMPTY);
    }
    of.get_mut(kind).expect("it is there now")
}

/// A label's value: a program names its types as it likes.
fn escaped(label: &str) -> String {
    label.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}
