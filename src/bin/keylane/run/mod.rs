//! `keylane run`: an input of events, read by reader threads, routed by key, processed on shards, and reported.
//!
//! `args` (what is asked for) -> `chunks` (bytes to lines) -> `readers` and `turns` (lines to records to the bus, in order) -> the bus -> the
//! processors -> `report`. Beside them `progress`, on standard error.

mod args;
mod chunks;
mod progress;
mod readers;
mod report;
mod turns;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

pub(crate) use args::Args;
use args::Settings;
use chunks::{Chunks, ReadError};
use indicatif::ProgressBar;
use keylane::{Bus, ShutdownReport};
use readers::{Plan, Readers};
use report::Report;
use turns::End;

use crate::config_file;
use crate::diagnostics::Diagnostics;
use crate::exit::Exit;
use crate::interrupt::{self, Request};
use crate::processors::Processors;
use crate::processors::ndjson::{Existing, OnFailure};
use crate::processors::plugins::Plugins;
use crate::source::{self, Source, duplicate};
use crate::types::SharedTypes;

/// What the threads of a run tell the main thread.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Notice {
    /// All reader threads have ended.
    InputEnded,
    /// A signal asks to end.
    Signal(i32),
    /// An output could not be written to. `gone`: whoever read it has closed it.
    OutputFailed { gone: bool },
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Exit {
    match Run::prepare(args).and_then(Run::start) {
        Ok(running) => running.finish(),
        Err(message) => {
            Diagnostics::around(ProgressBar::hidden()).say(message);
            Exit::Usage
        }
    }
}

/// Everything that is opened before the first event: what can go wrong here ends the run with nothing lost.
struct Run<'a> {
    args: &'a Args,
    settings: Settings,
    source: Source,
    types: SharedTypes,
    processors: Processors,
}

impl<'a> Run<'a> {
    /// Opens the input and the outputs, and changes nothing.
    fn prepare(args: &'a Args) -> Result<Self, String> {
        let (config, file) = config_file::load(args.bus.sources.config.as_deref())?;
        let settings = args.settings(&config);
        if let Some(file) = file.filter(|_| args.bus.sources.config.is_none() && !args.quiet) {
            Diagnostics::around(ProgressBar::hidden())
                .say(format_args!("configuration {}", source::name(&file)));
        }
        let source = Source::open(&args.file)
            .map_err(|error| format!("cannot read {}: {error}", source::name(&args.file)))?;
        let input = source.identity.map(|identity| (identity, "the input"));
        let types = SharedTypes::new(settings.max_types);
        let processors =
            Processors::open(&settings.bus, Existing::Replaced, input.as_slice(), &types)?;
        Ok(Self { args, settings, source, types, processors })
    }

    /// Builds the bus and starts to read.
    fn start(self) -> Result<Running<'a>, String> {
        let Self { args, settings, source, types, processors } = self;
        let bar = progress::line(!args.json && !args.quiet, source.size);
        let diagnostics = Diagnostics::around(bar.clone());
        let (sender, notices) = mpsc::channel();
        let bus = processors
            .builder(&settings.bus, &diagnostics)
            .build()
            .map_err(|error| error.to_string())?;

        let of_signals = sender.clone();
        let hear = move |request| {
            if let Request::End(signal) = request {
                let _ = of_signals.send(Notice::Signal(signal));
            }
        };
        interrupt::listen(false, hear)
            .map_err(|error| format!("cannot listen for Ctrl-C: {error}"))?;
        let of_outputs = sender.clone();
        let on_failure: OnFailure = Arc::new(move |gone| {
            let _ = of_outputs.send(Notice::OutputFailed { gone });
        });
        processors.begin(&diagnostics, &on_failure)?;
        if Source::is_typed(&args.file) && !args.quiet {
            diagnostics.say("reading events from the terminal; Ctrl-D ends them");
        }
        let plan = Plan {
            chunks: Chunks::new(source.reader, settings.max_line),
            input_name: source.name.clone(),
            max_line: settings.max_line,
            in_flight: settings.in_flight,
            types: types.clone(),
            strict: settings.strict,
            diagnostics: diagnostics.clone(),
            done: sender,
        };
        let started = Instant::now();
        let producers = (0..settings.producers).map(|_| bus.producer()).collect();
        let readers = Readers::start(plan, producers)
            .map_err(|error| format!("cannot start {} readers: {error}", settings.producers))?;
        Ok(Running {
            args,
            settings,
            input_name: source.name,
            bus,
            readers,
            types,
            processors,
            bar,
            diagnostics,
            notices,
            started,
        })
    }
}

/// A run under way.
struct Running<'a> {
    args: &'a Args,
    settings: Settings,
    input_name: String,
    bus: Bus,
    readers: Readers,
    types: SharedTypes,
    processors: Processors,
    bar: ProgressBar,
    diagnostics: Diagnostics,
    notices: Receiver<Notice>,
    started: Instant,
}

/// What made a run end before the end of its input.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cause {
    /// The signal that asked for it.
    pub(crate) signal: Option<i32>,
    /// An output that failed.
    pub(crate) output: bool,
}

impl Running<'_> {
    /// Reads, processes, reports.
    fn finish(self) -> Exit {
        let mut cause = Cause::default();
        while let Some(notice) = self.next_notice(self.tick()) {
            if self.heed(notice, &mut cause) {
                break;
            }
        }
        let shutdown = self.drain(&mut cause);
        let seconds = self.started.elapsed().as_secs_f64();
        if let Some(plugins) = self.processors.plugins() {
            plugins.settle();
        }
        let stats = self.bus.stats();
        self.bar.finish_and_clear();

        let bytes = self.readers.glance().bytes;
        let (tally, end) = self.readers.finish();
        if let End::Failed(error) = &end {
            self.diagnostics.say(cannot_read(&self.input_name, tally.lines, error));
            if matches!(error, ReadError::NotText { .. }) {
                return Exit::Usage;
            }
        }
        if matches!(end, End::Panicked) {
            self.diagnostics.say("a reader thread panicked; the lines that it had read are lost");
        }
        let types = self.types.read();
        let report = Report::new(report::Facts {
            input: self.input_name,
            bytes,
            tally,
            end,
            cause,
            seconds,
            shutdown,
            stats,
            counts: self.processors.counts().map(|counts| (counts, &*types)),
            top: self.settings.top,
            outputs: self.processors.written(),
            plugins: self.processors.plugins().map(Plugins::stats),
        });
        let exit = report.exit();
        let text = if self.args.json { report.to_json() } else { report.to_string() };
        // Standard output may be where the events go; a report among them would be a bad line.
        let to_stdout = !self.processors.use_standard_output();
        match print(&text, to_stdout) {
            Ok(()) => exit,
            Err(error) => {
                self.diagnostics
                    .say(format_args!("cannot write the report: {error}; {}", report.summary()));
                if exit == Exit::Clean { Exit::NoReport } else { exit }
            }
        }
    }

    /// How long to wait for a notice before the progress line is drawn again.
    fn tick(&self) -> Option<Duration> {
        (!self.bar.is_hidden()).then_some(progress::TICK)
    }

    /// The next notice, after any number of draws. `None` when nobody can send one any more.
    fn next_notice(&self, tick: Option<Duration>) -> Option<Notice> {
        let Some(tick) = tick else { return self.notices.recv().ok() };
        loop {
            match self.notices.recv_timeout(tick) {
                Ok(notice) => return Some(notice),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    progress::draw(&self.bar, self.readers.glance(), self.started.elapsed());
                }
            }
        }
    }

    /// Notes what has happened; true if the reading is over.
    fn heed(&self, notice: Notice, cause: &mut Cause) -> bool {
        match notice {
            Notice::InputEnded => return true,
            Notice::Signal(signal) => {
                cause.signal = Some(signal);
                self.diagnostics.say(format_args!(
                    "{}: processing what was read; once more ends at once",
                    interrupt::name(signal)
                ));
            }
            Notice::OutputFailed { gone } if gone || self.settings.strict => cause.output = true,
            Notice::OutputFailed { .. } => return false,
        }
        self.readers.stop();
        true
    }

    /// Waits until all that was read has been processed, and shuts the bus down.
    ///
    /// A run that nobody interrupts waits as long as its processors take: a reader of its output may well pause.
    fn drain(&self, cause: &mut Cause) -> ShutdownReport {
        let patience = self.settings.bus.drain_timeout;
        let mut deadline = cause.signal.map(|_| Instant::now() + patience);
        let mut pause = Duration::from_micros(100);
        loop {
            let settled = self.readers.settle(Duration::ZERO) && self.bus.stats().depth == 0;
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if settled || late {
                break;
            }
            // Nobody tells when the last event has been processed, so it is looked for, ever more rarely.
            pause = (pause * 2).min(progress::TICK);
            if let Ok(notice) = self.notices.recv_timeout(pause) {
                self.heed(notice, cause);
                if cause.signal.is_some() {
                    deadline = deadline.or(Some(Instant::now() + patience));
                }
            } else {
                progress::draw(&self.bar, self.readers.glance(), self.started.elapsed());
            }
        }
        let left = deadline
            .map_or(patience, |deadline| deadline.saturating_duration_since(Instant::now()));
        let report = self.bus.shutdown(left);
        // A closed bus refuses what readers still wait to emit, so this is soon over, and then nothing more can be accepted.
        while !self.readers.settle(Duration::from_secs(1)) {}
        report
    }
}

/// Writes the report, all of it.
fn print(text: &str, to_stdout: bool) -> io::Result<()> {
    let mut stream: Box<dyn Write> =
        if to_stdout { Box::new(duplicate(io::stdout())?) } else { Box::new(io::stderr().lock()) };
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

/// Why the input could not be read, or not to its end.
fn cannot_read(name: &str, lines: u64, error: &ReadError) -> String {
    match error {
        ReadError::Io(error) => format!("cannot read {name} beyond line {lines}: {error}"),
        ReadError::NotText { what, instead } => {
            let file = if name == "standard input" { "FILE" } else { name };
            format!("cannot read {name}: it is {what}; use: {instead} {file} | keylane run -")
        }
    }
}
