//! tower-http's `TraceLayer`, with tracing-subscriber writing to a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tower_http::classify::{ServerErrorsAsFailures, SharedClassifier};
use tower_http::trace::{DefaultMakeSpan, DefaultOnFailure, DefaultOnResponse, TraceLayer};
use tracing::Level;
use tracing::dispatcher::Dispatch;
use tracing_subscriber::fmt::MakeWriter;

use super::{Observer, Outcome, Start, log};

/// How lines come into the file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sink {
    Buffered,
    NonBlocking,
}

/// Writes what is left.
type Flush = Box<dyn FnOnce() -> std::io::Result<()>>;

pub(super) struct Trace {
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
    /// A log, and what has to be the subscriber of the thread that serves.
    pub(super) fn start(sink: Sink) -> Start<(Self, Dispatch)> {
        let log = log::path();
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
        Ok((Self { log, flush }, dispatch))
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
pub(super) fn layer() -> TraceLayer<
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

impl Observer for Trace {
    fn finish(self: Box<Self>, requests: u64) -> Result<Outcome, String> {
        (self.flush)().map_err(|error| error.to_string())?;
        log::check(&self.log, requests)?;
        Ok(Outcome::default())
    }
}
