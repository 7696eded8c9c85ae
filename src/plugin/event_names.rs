//! The names of event types, as plugins see them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{RwLock, RwLockReadGuard};

use crate::event::EventType;

/// Names that a program gives to its user types, for plugins. Without one a type is called as it prints, `USER(3)`.
#[derive(Debug, Default)]
pub(crate) struct EventNames {
    bound: RwLock<Bound>,
}

#[derive(Debug, Default)]
struct Bound {
    types: BTreeMap<String, EventType>,
    names: HashMap<EventType, String>,
}

impl EventNames {
    fn read(&self) -> RwLockReadGuard<'_, Bound> {
        self.bound.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn bind(&self, name: &str, kind: EventType) {
        let mut bound = self.bound.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        bound.types.insert(name.to_owned(), kind);
        bound.names.insert(kind, name.to_owned());
    }

    pub(crate) fn kind(&self, name: &str) -> Option<EventType> {
        let bound = self.read().types.get(name).copied();
        bound.or_else(|| name.parse().ok())
    }

    pub(crate) fn name(&self, kind: EventType) -> String {
        self.read().names.get(&kind).cloned().unwrap_or_else(|| kind.to_string())
    }
}
