//! Writes events to a file, one JSON object a line, and rotates it by size and age.
//!
//! Nothing is lost to a write that fails: what could not be written stays in the buffer, and when that is full the events are
//! not taken ([`Stop::again`]) until there is room on the disk again.

mod rotating;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use keylane_plugin::{
    Batch, Counter, Create, Cx, Error, Event, FlushReason, Gauge, Info, Outcome, Processor,
    Rfc3339, ShutdownReason, Stop, export_plugin,
};
use serde::Deserialize;

use rotating::{Fsync, RotatingFile, Rotation};

/// What the plugin is told; `config.schema.json` explains it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    path: String,
    #[serde(default)]
    lines: Lines,
    max_bytes: Option<u64>,
    max_age_seconds: Option<u64>,
    #[serde(default = "default_keep")]
    keep: u32,
    #[serde(default)]
    fsync: Fsync,
    #[serde(default = "default_buffer_bytes")]
    buffer_bytes: usize,
}

fn default_keep() -> u32 {
    5
}

fn default_buffer_bytes() -> usize {
    256 * 1024
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Lines {
    #[default]
    Event,
    Value,
}

/// How long to wait before a write that failed is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// The processor.
#[derive(Debug)]
pub struct NdjsonFile {
    lines: Lines,
    buffer_bytes: usize,
    file: RotatingFile,
    /// Whole lines, but for the beginning of the first one, which may be in the file already.
    buffer: Vec<u8>,
    line: Vec<u8>,
    /// Whether the last write failed: one line in the log for each row of failures.
    failing: bool,
    written_lines: Counter,
    written_bytes: Counter,
    write_errors: Counter,
    rotations: Counter,
    rotation_errors: Counter,
    buffered_bytes: Gauge,
}

impl Processor for NdjsonFile {
    type Config = Config;
    const INFO: Info = Info::new("io.keylane.ndjson-file", env!("CARGO_PKG_VERSION"))
        .name("NDJSON file")
        .description(
            "Writes events to a file, one JSON object a line, and rotates it by size and age",
        )
        .license(env!("CARGO_PKG_LICENSE"))
        .config_schema(include_str!("../config.schema.json"));

    fn check_config(config: &Config) -> Result<(), Error> {
        let within = |name: &str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(Error::from(format!("{name}: {value} is out of range, use {least} to {most}")))
            }
        };
        if config.path.is_empty() || config.path.contains('\0') {
            return Err("path: is empty or holds a NUL, use the path of a file".into());
        }
        within("keep", config.keep.into(), 1, 1000)?;
        within("max_bytes", config.max_bytes.unwrap_or(1), 1, u64::MAX)?;
        within("max_age_seconds", config.max_age_seconds.unwrap_or(1), 1, u32::MAX.into())?;
        within("buffer_bytes", config.buffer_bytes as u64, 1024, 1 << 30)
    }

    fn create(config: Config, cx: &Create<'_>) -> Result<Self, Error> {
        let path: PathBuf = cx.shard_path(&config.path);
        let rotation = Rotation {
            max_bytes: config.max_bytes,
            max_age_ns: config.max_age_seconds.map(|seconds| seconds * 1_000_000_000),
            keep: config.keep,
            fsync: config.fsync,
        };
        Ok(Self {
            lines: config.lines,
            buffer_bytes: config.buffer_bytes,
            file: RotatingFile::new(path, rotation)?,
            buffer: Vec::with_capacity(config.buffer_bytes),
            line: Vec::new(),
            failing: false,
            written_lines: cx.counter("written_lines"),
            written_bytes: cx.counter("written_bytes"),
            write_errors: cx.counter("write_errors"),
            rotations: cx.counter("rotations"),
            rotation_errors: cx.counter("rotation_errors"),
            buffered_bytes: cx.gauge("buffered_bytes"),
        })
    }

    fn process(&mut self, event: &Event<'_>, cx: &Cx<'_>) -> Outcome {
        self.format(event, cx)?;
        let so_far = self.file.len() + self.buffer.len() as u64;
        if self.file.is_due(so_far, self.line.len() as u64, cx.now_mono_ns()) {
            self.rotate(cx)?;
        }
        if !self.buffer.is_empty() && self.buffer.len() + self.line.len() > self.buffer_bytes {
            self.write_out(cx)?;
        }
        // Only here is the event taken: what stopped before leaves no trace of it.
        self.buffer.extend_from_slice(&self.line);
        self.written_lines.inc();
        Ok(())
    }

    fn process_batch(&mut self, batch: &Batch<'_>, cx: &Cx<'_>) -> Outcome {
        let outcome = batch.iter().try_for_each(|event| self.process(&event, cx));
        self.buffered_bytes.set(self.buffer.len() as i64);
        outcome
    }

    fn flush(&mut self, _: FlushReason, cx: &Cx<'_>) -> Outcome {
        self.write_out(cx)?;
        self.buffered_bytes.set(0);
        let len = self.file.len();
        if self.file.is_due(len, 0, cx.now_mono_ns()) {
            self.rotate(cx)?;
        }
        self.file.flushed().map_err(|error| self.failed(cx, "sync", &error))
    }

    fn shutdown(&mut self, _: ShutdownReason, cx: &Cx<'_>) {
        // Also the end of an instance that was given up because the disk was full for too long: a last try.
        if self.write_out(cx).is_err() {
            keylane_plugin::error!(
                cx,
                "{} bytes could not be written to {} in time and are lost",
                self.buffer.len(),
                self.file.path().display()
            );
        }
    }
}

impl NdjsonFile {
    /// Puts the event's line into `self.line`.
    fn format(&mut self, event: &Event<'_>, cx: &Cx<'_>) -> Outcome {
        let value = cx.json(event).map_err(Stop::bad_event)?;
        let line = &mut self.line;
        line.clear();
        if self.lines == Lines::Value {
            line.extend_from_slice(value.as_bytes());
        } else {
            let (kind, time) = (cx.type_name(event.kind()), Rfc3339(event.wall_ns()));
            let kind = serde_json::to_string(kind).map_err(Stop::bad_event)?;
            // Writing to memory does not fail.
            let _ = write!(line, r#"{{"type":{kind},"time":"{time}""#);
            if let Some(key) = event.key().map(String::from_utf8_lossy) {
                let key = serde_json::to_string(&key).map_err(Stop::bad_event)?;
                let _ = write!(line, r#","key":{key}"#);
            }
            if event.has_key() {
                let _ = write!(line, r#","key_hash":"{:016x}""#, event.key_hash());
            }
            let _ = write!(line, r#","value":{value}}}"#);
        }
        // A line break in the value would be the end of the line. JSON text has them only between tokens, where a space serves.
        line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        line.push(b'\n');
        Ok(())
    }

    /// Writes the buffer, as far as possible.
    fn write_out(&mut self, cx: &Cx<'_>) -> Outcome {
        let mut done = 0;
        let mut outcome = Ok(());
        while done < self.buffer.len() {
            match self.file.write(&self.buffer[done..], cx.now_mono_ns()) {
                Ok(written) => done += written,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        self.buffer.drain(..done);
        self.written_bytes.add(done as u64);
        match outcome {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    keylane_plugin::info!(
                        cx,
                        "{} can be written again",
                        self.file.path().display()
                    );
                }
                Ok(())
            }
            Err(error) => Err(self.failed(cx, "write", &error)),
        }
    }

    fn rotate(&mut self, cx: &Cx<'_>) -> Outcome {
        self.write_out(cx)?;
        match self.file.rotate(cx.now_mono_ns()) {
            Ok(()) => self.rotations.inc(),
            Err(error) => {
                // The old file goes on growing, which loses nothing; it is tried again in a while.
                self.rotation_errors.inc();
                keylane_plugin::error!(cx, "cannot rotate {}: {error}", self.file.path().display());
            }
        }
        Ok(())
    }

    fn failed(&mut self, cx: &Cx<'_>, what: &str, error: &std::io::Error) -> Stop {
        self.write_errors.inc();
        let text = format!("cannot {what} {}: {error}", self.file.path().display());
        if !std::mem::replace(&mut self.failing, true) {
            keylane_plugin::error!(cx, "{text}; {} bytes wait", self.buffer.len());
        }
        Stop::again_after(RETRY, text)
    }
}

export_plugin!(NdjsonFile);
