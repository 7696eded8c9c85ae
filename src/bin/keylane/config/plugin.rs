//! `[plugins]` and `[[plugin]]`: which libraries are loaded, and whose files are trusted.

use std::path::PathBuf;

use keylane::ingest::printable::plain;
use keylane::plugin::Sha256;
use serde_json::value::RawValue;

use super::section::Section;

/// All that is said about plugins.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PluginsConfig {
    pub(crate) trust: Option<Trust>,
    /// If there are any, nothing else is loaded.
    pub(crate) sha256: Vec<Sha256>,
    pub(crate) reload: Option<bool>,
    pub(crate) max_libraries: Option<usize>,
    pub(crate) log: Option<LogLevel>,
    pub(crate) all: Vec<PluginConfig>,
}

/// `[[plugin]]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PluginConfig {
    pub(crate) path: PathBuf,
    /// The processor's name on the bus.
    pub(crate) name: Option<String>,
    /// Which of the library's processors.
    pub(crate) id: Option<String>,
    /// A JSON object.
    pub(crate) config: Option<String>,
    /// The types that it gets.
    pub(crate) events: Option<Vec<String>>,
    pub(crate) sha256: Option<Sha256>,
}

impl PluginConfig {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, name: None, id: None, config: None, events: None, sha256: None }
    }
}

/// Whose files are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Trust {
    /// Those that only root or this user could have written
    Owned,
    /// Anybody's
    Any,
}

impl Trust {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        <Self as clap::ValueEnum>::from_str(text, false)
            .map_err(|_| "write owned (files of root and of this user) or any".into())
    }
}

/// From which level on the lines of plugins are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    fn parse(text: &str) -> Result<Self, String> {
        <Self as clap::ValueEnum>::from_str(text, false)
            .map_err(|_| "no such level; write off, error, warn, info, debug or trace".into())
    }
}

/// A JSON object as text, without what stands around it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn json_object(text: &str) -> Result<String, String> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| {
        format!("no JSON object such as {{\"limit\": 10}}: {}", plain(&error.to_string(), 200))
    })?;
    if !raw.get().starts_with('{') {
        return Err("JSON, but no object; write one such as {\"limit\": 10}".into());
    }
    Ok(raw.get().to_owned())
}

/// A name on the bus.
pub(crate) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("not a name; write some printable text".into());
    }
    Ok(text.to_owned())
}

fn digest(text: &str) -> Result<Sha256, String> {
    text.parse().map_err(|error: keylane::plugin::ParseSha256Error| error.to_string())
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("empty; write the path of a library".into()) } else { Ok(text.into()) }
}

/// Both sections of a file.
pub(super) fn read(root: &mut Section<'_>) -> PluginsConfig {
    let mut config = PluginsConfig::default();
    if let Some(mut plugins) = root.section("plugins") {
        config.trust = plugins.word("trust", Trust::parse);
        config.sha256 = plugins.words("sha256", digest).unwrap_or_default();
        config.reload = plugins.boolean("reload");
        config.max_libraries = plugins.number("max_libraries", 1..=100_000);
        config.log = plugins.word("log", LogLevel::parse);
        plugins.end();
    }
    for mut plugin in root.sections("plugin") {
        let named = plugin.word("path", path);
        let one = PluginConfig {
            path: named.clone().unwrap_or_default(),
            name: plugin.word("name", name),
            id: plugin.word("id", name),
            config: plugin.object("config"),
            events: plugin.words("events", name),
            sha256: plugin.word("sha256", digest),
        };
        plugin.end();
        match named {
            Some(_) => config.all.push(one),
            None if plugin.has("path") => {}
            None => plugin.missing("path", "write path = \"/where/it/lies.so\""),
        }
    }
    config
}
