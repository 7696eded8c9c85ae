//! How the command ends: the exit codes, the same for every subcommand.

use std::process::ExitCode;

/// What the command has to say to whoever called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done and nothing was lost.
    Clean,
    /// Something was lost: lines that were no events, events that were not processed or not written.
    Lost,
    /// Nothing was begun: wrong arguments, or a file that cannot be opened.
    Usage,
    /// Nothing was lost but the report itself, which could not be written.
    NoReport,
    /// A signal ended it early.
    Signal(i32),
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Lost => 1,
            Self::Usage => 2,
            Self::NoReport => 3,
            // The shell's own convention for a program that a signal ended.
            Self::Signal(signal) => 128u8.saturating_add(u8::try_from(signal).unwrap_or(0)),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
