//! The factory that a bus builds a plugin's instances with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::control::TimedOut;
use super::create_error::PluginError;
use super::instance::{Home, Instance, Recipe};
use super::processor::PluginProcessor;
use crate::event::EventType;
use crate::processor::{ProcessorFactory, ShardContext, Upcoming};

/// Builds a plugin's instances: for [`Builder::processor`](crate::Builder::processor) and
/// [`Bus::replace_processor`](crate::Bus::replace_processor). Made by [`Plugin::processor`](super::Plugin::processor).
///
/// The instances for all shards are created on the host's thread before any shard is asked, so a slow `create` holds nothing up; those
/// of plugins that are bound to a thread are created on their shards.
#[derive(Debug)]
pub struct PluginFactory {
    recipe: Arc<Recipe>,
    wanted: Option<Vec<EventType>>,
    /// Instances for shards that have not fetched them yet.
    prepared: Mutex<HashMap<(String, u64, usize), Instance>>,
}

impl std::fmt::Debug for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let descriptor = &self.library.descriptors[self.index];
        f.debug_struct("Recipe")
            .field("id", &descriptor.id)
            .field("version", &descriptor.version)
            .finish()
    }
}

impl Recipe {
    fn is_affine(&self) -> bool {
        self.library.descriptors[self.index].is_thread_affine()
    }

    /// Creates an instance, on the thread where that belongs.
    pub(crate) fn create_where_it_belongs(
        self: &Arc<Self>,
        home: &Home,
    ) -> Result<Instance, PluginError> {
        if self.is_affine() {
            return self.create(home);
        }
        let (recipe, home) = (self.clone(), home.clone());
        let after = self.shared.settings.patience;
        self.shared.control.run(after, move || recipe.create(&home)).unwrap_or_else(|TimedOut| {
            Err(PluginError::Timeout {
                plugin: self.library.descriptors[self.index].id.clone(),
                after,
            })
        })
    }
}

impl PluginFactory {
    pub(super) fn new(recipe: Recipe, wanted: Option<Vec<EventType>>) -> Self {
        Self { recipe: Arc::new(recipe), wanted, prepared: Mutex::default() }
    }

    /// The types of events that the processor gets; `None` for all.
    pub fn event_types(&self) -> Option<&[EventType]> {
        self.wanted.as_deref()
    }
}

impl ProcessorFactory for PluginFactory {
    type Processor = PluginProcessor;
    type Error = PluginError;

    fn prepare(&self, upcoming: &Upcoming<'_>) -> Result<(), PluginError> {
        if self.recipe.is_affine() {
            return Ok(());
        }
        let Upcoming { processor, generation, shards } = *upcoming;
        // What is not fetched, because a later shard failed, is destroyed with the map.
        let mut instances = HashMap::new();
        for shard in 0..shards {
            let home = Home { processor: processor.to_owned(), shard, shards, generation };
            let instance = self.recipe.create_where_it_belongs(&home)?;
            instances.insert((processor.to_owned(), generation, shard), instance);
        }
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).extend(instances);
        Ok(())
    }

    fn create(&self, cx: &ShardContext) -> Result<PluginProcessor, PluginError> {
        let key = (cx.processor().to_owned(), cx.generation(), cx.shard());
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let home = Home {
            processor: key.0,
            shard: cx.shard(),
            shards: cx.shards(),
            generation: cx.generation(),
        };
        let instance = match prepared {
            Some(instance) => instance,
            // After a fault, or when the factory is used without having been prepared.
            None => self.recipe.create_where_it_belongs(&home)?,
        };
        Ok(PluginProcessor::new(instance, self.recipe.clone(), home, self.wanted.clone(), cx))
    }
}
