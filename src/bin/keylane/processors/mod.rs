//! The processors that the command has, and the bus that runs them: the same for every subcommand.
//!
//! What a processor needs is opened in [`Processors::open`], before anything begins; [`Processors::register`] gives it its name on the
//! bus. Those from shared libraries are in [`plugins`].

pub(crate) mod count;
mod hot_keys;
pub(crate) mod ndjson;
pub(crate) mod plugins;

use std::io;
use std::sync::Arc;

use keylane::{Builder, Bus, FaultPolicy, NoopProcessorFactory};

use crate::bus_flags::BusSettings;
use crate::config::Spec;
use crate::diagnostics::Diagnostics;
use crate::source::{self, Identity, duplicate};
use count::Counts;
use ndjson::{Existing, OnFailure, Output, Written};
use plugins::Plugins;

use crate::types::SharedTypes;

/// Processors with all that they have open.
#[derive(Debug, Clone)]
pub(crate) struct Processors {
    specs: Vec<Spec>,
    counts: Option<Arc<Counts>>,
    outputs: Vec<Arc<Output>>,
    plugins: Option<Arc<Plugins>>,
}

impl Processors {
    /// Opens what the processors write to, and changes nothing yet; loads the plugins. `taken` are files that must not be written to, with
    /// a word for each.
    ///
    /// # Errors
    /// Why something cannot be opened, or must not be.
    pub(crate) fn open(
        settings: &BusSettings,
        existing: Existing,
        taken: &[(Identity, &str)],
        types: &SharedTypes,
    ) -> Result<Self, String> {
        let specs = settings.processors.clone();
        let mut outputs: Vec<Arc<Output>> = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            if specs[..index].contains(spec) {
                return Err(format!("the processor {} is asked for twice", spec.name()));
            }
            let Spec::Ndjson(path) = spec else { continue };
            let name = source::name(path);
            let output = Output::open(path, settings.shards, existing)
                .map_err(|error| format!("cannot write to {name}: {error}"))?;
            if let Some(identity) = output.identity() {
                let other =
                    if let Some((_, what)) = taken.iter().find(|(file, _)| *file == identity) {
                        Some(format!("{what}; choose another file"))
                    } else if outputs.iter().any(|other| other.identity() == Some(identity)) {
                        Some("another output of this run; choose another file".to_owned())
                    } else if path.as_os_str() != "-" && standard_output() == Some(identity) {
                        Some("standard output; say ndjson=- to write there".to_owned())
                    } else {
                        None
                    };
                if let Some(other) = other {
                    return Err(format!("cannot write to {name}: it is {other}"));
                }
            }
            outputs.push(Arc::new(output));
        }
        let counts = specs.contains(&Spec::Count).then(|| Counts::new(settings.shards));
        let names = specs.iter().map(Spec::name).collect();
        let plugins = Plugins::load(&settings.plugins, names, types)?.map(Arc::new);
        Ok(Self { specs, counts, outputs, plugins })
    }

    /// A bus under construction, with these processors on it.
    pub(crate) fn builder(&self, settings: &BusSettings, diagnostics: &Diagnostics) -> Builder {
        let of_faults = diagnostics.clone();
        let builder = Bus::builder()
            .shards(settings.shards)
            .capacity(settings.capacity)
            .wait(settings.wait.into())
            // A restarted instance would have forgotten what it held.
            .fault_policy(FaultPolicy::Skip)
            .on_fault(move |fault| of_faults.say(fault));
        self.register(builder)
    }

    fn register(&self, mut builder: Builder) -> Builder {
        let mut next_output = self.outputs.iter();
        for spec in &self.specs {
            builder = match (spec, &self.counts, next_output.as_slice().first()) {
                (Spec::Count, Some(counts), _) => builder.processor(spec.name(), counts.factory()),
                (Spec::Ndjson(_), _, Some(output)) => {
                    next_output.next();
                    builder.processor(spec.name(), output.factory())
                }
                _ => builder.processor(spec.name(), NoopProcessorFactory),
            };
        }
        match &self.plugins {
            Some(plugins) => plugins.register(builder),
            None => builder,
        }
    }

    /// Makes the outputs ready for the first event, and says who hears of failures. To be called once.
    ///
    /// # Errors
    /// Which of them cannot be made ready.
    pub(crate) fn begin(
        &self,
        diagnostics: &Diagnostics,
        on_failure: &OnFailure,
    ) -> Result<(), String> {
        for output in &self.outputs {
            output
                .begin(diagnostics.clone(), Arc::clone(on_failure))
                .map_err(|error| format!("cannot begin to write to {}: {error}", output.name))?;
        }
        Ok(())
    }

    /// Has every output opened again before its next write.
    pub(crate) fn reopen(&self) {
        for output in &self.outputs {
            output.reopen();
        }
    }

    /// What was counted, if anything counts.
    pub(crate) fn counts(&self) -> Option<&Counts> {
        self.counts.as_deref()
    }

    /// The plugins, if there are any.
    pub(crate) fn plugins(&self) -> Option<&Plugins> {
        self.plugins.as_deref()
    }

    /// How the outputs stand.
    pub(crate) fn written(&self) -> Vec<Written> {
        self.outputs.iter().map(|output| output.written()).collect()
    }

    /// Whether one of them writes to standard output.
    pub(crate) fn use_standard_output(&self) -> bool {
        self.specs.iter().any(Spec::is_standard_output)
    }
}

/// Which file standard output is, if it is a regular one.
fn standard_output() -> Option<Identity> {
    Identity::of(&duplicate(io::stdout()).ok()?.metadata().ok()?)
}
