//! What the process of a check tells the one that started it: a line of JSON for each step before it is taken, so that a crash has a name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// One thing that is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// What is done next.
    Step(String),
    /// What is not forbidden, and yet not right.
    Warning(String),
    /// What is wrong.
    Failed(String),
    /// Why there was nothing to check.
    Skipped(String),
    /// The check has come to its end.
    Done,
}

/// The telling end.
#[derive(Debug)]
pub(super) struct Talk(Mutex<File>);

impl Talk {
    /// Takes standard output for itself: what the plugin prints goes to standard error from now on.
    pub(super) fn start() -> io::Result<Self> {
        let private = io::stdout().as_fd().try_clone_to_owned()?;
        // SAFETY: both are open.
        if unsafe { libc::dup2(io::stderr().as_raw_fd(), io::stdout().as_raw_fd()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(Mutex::new(File::from(private))))
    }

    fn tell(&self, word: &Word) {
        let mut line = serde_json::to_string(word).unwrap_or_default();
        line.push('\n');
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Without anybody who listens there is nothing to check for.
        if file.write_all(line.as_bytes()).is_err() {
            std::process::exit(1);
        }
    }

    pub(super) fn step(&self, text: impl Into<String>) {
        self.tell(&Word::Step(text.into()));
    }

    pub(super) fn warn(&self, text: impl Into<String>) {
        self.tell(&Word::Warning(text.into()));
    }

    pub(super) fn fail(&self, text: impl Into<String>) {
        self.tell(&Word::Failed(text.into()));
    }

    pub(super) fn skip(&self, text: impl Into<String>) {
        self.tell(&Word::Skipped(text.into()));
    }

    pub(super) fn done(&self) {
        self.tell(&Word::Done);
    }
}

/// The words that come, until there are no more; what is none is left out.
pub(super) fn words(from: impl Read) -> impl Iterator<Item = Word> {
    let lines = BufReader::new(from).split(b'\n').map_while(Result::ok);
    lines.filter_map(|line| serde_json::from_slice(&line).ok())
}
