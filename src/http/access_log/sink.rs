//! Where lines go.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where an [`AccessLog`](crate::http::AccessLog) writes.
#[derive(Clone)]
pub struct LogSink {
    target: Target,
    /// Where lines go that cannot be written.
    fallback: Shared,
}

/// A writer for all shards. It is locked for one write at a time, by the shards' threads only.
type Shared = Arc<Mutex<dyn Write + Send>>;

#[derive(Clone)]
enum Target {
    File(PathBuf),
    Writer(Shared),
}

impl LogSink {
    /// A file, created if need be, to whose end each shard writes by itself. It can be [reopened](crate::http::AccessLog::reopen).
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::to(Target::File(path.into()))
    }

    /// The standard error.
    #[must_use]
    pub fn stderr() -> Self {
        Self::writer(io::stderr())
    }

    /// The standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self::writer(io::stdout())
    }

    /// Any writer; all shards share it.
    pub fn writer(writer: impl Write + Send + 'static) -> Self {
        Self::to(Target::Writer(Arc::new(Mutex::new(writer))))
    }

    /// Where lines go that cannot be written, in place of the standard error.
    #[must_use]
    pub fn fallback(mut self, writer: impl Write + Send + 'static) -> Self {
        self.fallback = Arc::new(Mutex::new(writer));
        self
    }

    fn to(target: Target) -> Self {
        Self { target, fallback: Arc::new(Mutex::new(io::stderr())) }
    }
}

impl fmt::Debug for LogSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::File(path) => f.debug_tuple("LogSink").field(path).finish(),
            Target::Writer(_) => f.debug_struct("LogSink").finish_non_exhaustive(),
        }
    }
}

/// One shard's way to the sink.
pub(super) struct LineWriter {
    output: Output,
    fallback: Shared,
    limit: Limit,
}

enum Output {
    File(File),
    Writer(Shared),
}

/// What became of some lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) lines: u64,
    pub(super) failed: bool,
    pub(super) diverted: u64,
    pub(super) lost: u64,
}

impl fmt::Debug for LineWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineWriter").finish_non_exhaustive()
    }
}

impl LineWriter {
    pub(super) fn open(sink: &LogSink) -> io::Result<Self> {
        Ok(Self {
            output: Output::open(sink)?,
            fallback: sink.fallback.clone(),
            limit: Limit::default(),
        })
    }

    /// Opens the file again; keeps the old one if that fails.
    pub(super) fn reopen(&mut self, sink: &LogSink) -> io::Result<()> {
        self.output = Output::open(sink)?;
        Ok(())
    }

    /// Writes whole lines with one call, or as many of them as may be to the fallback.
    pub(super) fn write(&mut self, lines: &[u8], count: u64) -> Written {
        match self.output.write(lines) {
            Ok(()) => Written { lines: count, ..Written::default() },
            Err(_) => {
                let allowed = self.limit.take(count, Instant::now());
                let mut ends = lines.iter().enumerate().filter(|&(_, &byte)| byte == b'\n');
                let end = match allowed {
                    0 => 0,
                    _ => ends.nth(allowed as usize - 1).map_or(lines.len(), |(at, _)| at + 1),
                };
                let diverted =
                    if write_shared(&self.fallback, &lines[..end]).is_ok() { allowed } else { 0 };
                Written { lines: 0, failed: true, diverted, lost: count - diverted }
            }
        }
    }
}

impl Output {
    fn open(sink: &LogSink) -> io::Result<Self> {
        match &sink.target {
            // Appending, so that what shards write does not overwrite each other.
            Target::File(path) => {
                OpenOptions::new().append(true).create(true).open(path).map(Self::File)
            }
            Target::Writer(writer) => Ok(Self::Writer(writer.clone())),
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all(lines),
            Self::Writer(writer) => write_shared(writer, lines),
        }
    }
}

fn write_shared(writer: &Shared, lines: &[u8]) -> io::Result<()> {
    // A writer that has panicked is asked again; that panic was reported when it happened.
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    writer.write_all(lines)?;
    writer.flush()
}

/// Lets ten lines through in a second.
#[derive(Debug, Default)]
struct Limit {
    since: Option<Instant>,
    taken: u64,
}

impl Limit {
    const LINES: u64 = 10;
    const PERIOD: Duration = Duration::from_secs(1);

    /// How many of `wanted` lines are let through.
    fn take(&mut self, wanted: u64, now: Instant) -> u64 {
        let fresh = self.since.is_none_or(|since| now.duration_since(since) >= Self::PERIOD);
        if fresh {
            *self = Self { since: Some(now), taken: 0 };
        }
        let granted = wanted.min(Self::LINES - self.taken);
        self.taken += granted;
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic under this lock").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_second_has_ten_lines() {
        let (start, mut limit) = (Instant::now(), Limit::default());
        assert_eq!(limit.take(4, start), 4);
        assert_eq!(limit.take(7, start), 6);
        assert_eq!(limit.take(1, start + Duration::from_millis(999)), 0);
        assert_eq!(limit.take(12, start + Limit::PERIOD), 10);
    }

    #[test]
    fn what_cannot_be_written_goes_to_the_fallback_line_by_line() {
        let memory = Memory::default();
        let sink = LogSink::writer(Full).fallback(memory.clone());
        let mut writer = LineWriter::open(&sink).expect("a writer");
        let lines: String = (0..12).map(|n| format!("{n}\n")).collect();
        let written = writer.write(lines.as_bytes(), 12);
        assert_eq!(written, Written { lines: 0, failed: true, diverted: 10, lost: 2 });
        let text = memory.0.lock().expect("no panic under this lock").clone();
        assert_eq!(text, b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    }

    #[test]
    fn what_can_be_written_nowhere_is_lost_and_counted() {
        let sink = LogSink::writer(Full).fallback(Full);
        let mut writer = LineWriter::open(&sink).expect("a writer");
        let written = writer.write(b"a\nb\n", 2);
        assert_eq!(written, Written { lines: 0, failed: true, diverted: 0, lost: 2 });
    }
}
