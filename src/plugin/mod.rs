//! Processors from shared libraries: loaded while the program runs, replaced while events flow. Feature `plugin`, on Linux.
//!
//! A plugin is a `.so` that exports one data symbol of the C ABI in `plugins/abi`; it is written in Rust with the crate
//! `keylane-plugin`, or in C or C++ with `keylane_plugin.h`.
//!
//! * [`PluginHost`] loads files: [`PluginHost::builder`], [`PluginHost::load`], [`PluginHost::inspect`], [`PluginHost::stats`].
//! * [`Plugin`] is a loaded one: [`Plugin::processor`] gives a [`PluginFactory`], which goes where any factory goes,
//!   [`Builder::processor`](crate::Builder::processor), [`Bus::replace_processor`](crate::Bus::replace_processor) and
//!   [`Bus::replace_processor_gradually`](crate::Bus::replace_processor_gradually).
//! * [`FileWatch`] tells when a file has got another content.
//! * [`install_crash_note`] names the plugin when the process dies in one.
//!
//! # Trust
//!
//! To load a plugin is to run it with all rights of the process, so a host loads nothing unless
//! [`allow_loading`](PluginHostBuilder::allow_loading) says whose files it trusts. What comes before its code runs is safe for any
//! file: a file is opened without waiting, its owner and the folders above it are checked, it is read once, and its ELF headers
//! are checked, before a private copy of the bytes that were checked is given to the dynamic loader. Each step that refuses has
//! a [kind](LoadErrorKind) of its own, with what was found and what was wanted, and a counter in [`PluginStats::refused`].
//!
//! What a loaded plugin can still do is to abort, to write over memory, or to loop for ever. The host does not survive the first two.
//!
//! # Threads
//!
//! The host has one thread: there libraries are loaded, configurations checked, instances created and destroyed. On the shards run
//! `process`, `flush`, `save_state`, `load_state` and `shutdown`. A call of the host that comes from a wrong place is refused, counted,
//! and said once.
//!
//! # Faults
//!
//! An event that a plugin refuses (`E_EVENT`) or panics on (`E_PANIC`) becomes a [`Fault`](crate::Fault) like a panic of any
//! processor. An instance that has panicked, failed (`E_FATAL`) or broken a promise is shut down and followed by another one, as
//! the [`RestartPolicy`] says; while there is none, events are [skipped](crate::ProcessorStats::skipped). The bus's
//! [`FaultPolicy`](crate::FaultPolicy) is for panics of Rust processors and plays no part here.
//!
//! # Replacing
//!
//! The new library is loaded and its instances are created before any shard is asked. Then each shard, between two batches, flushes the old
//! instance, has its state saved and loaded into the new one if both are the same plugin and stateful, and switches. If a state is
//! refused on any shard, all go back to their old instances. No library is ever unloaded, because threads, thread-locals and
//! pointers of it may live on; the host counts them and refuses more than [`max_libraries`](PluginHostBuilder::max_libraries).

mod call;
mod cells;
mod control;
mod convert;
mod crash;
mod create_error;
mod descriptor;
mod digest;
mod elf;
mod error;
mod event_names;
mod factory;
mod host;
mod inspection;
mod instance;
mod library;
mod loaded;
mod manifest;
mod private_copy;
mod processor;
mod restarts;
mod settings;
mod source_file;
mod stats;
mod trust;
mod watch;

pub use cells::{PluginMetric, PluginMetricValue};
pub use crash::install_crash_note;
pub use create_error::PluginError;
pub use descriptor::PluginDescriptor;
pub use digest::{ParseSha256Error, Sha256};
pub use elf::ElfFacts;
pub use error::{Distrust, LoadError, LoadErrorKind};
pub use factory::PluginFactory;
pub use host::PluginHost;
pub use inspection::Inspection;
pub use keylane_plugin_abi::Status;
pub use loaded::Plugin;
pub use manifest::PluginManifest;
pub use processor::PluginProcessor;
pub use settings::{PluginHostBuilder, RestartPolicy};
pub use stats::PluginStats;
pub use trust::TrustPolicy;
pub use watch::{FileWatch, WatchOptions};

/// The check of a library's bytes and of its manifest, for fuzzing.
#[doc(hidden)]
pub fn check_elf(bytes: &[u8]) -> Result<(ElfFacts, Option<PluginManifest>), LoadErrorKind> {
    let facts = elf::check(bytes)?;
    let manifest = facts.note.as_deref().map(manifest::parse).transpose()?;
    Ok((facts, manifest))
}
