//! A loaded plugin.

use std::path::Path;
use std::sync::Arc;

use keylane_plugin_abi::{self as abi, Status};
use serde_json::value::RawValue;

use super::call::{Role, enter};
use super::control::TimedOut;
use super::create_error::PluginError;
use super::descriptor::PluginDescriptor;
use super::digest::Sha256;
use super::elf::ElfFacts;
use super::factory::PluginFactory;
use super::host::Shared;
use super::instance::Recipe;
use super::library::{Library, message};
use super::manifest::PluginManifest;

/// A loaded plugin: gives [factories](PluginFactory) of its processors. A handle that can be cloned.
#[derive(Debug, Clone)]
pub struct Plugin {
    library: Arc<Library>,
    shared: Arc<Shared>,
}

impl Plugin {
    pub(super) fn new(library: Arc<Library>, shared: Arc<Shared>) -> Self {
        Self { library, shared }
    }

    /// The id of its first processor.
    pub fn id(&self) -> &str {
        &self.library.descriptors[0].id
    }

    /// The version of its first processor.
    pub fn version(&self) -> &str {
        &self.library.descriptors[0].version
    }

    /// What it says of each of its processors; at least one.
    pub fn descriptors(&self) -> &[PluginDescriptor] {
        &self.library.descriptors
    }

    /// The file that it was first loaded from.
    pub fn path(&self) -> &Path {
        &self.library.candidate.source
    }

    /// The digest of its file.
    pub fn sha256(&self) -> Sha256 {
        self.library.candidate.digest
    }

    /// The size of its file in bytes.
    pub fn size(&self) -> u64 {
        self.library.candidate.size
    }

    /// What its ELF note says.
    pub fn manifest(&self) -> Option<&PluginManifest> {
        self.library.candidate.manifest.as_ref()
    }

    /// What its ELF headers say.
    pub fn elf(&self) -> &ElfFacts {
        &self.library.candidate.facts
    }

    /// A factory of its first processor, with a configuration: a JSON object, `"{}"` for none. The plugin checks the configuration at
    /// once, if it can. Blocks for that, at most as long as the host's patience.
    ///
    /// # Errors
    /// When the configuration is no JSON object, the plugin refuses it, or it wants events of a type that nobody knows.
    pub fn processor(&self, config: &str) -> Result<PluginFactory, PluginError> {
        self.factory(0, config)
    }

    /// As [`processor`](Self::processor), of the processor with this id.
    ///
    /// # Errors
    /// As there, and when the plugin makes no such processor.
    pub fn processor_with_id(&self, id: &str, config: &str) -> Result<PluginFactory, PluginError> {
        let known = || self.library.descriptors.iter();
        match known().position(|descriptor| descriptor.id == id) {
            Some(index) => self.factory(index, config),
            None => Err(PluginError::UnknownId {
                id: id.to_owned(),
                known: known().map(|descriptor| descriptor.id.clone()).collect(),
            }),
        }
    }

    fn factory(&self, index: usize, config: &str) -> Result<PluginFactory, PluginError> {
        let config = normalised(config)?;
        self.check_config(index, &config)?;
        let descriptor = &self.library.descriptors[index];
        let mut wanted = None;
        if let Some(names) = &descriptor.event_types {
            let kinds = names.iter().map(|name| {
                self.shared.names.kind(name).ok_or_else(|| PluginError::EventType {
                    plugin: descriptor.id.clone(),
                    name: name.clone(),
                })
            });
            wanted = Some(kinds.collect::<Result<Vec<_>, _>>()?);
        }
        let recipe = Recipe {
            library: self.library.clone(),
            index,
            config: config.into(),
            shared: self.shared.clone(),
        };
        Ok(PluginFactory::new(recipe, wanted))
    }

    fn check_config(&self, index: usize, config: &str) -> Result<(), PluginError> {
        let Some(check) = self.library.factory.check_config else { return Ok(()) };
        let plugin = self.library.descriptors[index].id.clone();
        let identity = self.library.candidate.identity();
        let (id, config) =
            (std::ffi::CString::new(plugin.as_str()).unwrap_or_default(), config.to_owned());
        let call = move || {
            let mut error = abi::ErrorBuffer::new();
            let status = enter(std::ptr::null(), Role::Control, &identity, || {
                // SAFETY: a function of a factory that was checked; what it is given lives until it returns.
                unsafe { check(id.as_ptr(), abi::Bytes::text(&config), &mut error) }
            });
            (status, message(&error))
        };
        let after = self.shared.settings.patience;
        match self.shared.control.run(after, call) {
            Ok((Status::OK, _)) => Ok(()),
            Ok((_, message)) => Err(PluginError::Config { plugin, message }),
            Err(TimedOut) => Err(PluginError::Timeout { plugin, after }),
        }
    }
}

/// The text of a JSON object, without anything around it.
fn normalised(config: &str) -> Result<String, PluginError> {
    let wrong = |message: String| PluginError::ConfigJson { message };
    let raw: &RawValue = serde_json::from_str(config).map_err(|error| wrong(error.to_string()))?;
    if !raw.get().starts_with('{') {
        let start: String = raw.get().chars().take(40).collect();
        return Err(wrong(format!("it is `{}`", super::error::printable(&start))));
    }
    Ok(raw.get().to_owned())
}
