//! The ways to observe a service, each with its server. Every log must in the end have a line for
//! each request whose end was not counted as lost.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use axum::{BoxError, Router};
use axum_prometheus::{PrometheusMetricLayer, metrics_exporter_prometheus::PrometheusHandle};
use keylane::http::{AccessLog, EventLayer, LogFormat, LogSink, StatusCounters};
use keylane::{Bus, Event, Processor, ShardContext, WaitStrategy};
use tokio::runtime::Builder;
use tower::{Layer, Service, ServiceExt};
use tower_http::classify::{ServerErrorsAsFailures, SharedClassifier};
use tower_http::trace::{DefaultMakeSpan, DefaultOnFailure, DefaultOnResponse, TraceLayer};
use tracing::Level;
use tracing::dispatcher::{Dispatch, set_default};
use tracing_subscriber::fmt::MakeWriter;

use super::server::{Server, app, serve};
use crate::contender::{Card, Role};

/// Slots of the ring. The layer never waits for the bus but drops and counts. On two cores the server and the client keep
/// the shard from running for milliseconds at a time, and nobody else may drop anything.
const CAPACITY: usize = 16_384;
/// Slots beside a processor that sleeps, where events are meant to be dropped.
const SMALL: usize = 1024;

/// A way to observe, with its server running.
pub(super) trait Observed {
    fn server(&self) -> &Server;

    /// Ends the server, writes out what is buffered, and checks that `requests` were observed or counted as lost.
    ///
    /// # Errors
    ///
    /// Says what was observed instead.
    fn finish(self: Box<Self>, requests: u64) -> Result<Outcome, String>;
}

/// What an observer did not see.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outcome {
    /// Events that found no room.
    pub(super) lost: u64,
}

type Start = fn() -> Result<Box<dyn Observed>, String>;

/// Everyone, the bare service first.
pub(super) fn ways() -> Vec<(Card, Start)> {
    let rival = |name, package, settings| Card {
        name,
        role: Role::Rival,
        package: Some(package),
        settings,
    };
    vec![
        (
            Card {
                name: "bare",
                role: Role::Floor,
                package: Some("axum"),
                settings: "the service alone, axum::serve on one thread; the others are layers around its router, but for axum-prometheus, which has to be inside",
            },
            || Bare::start(),
        ),
        (
            Card {
                name: "keylane",
                role: Role::Keylane,
                package: Some("keylane"),
                settings: "EventLayer with peers; AccessLog in gohm's format to a file, StatusCounters; 1 shard with \
                           16,384 slots; WaitStrategy::Sleeping",
            },
            || Keylane::start(WaitStrategy::Sleeping, None),
        ),
        (
            Card {
                name: "keylane-adaptive",
                role: Role::Variant,
                package: Some("keylane"),
                settings: "the same with WaitStrategy::Adaptive, the default",
            },
            || Keylane::start(WaitStrategy::Adaptive, None),
        ),
        (
            Card {
                name: "keylane-park",
                role: Role::Variant,
                package: Some("keylane"),
                settings: "the same with WaitStrategy::Park",
            },
            || Keylane::start(WaitStrategy::Park, None),
        ),
        (
            rival(
                "trace-buffered",
                "tower-http",
                "TraceLayer, span and response at INFO, nothing else; tracing-subscriber's fmt without ANSI to a \
                 BufWriter of 64 KiB behind a Mutex",
            ),
            || Trace::start(Sink::Buffered),
        ),
        (
            rival(
                "trace-non-blocking",
                "tower-http",
                "the same to a file by tracing-appender's non_blocking, which waits when full",
            ),
            || Trace::start(Sink::NonBlocking),
        ),
        (
            rival(
                "axum-prometheus",
                "axum-prometheus",
                "PrometheusMetricLayer with its defaults; no log",
            ),
            || Prometheus::start(),
        ),
    ]
}

/// keylane with a processor that sleeps for a tenth of a second at every event.
pub(super) fn with_a_sleeper() -> Result<Box<dyn Observed>, String> {
    Keylane::start(WaitStrategy::Sleeping, Some(Duration::from_millis(100)))
}

/// A name for a log that nobody else uses.
fn log_path() -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("keylane-benches-{}-{number}.log", std::process::id()))
}

/// Checks that the log has a line for each request, and removes it.
fn check_log(path: &Path, requests: u64) -> Result<(), String> {
    let name = path.display();
    let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
    let lines = BufReader::new(file).split(b'\n').filter(|line| {
        // Whatever the format, a line that is complete tells the path and the status.
        let line = line.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        line.contains("/orders/17?full=true") && line.contains("200")
    });
    let lines = lines.count() as u64;
    fs::remove_file(path).map_err(|error| format!("{name}: {error}"))?;
    if lines != requests {
        return Err(format!("the log has {lines} lines instead of {requests}"));
    }
    Ok(())
}

/// The service behind a layer, outside of the router: layered inside, every layer would pay for what axum boxes there.
fn outside<L, B>(
    layer: L,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send
where
    L: Layer<Router>,
    L::Service: Service<Request, Response = Response<B>, Error = Infallible, Future: Send>,
    L::Service: Clone + Send,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    layer.layer(app()).map_response(|response: Response<B>| response.map(Body::new))
}

struct Bare(Server);

impl Bare {
    fn start() -> Result<Box<dyn Observed>, String> {
        let server = Server::start(|listener, stopped| serve(app(), listener, stopped))?;
        Ok(Box::new(Self(server)))
    }
}

impl Observed for Bare {
    fn server(&self) -> &Server {
        &self.0
    }

    fn finish(self: Box<Self>, _requests: u64) -> Result<Outcome, String> {
        self.0.stop()?;
        Ok(Outcome::default())
    }
}

struct Keylane {
    server: Server,
    bus: Bus,
    events: EventLayer,
    counters: StatusCounters,
    log: PathBuf,
    sleeps: bool,
}

/// A processor that has no idea what it costs.
struct Sleeper(Duration);

impl Processor for Sleeper {
    fn process(&mut self, _event: &Event) {
        std::thread::sleep(self.0);
    }
}

impl Keylane {
    fn start(wait: WaitStrategy, sleep: Option<Duration>) -> Result<Box<dyn Observed>, String> {
        let path = log_path();
        let log = AccessLog::new(LogFormat::gohm(), LogSink::file(&path));
        let counters = StatusCounters::new();
        let mut bus = Bus::builder()
            .shards(1)
            .wait(wait)
            .capacity(if sleep.is_some() { SMALL } else { CAPACITY })
            .processor_for("access-log", AccessLog::EVENTS, log.clone())
            .processor_for("counters", StatusCounters::EVENTS, counters.clone());
        if let Some(sleep) = sleep {
            bus = bus.processor("sleeper", move |_: &ShardContext| Sleeper(sleep));
        }
        let bus = bus.build().map_err(|error| error.to_string())?;
        let events = EventLayer::new(&bus)
            .capture(log.headers())
            .peer_with(|extensions| extensions.get().map(|&ConnectInfo::<SocketAddr>(peer)| peer));
        let layer = events.clone();
        let server =
            Server::start(move |listener, stopped| serve(outside(layer), listener, stopped))?;
        Ok(Box::new(Self { server, bus, events, counters, log: path, sleeps: sleep.is_some() }))
    }
}

impl Observed for Keylane {
    fn server(&self) -> &Server {
        &self.server
    }

    fn finish(self: Box<Self>, requests: u64) -> Result<Outcome, String> {
        self.server.stop()?;
        let deadline = if self.sleeps { Duration::ZERO } else { Duration::from_secs(60) };
        let report = self.bus.shutdown(deadline);
        let losses = self.events.losses();
        let lost = losses.starts + losses.ends;
        if report.accepted + lost != 2 * requests {
            return Err(format!("{requests} requests, {losses:?}, {report:?}"));
        }
        if self.sleeps {
            // What the shard has not come to is abandoned on purpose; the log is of no interest.
            fs::remove_file(&self.log).map_err(|error| error.to_string())?;
            return Ok(Outcome { lost });
        }
        let ended = requests - losses.ends;
        if self.counters.get_all() != ended {
            return Err(format!(
                "{requests} requests, {losses:?}, counted {}",
                self.counters.get_all()
            ));
        }
        check_log(&self.log, ended)?;
        Ok(Outcome { lost })
    }
}

#[derive(Debug, Clone, Copy)]
enum Sink {
    Buffered,
    NonBlocking,
}

/// Writes what is left when it is dropped.
type Flush = Box<dyn FnOnce() -> std::io::Result<()>>;

struct Trace {
    server: Server,
    log: PathBuf,
    flush: Flush,
}

/// A file behind a lock and a buffer.
#[derive(Clone)]
struct Shared(Arc<Mutex<BufWriter<File>>>);

impl Shared {
    fn flush(&self) -> std::io::Result<()> {
        self.0.lock().map_err(|error| std::io::Error::other(error.to_string()))?.flush()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().map_err(|error| std::io::Error::other(error.to_string()))?.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Self::flush(self)
    }
}

impl Trace {
    fn start(sink: Sink) -> Result<Box<dyn Observed>, String> {
        let log = log_path();
        let file = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let (dispatch, flush): (Dispatch, Flush) = match sink {
            Sink::Buffered => {
                let shared = Shared(Arc::new(Mutex::new(BufWriter::with_capacity(1 << 16, file))));
                let writer = shared.clone();
                (subscriber(move || writer.clone()), Box::new(move || shared.flush()))
            }
            Sink::NonBlocking => {
                let builder = tracing_appender::non_blocking::NonBlockingBuilder::default();
                let (writer, guard) = builder.lossy(false).finish(file);
                (
                    subscriber(writer),
                    Box::new(move || {
                        drop(guard);
                        Ok(())
                    }),
                )
            }
        };
        let server = Server::start(move |listener, stopped| {
            // For this thread only: the next contender must not be traced.
            let traced = set_default(&dispatch);
            async move {
                let result = serve(outside(trace()), listener, stopped).await;
                drop(traced);
                result
            }
        })?;
        Ok(Box::new(Self { server, log, flush }))
    }
}

fn subscriber<W>(writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let fmt = tracing_subscriber::fmt().with_ansi(false).with_max_level(Level::INFO);
    Dispatch::new(fmt.with_writer(writer).finish())
}

/// One line per request, with what the access log tells: when, what, how it ended and how long it took.
fn trace() -> TraceLayer<
    SharedClassifier<ServerErrorsAsFailures>,
    DefaultMakeSpan,
    (),
    DefaultOnResponse,
    (),
    (),
    DefaultOnFailure,
> {
    TraceLayer::new_for_http()
        .make_span_with(DefaultMakeSpan::new().level(Level::INFO))
        .on_request(())
        .on_response(DefaultOnResponse::new().level(Level::INFO))
        .on_body_chunk(())
        .on_eos(())
}

impl Observed for Trace {
    fn server(&self) -> &Server {
        &self.server
    }

    fn finish(self: Box<Self>, requests: u64) -> Result<Outcome, String> {
        self.server.stop()?;
        (self.flush)().map_err(|error| error.to_string())?;
        check_log(&self.log, requests)?;
        Ok(Outcome::default())
    }
}

struct Prometheus {
    server: Server,
    handle: PrometheusHandle,
    before: u64,
}

impl Prometheus {
    fn start() -> Result<Box<dyn Observed>, String> {
        // The recorder is one for the process, and can be installed only once.
        static PAIR: OnceLock<(PrometheusMetricLayer<'static>, PrometheusHandle)> = OnceLock::new();
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| error.to_string())?;
        // It wants a runtime for its upkeep every five seconds; a round is shorter, and reading the counters does the same.
        let inside = runtime.enter();
        let (layer, handle) = PAIR.get_or_init(PrometheusMetricLayer::pair).clone();
        drop(inside);
        let before = counted(&handle);
        let server =
            Server::start(move |listener, stopped| serve(app().layer(layer), listener, stopped))?;
        Ok(Box::new(Self { server, handle, before }))
    }
}

/// All requests in the exposition.
fn counted(handle: &PrometheusHandle) -> u64 {
    let text = handle.render();
    let lines = text.lines().filter(|line| line.starts_with("axum_http_requests_total"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

impl Observed for Prometheus {
    fn server(&self) -> &Server {
        &self.server
    }

    fn finish(self: Box<Self>, requests: u64) -> Result<Outcome, String> {
        self.server.stop()?;
        let counted = counted(&self.handle) - self.before;
        if counted != requests {
            return Err(format!("{counted} requests were counted instead of {requests}"));
        }
        Ok(Outcome::default())
    }
}
