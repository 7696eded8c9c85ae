//! Counts events and sums up their values by type and time window, and writes what it knows as a Prometheus text file.
//!
//! The file is replaced as a whole, by a rename, so a reader never sees half of one.

mod number;
mod table;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use keylane_plugin::{
    Counter, Create, Cx, Error, Event, FlushReason, Info, Outcome, Processor, StateWriter, Stop,
    export_plugin,
};
use serde::Deserialize;

use table::Table;

/// What the plugin is told; `config.schema.json` explains it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    path: String,
    #[serde(default = "default_window_seconds")]
    window_seconds: u32,
    #[serde(default = "default_write_every_seconds")]
    write_every_seconds: u32,
    #[serde(default)]
    value: String,
    #[serde(default = "default_max_types")]
    max_types: usize,
}

fn default_window_seconds() -> u32 {
    60
}

fn default_write_every_seconds() -> u32 {
    5
}

fn default_max_types() -> usize {
    1000
}

/// The processor.
#[derive(Debug)]
pub struct Rollup {
    path: PathBuf,
    shard: usize,
    write_every: Duration,
    pointer: String,
    max_types: usize,
    table: Table,
    /// Whether the table says more than the file.
    changed: bool,
    /// When the file was written last, on the clock that never goes back.
    written_at: u64,
    /// Whether a flush is asked for.
    asked: bool,
    failing: bool,
    writes: Counter,
    write_errors: Counter,
}

/// The form of the saved state.
const STATE_VERSION: u32 = 1;

impl Processor for Rollup {
    type Config = Config;
    const INFO: Info = Info::new("io.keylane.rollup", env!("CARGO_PKG_VERSION"))
        .name("Rollup")
        .description("Counts and sums up events by type and time window, as a Prometheus text file")
        .license(env!("CARGO_PKG_LICENSE"))
        .config_schema(include_str!("../config.schema.json"))
        .stateful(STATE_VERSION);

    fn check_config(config: &Config) -> Result<(), Error> {
        let within = |name: &str, value: usize, least: usize, most: usize| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(Error::from(format!("{name}: {value} is out of range, use {least} to {most}")))
            }
        };
        if config.path.is_empty() || config.path.contains('\0') {
            return Err("path: is empty or holds a NUL, use the path of a file".into());
        }
        if !config.value.is_empty() && !config.value.starts_with('/') {
            return Err(format!(
                "value: {:?} is not a JSON pointer, use one such as \"/amount\"",
                config.value
            )
            .into());
        }
        within("window_seconds", config.window_seconds as usize, 1, 86_400)?;
        within("write_every_seconds", config.write_every_seconds as usize, 1, 3600)?;
        within("max_types", config.max_types, 1, 65_536)
    }

    fn create(config: Config, cx: &Create<'_>) -> Result<Self, Error> {
        let path = cx.shard_path(&config.path);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(format!(
                "cannot write {}: {} is not a folder",
                path.display(),
                folder.display()
            )
            .into());
        }
        Ok(Self {
            path,
            shard: cx.shard(),
            write_every: Duration::from_secs(config.write_every_seconds.into()),
            pointer: config.value,
            max_types: config.max_types,
            table: Table::new(config.window_seconds),
            changed: false,
            written_at: cx.now_mono_ns(),
            asked: false,
            failing: false,
            writes: cx.counter("writes"),
            write_errors: cx.counter("write_errors"),
        })
    }

    fn process(&mut self, event: &Event<'_>, cx: &Cx<'_>) -> Outcome {
        let number = number::of(event, &self.pointer);
        self.table.add(cx.type_name(event.kind()), event.wall_ns(), number, self.max_types);
        self.changed = true;
        if !self.asked {
            self.asked = true;
            cx.request_flush(self.write_every);
        }
        if self.is_due(cx) {
            // What fails here is tried again; the numbers are kept, so no event is held up for it.
            let _ = self.write(cx);
        }
        Ok(())
    }

    fn flush(&mut self, reason: FlushReason, cx: &Cx<'_>) -> Outcome {
        if reason == FlushReason::Requested {
            self.asked = false;
        }
        let last = matches!(reason, FlushReason::Swap | FlushReason::Shutdown);
        // A window ends also when nothing comes any more.
        self.changed |= self.table.turn(cx.now_wall_ns());
        if self.changed && (last || self.is_due(cx)) {
            let written = self.write(cx);
            if last {
                written.map_err(|error| Stop::again_after(Duration::from_millis(100), error))?;
            }
        }
        // The window that is open now must be closed in time.
        if !last && !self.asked && self.table.is_open() {
            self.asked = true;
            cx.request_flush(self.write_every);
        }
        Ok(())
    }

    fn save_state(&mut self, out: &mut StateWriter<'_>) -> Result<(), Error> {
        Ok(serde_json::to_writer(std::io::BufWriter::new(out), &self.table)?)
    }

    fn load_state(&mut self, state: &[u8], version: u32) -> Result<(), Error> {
        if version != STATE_VERSION {
            return Err(format!(
                "the state has version {version}, this plugin reads {STATE_VERSION}"
            )
            .into());
        }
        self.table.load(serde_json::from_slice(state)?);
        Ok(())
    }
}

impl Rollup {
    fn is_due(&self, cx: &Cx<'_>) -> bool {
        u128::from(cx.now_mono_ns().saturating_sub(self.written_at)) >= self.write_every.as_nanos()
    }

    /// Replaces the file.
    fn write(&mut self, cx: &Cx<'_>) -> Result<(), String> {
        self.written_at = cx.now_mono_ns();
        let text = self.table.to_prometheus(self.shard);
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        // Not ending as the file does, so that a collector of a whole folder leaves it alone.
        name.push(format!(".{}.new", std::process::id()));
        let new = self.path.with_file_name(name);
        let written = fs::File::create(&new)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&new, &self.path));
        match written {
            Ok(()) => {
                self.changed = false;
                self.failing = false;
                self.writes.inc();
                Ok(())
            }
            Err(error) => {
                let _ = fs::remove_file(&new);
                self.write_errors.inc();
                let text = format!("cannot write {}: {error}", self.path.display());
                if !std::mem::replace(&mut self.failing, true) {
                    keylane_plugin::error!(cx, "{text}");
                }
                Err(text)
            }
        }
    }
}

export_plugin!(Rollup);
