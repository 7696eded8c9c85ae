//! The host: loads plugins, and keeps what they share.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keylane_plugin_abi as abi;
use tracing::level_filters::LevelFilter;

use super::cells::Cells;
use super::control::{Control, TimedOut};
use super::convert::Conversions;
use super::elf;
use super::error::{LoadError, LoadErrorKind};
use super::event_names::{Directory, EventNames};
use super::inspection::Inspection;
use super::library::{self, Candidate, Library};
use super::loaded::Plugin;
use super::manifest;
use super::private_copy::CopyFolder;
use super::settings::{PluginHostBuilder, Settings};
use super::source_file::{self, SourceFile};
use super::stats::{Counts, PluginStats};
use super::trust::TrustPolicy;
use crate::event::EventType;

/// Loads plugins and runs them. A handle: clones lead to the same host.
///
/// The host lives as long as one of its handles, plugins, factories or instances does. Libraries live as long as the process.
///
/// ```no_run
/// use keylane::plugin::{PluginHost, TrustPolicy};
/// use keylane::Bus;
///
/// let host = PluginHost::builder().allow_loading(TrustPolicy::owned()).build()?;
/// let plugin = host.load("/usr/lib/keylane/dedup.so")?;
/// let bus = Bus::builder().processor("dedup", plugin.processor(r#"{"window": 1000}"#)?).build()?;
///
/// // Later, when there is a newer one:
/// let newer = host.load("/usr/lib/keylane/dedup.so")?;
/// bus.replace_processor("dedup", newer.processor(r#"{"window": 1000}"#)?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PluginHost {
    shared: Arc<Shared>,
}

/// What the host, its plugins and their instances share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) conversions: Arc<Conversions>,
    pub(crate) names: EventNames,
    pub(crate) counts: Counts,
    pub(crate) cells: Cells,
    pub(crate) control: Arc<Control>,
    /// One load at a time.
    loading: Mutex<Option<CopyFolder>>,
    libraries: Mutex<Vec<Arc<Library>>>,
    /// The most verbose level that anybody listens to, as plugins read it.
    log_level: AtomicU32,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Where plugins read the level. Valid as long as the host; instances hold on to that.
    pub(crate) fn log_level_cell(&self) -> *const u32 {
        self.log_level.as_ptr()
    }

    pub(crate) fn log_level(&self) -> u32 {
        self.log_level.load(Ordering::Relaxed)
    }

    /// Takes over what `tracing` says about who listens.
    pub(crate) fn renew_log_level(&self) {
        let level = match LevelFilter::current() {
            LevelFilter::OFF => abi::log::OFF,
            LevelFilter::ERROR => abi::log::ERROR,
            LevelFilter::WARN => abi::log::WARN,
            LevelFilter::INFO => abi::log::INFO,
            LevelFilter::DEBUG => abi::log::DEBUG,
            LevelFilter::TRACE => abi::log::TRACE,
        };
        if self.log_level() != level {
            self.log_level.store(level, Ordering::Relaxed);
        }
    }

    /// Loads a checked file; on the control thread.
    fn load_library(
        &self,
        candidate: Candidate,
        bytes: &[u8],
    ) -> Result<Arc<Library>, LoadErrorKind> {
        let mut folder = lock(&self.loading);
        let resident = {
            let libraries = lock(&self.libraries);
            if let Some(known) =
                libraries.iter().find(|known| known.candidate.digest == candidate.digest)
            {
                return Ok(known.clone());
            }
            let once = candidate.manifest.as_ref();
            let once = once.filter(|manifest| manifest.flags & abi::plugin_flag::NO_RELOAD != 0);
            if let Some(manifest) = once {
                check_reload(&libraries, &manifest.id)?;
            }
            libraries.len()
        };
        let limit = self.settings.max_libraries;
        if resident >= limit {
            return Err(LoadErrorKind::TooManyGenerations { resident, limit });
        }
        if folder.is_none() {
            let parent = self.settings.copy_folder.clone().unwrap_or_else(std::env::temp_dir);
            *folder = Some(CopyFolder::create(&parent)?);
        }
        let name = candidate.manifest.as_ref().map_or_else(
            || format!("plugin-{}", candidate.digest.short()),
            |manifest| format!("{}-{}", manifest.id, candidate.digest.short()),
        );
        let Some(folder) = folder.as_ref() else { return Err(LoadErrorKind::Disabled) };
        let path = folder.write(&name, bytes)?;
        let library = Arc::new(library::load(&path, candidate)?);
        let mut libraries = lock(&self.libraries);
        let refused = library.descriptors.iter().filter(|descriptor| descriptor.is_loaded_once());
        let refused =
            refused.map(|descriptor| check_reload(&libraries, &descriptor.id)).find(Result::is_err);
        // It is mapped, whatever comes of it, and counts.
        libraries.push(library.clone());
        match refused {
            Some(Err(refused)) => Err(refused),
            _ => Ok(library),
        }
    }
}

fn check_reload(libraries: &[Arc<Library>], id: &str) -> Result<(), LoadErrorKind> {
    let mut loaded = libraries.iter().flat_map(|library| &library.descriptors);
    match loaded.any(|descriptor| descriptor.id == id) {
        true => Err(LoadErrorKind::NoReload { id: id.to_owned() }),
        false => Ok(()),
    }
}

/// All checks that read bytes, and nothing else.
pub(crate) fn check_bytes(path: &Path, file: &SourceFile) -> Result<Candidate, LoadErrorKind> {
    let facts = elf::check(&file.bytes)?;
    if !facts.entries.iter().any(|name| name.as_bytes() == abi::ENTRY_SYMBOL.to_bytes()) {
        return Err(LoadErrorKind::NoEntry { found: facts.entries });
    }
    let manifest = facts.note.as_deref().map(manifest::parse).transpose()?;
    Ok(Candidate {
        source: path.to_owned(),
        digest: file.digest,
        size: file.bytes.len() as u64,
        facts,
        manifest,
    })
}

impl PluginHost {
    /// Starts the configuration of a host.
    pub fn builder() -> PluginHostBuilder {
        PluginHostBuilder::default()
    }

    pub(super) fn start(
        settings: Settings,
        conversions: Conversions,
        directory: Option<Directory>,
    ) -> std::io::Result<Self> {
        let shared = Shared {
            cells: Cells::new(settings.max_metrics),
            settings,
            conversions: Arc::new(conversions),
            names: EventNames::new(directory),
            counts: Counts::default(),
            control: Arc::new(Control::start()?),
            loading: Mutex::new(None),
            libraries: Mutex::new(Vec::new()),
            log_level: AtomicU32::new(0),
        };
        shared.renew_log_level();
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Loads a plugin, or finds it loaded: libraries with the same bytes are one library.
    ///
    /// The file is read once, checked, and a private copy of what was checked is loaded on the host's own thread. Blocks for some
    /// milliseconds, at most for the host's [patience](PluginHostBuilder::patience). The file is not needed any more afterwards, and may
    /// be replaced in any way.
    ///
    /// # Errors
    /// One [kind](LoadErrorKind) for each step. No code of the file has run up to and including
    /// [`LoadErrorKind::Copy`].
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Plugin, LoadError> {
        let path = path.as_ref();
        self.try_load(path).map_err(|kind| {
            self.shared.counts.refuse(&kind);
            let error = LoadError::new(path, kind);
            tracing::warn!(path = %path.display(), reason = error.kind().name(), "{error}");
            error
        })
    }

    fn try_load(&self, path: &Path) -> Result<Plugin, LoadErrorKind> {
        let settings = &self.shared.settings;
        let trust = settings.trust.as_ref().ok_or(LoadErrorKind::Disabled)?;
        let file = source_file::read(path, trust, settings.max_file_size)?;
        let candidate = check_bytes(path, &file)?;
        let has_manifest = candidate.manifest.is_some();
        self.shared.renew_log_level();
        let after = settings.patience;
        let shared = self.shared.clone();
        let load = move || shared.load_library(candidate, &file.bytes);
        let library = self
            .shared
            .control
            .run(after, load)
            .map_err(|TimedOut| LoadErrorKind::Timeout { after })??;
        self.shared.counts.loaded.add(1);
        if !has_manifest {
            self.shared.counts.without_manifest.add(1);
        }
        let descriptor = &library.descriptors[0];
        tracing::info!(
            path = %path.display(),
            plugin = descriptor.id,
            version = descriptor.version,
            sha256 = %library.candidate.digest,
            "plugin loaded"
        );
        Ok(Plugin::new(library, self.shared.clone()))
    }

    /// Says what a file is and whether it would be loaded, without running any of its code. Also for hosts that may not load; the
    /// verdict is then that of the strictest policy, [`TrustPolicy::owned`]. Blocks while it reads the file.
    pub fn inspect(&self, path: impl AsRef<Path>) -> Inspection {
        let settings = &self.shared.settings;
        let owned = TrustPolicy::owned();
        let trust = settings.trust.as_ref().unwrap_or(&owned);
        Inspection::of(path.as_ref(), trust, settings.max_file_size)
    }

    /// Gives a type of events a name for plugins, such as `order.placed`. Without a name, user types are called `USER(3)`. A name that is
    /// given again moves to the new type. Instances that have asked before keep what they were told.
    pub fn name_event_type(&self, name: &str, kind: EventType) {
        self.shared.names.bind(name, kind);
    }

    /// A snapshot of the host's numbers, and of those that its plugins count.
    pub fn stats(&self) -> PluginStats {
        let libraries = lock(&self.shared.libraries);
        PluginStats {
            resident_libraries: libraries.len() as u64,
            resident_bytes: libraries.iter().map(|library| library.candidate.size).sum(),
            max_libraries: self.shared.settings.max_libraries as u64,
            metrics: self.shared.cells.snapshot(),
            ..self.shared.counts.snapshot()
        }
    }

    /// Waits until instances that were given up or replaced have been destroyed; false when that takes longer than `patience`. Call it
    /// after the shutdown of the bus and before the process ends: what is not destroyed by then never will be.
    pub fn settle(&self, patience: Duration) -> bool {
        self.shared.control.settle(patience)
    }
}
