//! `keylane plugin bench`: what an event costs in a plugin, in batches of several sizes, beside a processor that does nothing.
//!
//! The plugin runs on a real bus of one shard. Around it lies a processor that cuts the bus's batches into those of the wanted size and
//! takes the time of each call: the shard is the only thread that does anything then, because all events wait in the ring
//! before the first is taken. The time holds everything between the bus and the plugin's return: the conversion of the events, one call
//! across the boundary for each batch, and what the plugin does. Of these, the call into the plugin alone, with events that were
//! converted before, is measured apart; the rest is the conversion.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use keylane::ingest::parse_line;
use keylane::ingest::printable::plain;
use keylane::plugin::{Plugin, PluginError, PluginHost};
use keylane::{
    Bus, Event, EventType, Key, NoopProcessor, Processor, ProcessorFactory, ShardContext, Value,
};
use keylane_plugin_abi::{self as abi, Status, value_kind};
use serde_json::json;

use super::Library;
use super::raw::{self, Desk, Sample};
use crate::config::json_object;
use crate::exit::Exit;
use crate::processors::plugins;
use crate::source;
use crate::types::SharedTypes;

/// Measure what an event costs in a plugin, beside a processor that does nothing
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    library: Library,

    /// Its configuration
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json_object)]
    config: String,

    /// The event, as a line of NDJSON; each gets a key of its own among 64
    #[arg(long, value_name = "JSON", default_value = EVENT)]
    event: String,

    /// How many events of each batch size
    #[arg(long, value_name = "N", default_value = "200000", value_parser = clap::value_parser!(u64).range(1024..=100_000_000))]
    events: u64,

    /// Answer as one JSON object, for programs
    #[arg(long)]
    json: bool,
}

const EVENT: &str = r#"{"type":"order.paid","key":"order-17","data":{"amount":12}}"#;
const SIZES: [usize; 5] = [1, 4, 16, 64, 256];
const KEYS: u64 = 64;
/// How many events wait in the ring before the shard begins.
const RING: usize = 1024;
/// How often each number is taken; the median counts.
const ROUNDS: usize = 3;

/// Nanoseconds an event.
struct Row {
    size: usize,
    noop: f64,
    plugin: f64,
    call: f64,
}

/// Runs the command.
pub(super) fn bench(args: &Args) -> Exit {
    let answer = measure(args).and_then(|(plugin, rows)| {
        let text =
            if args.json { as_json(args, &plugin, &rows) } else { table(args, &plugin, &rows) };
        std::io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| format!("cannot write the answer: {error}"))
    });
    match answer {
        Ok(()) => Exit::Clean,
        Err(error) => {
            eprintln!("keylane: {error}");
            Exit::Usage
        }
    }
}

fn measure(args: &Args) -> Result<(Plugin, Vec<Row>), String> {
    let parsed = parse_line(args.event.as_bytes())
        .map_err(|error| format!("--event is no event: {}", plain(&error.to_string(), 400)))?;
    let types = SharedTypes::of_strangers(4096);
    let kind = types.find(&parsed.type_name).unwrap_or(EventType::user(0));
    drop(parsed);
    let host = plugins::host(&args.library.settings(), &types)?;
    let plugin = load(&host, args)?;
    let library = raw::Library::load(&args.library.path, None)?;
    let mut rows = Vec::new();
    for size in SIZES {
        let mut of = (Vec::new(), Vec::new(), Vec::new());
        // Turn by turn, so that what disturbs one disturbs the others.
        for _ in 0..ROUNDS {
            of.0.push(on_a_bus(
                |_: &ShardContext| Ok::<_, PluginError>(NoopProcessor),
                size,
                kind,
                args,
            )?);
            let factory = plugin.processor(&args.config).map_err(|error| error.to_string())?;
            of.1.push(on_a_bus(move |cx: &ShardContext| factory.create(cx), size, kind, args)?);
            of.2.push(call_alone(&library, size, args)?);
        }
        rows.push(Row { size, noop: median(of.0), plugin: median(of.1), call: median(of.2) });
    }
    Ok((plugin, rows))
}

fn load(host: &PluginHost, args: &Args) -> Result<Plugin, String> {
    let plugin = host.load(&args.library.path).map_err(|error| {
        format!("{} ({})", plain(&error.to_string(), 2000), error.kind().name())
    })?;
    plugin.processor(&args.config).map_err(|error| {
        format!(
            "{}; give a configuration that it takes with --config",
            plain(&error.to_string(), 2000)
        )
    })?;
    Ok(plugin)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Whether the shard may begin.
#[derive(Debug, Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, open: bool) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(open, |open| !*open).unwrap_or_else(PoisonError::into_inner));
    }
}

#[derive(Debug, Default)]
struct Totals {
    nanos: AtomicU64,
    events: AtomicU64,
    refused: AtomicU64,
}

/// Cuts batches into those of one size, and takes the time.
struct Timed<P> {
    inner: P,
    size: usize,
    gate: Arc<Gate>,
    totals: Arc<Totals>,
}

impl<P: Processor> Processor for Timed<P> {
    fn process(&mut self, event: &Event) {
        self.process_batch(&[event]);
    }

    fn process_batch(&mut self, events: &[&Event]) {
        self.gate.pass();
        let (mut refused, began) = (0, Instant::now());
        for batch in events.chunks(self.size) {
            self.inner.process_batch(black_box(batch));
            refused += u64::from(self.inner.refused().is_some());
        }
        let nanos = began.elapsed().as_nanos() as u64;
        self.totals.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.totals.events.fetch_add(events.len() as u64, Ordering::Relaxed);
        self.totals.refused.fetch_add(refused, Ordering::Relaxed);
    }

    fn flush(&mut self) {
        self.inner.flush();
    }

    fn shutdown(&mut self) {
        self.inner.shutdown();
    }
}

/// Nanoseconds an event takes in a processor on a bus.
fn on_a_bus<P: Processor>(
    create: impl Fn(&ShardContext) -> Result<P, PluginError> + Send + Sync + 'static,
    size: usize,
    kind: EventType,
    args: &Args,
) -> Result<f64, String> {
    let (gate, totals) = (Arc::<Gate>::default(), Arc::<Totals>::default());
    let (of_shard, counted) = (gate.clone(), totals.clone());
    let factory = move |cx: &ShardContext| {
        let (gate, totals) = (of_shard.clone(), counted.clone());
        Ok::<_, PluginError>(Timed { inner: create(cx)?, size, gate, totals })
    };
    let bus = Bus::builder()
        .shards(1)
        .capacity(RING)
        .processor("bench", factory)
        .build()
        .map_err(|error| error.to_string())?;
    let mut producer = bus.producer();
    let mut emitted = 0;
    while emitted < args.events {
        gate.set(false);
        for n in 0..RING as u64 {
            let parsed = parse_line(args.event.as_bytes()).map_err(|error| error.to_string())?;
            let key = Key::from(format!("key-{}", n % KEYS).as_str());
            producer
                .emit_blocking(kind, Value::new(parsed.record), key)
                .map_err(|error| error.to_string())?;
        }
        emitted += RING as u64;
        gate.set(true);
        while bus.stats().depth > 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    drop(producer);
    bus.shutdown(Duration::from_secs(10));
    let refused = totals.refused.load(Ordering::Relaxed);
    if refused > 0 {
        return Err(format!(
            "the plugin did not take {refused} batches of this event; choose another one with --event, or a configuration with --config"
        ));
    }
    let events = totals.events.load(Ordering::Relaxed).max(1);
    Ok(totals.nanos.load(Ordering::Relaxed) as f64 / events as f64)
}

/// Nanoseconds an event takes in the plugin alone: events that were converted before, the same again and again.
fn call_alone(library: &raw::Library, size: usize, args: &Args) -> Result<f64, String> {
    let desk = Desk::new(abi::log::OFF);
    let mut instance =
        library.create(&desk, &args.config, (0, 1)).map_err(|answer| answer.to_string())?;
    let sample = |n: usize| {
        let value = raw::Value::Bytes(value_kind::JSON, args.event.clone().into_bytes());
        Sample::new("the event", abi::event_type::USER_BASE, value)
            .key(&format!("key-{}", n as u64 % KEYS))
    };
    let samples: Vec<_> = (0..size).map(sample).collect();
    let samples = instance.fit(&samples);
    let mut lent = instance.lend(&samples);
    let turns = (args.events as usize / size).max(1);
    let began = Instant::now();
    for _ in 0..turns {
        let answer = instance.process(&mut lent, 0);
        if answer.status == Status::AGAIN {
            // It has to write, say; that is part of what it costs.
            let _ = instance.flush(abi::flush_reason::REQUESTED);
        } else if answer.status != Status::OK {
            return Err(format!("the plugin does not take this event: {answer}"));
        }
    }
    let nanos = began.elapsed().as_nanos() as f64;
    raw::Instance::take_back(lent);
    Ok(nanos / (turns * size) as f64)
}

fn notes() -> Vec<&'static str> {
    let mut notes = Vec::new();
    if cfg!(debug_assertions) {
        notes.push(
            "this keylane is a debug build: build it with --release before you believe any number",
        );
    }
    notes
}

fn table(args: &Args, plugin: &Plugin, rows: &[Row]) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}: {} {}\n{} events of {} bytes for each line, the median of {ROUNDS}; nanoseconds an event\n",
        source::name(&args.library.path),
        plain(plugin.id(), 64),
        plain(plugin.version(), 32),
        args.events,
        args.event.len(),
    );
    let _ = writeln!(
        out,
        "{:>8} {:>16} {:>12} {:>14} {:>18}",
        "batch", "static no-op", "plugin", "plugin alone", "conversion, host"
    );
    for Row { size, noop, plugin, call } in rows {
        let _ = writeln!(
            out,
            "{size:>8} {noop:>16.1} {plugin:>12.1} {call:>14.1} {:>18.1}",
            (plugin - call).max(0.0)
        );
    }
    out.push_str(
        "\nstatic no-op: a processor of this program that does nothing, on the same bus. plugin: all from the bus to its return,\n\
         one call across the boundary for each batch. plugin alone: that call with events that were converted before, the same\n\
         ones again and again. conversion, host: the difference.\n",
    );
    for note in notes() {
        let _ = writeln!(out, "\n{note}");
    }
    out
}

fn as_json(args: &Args, plugin: &Plugin, rows: &[Row]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|Row { size, noop, plugin, call }| {
            json!({ "batch": size, "noop_ns": noop, "plugin_ns": plugin, "plugin_alone_ns": call, "conversion_ns": (plugin - call).max(0.0) })
        })
        .collect();
    let all = json!({
        "path": args.library.path.to_string_lossy(),
        "plugin": plugin.id(),
        "version": plugin.version(),
        "sha256": plugin.sha256().to_string(),
        "events": args.events,
        "event_bytes": args.event.len(),
        "rounds": ROUNDS,
        "debug_build": cfg!(debug_assertions),
        "rows": rows,
    });
    format!("{}\n", keylane::ingest::printable::json(&all.to_string()))
}
