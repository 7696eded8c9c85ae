//! Refusals: the event comes back, with the reason.

use std::fmt;

use crate::event::{Event, EventType, Parts, Tag, Value};
use crate::key::Key;

/// Why an emit was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// There was no room: in the ring to the event's shard, or, for an event derived inside a processor, in its budget of
    /// hops (see [`EmitError::is_hop_limit`]).
    Full,
    /// The bus has been shut down.
    Closed,
    /// There was no room, and none came within the time that the caller named.
    Timeout,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the ring to its shard is full",
            Self::Closed => "the bus is closed",
            Self::Timeout => "the ring to its shard stayed full for the whole timeout",
        })
    }
}

/// What only its owner can reach. So it may be shared whatever it is: `&Exclusive` leads to nothing.
///
/// Values need not be `Sync`, and errors should be: the usual boxes for errors ask for it.
struct Exclusive<T>(T);

// SAFETY: nothing is done with a shared reference; the field is private to this module, which takes it from owners and `&mut` only.
unsafe impl<T> Sync for Exclusive<T> {}

/// A refused emit. The event was not accepted, no processor will see it, and it is in here.
pub struct EmitError {
    reason: Reason,
    hop_limit: bool,
    tag: Tag,
    type_name: Option<&'static str>,
    parts: Exclusive<Parts>,
}

impl EmitError {
    pub(crate) fn new(reason: Reason, parts: Parts) -> Self {
        let type_name = parts.body.value.type_name();
        Self { reason, hop_limit: false, tag: parts.tag, type_name, parts: Exclusive(parts) }
    }

    pub(crate) fn hop_limit(parts: Parts) -> Self {
        Self { hop_limit: true, ..Self::new(Reason::Full, parts) }
    }

    /// Why the event was refused.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Whether the event was refused because it descends from too many derived events, which a later try does not change.
    pub fn is_hop_limit(&self) -> bool {
        self.hop_limit
    }

    /// The refused event's type.
    pub fn kind(&self) -> EventType {
        self.tag.kind()
    }

    /// The refused event's value. It may be of a type that threads cannot share, and an error can be shared, hence `&mut`.
    pub fn value(&mut self) -> &Value {
        &self.parts.0.body.value
    }

    /// Gives the refused event back.
    pub fn into_event(self) -> Event {
        Event::from_parts(self.parts.0)
    }
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        if self.hop_limit {
            let hops = self.tag.hops();
            write!(f, "event {kind} refused: derived over {hops} hops, the limit of this bus")
        } else {
            write!(f, "event {kind} refused: {}", self.reason)
        }
    }
}

impl fmt::Debug for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmitError")
            .field("reason", &self.reason)
            .field("hop_limit", &self.hop_limit)
            .field("kind", &self.kind())
            // Not the value itself, see `value`.
            .field("value", &format_args!("{}", self.type_name.unwrap_or("none")))
            .finish()
    }
}

impl std::error::Error for EmitError {}

/// A batch of which only a part was accepted.
pub struct BatchError {
    reason: Reason,
    accepted: usize,
    returned: usize,
    rest: Exclusive<Vec<(EventType, Value, Key)>>,
}

impl BatchError {
    pub(crate) fn new(
        accepted: usize,
        refused: EmitError,
        rest: impl Iterator<Item = (EventType, Value, Key)>,
    ) -> Self {
        let reason = refused.reason();
        let rest: Vec<_> = std::iter::once(refused.into_event().into_parts()).chain(rest).collect();
        Self { reason, accepted, returned: rest.len(), rest: Exclusive(rest) }
    }

    /// Why the batch ended early.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// How many items, from the front, were accepted.
    pub fn accepted(&self) -> usize {
        self.accepted
    }

    /// The items that were not accepted, in order.
    pub fn into_rest(self) -> Vec<(EventType, Value, Key)> {
        self.rest.0
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, accepted, returned, .. } = self;
        write!(f, "batch cut short after {accepted} events, {returned} returned: {reason}")
    }
}

impl fmt::Debug for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchError")
            .field("reason", &self.reason)
            .field("accepted", &self.accepted)
            .field("rest", &self.returned)
            .finish()
    }
}

impl std::error::Error for BatchError {}
