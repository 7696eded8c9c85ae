//! `keylane serve`: events over HTTP onto a bus, whose processors also tell about the requests.
//!
//! `args` (what is asked for) -> connections -> the event layer -> `service` (the endpoints) -> `events` (the intake) -> the bus -> the
//! processors, and `durations`. From the same numbers `metrics` and `exposition`, `stats`, `page`, and at the end `report`.

mod args;
mod check;
mod connection_errors;
mod durations;
mod events;
mod exposition;
mod metrics;
mod page;
mod plugin_metrics;
mod report;
mod service;
mod state;
mod stats;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::ProgressBar;
use keylane::http::{AccessLog, CatchPanicLayer, EventLayer, LogSink, Server, StatusCounters};
use keylane::ingest::Intake;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tower_layer::Layer;

pub(crate) use args::Args;
use args::Settings;
use connection_errors::ConnectionErrors;
use durations::Durations;
use report::Report;
use service::Endpoints;
use state::{Progress, State};

use crate::config::LogTarget;
use crate::config_file;
use crate::diagnostics::Diagnostics;
use crate::exit::Exit;
use crate::interrupt::{self, Request};
use crate::processors::Processors;
use crate::processors::ndjson::{Existing, OnFailure};
use crate::processors::plugins::{Plugins, Reload};
use crate::source::{self, Identity};
use crate::types::SharedTypes;

/// What the bus gets in any case to process what it has accepted, however long the requests took.
const LEAST_DRAIN: Duration = Duration::from_secs(1);

/// Runs the command.
pub(crate) fn serve(args: &Args) -> Exit {
    let diagnostics = Diagnostics::around(ProgressBar::hidden());
    let began = config_file::load(args.bus.sources.config.as_deref()).and_then(|(config, file)| {
        let settings = args.settings(&config);
        if args.check {
            // A standard output that is closed says enough by the exit code.
            let (text, good) = check::text(&settings, file.as_deref());
            let _ = io::stdout().write_all(text.as_bytes());
            return Ok(if good { Exit::Clean } else { Exit::Usage });
        }
        if let Some(file) = file {
            diagnostics.say(format_args!("configuration {}", source::name(&file)));
        }
        run(settings, &diagnostics)
    });
    began.unwrap_or_else(|message| {
        diagnostics.say(message);
        Exit::Usage
    })
}

/// Opens everything, serves, and reports. An error means that nothing was begun.
fn run(settings: Settings, diagnostics: &Diagnostics) -> Result<Exit, String> {
    // Two threads at least: one that parses a large request must not hold up all others.
    let workers = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start {workers} threads: {error}"))?;
    runtime.block_on(async {
        let (sender, signals) = unbounded_channel();
        let state = Arc::new(start(settings, diagnostics)?);
        let listen = state.settings.listen;
        let listener =
            TcpListener::bind(listen).await.map_err(|error| cannot_listen(listen, &error))?;
        let reopened = Arc::downgrade(&state);
        let hear = move |request| match request {
            Request::End(signal) => drop(sender.send(signal)),
            Request::Reopen => {
                if let Some(state) = reopened.upgrade() {
                    state.reopen();
                }
            }
        };
        interrupt::listen(true, hear)
            .map_err(|error| format!("cannot listen for signals: {error}"))?;
        Ok(serve_until_signalled(state, listener, signals, diagnostics).await)
    })
}

/// Opens the outputs and the log, and builds the bus.
fn start(settings: Settings, diagnostics: &Diagnostics) -> Result<State, String> {
    let mut taken = Vec::new();
    if let LogTarget::File(path) = &settings.log {
        taken.extend(log_identity(path)?.map(|identity| (identity, "the access log")));
    }
    let types = SharedTypes::of_strangers(settings.max_types);
    let processors = Processors::open(&settings.bus, Existing::Continued, &taken, &types)?;
    if processors.use_standard_output() && settings.log == LogTarget::Stdout {
        return Err("the access log and ndjson=- would both write to standard output; say --access-log stderr, or a file".into());
    }
    let log = log_sink(&settings.log)
        .map(|sink| AccessLog::new(settings.log_format.clone(), sink).with_mask(settings.log_mask));
    let statuses = StatusCounters::new();
    let durations = Durations::new(settings.bus.shards);
    let connection_errors = ConnectionErrors::new(diagnostics);
    let mut builder = processors
        .builder(&settings.bus, diagnostics)
        .processor_for("status-counters", StatusCounters::EVENTS, statuses.clone())
        .processor_for("durations", Durations::EVENTS, durations.clone())
        .processor_for("connection-errors", ConnectionErrors::EVENTS, connection_errors.clone());
    if let Some(log) = &log {
        builder = builder.processor_for("access-log", AccessLog::EVENTS, log.clone());
    }
    let bus = Arc::new(builder.build().map_err(|error| error.to_string())?);
    // A service goes on without an output: it is told, counted, and tried again.
    let ignored: OnFailure = Arc::new(|_| {});
    processors.begin(diagnostics, &ignored)?;
    let reload = match processors.plugins() {
        Some(plugins) => Some(Reload::start(plugins, &bus, diagnostics)?),
        None => None,
    };

    let intake = Intake::new(&bus)
        .max_event(settings.max_event)
        .with_types(types.table())
        .max_in_flight(settings.in_flight);
    let mut layer = EventLayer::new(&bus).trust_proxies(settings.trusted_proxies.clone());
    if let Some(log) = &log {
        layer = layer.capture(log.headers());
    }
    if settings.trust_request_id {
        layer = layer.trust_inbound_id(http::HeaderName::from_static("x-request-id"));
    }
    Ok(State {
        settings,
        bus,
        intake,
        processors,
        layer,
        log,
        statuses,
        durations,
        connection_errors,
        reload: Mutex::new(reload),
        progress: Progress::begin(),
    })
}

/// Where the log goes; `None` for nowhere.
fn log_sink(target: &LogTarget) -> Option<LogSink> {
    match target {
        LogTarget::Stdout => Some(LogSink::stdout()),
        LogTarget::Stderr => Some(LogSink::stderr()),
        LogTarget::Nowhere => None,
        LogTarget::File(path) => Some(LogSink::file(path)),
    }
}

/// Which file the log is, if it is a regular one; opening it now says why it cannot be before anything has begun.
fn log_identity(path: &Path) -> Result<Option<Identity>, String> {
    let name = source::name(path);
    let open = || -> io::Result<File> { OpenOptions::new().append(true).create(true).open(path) };
    let metadata = open()
        .and_then(|file| file.metadata())
        .map_err(|error| format!("cannot write the access log {name}: {error}"))?;
    Ok(Identity::of(&metadata))
}

fn cannot_listen(listen: SocketAddr, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program has this port: end it, or choose one with --listen, 127.0.0.1:0 for any free one"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a privilege: choose another with --listen"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; this machine has no such address: choose another with --listen, 0.0.0.0 for all that it has"
        }
        _ => "",
    };
    format!("cannot listen on {listen}: {error}{remedy}")
}

/// Serves until a signal comes, then ends in order.
async fn serve_until_signalled(
    state: Arc<State>,
    listener: TcpListener,
    mut signals: UnboundedReceiver<i32>,
    diagnostics: &Diagnostics,
) -> Exit {
    let service = state.layer.layer(CatchPanicLayer::new().layer(Endpoints::new(state.clone())));
    let serving = Server::new(&state.bus)
        .head_timeout(state.settings.header_timeout)
        .shutdown_mark(state.layer.shutdown_mark())
        .serve(listener, service);
    let address = serving.local_addr().unwrap_or(state.settings.listen);
    state.keep(serving);
    diagnostics.say(format_args!("listening on http://{address}"));
    if !address.ip().is_loopback() {
        diagnostics.say(
            "everybody who can reach this address can send and read: there is no authentication",
        );
    }

    let signal = signals.recv().await;
    state.drain();
    state.stop_reloading();
    let name = signal.map_or("the end of the signals", interrupt::name);
    diagnostics.say(format_args!("{name}: finishing what was begun; once more ends at once"));
    tokio::time::sleep(state.settings.drain_delay).await;
    let begin = tokio::time::Instant::now();
    let Some(serving) = state.take_serving() else { return Exit::Clean };
    let drain_timeout = state.settings.bus.drain_timeout;
    let lost_before = serving.losses();
    let connections = serving.shutdown(drain_timeout).await;
    let left = drain_timeout.saturating_sub(begin.elapsed()).max(LEAST_DRAIN.min(drain_timeout));
    let shutdown = state.bus.shutdown_async(left).await;
    if let Some(plugins) = state.processors.plugins() {
        plugins.settle();
    }
    let stats = state.stats();
    let report = Report {
        requests: state.statuses.snapshot(),
        connections,
        intake: state.intake.stats(),
        outputs: state.processors.written(),
        plugins: state.processors.plugins().map(Plugins::stats),
        skipped: stats.processors.iter().map(|processor| processor.skipped).sum(),
        log: state.log.as_ref().map(AccessLog::stats),
        losses: state.losses(),
        lost_of_connections: lost_before,
        shutdown,
    };
    // Standard output belongs to the access log and the events.
    diagnostics.print(&report.to_string());
    report.exit()
}
