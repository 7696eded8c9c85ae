//! `keylane serve --check`: what a configuration comes to.

use std::path::Path;

use crate::bus_flags::BusSettings;
use crate::config::LogTarget;
use crate::source;

use super::args::Settings;

/// The settings in lines, behind where they come from.
pub(crate) fn text(settings: &Settings, file: Option<&Path>) -> String {
    let Settings { bus, .. } = settings;
    let BusSettings { shards, capacity, wait, processors, drain_timeout } = bus;
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
    format!(
        "{origin}\n\n\
         listen      {}\n\
         bus         {shards} shards, rings of {capacity} events, {wait:?} waiting, drained within {drain_timeout:?}\n\
         processors  {}\n\
         events      at most {} bytes each, {} types, {} bytes in flight\n\
         requests    bodies up to {} bytes; {:?} for a head, {:?} for a body, {:?} for room on a full bus\n\
         access log  {log}\n",
        settings.listen,
        processors.join(", "),
        settings.max_event,
        settings.max_types,
        settings.in_flight,
        settings.max_body,
        settings.header_timeout,
        settings.body_timeout,
        settings.patience,
    )
}
