//! What plugins write into their logs, on standard error.
//!
//! A subscriber of `tracing` for nothing else: the lines of plugins from a level on, and what the library has to say about plugins as a
//! warning or worse. Installed only when there are plugins.

use std::fmt::{self, Write};

use keylane::ingest::printable::plain;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::config::LogLevel;
use crate::diagnostics::Diagnostics;

/// The longest message that is shown, in characters.
const MESSAGE: usize = 2000;

struct Log {
    level: LevelFilter,
    diagnostics: Diagnostics,
}

/// Shows lines from this level on. Once per process; a second call changes nothing.
pub(crate) fn install(level: LogLevel, diagnostics: &Diagnostics) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let log = Log { level, diagnostics: diagnostics.clone() };
    let _ = tracing::subscriber::set_global_default(log);
}

/// Where the host writes down the lines of plugins.
const OF_PLUGINS: &str = "keylane::plugin::instance";
/// What happens to plugins while they run. Loading is not among it: whoever loads hears of errors by other ways.
const ABOUT_PLUGINS: [&str; 2] = ["keylane::plugin::processor", "keylane::plugin::control"];

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let known = if target.starts_with(OF_PLUGINS) {
            true
        } else {
            ABOUT_PLUGINS.contains(&target) && *metadata.level() <= Level::WARN
        };
        known && metadata.is_event() && *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        // Spans are not enabled; should one be made all the same, it needs a number.
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = event.metadata().level().as_str().to_lowercase();
        self.diagnostics.say(format_args!("{level}: {line}"));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The fields of a line.
#[derive(Default)]
struct Line {
    plugin: String,
    processor: String,
    shard: String,
    generation: String,
    fields: String,
    dropped: u64,
    message: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let place = match field.name() {
            "message" => &mut self.message,
            "shard" => &mut self.shard,
            "generation" => &mut self.generation,
            _ => return,
        };
        let _ = write!(place, "{value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let place = match field.name() {
            "message" => &mut self.message,
            "plugin" => &mut self.plugin,
            "processor" => &mut self.processor,
            "fields" => &mut self.fields,
            _ => return,
        };
        value.clone_into(place);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "dropped_before" => self.dropped = value,
            _ => self.record_debug(field, &value),
        }
    }
}

impl fmt::Display for Line {
    /// On one line, and harmless on a terminal: plugins write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {}, shard {}", plain(&self.processor, 200), plain(&self.shard, 20))?;
        if !self.generation.is_empty() && self.generation != "1" {
            write!(f, ", generation {}", plain(&self.generation, 20))?;
        }
        write!(f, ": {}", plain(&self.message, MESSAGE))?;
        if !self.fields.is_empty() {
            write!(f, " {}", plain(&self.fields, MESSAGE))?;
        }
        if self.dropped > 0 {
            write!(f, " ({} lines before it were left out)", self.dropped)?;
        }
        Ok(())
    }
}
