//! Events that a processor emits.

use std::borrow::Cow;
use std::fmt;

use keylane_plugin_abi as abi;
use serde::Serialize;

use crate::{Event, EventType};

/// An event to be emitted by [`Cx::emit`](crate::Cx::emit).
///
/// ```
/// use keylane_plugin::{Derived, EventType};
///
/// let alarm = Derived::new(EventType::user(7)).key("client-17").value("too many requests");
/// let report = Derived::new(EventType::user(8)).json(&serde_json::json!({"count": 3}))?;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Derived<'a> {
    kind: EventType,
    key: Key<'a>,
    value: Payload<'a>,
}

#[derive(Debug, Clone)]
enum Key<'a> {
    None,
    Bytes(Cow<'a, [u8]>),
    Hash(u64),
}

/// What a derived event carries. Made by `into()` out of numbers, truth values, text and bytes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Payload<'a> {
    None,
    Bool(bool),
    I64(i64),
    U64(u64),
    F64(f64),
    Str(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// One valid JSON text.
    Json(Cow<'a, str>),
}

impl<'a> Derived<'a> {
    /// An event without a key and without a value.
    #[must_use]
    pub fn new(kind: EventType) -> Self {
        Self { kind, key: Key::None, value: Payload::None }
    }

    /// With this key.
    #[must_use]
    pub fn key(self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { key: Key::Bytes(Cow::Borrowed(key.as_ref())), ..self }
    }

    /// With the key that has this hash.
    #[must_use]
    pub fn key_hash(self, hash: u64) -> Self {
        Self { key: Key::Hash(hash), ..self }
    }

    /// With the key of another event, so that it comes to the same shard and keeps its place behind it; without one if that has none.
    #[must_use]
    pub fn key_of(self, event: &Event<'_>) -> Self {
        let key = if event.has_key() { Key::Hash(event.key_hash()) } else { Key::None };
        Self { key, ..self }
    }

    /// With this value.
    #[must_use]
    pub fn value(self, value: impl Into<Payload<'a>>) -> Self {
        Self { value: value.into(), ..self }
    }

    /// With this value as JSON.
    ///
    /// # Errors
    /// When it has no form as JSON.
    pub fn json(self, value: &impl Serialize) -> serde_json::Result<Self> {
        let json = serde_json::to_string(value)?;
        Ok(Self { value: Payload::Json(json.into()), ..self })
    }

    /// The event for the host, as long as this one lives.
    pub(crate) fn raw(&self, parent: u32) -> abi::Emit {
        use abi::value_kind as kind;

        let (key_kind, key, key_hash) = match &self.key {
            Key::None => (abi::key_kind::NONE, abi::Bytes::ABSENT, 0),
            Key::Bytes(bytes) => (abi::key_kind::BYTES, abi::Bytes::new(bytes), 0),
            Key::Hash(hash) => (abi::key_kind::HASH, abi::Bytes::ABSENT, *hash),
        };
        let absent = abi::Bytes::ABSENT;
        let zero = abi::Scalar { u64: 0 };
        let (value_kind, value, scalar) = match &self.value {
            Payload::None => (kind::NONE, absent, zero),
            Payload::Bool(value) => (kind::BOOL, absent, abi::Scalar { u64: (*value).into() }),
            Payload::I64(value) => (kind::I64, absent, abi::Scalar { i64: *value }),
            Payload::U64(value) => (kind::U64, absent, abi::Scalar { u64: *value }),
            Payload::F64(value) => (kind::F64, absent, abi::Scalar { f64: *value }),
            Payload::Str(value) => (kind::UTF8, abi::Bytes::text(value), zero),
            Payload::Bytes(value) => (kind::BYTES, abi::Bytes::new(value), zero),
            Payload::Json(value) => (kind::JSON, abi::Bytes::text(value), zero),
        };
        let type_id = self.kind.code();
        abi::Emit {
            type_id,
            value_kind,
            key_kind,
            flags: 0,
            parent,
            reserved: 0,
            key,
            key_hash,
            value,
            scalar,
        }
    }
}

macro_rules! payload_from {
    ($($type:ty => $variant:ident,)*) => {$(
        impl<'a> From<$type> for Payload<'a> {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

payload_from! {
    bool => Bool,
    i32 => I64,
    i64 => I64,
    u32 => U64,
    u64 => U64,
    f64 => F64,
    &'a str => Str,
    String => Str,
    &'a [u8] => Bytes,
    Vec<u8> => Bytes,
}

/// Why the host did not take a derived event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmitError {
    /// There is no room. Try again in a later call, or count it as lost.
    Full,
    /// The event would have more ancestors than the bus allows: it is part of a cycle.
    TooManyHops,
    /// The host does not know the type, or takes no such value.
    Invalid,
    /// Nothing can be emitted here: in `create`, in `shutdown`, or with this host.
    Unsupported,
    /// Something else, as the host says it.
    Other(i32),
}

impl EmitError {
    pub(crate) fn of(status: abi::Status) -> Self {
        match status {
            abi::Status::E_WOULD_BLOCK => Self::Full,
            abi::Status::E_HOPS => Self::TooManyHops,
            abi::Status::E_INVALID => Self::Invalid,
            abi::Status::E_UNSUPPORTED => Self::Unsupported,
            abi::Status(other) => Self::Other(other),
        }
    }
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the host has no room for derived events right now"),
            Self::TooManyHops => {
                f.write_str("the derived event has more ancestors than the bus allows")
            }
            Self::Invalid => {
                f.write_str("the host does not take an event of this type or with this value")
            }
            Self::Unsupported => f.write_str("nothing can be emitted here"),
            Self::Other(status) => {
                write!(f, "the host did not take the event: {}", abi::Status(*status))
            }
        }
    }
}

impl std::error::Error for EmitError {}
