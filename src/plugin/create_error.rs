//! Why a loaded plugin gave no processor.

use std::fmt;
use std::time::Duration;

use keylane_plugin_abi::Status;

use super::error::said;

/// Why a loaded plugin gave no processor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PluginError {
    /// It makes no processor with that id.
    UnknownId {
        /// What was asked for.
        id: String,
        /// What it makes.
        known: Vec<String>,
    },
    /// The configuration is no JSON object.
    ConfigJson {
        /// What is wrong, and where.
        message: String,
    },
    /// The plugin refuses its configuration.
    Config {
        /// Its id.
        plugin: String,
        /// What it said.
        message: String,
    },
    /// Its `create` failed.
    Create {
        /// Its id.
        plugin: String,
        /// What it returned.
        status: Status,
        /// What it said.
        message: String,
    },
    /// Something in the instance is not what the ABI demands.
    Abi {
        /// Its id.
        plugin: String,
        /// Which field.
        field: String,
        /// What it has.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A pointer that the ABI requires is null.
    NullPointer {
        /// Its id.
        plugin: String,
        /// Which one.
        what: &'static str,
    },
    /// An event type that it wants is not known to this program.
    EventType {
        /// Its id.
        plugin: String,
        /// The type's name.
        name: String,
    },
    /// It took too long. The thread that it runs on is left behind.
    Timeout {
        /// Its id.
        plugin: String,
        /// How long the host has waited.
        after: Duration,
    },
}

impl PluginError {
    pub(crate) fn null(plugin: &str, what: &'static str) -> Self {
        Self::NullPointer { plugin: plugin.to_owned(), what }
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownId { id, known } => {
                let known: Vec<_> = known.iter().map(|id| format!("{id:?}")).collect();
                write!(f, "the plugin makes no processor {id:?}; it makes {}", known.join(", "))
            }
            Self::ConfigJson { message } => {
                write!(
                    f,
                    "a plugin's configuration is a JSON object such as {{\"limit\": 10}}; this is none: {message}"
                )
            }
            Self::Config { plugin, message } => {
                write!(f, "plugin {plugin:?} refuses its configuration: {}", said(message))
            }
            Self::Create { plugin, status, message } => {
                write!(
                    f,
                    "plugin {plugin:?} gave no instance: create returned {status}: {}",
                    said(message)
                )
            }
            Self::Abi { plugin, field, found, expected } => {
                write!(
                    f,
                    "plugin {plugin:?} gave an instance that is not right: {field} is {found}, expected is {expected}"
                )
            }
            Self::NullPointer { plugin, what } => {
                write!(
                    f,
                    "plugin {plugin:?} gave an instance that is not right: {what} is null, and the ABI requires it"
                )
            }
            Self::EventType { plugin, name } => {
                write!(
                    f,
                    "plugin {plugin:?} wants events of type {name:?}, which this program does not know; give the name to a type first"
                )
            }
            Self::Timeout { plugin, after } => {
                write!(
                    f,
                    "plugin {plugin:?} did not return within {after:?}; its thread is left behind"
                )
            }
        }
    }
}

impl std::error::Error for PluginError {}
