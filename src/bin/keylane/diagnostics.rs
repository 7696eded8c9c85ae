//! Messages on standard error.

use std::fmt;
use std::io::Write;

use indicatif::ProgressBar;

/// Where messages go: to standard error, around a progress line that may be shown there.
///
/// A standard error that is closed or full loses messages and nothing else: everything said here is counted elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Diagnostics {
    progress: ProgressBar,
}

impl Diagnostics {
    /// Messages that make way for `progress`.
    pub(crate) fn around(progress: ProgressBar) -> Self {
        Self { progress }
    }

    /// Prints one message. What came from outside in it has to be fit to print already.
    pub(crate) fn say(&self, message: impl fmt::Display) {
        self.print(&format!("keylane: {message}\n"));
    }

    /// Prints lines that are complete, at once.
    pub(crate) fn print(&self, lines: &str) {
        if !lines.is_empty() {
            self.progress.suspend(|| {
                let _ = std::io::stderr().lock().write_all(lines.as_bytes());
            });
        }
    }
}
