//! The names of types, shared by whoever reads events, whoever reports, and plugins.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use keylane::EventType;
use keylane::ingest::TypeTable;

/// A table of names that many hold.
#[derive(Debug, Clone)]
pub(crate) struct SharedTypes(Arc<RwLock<TypeTable>>);

impl SharedTypes {
    /// A table of at most `limit` names beside the predefined ones.
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(RwLock::new(TypeTable::new(limit))))
    }

    /// The same for names from strangers, who may not use the predefined ones.
    pub(crate) fn of_strangers(limit: usize) -> Self {
        Self(Arc::new(RwLock::new(TypeTable::of_strangers(limit))))
    }

    pub(crate) fn table(&self) -> Arc<RwLock<TypeTable>> {
        Arc::clone(&self.0)
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, TypeTable> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, TypeTable> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The type of that name, for us and for plugins: they are no strangers. `None` when the table is full.
    pub(crate) fn find(&self, name: &str) -> Option<EventType> {
        let predefined = name.parse().ok().filter(|kind: &EventType| !kind.is_user());
        if predefined.is_some_and(|kind| kind.code() <= EventType::TRAFFIC.code()) {
            return predefined;
        }
        let known = self.read().get(name);
        known.or_else(|| self.write().intern(name).ok())
    }

    /// The name of a type that got it here.
    pub(crate) fn name(&self, kind: EventType) -> Option<String> {
        kind.is_user().then(|| self.read().name(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_may_name_what_strangers_may_not() {
        let types = SharedTypes::of_strangers(2);
        assert_eq!(types.find("TRAFFIC"), Some(EventType::TRAFFIC));
        assert_eq!(types.find("alarm.raised"), Some(EventType::user(0)));
        // What the bus prints for a user type is a name like any other, and means no other name's type.
        assert_eq!(types.find("USER(0)"), Some(EventType::user(1)));
        assert_eq!(types.find("one more"), None);
        assert_eq!(types.name(EventType::user(0)).as_deref(), Some("alarm.raised"));
        assert_eq!(types.name(EventType::TRAFFIC), None);
    }
}
