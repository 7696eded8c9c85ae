//! The library as a host loads it, and what it says of itself.

use keylane::plugin::{Plugin, PluginDescriptor};
use keylane_plugin_abi::plugin_flag;

use super::{Subject, Talk};
use crate::plugin::inspect::flags;

pub(super) fn run(subject: &Subject, talk: &Talk) {
    talk.step("starting a host");
    let host = match subject.host() {
        Ok(host) => host,
        Err(error) => return talk.fail(error),
    };
    talk.step("loading the library: its constructors, init, get_factory, count, descriptor");
    let plugin = match host.load(&subject.path) {
        Ok(plugin) => plugin,
        Err(error) => return talk.fail(format!("{} ({})", error.kind(), error.kind().name())),
    };
    manifest(&plugin, talk);
    for descriptor in plugin.descriptors() {
        describe(descriptor, talk);
    }
    if plugin.elf().text_relocations {
        talk.warn("its code is changed when it is loaded (TEXTREL), which hardened systems refuse; build it with -fPIC");
    }
    if plugin.elf().search_path.is_some() {
        talk.warn("it says where its libraries are searched (RPATH or RUNPATH); elsewhere others may lie there");
    }
    talk.step("check_config with the configuration");
    let factory = match &subject.id {
        Some(id) => plugin.processor_with_id(id, &subject.config),
        None => plugin.processor(&subject.config),
    };
    if let Err(error) = factory {
        let hint = if subject.config == "{}" {
            "; give a configuration that it takes with --config"
        } else {
            ""
        };
        talk.fail(format!("{error}{hint}"));
    }
    if plugin.descriptors().iter().any(PluginDescriptor::is_loaded_once) {
        // It must not be loaded again, and other checks have processes of their own.
        return;
    }
    let Some(library) = subject.library(talk) else { return };
    talk.step("descriptor(count())");
    if library.has_one_too_many() {
        talk.fail("descriptor(count()) is a descriptor; it has to be NULL");
    }
}

fn manifest(plugin: &Plugin, talk: &Talk) {
    let Some(manifest) = plugin.manifest() else { return };
    let descriptors = plugin.descriptors();
    if manifest.processors as usize != descriptors.len() {
        talk.fail(format!(
            "the manifest says {} processors, and count() says {}",
            manifest.processors,
            descriptors.len()
        ));
    }
    if manifest.flags != descriptors[0].flags {
        talk.fail(format!(
            "the manifest has the flags {:?}, and the first descriptor {:?}",
            flags(manifest.flags),
            flags(descriptors[0].flags)
        ));
    }
    if manifest.built_with.contains("rustc") && manifest.flags & plugin_flag::PANIC_UNWIND == 0 {
        talk.warn("it is built with panic = \"abort\": a panic in it ends the program");
    }
}

fn describe(descriptor: &PluginDescriptor, talk: &Talk) {
    let id = &descriptor.id;
    if let Some(schema) = &descriptor.config_schema {
        match serde_json::from_str::<serde_json::Value>(schema) {
            Ok(schema) if schema.is_object() || schema.is_boolean() => {}
            Ok(_) => talk.fail(format!("{id}: the schema of its configuration is no JSON Schema: neither an object nor a truth value")),
            Err(error) => talk.fail(format!("{id}: the schema of its configuration is no JSON: {error}")),
        }
    }
    if descriptor.is_stateful() && descriptor.state_version == 0 {
        talk.fail(format!("{id}: it is STATEFUL, and the version of its state is 0; begin with 1"));
    }
    if !descriptor.is_stateful() && descriptor.state_version != 0 {
        talk.warn(format!("{id}: it has a state_version, but not the flag STATEFUL, so its state is not handed over"));
    }
    if descriptor.event_types.as_ref().is_some_and(Vec::is_empty) {
        talk.warn(format!(
            "{id}: its list of event types is empty, so it gets no events; NULL stands for all"
        ));
    }
}
