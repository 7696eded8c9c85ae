//! Processors from shared libraries: loaded before the bus is built, on it like any other, and told about by the host's numbers.

mod reload;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar};
use keylane::ingest::Record;
use keylane::ingest::printable::plain;
use keylane::plugin::{
    Inspection, LoadErrorKind, Plugin, PluginFactory, PluginHost, PluginMetricValue, PluginStats,
    Sha256, TrustPolicy, install_crash_note,
};
use keylane::{Builder, EventType};

use crate::config::{LogLevel, PluginConfig, PluginsConfig, Trust};
use crate::diagnostics::Diagnostics;
use crate::plugin_log;
use crate::source;
use crate::types::SharedTypes;

pub(crate) use reload::Reload;

/// How long instances may take to be destroyed at the end.
const SETTLE: Duration = Duration::from_secs(5);

/// The plugins of this process.
#[derive(Debug)]
pub(crate) struct Plugins {
    host: PluginHost,
    all: Vec<Loaded>,
    reload: bool,
    /// Of all plugins, until they are on the bus.
    factories: Mutex<Vec<PluginFactory>>,
}

/// One plugin.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// Its name on the bus.
    name: String,
    /// What was asked for.
    wanted: PluginConfig,
    /// The types that it gets.
    events: Option<Vec<EventType>>,
    /// The content that runs now.
    running: Sha256,
}

/// A host that trusts what the settings say, for events from outside.
pub(crate) fn host(settings: &PluginsConfig, types: &SharedTypes) -> Result<PluginHost, String> {
    let (by_name, names) = (types.clone(), types.clone());
    let mut builder = PluginHost::builder()
        .allow_loading(trust(settings))
        .event_names(move |name| by_name.find(name), move |kind| names.name(kind))
        .json_value(|record: &Record| record.json());
    if let Some(libraries) = settings.max_libraries {
        builder = builder.max_libraries(libraries);
    }
    builder.build().map_err(|error| format!("cannot start the thread of the plugins: {error}"))
}

/// Whose files are loaded, and which. Digests narrow it down for all plugins: a list that does not count for some would be none.
pub(crate) fn trust(settings: &PluginsConfig) -> TrustPolicy {
    let policy = match settings.trust.unwrap_or(Trust::Owned) {
        Trust::Owned => TrustPolicy::owned(),
        Trust::Any => TrustPolicy::any_owner(),
    };
    let of_plugins = settings.all.iter().filter_map(|plugin| plugin.sha256);
    let digests: Vec<_> = settings.sha256.iter().copied().chain(of_plugins).collect();
    if digests.is_empty() { policy } else { policy.allow_only(digests) }
}

/// The name of a plugin for which none was chosen: `libbig_words.so` is `big_words`.
pub(crate) fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let stem = stem.strip_prefix("lib").filter(|rest| !rest.is_empty()).unwrap_or(&stem);
    plain(stem, 100)
}

impl Plugins {
    /// Loads all that is asked for, and checks the configurations; `None` when nothing is. `taken` are the names of other processors.
    ///
    /// # Errors
    /// Why one of them cannot be used.
    pub(super) fn load(
        settings: &PluginsConfig,
        mut taken: Vec<String>,
        types: &SharedTypes,
    ) -> Result<Option<Self>, String> {
        if settings.all.is_empty() {
            return Ok(None);
        }
        let diagnostics = Diagnostics::around(ProgressBar::hidden());
        plugin_log::install(settings.log.unwrap_or(LogLevel::Info), &diagnostics);
        if let Err(error) = install_crash_note() {
            diagnostics.say(format_args!("a crash of a plugin will not be explained: {error}"));
        }
        let host = host(settings, types)?;
        let (mut all, mut factories) = (Vec::new(), Vec::new());
        for wanted in &settings.all {
            let name = wanted.name.clone().unwrap_or_else(|| name_of(&wanted.path));
            if taken.contains(&name) {
                return Err(format!(
                    "plugin {}: another processor is called {name}; choose a name with --plugin-name, or name in the file",
                    source::name(&wanted.path)
                ));
            }
            taken.push(name.clone());
            let (plugin, factory) = load(&host, wanted)?;
            let events = match &wanted.events {
                Some(names) => Some(kinds(names, types)?),
                None => None,
            };
            let running = plugin.sha256();
            all.push(Loaded { name, wanted: wanted.clone(), events, running });
            factories.push(factory);
        }
        let reload = settings.reload.unwrap_or(true);
        Ok(Some(Self { host, all, reload, factories: Mutex::new(factories) }))
    }

    /// Gives the plugins their names on the bus. To be called once.
    pub(super) fn register(&self, mut builder: Builder) -> Builder {
        let mut factories = self.factories.lock().unwrap_or_else(PoisonError::into_inner);
        for (loaded, factory) in self.all.iter().zip(factories.drain(..)) {
            let name = loaded.name.as_str();
            builder = match &loaded.events {
                Some(events) => builder.processor_for(name, events.iter().copied(), factory),
                None => builder.processor(name, factory),
            };
        }
        builder
    }

    /// What the plugins did and counted.
    pub(crate) fn stats(&self) -> PluginStats {
        self.host.stats()
    }

    /// Waits until the instances are destroyed; to be called after the shutdown of the bus.
    pub(crate) fn settle(&self) {
        if !self.host.settle(SETTLE) {
            Diagnostics::around(ProgressBar::hidden())
                .say(format_args!("plugins have not let go of their instances within {SETTLE:?}"));
        }
    }
}

/// The plugins that are asked for, by name, looked at without running any.
pub(crate) fn inspect(settings: &PluginsConfig) -> Vec<(String, Inspection)> {
    let Ok(host) = PluginHost::builder().allow_loading(trust(settings)).build() else {
        return Vec::new();
    };
    let inspect = |wanted: &PluginConfig| {
        let name = wanted.name.clone().unwrap_or_else(|| name_of(&wanted.path));
        (name, host.inspect(&wanted.path))
    };
    settings.all.iter().map(inspect).collect()
}

/// Loads one, and checks its configuration.
fn load(host: &PluginHost, wanted: &PluginConfig) -> Result<(Plugin, PluginFactory), String> {
    let plugin = host.load(&wanted.path).map_err(|error| {
        let hint = match error.kind() {
            LoadErrorKind::Untrusted { .. } => {
                ", put the file elsewhere, or say --plugin-trust any"
            }
            _ => "",
        };
        format!("{}{hint} ({})", plain(&error.to_string(), 2000), error.kind().name())
    })?;
    let path = source::name(&wanted.path);
    let found = plugin.sha256();
    if let Some(expected) = wanted.sha256.filter(|expected| *expected != found) {
        return Err(format!(
            "plugin {path}: its SHA-256 is {found}, and sha256 says {expected}; change one of them"
        ));
    }
    let config = wanted.config.as_deref().unwrap_or("{}");
    let factory = match &wanted.id {
        Some(id) => plugin.processor_with_id(id, config),
        None => plugin.processor(config),
    };
    let factory = factory.map_err(|error| {
        let hint = if wanted.config.is_none() {
            "; it was given none: say --config '{...}' behind it, or config in the file"
        } else {
            ""
        };
        format!("plugin {path}: {}{hint}", plain(&error.to_string(), 2000))
    })?;
    Ok((plugin, factory))
}

fn kinds(names: &[String], types: &SharedTypes) -> Result<Vec<EventType>, String> {
    let kind = |name: &String| {
        types.find(name).ok_or_else(|| {
            format!("there is no room for the event type {}; raise max_types", plain(name, 200))
        })
    };
    names.iter().map(kind).collect()
}

/// The plugins in a report: how they fared, and their counters and gauges over all shards.
pub(crate) fn summary(stats: &PluginStats) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut numbers: BTreeMap<(String, String), i128> = BTreeMap::new();
    for metric in &stats.metrics {
        let labels =
            if metric.labels.is_empty() { String::new() } else { format!(" {}", metric.labels) };
        let value = match &metric.value {
            PluginMetricValue::Counter(value) => i128::from(*value),
            PluginMetricValue::Gauge(value) => i128::from(*value),
            _ => continue,
        };
        let name = format!("{}{labels}", metric.name);
        *numbers.entry((metric.processor.clone(), name)).or_default() += value;
    }
    for ((processor, name), value) in numbers {
        rows.push((format!("{}: {}", plain(&processor, 40), plain(&name, 60)), value.to_string()));
    }
    for (count, what) in [
        (stats.panics, "panics"),
        (stats.fatal, "instances given up"),
        (stats.refused_events, "events refused by a plugin"),
        (stats.restarts, "restarts"),
        (stats.quarantines, "taken out of service"),
        (stats.create_failures, "instances that could not be created"),
        (stats.emitted, "derived events"),
        (stats.emit_refused, "derived events refused"),
        (stats.emit_lost, "derived events lost"),
        (stats.log_lines_dropped, "lines of logs left out"),
        (stats.thread_violations, "calls from a wrong thread"),
    ] {
        if count > 0 {
            rows.push((what.to_owned(), HumanCount(count).to_string()));
        }
    }
    let mut out = String::new();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (index, (name, value)) in rows.iter().enumerate() {
        let label = if index == 0 { "\nplugins   " } else { "          " };
        let _ = writeln!(out, "{label}{name:width$}  {value}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_called_as_its_file() {
        for (path, name) in [
            ("a/libbig_words.so", "big_words"),
            ("dedup-c.so", "dedup-c"),
            ("lib.so", "lib"),
            ("x", "x"),
        ] {
            assert_eq!(name_of(Path::new(path)), name);
        }
    }
}
