//! The processor `ndjson=PATH`: every event as the line that it was.
//!
//! The instances of all shards write to one file. Each gathers whole lines in a buffer of its own and hands it over in one locked
//! write, so lines stay whole; and since all events of a key come to one instance, and its buffers are written in turn, the lines of a key
//! stand in the file in the order of its events. Between keys there is no order to keep.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crossbeam_utils::CachePadded;
use keylane::ingest::{Record, printable};
use keylane::{Event, Processor, ShardContext, for_each};

use crate::diagnostics::Diagnostics;
use crate::source::{self, Identity, duplicate};

/// How many bytes an instance gathers before it writes, as long as the shard has more to read.
const BUFFER: usize = 64 * 1024;

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It is emptied, and written to until the first failure: the result of one run, without gaps.
    Replaced,
    /// Lines are put behind it, and after a failure the next ones are tried again: the log of a service that goes on.
    Continued,
}

/// Called when a write has failed; `true` when whoever read has closed.
pub(crate) type OnFailure = Arc<dyn Fn(bool) + Send + Sync>;

/// A file that lines are written to.
pub(crate) struct Output {
    /// How messages call it, fit to be printed.
    pub(crate) name: String,
    /// The path to open again; `None` for standard output.
    path: Option<PathBuf>,
    existing: Existing,
    /// Which file it is, if it is a regular one.
    identity: Option<Identity>,
    /// Others may have written to it, or may yet: a pipe, a device, or a standard output that appends. Nothing in it is ours to cut off.
    shared: bool,
    /// Lines go to a terminal: what acts on it is escaped.
    terminal: bool,
    end: Mutex<WriteEnd>,
    /// Events that were to be written, by shard: each counts where no other writes.
    seen: Box<[CachePadded<AtomicU64>]>,
    /// Events whose lines are in the file, whole.
    written: AtomicU64,
    /// The first failure.
    failure: OnceLock<String>,
    /// The last write failed.
    failing: AtomicBool,
    /// The file is to be opened again.
    stale: AtomicBool,
    report: OnceLock<(Diagnostics, OnFailure)>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The part of an output that one thread uses at a time.
#[derive(Debug)]
struct WriteEnd {
    file: File,
    /// Bytes of whole lines in the file.
    whole: u64,
}

/// How an output ended.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Written {
    /// Its name.
    pub(crate) path: String,
    /// Events whose lines are in it, whole.
    pub(crate) written: u64,
    /// Events that came to the processor and are not in it.
    pub(crate) unwritten: u64,
    /// Why.
    pub(crate) error: Option<String>,
}

impl Output {
    /// Opens the file at `path`, or standard output if that is `-`, for that many shards, without changing it yet.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub(crate) fn open(path: &Path, shards: usize, existing: Existing) -> io::Result<Self> {
        let standard = path.as_os_str() == "-";
        let file = if standard { duplicate(io::stdout())? } else { open(path, existing)? };
        let identity = Identity::of(&file.metadata()?);
        Ok(Self {
            name: if standard { "standard output".to_owned() } else { source::name(path) },
            path: (!standard).then(|| path.to_owned()),
            existing,
            identity,
            shared: standard || identity.is_none(),
            terminal: file.is_terminal(),
            end: Mutex::new(WriteEnd { file, whole: 0 }),
            seen: (0..shards).map(|_| CachePadded::default()).collect(),
            written: AtomicU64::new(0),
            failure: OnceLock::new(),
            failing: AtomicBool::new(false),
            stale: AtomicBool::new(false),
            report: OnceLock::new(),
        })
    }

    /// Which file it is, if it is a regular one.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Makes the file ready and says who hears of failures. To be called once, before the first event.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub(crate) fn begin(&self, diagnostics: Diagnostics, on_failure: OnFailure) -> io::Result<()> {
        let _ = self.report.set((diagnostics, on_failure));
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        match self.existing {
            _ if self.shared => Ok(()),
            Existing::Replaced => end.file.set_len(0),
            Existing::Continued => end.go_on(self.path.as_deref()),
        }
    }

    /// Opens the file by its name again before the next write, as one does after it has been renamed.
    pub(crate) fn reopen(&self) {
        self.stale.store(true, Ordering::Release);
    }

    /// A factory of instances that write here.
    pub(crate) fn factory(
        self: &Arc<Self>,
    ) -> impl Fn(&ShardContext) -> Ndjson + Send + Sync + use<> {
        let output = Arc::clone(self);
        move |cx: &ShardContext| Ndjson {
            output: Arc::clone(&output),
            shard: cx.shard(),
            lines: Vec::new(),
            events: 0,
        }
    }

    /// How it ended, or stands.
    pub(crate) fn written(&self) -> Written {
        let written = self.written.load(Ordering::Relaxed);
        let seen: u64 = self.seen.iter().map(|seen| seen.load(Ordering::Relaxed)).sum();
        Written {
            path: self.name.clone(),
            written,
            unwritten: seen.saturating_sub(written),
            error: self.failure.get().cloned(),
        }
    }

    /// Writes whole lines.
    fn write(&self, lines: &[u8], events: u64) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if self.existing == Existing::Replaced && self.failure.get().is_some() {
            return;
        }
        if let (true, Some(path)) = (self.stale.swap(false, Ordering::Acquire), &self.path) {
            // What cannot be opened is not closed either: the old file still takes lines.
            match open(path, self.existing) {
                Ok(file) => {
                    *end = WriteEnd { file, whole: 0 };
                    let _ = end.go_on(Some(path));
                }
                Err(error) => self.say(format_args!(
                    "cannot open {} again: {error}; the old file is kept",
                    self.name
                )),
            }
        }
        let (bytes, result) = write_as_far_as_possible(&mut end.file, lines);
        if let Err(error) = result {
            let whole = memchr::memrchr(b'\n', &lines[..bytes]).map_or(0, |last| last + 1);
            let count = memchr::memchr_iter(b'\n', &lines[..whole]).count() as u64;
            self.written.fetch_add(count, Ordering::Relaxed);
            end.whole += whole as u64;
            if !self.shared {
                // The torn line at the end would be a bad line for the next reader. What cannot be mended stays.
                let _ = end.file.set_len(end.whole);
            }
            drop(end);
            self.fail(&error);
        } else {
            end.whole += bytes as u64;
            self.written.fetch_add(events, Ordering::Relaxed);
            if self.failing.swap(false, Ordering::Relaxed) {
                self.say(format_args!("{} can be written to again", self.name));
            }
        }
    }

    fn fail(&self, error: &io::Error) {
        let _ = self.failure.set(error.to_string());
        if self.failing.swap(true, Ordering::Relaxed) {
            return;
        }
        let gone = error.kind() == ErrorKind::BrokenPipe;
        let end = match self.existing {
            Existing::Replaced if gone => "reading ends",
            Existing::Replaced => "later events are counted as unwritten",
            Existing::Continued => "events are counted as unwritten until it works again",
        };
        self.say(format_args!("cannot write to {}: {error}; {end}", self.name));
        if let Some((_, on_failure)) = self.report.get() {
            on_failure(gone);
        }
    }

    fn say(&self, message: std::fmt::Arguments<'_>) {
        if let Some((diagnostics, _)) = self.report.get() {
            diagnostics.say(message);
        }
    }
}

/// Opens the file at `path` without emptying it: it may turn out to be the input.
fn open(path: &Path, existing: Existing) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false);
    match existing {
        Existing::Replaced => options.write(true),
        Existing::Continued => options.append(true),
    };
    options.open(path)
}

impl WriteEnd {
    /// Goes on behind what is in the file, and behind the torn line that a crash may have left there.
    fn go_on(&mut self, path: Option<&Path>) -> io::Result<()> {
        self.whole = self.file.metadata()?.len();
        if self.whole > 0 && path.is_some_and(|path| is_torn(path).unwrap_or(false)) {
            self.file.write_all(b"\n")?;
            self.whole += 1;
        }
        Ok(())
    }
}

/// Whether the last line of the file has no end.
fn is_torn(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Writes until all is written or something is wrong. Returns how many bytes went out.
fn write_as_far_as_possible(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut done = 0;
    while done < bytes.len() {
        match file.write(&bytes[done..]) {
            Ok(0) => return (done, Err(ErrorKind::WriteZero.into())),
            Ok(n) => done += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
}

/// Writes the events of one shard.
#[derive(Debug)]
pub(crate) struct Ndjson {
    output: Arc<Output>,
    shard: usize,
    /// Lines to be written.
    lines: Vec<u8>,
    /// How many they are.
    events: u64,
}

impl Ndjson {
    fn write_out(&mut self) {
        if self.events > 0 {
            self.output.write(&self.lines, self.events);
            self.lines.clear();
            self.events = 0;
        }
    }
}

impl Processor for Ndjson {
    fn process(&mut self, event: &Event) {
        self.process_batch(&[event]);
    }

    fn process_batch(&mut self, events: &[&Event]) {
        for_each(events, |event| {
            let Some(record) = event.get::<Record>() else { return };
            self.output.seen[self.shard].fetch_add(1, Ordering::Relaxed);
            let json = if self.output.terminal {
                printable::json(record.json())
            } else {
                Cow::Borrowed(record.json())
            };
            self.lines.extend_from_slice(json.as_bytes());
            self.lines.push(b'\n');
            self.events += 1;
            if self.lines.len() >= BUFFER {
                self.write_out();
            }
        });
    }

    fn flush(&mut self) {
        self.write_out();
    }

    fn shutdown(&mut self) {
        self.write_out();
    }
}
