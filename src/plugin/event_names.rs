//! The names of event types, as plugins see them: those that a program has bound, and those that it knows when it is asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{RwLock, RwLockReadGuard};

use crate::event::EventType;

/// Finds the type of a name.
type KindOf = dyn Fn(&str) -> Option<EventType> + Send + Sync;
/// Finds the name of a type.
type NameOf = dyn Fn(EventType) -> Option<String> + Send + Sync;

/// A program's own table of names, in both directions.
pub(crate) struct Directory {
    pub(crate) kind: Box<KindOf>,
    pub(crate) name: Box<NameOf>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

/// Names that a program gives to its user types, for plugins. Without one a type is called as it prints, `USER(3)`.
#[derive(Debug, Default)]
pub(crate) struct EventNames {
    bound: RwLock<Bound>,
    directory: Option<Directory>,
}

#[derive(Debug, Default)]
struct Bound {
    types: BTreeMap<String, EventType>,
    names: HashMap<EventType, String>,
}

impl EventNames {
    pub(crate) fn new(directory: Option<Directory>) -> Self {
        Self { bound: RwLock::default(), directory }
    }

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
        let known = |kind: &EventType| kind.code() <= EventType::TRAFFIC.code();
        let parsed: Option<EventType> = name.parse().ok();
        // What the bus itself calls a type nobody else names so.
        bound.or(parsed.filter(known)).or_else(|| match &self.directory {
            Some(directory) => (directory.kind)(name),
            None => parsed,
        })
    }

    pub(crate) fn name(&self, kind: EventType) -> String {
        let bound = self.read().names.get(&kind).cloned();
        let directory = || self.directory.as_ref().and_then(|directory| (directory.name)(kind));
        bound.or_else(directory).unwrap_or_else(|| kind.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_asked_behind_what_is_bound_and_what_is_predefined() {
        let directory = Directory {
            kind: Box::new(|name| (name != "unknown").then(|| EventType::user(5))),
            name: Box::new(|kind| (kind == EventType::user(5)).then(|| "order.paid".to_owned())),
        };
        let names = EventNames::new(Some(directory));
        names.bind("bound", EventType::user(1));
        assert_eq!(names.kind("bound"), Some(EventType::user(1)));
        assert_eq!(names.kind("TRAFFIC"), Some(EventType::TRAFFIC));
        assert_eq!(names.kind("order.paid"), Some(EventType::user(5)));
        // What the bus prints for a user type is the directory's to know.
        assert_eq!(names.kind("USER(3)"), Some(EventType::user(5)));
        assert_eq!(names.kind("unknown"), None);
        assert_eq!(names.name(EventType::user(1)), "bound");
        assert_eq!(names.name(EventType::user(5)), "order.paid");
        assert_eq!(names.name(EventType::user(3)), "USER(3)");
        let none = EventNames::default();
        assert_eq!(none.kind("USER(3)"), Some(EventType::user(3)));
    }
}
