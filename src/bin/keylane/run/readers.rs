//! The reader threads: from the input to the bus, in the order of the input.
//!
//! Each thread takes the next chunk of whole lines with a [ticket](super::turns), parses it, waits for its turn, and emits. Parsing, which is nearly all of the work, so runs on all threads at once; emitting runs in the order of the input, chunk
//! after chunk, and since the bus promises order across producers (an emit that returned before another began comes first),
//! that alone keeps the order of every key. Nothing has to be known of a key before its turn, and whatever is decided during a turn
//! is decided in the order of the lines: messages, the numbers of types, where `--strict` ends.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keylane::ingest::{Defect, Parsed, in_flight, parse_line};
use keylane::{EventType, Key, Producer, Value};

use super::Notice;
use super::chunks::{Chunk, Chunks};
use super::turns::{End, Ticket, Turns};
use crate::diagnostics::Diagnostics;
use crate::types::SharedTypes;

/// What was read so far. Every line is blank, bad, accepted or refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Lines, blank ones among them.
    pub(crate) lines: u64,
    /// Lines of nothing but white space.
    pub(crate) blank: u64,
    /// Lines that are no event.
    pub(crate) bad: u64,
    /// Events that the bus accepted.
    pub(crate) accepted: u64,
    /// Events that the bus refused, because it had been shut down.
    pub(crate) refused: u64,
}

/// What the reader threads are to do.
pub(crate) struct Plan {
    /// The input.
    pub(crate) chunks: Chunks,
    /// How messages call it.
    pub(crate) input_name: String,
    /// The most bytes of a line.
    pub(crate) max_line: usize,
    /// The most bytes of large records on their way.
    pub(crate) in_flight: u64,
    /// The names of types.
    pub(crate) types: SharedTypes,
    /// End at the first bad line.
    pub(crate) strict: bool,
    /// Where bad lines are reported.
    pub(crate) diagnostics: Diagnostics,
    /// Told when all threads have ended.
    pub(crate) done: Sender<Notice>,
}

/// Threads that read an input onto a bus.
pub(crate) struct Readers {
    shared: Arc<Shared>,
}

struct Shared {
    /// Locked by the thread that reads, also while it waits for input.
    input: Mutex<Chunks>,
    turns: Turns,
    /// Used by the thread whose turn it is, and by nobody else before the end.
    tally: Mutex<Tally>,
    progress: Progress,
    plan: Settings,
}

/// The part of the plan that all threads read.
struct Settings {
    input_name: String,
    max_line: usize,
    in_flight: u64,
    types: SharedTypes,
    strict: bool,
    diagnostics: Diagnostics,
}

/// For the progress line: what the tally says, readable while a turn lasts.
#[derive(Debug, Default)]
struct Progress {
    bytes: AtomicU64,
    events: AtomicU64,
    bad: AtomicU64,
}

/// A glance at how far the reading is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Glance {
    /// Bytes read.
    pub(crate) bytes: u64,
    /// Events emitted.
    pub(crate) events: u64,
    /// Bad lines.
    pub(crate) bad: u64,
}

impl Readers {
    /// Starts one thread for each producer.
    ///
    /// # Errors
    ///
    /// When the operating system gives no thread.
    pub(crate) fn start(plan: Plan, producers: Vec<Producer>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            input: Mutex::new(plan.chunks),
            turns: Turns::default(),
            tally: Mutex::default(),
            progress: Progress::default(),
            plan: Settings {
                input_name: plan.input_name,
                max_line: plan.max_line,
                in_flight: plan.in_flight,
                types: plan.types,
                strict: plan.strict,
                diagnostics: plan.diagnostics,
            },
        });
        // The last thread to end drops the last of these.
        let done = Arc::new(SendOnDrop(plan.done));
        // Nothing is read before all threads are there: without them, nothing has been begun.
        let held = Arc::clone(&shared);
        let input = held.input.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, producer) in producers.into_iter().enumerate() {
            let (shared, done) = (Arc::clone(&shared), Arc::clone(&done));
            let body = move || {
                shared.read(producer);
                drop(done);
            };
            // Not to be joined: it may wait for input that never comes.
            let thread = std::thread::Builder::new().name(format!("reader-{index}")).spawn(body);
            thread.inspect_err(|_| held.turns.end(End::Stopped))?;
        }
        drop(input);
        Ok(Self { shared })
    }

    /// Ends the reading: what has been taken from the input is still emitted, and nothing more is taken.
    ///
    /// A thread that waits for input goes on waiting; what it gets is dropped.
    pub(crate) fn stop(&self) {
        self.shared.turns.end(End::Stopped);
    }

    /// Waits until everything that was taken from the input has been emitted or refused; false if that took longer than `timeout`.
    pub(crate) fn settle(&self, timeout: Duration) -> bool {
        self.shared.turns.settle(timeout)
    }

    /// How far the reading is.
    pub(crate) fn glance(&self) -> Glance {
        let Progress { bytes, events, bad } = &self.shared.progress;
        Glance {
            bytes: bytes.load(Ordering::Relaxed),
            events: events.load(Ordering::Relaxed),
            bad: bad.load(Ordering::Relaxed),
        }
    }

    /// What was read, once everything has settled after the end or a [`stop`](Self::stop).
    pub(crate) fn finish(self) -> (Tally, End) {
        let end = self.shared.turns.take_end();
        let tally = *self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
        (tally, end.unwrap_or(End::Complete))
    }
}

/// Sends that all readers have ended, also when the last of them panicked.
struct SendOnDrop(Sender<Notice>);

impl Drop for SendOnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(Notice::InputEnded);
    }
}

impl Shared {
    /// The life of a reader thread.
    fn read(&self, mut producer: Producer) {
        let mut spare = Vec::new();
        let mut batch = Vec::new();
        while let Some((ticket, chunk)) = self.take(spare) {
            let lines = Lines::of(&chunk, self.plan.max_line);
            if ticket.wait() {
                self.settle_lines(&ticket, lines, &mut producer, &mut batch);
            }
            drop(ticket);
            spare = chunk.lines;
        }
    }

    /// Takes the next chunk of the input, with the ticket for its turn.
    fn take(&self, spare: Vec<u8>) -> Option<(Ticket<'_>, Chunk)> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        if self.turns.is_over() {
            return None;
        }
        in_flight::wait_below(self.plan.in_flight);
        let result = input.next(spare);
        self.progress.bytes.store(input.bytes(), Ordering::Relaxed);
        match result {
            Ok(Some(chunk)) => Some((self.turns.give()?, chunk)),
            Ok(None) => {
                self.turns.end(End::Complete);
                None
            }
            Err(error) => {
                self.turns.end(End::Failed(error));
                None
            }
        }
    }

    /// Does what the lines of a chunk ask for. For the thread whose turn it is.
    fn settle_lines(
        &self,
        ticket: &Ticket<'_>,
        lines: Lines<'_>,
        producer: &mut Producer,
        batch: &mut Vec<(EventType, Value, Key)>,
    ) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = &mut *tally;
        // Not held while anything waits for the bus: processors ask for names too.
        let mut types = self.plan.types.write();
        let mut messages = String::new();
        let mut bad = |tally: &mut Tally, number: u64, column: usize, defect: &Defect| {
            tally.bad += 1;
            let (name, remedy) = (&self.plan.input_name, remedy(defect));
            let _ = writeln!(
                messages,
                "keylane: {name}: line {number}, column {column}: {defect}{remedy}"
            );
        };
        for (number, line) in lines.0 {
            tally.lines += 1;
            let before = tally.bad;
            match line {
                Line::Blank => tally.blank += 1,
                Line::Bad(column, defect) => bad(tally, number, column, &defect),
                Line::Event(Parsed { type_name, type_column, record, .. }, key) => {
                    match types.intern(&type_name) {
                        Ok(kind) => batch.push((kind, Value::new(record), key)),
                        Err(defect) => bad(tally, number, type_column, &defect),
                    }
                }
            }
            if tally.bad > before && self.plan.strict {
                ticket.cut(End::Strict);
                break;
            }
        }
        drop(types);
        self.plan.diagnostics.print(&messages);
        let count = batch.len() as u64;
        match producer.emit_batch(batch.drain(..)) {
            Ok(_) => tally.accepted += count,
            Err(error) => {
                let accepted = error.accepted() as u64;
                tally.accepted += accepted;
                tally.refused += count - accepted;
                ticket.cut(End::Stopped);
            }
        }
        self.progress.events.store(tally.accepted, Ordering::Relaxed);
        self.progress.bad.store(tally.bad, Ordering::Relaxed);
    }
}

/// What to do about a bad line that a limit of this command made bad.
fn remedy(defect: &Defect) -> &'static str {
    match defect {
        Defect::TooLong(_) => ", or raise --max-line",
        Defect::TooManyTypes { .. } => ", or raise --max-types",
        _ => "",
    }
}

/// The lines of a chunk, parsed.
struct Lines<'a>(Vec<(u64, Line<'a>)>);

enum Line<'a> {
    Blank,
    Bad(usize, Defect),
    Event(Parsed<'a>, Key),
}

impl<'a> Lines<'a> {
    fn of(chunk: &'a Chunk, max_line: usize) -> Self {
        let too_long = || Line::Bad(max_line + 1, Defect::TooLong(max_line));
        let mut lines = Vec::new();
        let mut rest = chunk.lines.as_slice();
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let (line, behind) = rest.split_at(end);
            rest = behind.get(1..).unwrap_or_default();
            let parsed = if line.len() > max_line {
                too_long()
            } else if line.trim_ascii().is_empty() {
                Line::Blank
            } else {
                match parse_line(line) {
                    Ok(parsed) => {
                        let key = Key::from(parsed.record.key());
                        Line::Event(parsed, key)
                    }
                    Err(refusal) => Line::Bad(refusal.column, refusal.defect),
                }
            };
            lines.push((chunk.first_line + lines.len() as u64, parsed));
        }
        lines.extend(chunk.too_long.map(|number| (number, too_long())));
        Self(lines)
    }
}
