//! `--processor ndjson=PATH`: every event as the line that it was.
//!
//! The instances of all shards write to one file. Each gathers whole lines in a buffer of its own and hands it over in one locked
//! write, so lines stay whole; and since all events of a key come to one instance, and its buffers are written in turn, the lines of a key
//! stand in the file in the order of its events. Between keys there is no order to keep.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crossbeam_utils::CachePadded;
use keylane::{Event, Processor, ShardContext, for_each};

use super::Notice;
use super::diagnostics::Diagnostics;
use super::input::record::Record;
use super::input::source::{self, Identity, duplicate};
use crate::printable;

/// How many bytes an instance gathers before it writes, as long as the shard has more to read.
const BUFFER: usize = 64 * 1024;

/// A file that lines are written to.
#[derive(Debug)]
pub(crate) struct Output {
    /// How messages call it, fit to be printed.
    pub(crate) name: String,
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
    failure: OnceLock<String>,
    report: OnceLock<(Diagnostics, Sender<Notice>)>,
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
    pub(crate) fn open(path: &Path, shards: usize) -> io::Result<Self> {
        let standard = path.as_os_str() == "-";
        let file = if standard {
            duplicate(io::stdout())?
        } else {
            // Not truncated yet: it may turn out to be the input.
            OpenOptions::new().write(true).create(true).truncate(false).open(path)?
        };
        let identity = Identity::of(&file.metadata()?);
        Ok(Self {
            name: if standard { "standard output".to_owned() } else { source::name(path) },
            identity,
            shared: standard || identity.is_none(),
            terminal: file.is_terminal(),
            end: Mutex::new(WriteEnd { file, whole: 0 }),
            seen: (0..shards).map(|_| CachePadded::default()).collect(),
            written: AtomicU64::new(0),
            failure: OnceLock::new(),
            report: OnceLock::new(),
        })
    }

    /// Which file it is, if it is a regular one.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Empties the file and says who hears of failures. To be called once, before the first event.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub(crate) fn begin(
        &self,
        diagnostics: Diagnostics,
        notices: Sender<Notice>,
    ) -> io::Result<()> {
        let _ = self.report.set((diagnostics, notices));
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.shared {
            end.file.set_len(0)?;
        }
        Ok(())
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

    /// Writes whole lines. After the first failure nothing is written any more: the file has no gaps.
    fn write(&self, lines: &[u8], events: u64) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if self.failure.get().is_some() {
            return;
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
        }
    }

    fn fail(&self, error: &io::Error) {
        let _ = self.failure.set(error.to_string());
        if let Some((diagnostics, notices)) = self.report.get() {
            let gone = error.kind() == ErrorKind::BrokenPipe;
            let end = if gone { "reading ends" } else { "later events are counted as unwritten" };
            diagnostics.say(format_args!("cannot write to {}: {error}; {end}", self.name));
            let _ = notices.send(Notice::OutputFailed { gone });
        }
    }
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
