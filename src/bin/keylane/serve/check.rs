//! `keylane serve --check`: what a configuration comes to.

use std::fmt::Write;
use std::path::Path;

use keylane::ingest::printable::plain;

use crate::bus_flags::BusSettings;
use crate::config::LogTarget;
use crate::processors::plugins;
use crate::source;

use super::args::Settings;

/// The settings in lines, behind where they come from; and whether all plugins would be loaded, as far as can be said without running any.
pub(crate) fn text(settings: &Settings, file: Option<&Path>) -> (String, bool) {
    let Settings { bus, .. } = settings;
    let BusSettings { shards, capacity, wait, processors, drain_timeout, plugins } = bus;
    let origin = match file {
        Some(file) => format!("{} is right", source::name(file)),
        None => "there is no ./keylane.toml, and none was named: these are the defaults".to_owned(),
    };
    let processors: Vec<_> = processors.iter().map(|spec| spec.name()).collect();
    let log = match &settings.log {
        LogTarget::Stdout => "standard output".to_owned(),
        LogTarget::Stderr => "standard error".to_owned(),
        LogTarget::Nowhere => "nowhere".to_owned(),
        LogTarget::File(path) => source::name(path),
    };
    let inspections = plugins::inspect(plugins);
    let good = inspections.iter().all(|(_, inspection)| inspection.would_load());
    let mut of_plugins = String::new();
    for (index, (name, inspection)) in inspections.iter().enumerate() {
        let label = if index == 0 { "plugins" } else { "" };
        let (path, verdict) =
            (source::name(&inspection.path), plain(&inspection.to_string(), 2000));
        let _ = writeln!(of_plugins, "{label:12}{}: {path}, {verdict}", plain(name, 100));
    }
    let text = format!(
        "{origin}\n\n\
         listen      {}\n\
         bus         {shards} shards, rings of {capacity} events, {wait:?} waiting, drained within {drain_timeout:?}\n\
         processors  {}\n\
         events      at most {} bytes each, {} types, {} bytes in flight\n\
         requests    bodies up to {} bytes; {:?} for a head, {:?} for a body, {:?} for room on a full bus\n\
         access log  {log}\n{of_plugins}",
        settings.listen,
        processors.join(", "),
        settings.max_event,
        settings.max_types,
        settings.in_flight,
        settings.max_body,
        settings.header_timeout,
        settings.body_timeout,
        settings.patience,
    );
    (text, good)
}
