//! Names of types, and the event types that they become.
//!
//! A name that is not one of the bus itself gets the next user type: the first one seen is `USER(0)`. The numbers belong to the
//! process; reports and outputs show names. Names come from strangers, so their number is bounded.

use std::collections::HashMap;

use super::refusal::Defect;
use crate::event::EventType;

/// The names of types that a process has seen.
///
/// ```
/// use keylane::EventType;
/// use keylane::ingest::TypeTable;
///
/// let mut types = TypeTable::new(100);
/// assert_eq!(types.intern("order.paid"), Ok(EventType::user(0)));
/// assert_eq!(types.intern("START_REQUEST"), Ok(EventType::START_REQUEST));
/// assert_eq!(types.name(EventType::user(0)), "order.paid");
/// ```
#[derive(Debug)]
pub struct TypeTable {
    by_name: HashMap<Box<str>, EventType>,
    /// The names of the user types, by their number.
    names: Vec<Box<str>>,
    /// The most user types.
    limit: usize,
    /// Names of the bus are refused.
    reserved: bool,
}

impl TypeTable {
    /// The most names that a table can keep: so many user types there are.
    pub const MAX: u32 = EventType::MAX_USER_NUMBER as u32 + 1;

    /// A table for at most `limit` names beside the predefined ones. A name that the bus itself uses, `START_REQUEST` for example, is that
    /// type.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let limit = limit.min(Self::MAX as usize);
        Self { by_name: HashMap::new(), names: Vec::new(), limit, reserved: false }
    }

    /// The same for names from strangers: who is not the bus may not speak in its name, and its names are refused.
    #[must_use]
    pub fn of_strangers(limit: usize) -> Self {
        Self { reserved: true, ..Self::new(limit) }
    }

    /// The type of that name.
    ///
    /// # Errors
    /// [`Defect::TooManyTypes`] for a new name when the table is full, [`Defect::ReservedType`].
    pub fn intern(&mut self, name: &str) -> Result<EventType, Defect> {
        if let Some(kind) = self.get(name) {
            return Ok(kind);
        }
        let kind = match name.parse().ok().filter(|kind| is_predefined(*kind)) {
            Some(_) if self.reserved => return Err(Defect::ReservedType(name.to_owned())),
            Some(kind) => kind,
            None => self.next_user_type(name)?,
        };
        self.by_name.insert(name.into(), kind);
        Ok(kind)
    }

    /// The types of all these names, or of none: a refused name leaves the table as it was.
    ///
    /// # Errors
    /// The place of the first name that is refused, and why.
    pub(super) fn intern_all<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<EventType>, (usize, Defect)> {
        let before = self.names.len();
        let types =
            names.enumerate().map(|(at, name)| self.intern(name).map_err(|defect| (at, defect)));
        let types: Result<Vec<_>, _> = types.collect();
        if types.is_err() {
            for name in self.names.drain(before..) {
                self.by_name.remove(&name);
            }
        }
        types
    }

    fn next_user_type(&mut self, name: &str) -> Result<EventType, Defect> {
        let number = u16::try_from(self.names.len()).ok().filter(|_| self.names.len() < self.limit);
        let kind = number
            .and_then(EventType::checked_user)
            .ok_or_else(|| Defect::TooManyTypes { name: name.to_owned(), limit: self.limit })?;
        self.names.push(name.into());
        Ok(kind)
    }

    /// The type that the name has, if it has been seen.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<EventType> {
        self.by_name.get(name).copied()
    }

    /// The name that became the type, or what the bus calls it.
    #[must_use]
    pub fn name(&self, kind: EventType) -> String {
        match kind.user_number().and_then(|number| self.names.get(usize::from(number))) {
            Some(name) => name.to_string(),
            None => kind.to_string(),
        }
    }

    /// How many names became user types.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no name became a user type yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The most names that can become user types.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }
}

/// Whether the bus knows the type by a name of its own.
fn is_predefined(kind: EventType) -> bool {
    kind.code() <= EventType::TRAFFIC.code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_type() {
        let mut types = TypeTable::new(10);
        assert_eq!(types.intern("file.added"), Ok(EventType::user(0)));
        assert_eq!(types.intern("file.deleted"), Ok(EventType::user(1)));
        assert_eq!(types.intern("file.added"), Ok(EventType::user(0)));
        assert_eq!(types.name(EventType::user(1)), "file.deleted");
    }

    #[test]
    fn predefined_names_are_the_predefined_types() {
        let mut types = TypeTable::new(1);
        assert_eq!(types.intern("START_REQUEST"), Ok(EventType::START_REQUEST));
        assert_eq!(types.intern("TRAFFIC"), Ok(EventType::TRAFFIC));
        assert_eq!(types.name(EventType::TRAFFIC), "TRAFFIC");
        // What the bus prints for other people's types is a name like any other.
        assert_eq!(types.intern("USER(7)"), Ok(EventType::user(0)));
        assert_eq!(types.name(EventType::user(0)), "USER(7)");
    }

    #[test]
    fn the_number_of_types_is_bounded() {
        let mut types = TypeTable::new(2);
        types.intern("a").unwrap();
        types.intern("b").unwrap();
        let full = Defect::TooManyTypes { name: "c".into(), limit: 2 };
        assert_eq!(types.intern("c"), Err(full));
        assert_eq!(types.intern("a"), Ok(EventType::user(0)));

        let mut types = TypeTable::new(usize::MAX);
        for n in 0..TypeTable::MAX {
            types.intern(&n.to_string()).unwrap();
        }
        types.intern("one more").unwrap_err();
    }

    #[test]
    fn strangers_do_not_speak_for_the_bus() {
        let mut types = TypeTable::of_strangers(10);
        for name in ["NOT_SET", "FAILED_AUTH", "TRAFFIC"] {
            assert_eq!(types.intern(name), Err(Defect::ReservedType(name.into())));
        }
        assert_eq!(types.intern("traffic"), Ok(EventType::user(0)));
    }

    #[test]
    fn a_refused_list_leaves_nothing_behind() {
        let mut types = TypeTable::of_strangers(3);
        types.intern("a").unwrap();
        let full = Defect::TooManyTypes { name: "d".into(), limit: 3 };
        assert_eq!(types.intern_all(["b", "a", "c", "d"].into_iter()), Err((3, full)));
        assert_eq!((types.len(), types.get("b")), (1, None));
        let both = types.intern_all(["c", "b", "c"].into_iter()).unwrap();
        assert_eq!(both, [1, 2, 1].map(EventType::user));
    }
}
