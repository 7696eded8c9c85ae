//! What the checks have found, as a table and as JSON.

use std::fmt;

use keylane::ingest::printable::{self, plain};
use keylane::plugin::Inspection;
use serde::Serialize;

use super::checks::CHECKS;
use crate::plugin::inspect;
use crate::source;

/// What came of a check; the later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Skipped,
    Ok,
    Warning,
    Failed,
}

/// One check.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    name: &'static str,
    outcome: Outcome,
    /// What was found, in order.
    notes: Vec<Note>,
    pub(super) seconds: f64,
}

#[derive(Debug, Serialize)]
struct Note {
    outcome: Outcome,
    text: String,
}

/// The most notes of one check.
const MAX_NOTES: usize = 20;

impl Finding {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, outcome: Outcome::Ok, notes: Vec::new(), seconds: 0.0 }
    }

    /// The check that runs no code of the library.
    pub(super) fn of(inspection: &Inspection) -> Self {
        let mut finding = Self::new("inspect");
        if let Some(reason) = inspection.reason() {
            finding.note(
                Outcome::Failed,
                format!("{reason}{} ({})", inspect::hint(inspection), reason.name()),
            );
        } else if inspection.manifest.is_none() {
            finding.note(Outcome::Warning, "it has no manifest, so nobody can tell what it is without running it; see KEYLANE_PLUGIN_MANIFEST".into());
        }
        finding
    }

    pub(super) fn note(&mut self, outcome: Outcome, text: String) {
        self.outcome = if outcome == Outcome::Skipped && self.notes.is_empty() {
            Outcome::Skipped
        } else {
            self.outcome.max(outcome)
        };
        // What is wrong with one event is mostly wrong with others.
        let known = self.notes.iter().any(|note| note.text == text);
        if !known && self.notes.len() < MAX_NOTES {
            self.notes.push(Note { outcome, text });
        }
    }
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    library: serde_json::Value,
    passed: bool,
    checks: Vec<Finding>,
}

impl Report {
    pub(super) fn new(inspection: &Inspection, checks: Vec<Finding>) -> Self {
        let passed = checks.iter().all(|check| check.outcome != Outcome::Failed);
        Self { library: inspect::as_json(inspection), passed, checks }
    }

    pub(super) fn passed(&self) -> bool {
        self.passed
    }

    /// One line of JSON, safe to look at on a terminal.
    pub(super) fn to_json(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{}\n", printable::json(&json))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |name: &str| self.library[name].as_str().unwrap_or_default();
        writeln!(f, "{}", source::name(std::path::Path::new(text("path"))))?;
        let manifest = &self.library["manifest"];
        if let (Some(id), Some(version)) = (manifest["id"].as_str(), manifest["version"].as_str()) {
            writeln!(f, "{} {}", plain(id, 64), plain(version, 32))?;
        }
        writeln!(f)?;
        let count = |outcome| self.checks.iter().filter(|check| check.outcome == outcome).count();
        for Finding { name, outcome, notes, seconds } in &self.checks {
            let word = match outcome {
                Outcome::Ok => "ok",
                Outcome::Warning => "warning",
                Outcome::Failed => "FAILED",
                Outcome::Skipped => "skipped",
            };
            let what = CHECKS
                .iter()
                .find(|check| check.name == *name)
                .map_or("would be loaded, as far as its bytes tell", |check| check.what);
            writeln!(f, "{word:8} {name:8} {what} ({seconds:.1} s)")?;
            for Note { outcome, text } in notes {
                let label = if *outcome == Outcome::Warning
                    && self
                        .checks
                        .iter()
                        .any(|check| check.name == *name && check.outcome == Outcome::Failed)
                {
                    "warning: "
                } else {
                    ""
                };
                writeln!(f, "{:18}- {label}{}", "", plain(text, 1000))?;
            }
        }
        let (failed, warnings) = (count(Outcome::Failed), count(Outcome::Warning));
        let verdict = if self.passed { "passed" } else { "did not pass" };
        writeln!(
            f,
            "\nit {verdict}: {} checks, {failed} failed, {warnings} with warnings",
            self.checks.len()
        )
    }
}
