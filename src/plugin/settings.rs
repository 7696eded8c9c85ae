//! The limits of a plugin host, and its builder.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use keylane_plugin_abi::value_kind;
use serde_core::Serialize;

use super::convert::Conversions;
use super::event_names::Directory;
use super::host::PluginHost;
use super::instance::OutboxLimits;
use super::trust::TrustPolicy;
use crate::event::EventType;

/// When an instance that was given up is followed by another one. See [`PluginHostBuilder::restarts`].
///
/// The first restart is at once. Each further one within the period waits, twice as long each time; events that come meanwhile are skipped and
/// counted. With one more than allowed the processor is in quarantine on its shard, until it is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    pub(crate) most: u32,
    pub(crate) within: Duration,
    pub(crate) back_off: Duration,
    pub(crate) back_off_limit: Duration,
}

impl RestartPolicy {
    /// At most so many restarts within a period; 0 for none at all. The waiting time begins with 100 ms and ends at 10 s.
    pub fn at_most(restarts: u32, within: Duration) -> Self {
        Self {
            most: restarts,
            within,
            back_off: Duration::from_millis(100),
            back_off_limit: Duration::from_secs(10),
        }
    }

    /// What the second restart waits, and what no restart waits longer than.
    pub fn back_off(mut self, first: Duration, limit: Duration) -> Self {
        self.back_off = first;
        self.back_off_limit = limit;
        self
    }
}

impl Default for RestartPolicy {
    /// Five within a minute.
    fn default() -> Self {
        Self::at_most(5, Duration::from_secs(60))
    }
}

/// The limits of a host.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `None` while loading is not allowed.
    pub(crate) trust: Option<TrustPolicy>,
    pub(crate) max_file_size: u64,
    pub(crate) max_libraries: usize,
    pub(crate) copy_folder: Option<PathBuf>,
    pub(crate) patience: Duration,
    pub(crate) restarts: RestartPolicy,
    pub(crate) outbox: OutboxLimits,
    pub(crate) max_state: usize,
    pub(crate) stall_limit: Duration,
    pub(crate) max_metrics: usize,
    pub(crate) log_lines_per_second: u32,
    pub(crate) check_threads: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trust: None,
            max_file_size: 256 << 20,
            max_libraries: 64,
            copy_folder: None,
            patience: Duration::from_secs(10),
            restarts: RestartPolicy::default(),
            outbox: OutboxLimits { events: 4096, bytes: 4 << 20 },
            max_state: 64 << 20,
            stall_limit: Duration::from_secs(30),
            max_metrics: 4096,
            log_lines_per_second: 1000,
            check_threads: cfg!(debug_assertions),
        }
    }
}

/// Configures a [`PluginHost`]. Made by [`PluginHost::builder`].
#[must_use = "a builder does nothing until `build` is called"]
#[derive(Debug, Default)]
pub struct PluginHostBuilder {
    settings: Settings,
    conversions: Conversions,
    directory: Option<Directory>,
}

impl PluginHostBuilder {
    /// Lets the host load plugins that the policy trusts. Without this it loads none, and can only inspect files: to load a plugin is
    /// to run its code with all rights of the process.
    pub fn allow_loading(mut self, trust: TrustPolicy) -> Self {
        self.settings.trust = Some(trust);
        self
    }

    /// The largest file that is read, in bytes. Default: 256 MiB.
    pub fn max_file_size(mut self, bytes: u64) -> Self {
        self.settings.max_file_size = bytes;
        self
    }

    /// How many different libraries may be loaded. Default: 64. None is ever unloaded, so this bounds their memory: with a typical 300 KiB
    /// library some 15 MiB.
    pub fn max_libraries(mut self, libraries: usize) -> Self {
        self.settings.max_libraries = libraries;
        self
    }

    /// Where the folder with the private copies is made. Default: the system's folder for temporary files. Its file system must not be mounted
    /// `noexec`.
    pub fn copy_folder(mut self, parent: impl Into<PathBuf>) -> Self {
        self.settings.copy_folder = Some(parent.into());
        self
    }

    /// How long a plugin may take to be loaded, to check a configuration, and to create an instance. Default: 10 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.settings.patience = patience;
        self
    }

    /// What follows when an instance is given up after `E_FATAL`, `E_PANIC` or a broken promise. Default: [`RestartPolicy::default`].
    pub fn restarts(mut self, policy: RestartPolicy) -> Self {
        self.settings.restarts = policy;
        self
    }

    /// How many derived events an instance may have waiting, and how many bytes of values. Default: 4096 and 4 MiB.
    pub fn outbox(mut self, events: usize, bytes: usize) -> Self {
        self.settings.outbox = OutboxLimits { events, bytes };
        self
    }

    /// The largest state that is handed over in a swap, in bytes. Default: 64 MiB.
    pub fn max_state(mut self, bytes: usize) -> Self {
        self.settings.max_state = bytes;
        self
    }

    /// How long an instance may put events off (`AGAIN`) without taking any before it is given up. Default: 30 s. Its shard waits
    /// meanwhile.
    pub fn stall_limit(mut self, limit: Duration) -> Self {
        self.settings.stall_limit = limit;
        self
    }

    /// How many counters and gauges the plugins may have in all; of histograms a sixty-fourth of that. Default: 4096.
    pub fn max_metrics(mut self, metrics: usize) -> Self {
        self.settings.max_metrics = metrics;
        self
    }

    /// How many lines each instance may write into the log in a second. Default: 1000.
    pub fn log_lines_per_second(mut self, lines: u32) -> Self {
        self.settings.log_lines_per_second = lines;
        self
    }

    /// Whether an instance that calls the host from where it may not is given up. Such calls are refused and counted in any case.
    /// Default: in debug builds.
    pub fn check_threads(mut self, check: bool) -> Self {
        self.settings.check_threads = check;
        self
    }

    /// Shows values of this type to plugins as JSON. `view` has to return one valid JSON text.
    pub fn json_value<T: Send + fmt::Debug + Serialize + 'static>(
        mut self,
        view: impl Fn(&T) -> &str + Send + Sync + 'static,
    ) -> Self {
        self.conversions.view(value_kind::JSON, move |value: &T| view(value).as_bytes());
        self
    }

    /// Shows values of this type to plugins as text.
    pub fn text_value<T: Send + fmt::Debug + Serialize + 'static>(
        mut self,
        view: impl Fn(&T) -> &str + Send + Sync + 'static,
    ) -> Self {
        self.conversions.view(value_kind::UTF8, move |value: &T| view(value).as_bytes());
        self
    }

    /// Shows values of this type to plugins as bytes.
    pub fn bytes_value<T: Send + fmt::Debug + Serialize + 'static>(
        mut self,
        view: impl Fn(&T) -> &[u8] + Send + Sync + 'static,
    ) -> Self {
        self.conversions.view(value_kind::BYTES, view);
        self
    }

    /// Has plugins find types by names, and names of types, in a table of the program: for programs whose types get their names while they
    /// run, such as [`ingest`](crate::ingest). Predefined types keep their names. `kind` gives the type of a name, and may make one; `name`
    /// gives a type's name. Both may be called on any thread, a shard's too, and must not wait for the bus. What
    /// [`name_event_type`](PluginHost::name_event_type) has bound goes before it.
    pub fn event_names(
        mut self,
        kind: impl Fn(&str) -> Option<EventType> + Send + Sync + 'static,
        name: impl Fn(EventType) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.directory = Some(Directory { kind: Box::new(kind), name: Box::new(name) });
        self
    }

    /// Starts the host, with one thread of its own.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn build(self) -> std::io::Result<PluginHost> {
        PluginHost::start(self.settings, self.conversions, self.directory)
    }
}
