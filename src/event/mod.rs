//! What travels on the bus.

pub(crate) mod delivery;
mod kind;
pub(crate) mod meta;
pub(crate) mod timestamp;
mod value;

use std::fmt;
use std::mem::ManuallyDrop;
use std::time::SystemTime;

pub use kind::{EventType, ParseEventTypeError};
pub use meta::{
    CommonErrorMeta, ErrorMeta, EventError, RequestMeta, RequestType, ResponseMeta, TrafficMeta,
};
pub use value::Value;
pub(crate) use value::{RawKind, RawValue, Word};

use crate::clock;
use crate::key::Key;
use crate::ring::{DROPS, Slot};
use delivery::touch;

/// Something that happened: its type, its time, the hash of its key, and a value.
///
/// An event is one cache line. A processor borrows it from the ring that it travelled in; whoever has an emit refused gets
/// it back as a value.
///
/// It prints as `{kind} {time} -> {value}`:
///
/// ```
/// use keylane::{Event, EventType, Key};
///
/// let event = Event::new(EventType::user(3), 17, Key::from("order-17"));
/// assert_eq!(event.get::<i32>(), Some(&17));
/// assert!(event.to_string().starts_with("USER(3) 20"));
/// assert!(event.to_string().ends_with("Z -> 17"));
/// ```
#[repr(C)]
#[cfg_attr(not(loom), repr(align(64)))]
pub struct Event {
    slot: Slot<Body>,
}

/// The part of an event behind its header word.
#[repr(C)]
pub(crate) struct Body {
    /// Orders events, and is their time; see [`clock`].
    pub(crate) stamp: u64,
    pub(crate) key_hash: u64,
    pub(crate) value: Value,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("stamp", &self.stamp).finish_non_exhaustive()
    }
}

/// An event outside a slot: smaller than an [`Event`], which is aligned to a cache line. What is refused travels as this.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) tag: Tag,
    pub(crate) body: Body,
}

/// What the header word of a slot says about an event: its type, how often it was derived, and whether it has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag(u32);

impl Tag {
    const HOPS: u32 = 16;
    const KEYED: u32 = 1 << 24;

    #[inline(always)]
    pub(crate) fn new(kind: EventType, hops: u8, keyed: bool) -> Self {
        Self(
            u32::from(kind.code())
                | u32::from(hops) << Self::HOPS
                | if keyed { Self::KEYED } else { 0 },
        )
    }

    #[inline(always)]
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    #[inline(always)]
    pub(crate) fn kind(self) -> EventType {
        EventType::from_code(self.0 as u16)
    }

    #[inline(always)]
    pub(crate) fn hops(self) -> u8 {
        (self.0 >> Self::HOPS) as u8
    }

    /// The same, saying whether the value has something to drop; for the slot of a ring, which is believed.
    #[inline(always)]
    pub(crate) fn dropping(self, drops: bool) -> Self {
        Self(if drops { self.0 | DROPS } else { self.0 & !DROPS })
    }

    /// The same with another number of hops.
    pub(crate) fn derived(self, hops: u8) -> Self {
        Self(self.0 & !(0xff << Self::HOPS) | u32::from(hops) << Self::HOPS)
    }

    pub(crate) fn is_keyed(self) -> bool {
        self.0 & Self::KEYED != 0
    }
}

// SAFETY: a filled slot holds a body, which is `Send`; outside a ring nobody else has access to it.
unsafe impl Send for Event {}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Event>() == 64, "an event is one cache line");
    assert!(size_of::<Slot<Body>>() == 64, "and so is its slot");
    assert!(align_of::<Event>() == 64, "an event does not straddle cache lines");
};

impl Event {
    /// Makes an event outside a bus, stamped now. Mostly for tests of processors; a bus makes its own.
    pub fn new(kind: EventType, value: impl Into<Value>, key: impl Into<Key>) -> Self {
        let key = key.into();
        let body = Body { stamp: clock::now(), key_hash: key.hash_or(0), value: value.into() };
        Self::from_parts(Parts { tag: Tag::new(kind, 0, key.is_present()), body })
    }

    #[inline(always)]
    pub(crate) fn from_parts(parts: Parts) -> Self {
        Self { slot: Slot::filled(parts.tag.bits(), parts.body) }
    }

    /// The slots of events outside a ring.
    #[inline(always)]
    pub(crate) fn slots_of(events: &mut [Self]) -> &mut [Slot<Body>] {
        // SAFETY: an event is its slot; it is larger by nothing, and its alignment is enough for one.
        unsafe { std::slice::from_raw_parts_mut(events.as_mut_ptr().cast(), events.len()) }
    }

    /// Gives an event outside a ring another stamp.
    #[inline(always)]
    pub(crate) fn restamp(&mut self, stamp: u64) {
        // SAFETY: an event is only ever made around a filled slot.
        unsafe { self.slot.body_mut() }.stamp = stamp;
    }

    /// The event in a filled slot of a ring.
    #[inline(always)]
    pub(crate) fn in_slot(slot: &Slot<Body>) -> &Self {
        // SAFETY: an event is its slot, and aligned to a line; so are the slots of a ring, which are one line each.
        unsafe { &*std::ptr::from_ref(slot).cast::<Self>() }
    }

    #[inline(always)]
    pub(crate) fn body(&self) -> &Body {
        // SAFETY: an event is only ever made around a filled slot, and stays filled while it is borrowed.
        unsafe { self.slot.body() }
    }

    fn tag(&self) -> Tag {
        Tag(self.slot.tag())
    }

    /// What the header says, without a mark that a processor has turned to this event.
    #[cfg(all(feature = "plugin", target_os = "linux"))]
    #[inline(always)]
    pub(crate) fn untouched_tag(&self) -> Tag {
        self.tag()
    }

    /// The event's type.
    #[inline]
    pub fn kind(&self) -> EventType {
        touch(self);
        self.tag().kind()
    }

    /// When the event was emitted, by the system's clock: a moment in the past, to within a microsecond, unless that clock is set
    /// back meanwhile. Events of one key are processed in causal order, which is therefore not always the order of their times.
    pub fn time(&self) -> SystemTime {
        clock::wall_time(self.body().stamp)
    }

    /// The hash of the key, or the number that chose the shard when there was no key.
    #[inline]
    pub fn key_hash(&self) -> u64 {
        self.body().key_hash
    }

    /// The key.
    pub fn key(&self) -> Key {
        if self.tag().is_keyed() { Key::from_hash(self.key_hash()) } else { Key::NONE }
    }

    /// How many events lie between this one and the one that it was derived from by processors; 0 for an event from outside.
    pub fn hops(&self) -> u8 {
        self.tag().hops()
    }

    /// Borrows the value, if it is a `T`.
    #[inline]
    pub fn get<T: Send + fmt::Debug + serde_core::Serialize + 'static>(&self) -> Option<&T> {
        touch(self);
        self.body().value.get()
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> &Value {
        touch(self);
        &self.body().value
    }

    /// Takes the event apart, for example to emit it again after it was refused.
    ///
    /// ```
    /// # use keylane::{Event, EventType, Key};
    /// let event = Event::new(EventType::TRAFFIC, "x", Key::from("k"));
    /// let (kind, value, key) = event.into_parts();
    /// assert_eq!((kind, key), (EventType::TRAFFIC, Key::from("k")));
    /// assert_eq!(value.get(), Some(&"x"));
    /// ```
    pub fn into_parts(self) -> (EventType, Value, Key) {
        let key = self.key();
        let Parts { tag, body } = self.into_whole();
        (tag.kind(), body.value, key)
    }

    /// The inverse of [`from_parts`](Self::from_parts).
    pub(crate) fn into_whole(self) -> Parts {
        let this = ManuallyDrop::new(self);
        // SAFETY: the slot is moved out of an event whose destructor will not run.
        let slot = unsafe { std::ptr::read(&this.slot) };
        // SAFETY: the slot is filled, and this is its only user. What is left of it has no body to drop.
        let body = unsafe { slot.take() };
        Parts { tag: Tag(slot.tag()), body }
    }

    /// The value, without the rest.
    pub fn into_value(self) -> Value {
        self.into_parts().1
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: an event that is owned holds a filled slot outside any ring.
        unsafe { self.slot.drop_body() };
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = timestamp::Rfc3339(self.time());
        write!(f, "{} {time} -> {}", self.kind(), self.body().value)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("kind", &self.kind())
            .field("time", &format_args!("{}", timestamp::Rfc3339(self.time())))
            .field("key_hash", &format_args!("{:#018x}", self.key_hash()))
            .field("value", &self.body().value)
            .finish()
    }
}
