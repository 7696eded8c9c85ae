//! The access log: one line for each request that has ended.

mod escape;
mod field;
mod format;
mod mask;
mod sink;
mod time_text;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::http::HeaderName;

pub use format::{LogFormat, UnknownDirective};
pub use mask::StatusMask;
pub use sink::LogSink;

use super::{Failed, Finished};
use crate::event::{Event, EventType};
use crate::processor::{Own, Processor, ProcessorFactory, ShardContext};
use field::Ending;
use mask::SharedMask;
use sink::LineWriter;
use time_text::TimeText;

/// Writes a line for each request that has ended, finished or failed. gohm's `LogAll`, `LogErrors`, `LogStatusBitmask` and their
/// `WithFormat`s are this.
///
/// It is a handle: register a clone as a processor, and keep another to change the [mask](Self::set_mask), to
/// [reopen](Self::reopen) the file, and to see how it does. Each shard writes for itself, whole lines at a time: lines of different
/// shards do not mix, and those of one shard are in the order in which its requests ended.
///
/// Lines are collected and written when the shard has nothing more to read, and when there are many. A line that cannot be written goes to
/// the standard error, up to ten in a second from each shard; what is beyond that is lost and counted. What clients have chosen is escaped, see
/// [`LogFormat`].
///
/// ```
/// use keylane::http::{AccessLog, EventLayer, LogFormat, LogSink, StatusMask};
///
/// // gohm.LogErrorsWithFormat(format, os.Stderr, handler)
/// let format = LogFormat::parse("{http-User-Agent} [{end}] \"{method} {uri}\" {status} {duration}");
/// let log = AccessLog::new(format, LogSink::stderr()).with_mask(StatusMask::ERRORS);
///
/// let bus = keylane::Bus::builder()
///     .shards(1)
///     .processor_for("access-log", AccessLog::EVENTS, log.clone())
///     .build()?;
/// let events = EventLayer::new(&bus).capture(log.headers());
/// # let _ = events;
///
/// log.set_mask(StatusMask::ALL); // at any time
/// # Ok::<(), keylane::BuildError>(())
/// ```
#[derive(Debug, Clone)]
#[doc(alias = "LogAll")]
#[doc(alias = "LogAllWithFormat")]
#[doc(alias = "LogErrors")]
#[doc(alias = "LogErrorsWithFormat")]
#[doc(alias = "LogStatusBitmask")]
#[doc(alias = "LogStatusBitmaskWithFormat")]
pub struct AccessLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    format: LogFormat,
    mask: SharedMask,
    sink: LogSink,
    counters: Counters,
    /// How often the log was told to open its file again.
    reopened: AtomicU64,
}

/// Written by all shards.
#[derive(Debug, Default)]
struct Counters {
    lines: AtomicU64,
    write_errors: AtomicU64,
    diverted: AtomicU64,
    lost: AtomicU64,
    reopen_errors: AtomicU64,
}

/// How an [`AccessLog`] does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessLogStats {
    /// Lines written to the sink.
    pub lines: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Lines that went to the standard error instead.
    pub diverted: u64,
    /// Lines that went nowhere.
    pub lost: u64,
    /// Times that the file could not be opened again; the old one is kept then.
    pub reopen_errors: u64,
}

/// Lines are written at the latest when they have this many bytes.
const FULL: usize = 64 * 1024;

impl AccessLog {
    /// The types of the events that are logged, for [`processor_for`](crate::Builder::processor_for).
    pub const EVENTS: [EventType; 2] = [EventType::FINISH_REQUEST, EventType::FAILED_REQUEST];

    /// A log of all requests.
    #[must_use]
    pub fn new(format: LogFormat, sink: LogSink) -> Self {
        let (mask, counters) = (SharedMask::new(StatusMask::ALL), Counters::default());
        let reopened = AtomicU64::new(0);
        Self { inner: Arc::new(Inner { format, mask, sink, counters, reopened }) }
    }

    /// The same with a mask from the beginning.
    #[must_use]
    pub fn with_mask(self, mask: StatusMask) -> Self {
        self.set_mask(mask);
        self
    }

    /// Logs requests with these statuses only, from now on.
    pub fn set_mask(&self, mask: StatusMask) {
        self.inner.mask.set(mask);
    }

    /// Which requests are logged.
    #[must_use]
    pub fn mask(&self) -> StatusMask {
        self.inner.mask.get()
    }

    /// The request headers that the format prints, for [`EventLayer::capture`](crate::http::EventLayer::capture).
    #[must_use]
    pub fn headers(&self) -> Vec<HeaderName> {
        self.inner.format.headers()
    }

    /// Opens the file by its name again, as one does on SIGHUP after it has been renamed. Each shard does so before it writes
    /// the next time. Without effect on sinks that are no files.
    pub fn reopen(&self) {
        self.inner.reopened.fetch_add(1, Ordering::Release);
    }

    /// How the log does.
    #[must_use]
    pub fn stats(&self) -> AccessLogStats {
        let Counters { lines, write_errors, diverted, lost, reopen_errors } = &self.inner.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AccessLogStats {
            lines: read(lines),
            write_errors: read(write_errors),
            diverted: read(diverted),
            lost: read(lost),
            reopen_errors: read(reopen_errors),
        }
    }
}

impl ProcessorFactory<Own> for AccessLog {
    type Processor = AccessLogProcessor;
    type Error = std::io::Error;

    fn create(&self, _cx: &ShardContext) -> Result<AccessLogProcessor, std::io::Error> {
        let writer = LineWriter::open(&self.inner.sink)?;
        let reopened = self.inner.reopened.load(Ordering::Acquire);
        Ok(AccessLogProcessor {
            log: self.inner.clone(),
            writer,
            reopened,
            times: TimeText::default(),
            lines: Vec::new(),
            count: 0,
        })
    }
}

/// One shard's instance of an [`AccessLog`].
#[derive(Debug)]
pub struct AccessLogProcessor {
    log: Arc<Inner>,
    writer: LineWriter,
    /// The value of the log's counter when the file was opened.
    reopened: u64,
    times: TimeText,
    /// Lines that wait to be written.
    lines: Vec<u8>,
    count: u64,
}

impl AccessLogProcessor {
    fn write_lines(&mut self) {
        let reopened = self.log.reopened.load(Ordering::Acquire);
        if reopened != self.reopened {
            self.reopened = reopened;
            if self.writer.reopen(&self.log.sink).is_err() {
                self.log.counters.reopen_errors.fetch_add(1, Ordering::Relaxed);
            }
        }
        if self.count > 0 {
            let written = self.writer.write(&self.lines, self.count);
            let counters = &self.log.counters;
            counters.lines.fetch_add(written.lines, Ordering::Relaxed);
            counters.write_errors.fetch_add(u64::from(written.failed), Ordering::Relaxed);
            counters.diverted.fetch_add(written.diverted, Ordering::Relaxed);
            counters.lost.fetch_add(written.lost, Ordering::Relaxed);
        }
        self.lines.clear();
        self.count = 0;
        // One burst of long lines does not keep its memory for ever.
        self.lines.shrink_to(2 * FULL);
    }
}

impl Processor for AccessLogProcessor {
    fn process(&mut self, event: &Event) {
        let ending = if let Some(finished) = event.get::<Finished>() {
            Ending::Finished(finished)
        } else if let Some(failed) = event.get::<Failed>() {
            Ending::Failed(failed)
        } else {
            return;
        };
        if !ending.is_wanted(self.log.mask.get()) {
            return;
        }
        self.log.format.write_line(&ending, &mut self.times, &mut self.lines);
        self.count += 1;
        if self.lines.len() >= FULL {
            self.write_lines();
        }
    }

    fn flush(&mut self) {
        self.write_lines();
    }

    fn shutdown(&mut self) {
        self.write_lines();
    }
}
