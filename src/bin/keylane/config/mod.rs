//! `keylane.toml`: what a file says, checked value by value.
//!
//! A value that the file does not name is `None` here, and whoever uses it has a default of its own; what the command line says goes before
//! both. All mistakes of a file are found in one go, each with its line, the value and what to write instead. This folder
//! uses nothing of the command, so it can be fuzzed as it is: [`parse`] takes any text.

mod mistake;
mod plugin;
mod section;
mod spec;
mod units;
mod wait;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use keylane::http::{LogFormat, StatusMask, TrustedProxies};

pub(crate) use mistake::Mistakes;
pub(crate) use plugin::{
    LogLevel, PluginConfig, PluginsConfig, Trust, json_object, name as plugin_name,
};
use section::Document;
pub(crate) use section::{MAX_CAPACITY, MAX_SHARDS};
pub(crate) use spec::Spec;
pub(crate) use units::{duration, size};
pub(crate) use wait::Wait;

/// What a file says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    pub(crate) bus: BusConfig,
    pub(crate) events: EventsConfig,
    pub(crate) run: RunConfig,
    pub(crate) serve: ServeConfig,
    pub(crate) access_log: AccessLogConfig,
    pub(crate) plugins: PluginsConfig,
}

/// `[bus]`
#[derive(Debug, Clone, Default)]
pub(crate) struct BusConfig {
    pub(crate) shards: Option<u16>,
    pub(crate) capacity: Option<usize>,
    pub(crate) wait: Option<Wait>,
    pub(crate) processors: Option<Vec<Spec>>,
    pub(crate) drain_timeout: Option<Duration>,
}

/// `[events]`
#[derive(Debug, Clone, Default)]
pub(crate) struct EventsConfig {
    pub(crate) max_event: Option<u32>,
    pub(crate) max_types: Option<u32>,
    pub(crate) in_flight: Option<u64>,
}

/// `[run]`
#[derive(Debug, Clone, Default)]
pub(crate) struct RunConfig {
    pub(crate) producers: Option<u16>,
    pub(crate) top: Option<u32>,
    pub(crate) strict: Option<bool>,
}

/// `[serve]`
#[derive(Debug, Clone, Default)]
pub(crate) struct ServeConfig {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) max_body: Option<u64>,
    pub(crate) patience: Option<Duration>,
    pub(crate) header_timeout: Option<Duration>,
    pub(crate) body_timeout: Option<Duration>,
    pub(crate) drain_delay: Option<Duration>,
    pub(crate) trusted_proxies: Option<TrustedProxies>,
    pub(crate) trust_request_id: Option<bool>,
}

/// `[access_log]`
#[derive(Debug, Clone, Default)]
pub(crate) struct AccessLogConfig {
    pub(crate) to: Option<LogTarget>,
    pub(crate) format: Option<LogFormat>,
    pub(crate) mask: Option<StatusMask>,
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogTarget {
    Stdout,
    Stderr,
    Nowhere,
    File(PathBuf),
}

/// The most that a size may be: 1 TiB.
const MAX_SIZE: u64 = 1 << 40;

/// Reads `text`, which messages call `name`.
pub(crate) fn parse(name: &str, text: &str) -> Result<Config, Mistakes> {
    let document = Document::new(name, text);
    let mut config = Config::default();
    document.read(|root| {
        if let Some(mut bus) = root.section("bus") {
            config.bus.shards = bus.number("shards", 1..=MAX_SHARDS);
            config.bus.capacity = bus.power_of_two("capacity", MAX_CAPACITY);
            config.bus.wait = bus.word("wait", Wait::parse);
            config.bus.processors = bus.words("processors", |text| Spec::parse(text.into()));
            config.bus.drain_timeout = bus.duration("drain_timeout");
            bus.end();
        }
        if let Some(mut events) = root.section("events") {
            config.events.max_event = events.size("max_event", 1..=1 << 30);
            config.events.max_types =
                events.number("max_types", 1..=u64::from(keylane::ingest::TypeTable::MAX));
            config.events.in_flight = events.size("in_flight", 1..=MAX_SIZE);
            events.end();
        }
        if let Some(mut run) = root.section("run") {
            config.run.producers = run.number("producers", 1..=256);
            config.run.top = run.number("top", 1..=u64::from(u32::MAX));
            config.run.strict = run.boolean("strict");
            run.end();
        }
        if let Some(mut serve) = root.section("serve") {
            config.serve.listen = serve.word("listen", listen);
            config.serve.max_body = serve.size("max_body", 1..=1 << 30);
            config.serve.patience = serve.duration("patience");
            config.serve.header_timeout = serve.duration("header_timeout");
            config.serve.body_timeout = serve.duration("body_timeout");
            config.serve.drain_delay = serve.duration("drain_delay");
            config.serve.trusted_proxies = serve
                .words("trusted_proxies", proxy)
                .map(|proxies| proxies.join(","))
                .and_then(|proxies| proxies.parse().ok());
            config.serve.trust_request_id = serve.boolean("trust_request_id");
            serve.end();
        }
        if let Some(mut log) = root.section("access_log") {
            config.access_log.to = log.word("to", log_target);
            config.access_log.format = log.word("format", log_format);
            config.access_log.mask = log.word_or_words("mask", log_mask);
            log.end();
        }
        config.plugins = plugin::read(root);
    });
    document.finish(config)
}

/// An address to listen on.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "not an address; write it as 127.0.0.1:8080, [::1]:8080 or, for everybody, 0.0.0.0:8080"
            .into()
    })
}

/// One network of trusted proxies.
fn proxy(text: &str) -> Result<String, String> {
    if text.contains(',') || text.parse::<TrustedProxies>().is_err() || text.trim().is_empty() {
        return Err("not a network; write it as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7".into());
    }
    Ok(text.to_owned())
}

/// Where to write the access log.
pub(crate) fn log_target(text: &str) -> Result<LogTarget, String> {
    match text {
        "stdout" | "-" => Ok(LogTarget::Stdout),
        "stderr" => Ok(LogTarget::Stderr),
        "none" => Ok(LogTarget::Nowhere),
        "" => Err("empty; write stdout, stderr, none, or the path of a file".into()),
        path => Ok(LogTarget::File(path.into())),
    }
}

/// A preset by its name, or a format with directives.
pub(crate) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "gohm" => Ok(LogFormat::gohm()),
        "common" => Ok(LogFormat::apache_common()),
        "combined" => Ok(LogFormat::apache_combined()),
        "json" => Ok(LogFormat::json()),
        "logfmt" => Ok(LogFormat::logfmt()),
        // A format without a directive prints the same line for every request; it is a preset mistyped.
        template if !template.contains('{') => Err(
            "no preset and without a directive; write gohm, common, combined, json, logfmt, or a \
             format such as \"{client-ip} {status} {uri}\""
                .into(),
        ),
        template if template.contains(['\n', '\r']) => {
            Err("a line of the log cannot have a line end in it; leave it out".into())
        }
        template => Ok(LogFormat::parse(template)),
    }
}

/// One class of statuses, or a name for some.
pub(crate) fn log_mask(text: &str) -> Result<StatusMask, String> {
    Ok(match text {
        "all" => StatusMask::ALL,
        "errors" => StatusMask::ERRORS,
        "none" => StatusMask::NONE,
        "1xx" => StatusMask::STATUS_1XX,
        "2xx" => StatusMask::STATUS_2XX,
        "3xx" => StatusMask::STATUS_3XX,
        "4xx" => StatusMask::STATUS_4XX,
        "5xx" => StatusMask::STATUS_5XX,
        _ => return Err("no class of statuses; write all, errors, none, or 1xx to 5xx".into()),
    })
}

/// Several classes with commas between them, as on the command line.
pub(crate) fn log_masks(text: &str) -> Result<StatusMask, String> {
    text.split(',')
        .map(|class| log_mask(class.trim()))
        .try_fold(StatusMask::NONE, |all, class| Ok(all | class?))
}

#[cfg(test)]
mod tests;
