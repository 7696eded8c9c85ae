//! Names of types in the input, and the event types that they become.
//!
//! A name that the bus itself uses, `START_REQUEST` for example, is that type. Every other name gets the next user type: the
//! first one seen is `USER(0)`. The numbers belong to the run; reports and outputs show names.

use std::collections::HashMap;

use keylane::EventType;

use super::input::refusal::Reason;

/// The type names of a run.
#[derive(Debug)]
pub(crate) struct TypeTable {
    by_name: HashMap<Box<str>, EventType>,
    /// The names of the user types, by their number.
    names: Vec<Box<str>>,
    /// The most user types.
    limit: usize,
}

impl TypeTable {
    /// The most types that a run can keep apart: so many user types there are.
    pub(crate) const MAX: u32 = EventType::MAX_USER_NUMBER as u32 + 1;

    /// A table for at most `limit` names beside the predefined ones.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.min(Self::MAX as usize);
        Self { by_name: HashMap::new(), names: Vec::new(), limit }
    }

    /// The type of that name.
    ///
    /// # Errors
    ///
    /// [`Reason::TooManyTypes`] for a new name when the table is full.
    pub(crate) fn intern(&mut self, name: &str) -> Result<EventType, Reason> {
        if let Some(kind) = self.by_name.get(name) {
            return Ok(*kind);
        }
        let predefined = name.parse().ok().filter(|kind| is_predefined(*kind));
        let kind = match predefined {
            Some(kind) => kind,
            None => self.next_user_type(name)?,
        };
        self.by_name.insert(name.into(), kind);
        Ok(kind)
    }

    fn next_user_type(&mut self, name: &str) -> Result<EventType, Reason> {
        let number = u16::try_from(self.names.len()).ok().filter(|_| self.names.len() < self.limit);
        let kind = number
            .and_then(EventType::checked_user)
            .ok_or_else(|| Reason::TooManyTypes { name: name.to_owned(), limit: self.limit })?;
        self.names.push(name.into());
        Ok(kind)
    }

    /// The name that became the type.
    pub(crate) fn name(&self, kind: EventType) -> String {
        match kind.user_number().and_then(|number| self.names.get(usize::from(number))) {
            Some(name) => name.to_string(),
            None => kind.to_string(),
        }
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
        let full = Reason::TooManyTypes { name: "c".into(), limit: 2 };
        assert_eq!(types.intern("c"), Err(full));
        assert_eq!(types.intern("a"), Ok(EventType::user(0)));

        let mut types = TypeTable::new(usize::MAX);
        for n in 0..TypeTable::MAX {
            types.intern(&n.to_string()).unwrap();
        }
        types.intern("one more").unwrap_err();
    }
}
