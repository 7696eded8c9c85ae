//! What is wrong in a file, with the place.

use std::fmt;

use keylane::ingest::printable::plain;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mistake {
    /// Line and column of the value or of the key, counted from 1; columns are characters.
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// What is wrong, with the key and the value, and what to write instead.
    pub(crate) text: String,
}

/// All that is wrong in a file, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistakes {
    /// How messages call the file, fit to be printed.
    pub(crate) file: String,
    pub(crate) all: Vec<Mistake>,
}

impl Mistakes {
    pub(crate) fn new(file: &str, mut all: Vec<Mistake>) -> Self {
        all.sort();
        Self { file: plain(file, 200), all }
    }
}

/// A line for each: `keylane.toml:3:10: bus.shards = 0: ...`.
impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Mistake { line, column, text }) in self.all.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{}:{line}:{column}: {text}", self.file)?;
        }
        Ok(())
    }
}
