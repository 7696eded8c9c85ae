//! Events as a plugin sees them.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keylane_plugin_abi as abi;

use crate::meta::{self, Meta};

/// The type of an event: predefined, or one of the program's own.
///
/// ```
/// use keylane_plugin::EventType;
///
/// assert_eq!(EventType::user(3).to_string(), "USER(3)");
/// assert_eq!(EventType::TRAFFIC.code(), 8);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(u32);

#[allow(missing_docs)]
impl EventType {
    pub const NOT_SET: Self = Self(abi::event_type::NOT_SET);
    pub const COMMON_ERROR: Self = Self(abi::event_type::COMMON_ERROR);
    pub const NEW_CERTIFICATE: Self = Self(abi::event_type::NEW_CERTIFICATE);
    pub const DROP_CERTIFICATE: Self = Self(abi::event_type::DROP_CERTIFICATE);
    pub const FAILED_AUTH: Self = Self(abi::event_type::FAILED_AUTH);
    pub const START_REQUEST: Self = Self(abi::event_type::START_REQUEST);
    pub const FAILED_REQUEST: Self = Self(abi::event_type::FAILED_REQUEST);
    pub const FINISH_REQUEST: Self = Self(abi::event_type::FINISH_REQUEST);
    pub const TRAFFIC: Self = Self(abi::event_type::TRAFFIC);

    const NAMES: [&'static str; 9] = [
        "NOT_SET",
        "COMMON_ERROR",
        "NEW_CERTIFICATE",
        "DROP_CERTIFICATE",
        "FAILED_AUTH",
        "START_REQUEST",
        "FAILED_REQUEST",
        "FINISH_REQUEST",
        "TRAFFIC",
    ];
}

impl EventType {
    /// The program's type number `number`, up to 65279.
    ///
    /// # Panics
    /// When the number is larger.
    #[must_use]
    pub const fn user(number: u16) -> Self {
        assert!(number <= u16::MAX - 256, "a user event type has a number from 0 to 65279");
        Self(abi::event_type::USER_BASE + number as u32)
    }

    /// The type with this code. Names that a program gave to types are found by [`Cx::event_type`](crate::Cx::event_type).
    #[must_use]
    pub const fn from_code(code: u32) -> Self {
        Self(code)
    }

    /// The number by which the type is known everywhere.
    #[must_use]
    pub const fn code(self) -> u32 {
        self.0
    }

    /// Whether it is one of the program's own.
    #[must_use]
    pub const fn is_user(self) -> bool {
        self.0 >= abi::event_type::USER_BASE
    }
}

/// The name by which every host knows the type: `START_REQUEST`, `USER(3)`, `RESERVED(42)`.
impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.get(self.0 as usize) {
            Some(name) => f.pad(name),
            None if self.is_user() => write!(f, "USER({})", self.0 - abi::event_type::USER_BASE),
            None => write!(f, "RESERVED({})", self.0),
        }
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an event carries.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// Nothing.
    None,
    /// A truth value.
    Bool(bool),
    /// A number.
    I64(i64),
    /// A number.
    U64(u64),
    /// A number.
    F64(f64),
    /// Text.
    Str(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// One JSON text.
    Json(&'a str),
    /// The value of a predefined type.
    Meta(Meta<'a>),
    /// A value of the program's own type; [`Cx::json`](crate::Cx::json) renders it.
    Opaque,
    /// Something that this version of the SDK does not know; [`Cx::json`](crate::Cx::json) renders it.
    Unknown(u8),
}

/// One event, borrowed for the call.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    raw: &'a abi::Event,
    // Not to be sent to another thread, where the call might be over.
    _not_send: PhantomData<*const ()>,
}

impl<'a> Event<'a> {
    /// # Safety
    /// What the event says about its key and its value is true as long as `'a`.
    pub(crate) unsafe fn new(raw: &'a abi::Event) -> Self {
        Self { raw, _not_send: PhantomData }
    }

    /// The event as it came.
    #[must_use]
    pub fn raw(&self) -> &'a abi::Event {
        self.raw
    }

    /// Its type.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> EventType {
        EventType(self.raw.type_id)
    }

    /// The hash of the key, or the number that chose the shard when there is no key.
    #[inline]
    #[must_use]
    pub fn key_hash(&self) -> u64 {
        self.raw.key_hash
    }

    /// Whether the event has a key.
    #[inline]
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.raw.flags & abi::event_flag::KEYED != 0
    }

    /// The bytes of the key; mostly `None`, since only the hash travels on a bus.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        let key = abi::Bytes { ptr: self.raw.key, len: self.raw.key_len as usize };
        // SAFETY: the host says that these bytes live as long as the event.
        unsafe { key.get() }
    }

    /// The number of the event in the stream of this processor on this shard.
    #[inline]
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.raw.seq
    }

    /// When it was emitted, in nanoseconds since 1970.
    #[inline]
    #[must_use]
    pub fn wall_ns(&self) -> i64 {
        self.raw.wall_ns
    }

    /// When it was emitted.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        let distance = Duration::from_nanos(self.raw.wall_ns.unsigned_abs());
        if self.raw.wall_ns < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }

    /// When it was emitted, on a clock that never goes back: that of [`Cx::now_mono_ns`](crate::Cx::now_mono_ns).
    #[inline]
    #[must_use]
    pub fn mono_ns(&self) -> u64 {
        self.raw.mono_ns
    }

    /// How many events lie between this one and the one from outside that it descends from.
    #[inline]
    #[must_use]
    pub fn hops(&self) -> u8 {
        self.raw.hops
    }

    /// Whether an instance that failed was given this event before.
    #[must_use]
    pub fn is_redelivered(&self) -> bool {
        self.raw.flags & abi::event_flag::REDELIVERED != 0
    }

    /// Whether the event comes from a stored stream.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        self.raw.flags & abi::event_flag::REPLAY != 0
    }

    /// Its value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Value<'a> {
        use abi::value_kind as kind;

        let word = self.raw.value;
        // SAFETY: every bit pattern is valid for each of the numbers; pointers are read only where the kind says that there is one,
        // and then the host promises `value_len` bytes, of UTF-8 for text and JSON.
        unsafe {
            match self.raw.value_kind {
                kind::NONE => Value::None,
                kind::BOOL => Value::Bool(word.u64 != 0),
                kind::I64 => Value::I64(word.i64),
                kind::U64 => Value::U64(word.u64),
                kind::F64 => Value::F64(word.f64),
                kind::UTF8 => Value::Str(std::str::from_utf8_unchecked(self.value_bytes())),
                kind::BYTES => Value::Bytes(self.value_bytes()),
                kind::JSON => Value::Json(std::str::from_utf8_unchecked(self.value_bytes())),
                kind::META => Value::Meta(Meta::read(word.ptr.cast())),
                kind::OPAQUE => Value::Opaque,
                other => Value::Unknown(other),
            }
        }
    }

    /// # Safety
    /// The value is one that lies at `ptr`.
    unsafe fn value_bytes(&self) -> &'a [u8] {
        // SAFETY: the caller vouches for the kind, and the host for the bytes.
        unsafe {
            let bytes =
                abi::Bytes { ptr: self.raw.value.ptr.cast(), len: self.raw.value_len as usize };
            bytes.get().unwrap_or_default()
        }
    }

    /// The text, if the value is one.
    #[inline]
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        match self.value() {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if the value is one that fits.
    #[inline]
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self.value() {
            Value::U64(number) => Some(number),
            Value::I64(number) => number.try_into().ok(),
            _ => None,
        }
    }

    /// The number, if the value is one; large integers are rounded.
    #[inline]
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self.value() {
            Value::F64(number) => Some(number),
            Value::I64(number) => Some(number as f64),
            Value::U64(number) => Some(number as f64),
            _ => None,
        }
    }

    /// The meta of a `START_REQUEST`.
    #[must_use]
    pub fn request(&self) -> Option<meta::Request<'a>> {
        match self.value() {
            Value::Meta(Meta::Request(meta)) => Some(meta),
            _ => None,
        }
    }

    /// The meta of a `FINISH_REQUEST`.
    #[must_use]
    pub fn response(&self) -> Option<meta::Response<'a>> {
        match self.value() {
            Value::Meta(Meta::Response(meta)) => Some(meta),
            _ => None,
        }
    }

    /// The meta of a `FAILED_REQUEST`.
    #[must_use]
    pub fn failed_request(&self) -> Option<meta::FailedRequest<'a>> {
        match self.value() {
            Value::Meta(Meta::FailedRequest(meta)) => Some(meta),
            _ => None,
        }
    }

    /// The meta of a `TRAFFIC`.
    #[must_use]
    pub fn traffic(&self) -> Option<meta::Traffic<'a>> {
        match self.value() {
            Value::Meta(Meta::Traffic(meta)) => Some(meta),
            _ => None,
        }
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("kind", &self.kind())
            .field("seq", &self.seq())
            .field("key_hash", &format_args!("{:#018x}", self.key_hash()))
            .field("value", &self.value())
            .finish()
    }
}
