//! Events as C structs, once per batch.
//!
//! The conversion of an event costs about as much as the plugin's own work on it, so it takes no detour: one comparison finds the
//! conversion of a value when it has the type of the one before; text and numbers are pointed at or copied, nothing is rendered. A value of a
//! type that nobody registered goes as `KEYLANE_V_OPAQUE`, and is rendered only if the plugin asks for it.

mod arena;
mod metas;

use std::any::TypeId;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use keylane_plugin_abi::{self as abi, event_flag, value_kind};
use serde_core::Serialize;
use serde_json::value::RawValue;

pub(crate) use arena::Arena;

use crate::clock;
use crate::event::{Event, EventType, Value};

/// What a registered type looks like to a plugin.
pub(crate) type View = dyn for<'a> Fn(&'a Value) -> Option<&'a [u8]> + Send + Sync;

/// How a value of one type is converted.
#[derive(Clone)]
pub(crate) enum Convert {
    /// No value.
    None,
    /// A number of 64 bits: `u64`, `i64` or `f64`.
    Number(u8),
    /// A predefined or plain type.
    Native(fn(&Value, &mut abi::Event, &mut Arena)),
    /// A type of the program's, as bytes of this kind.
    Viewed(u8, Arc<View>),
    Opaque,
}

impl Convert {
    /// Converts a value that is not plain. A value without a conversion is opaque, and the struct says so already.
    fn fill(&self, value: &Value, converted: &mut abi::Event, arena: &mut Arena) {
        match self {
            Self::Native(convert) => {
                converted.value_kind = value_kind::NONE;
                convert(value, converted, arena);
            }
            Self::Viewed(kind, view) => {
                if let Some(bytes) = view(value) {
                    point(converted, *kind, bytes);
                }
            }
            Self::None | Self::Number(_) | Self::Opaque => {}
        }
    }
}

impl fmt::Debug for Convert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Number(_) => "Number",
            Self::Native(_) => "Native",
            Self::Viewed(..) => "Viewed",
            Self::Opaque => "Opaque",
        })
    }
}

/// The conversions of all known types.
#[derive(Debug, Clone)]
pub(crate) struct Conversions(HashMap<TypeId, Convert>);

/// Points an event at bytes that outlive the call.
fn point(event: &mut abi::Event, kind: u8, bytes: &[u8]) {
    match u32::try_from(bytes.len()) {
        Ok(len) => {
            event.value_kind = kind;
            event.value_len = len;
            event.value.ptr = bytes.as_ptr().cast();
        }
        // 4 GiB do not fit into the length; what is left is to render it, which will refuse as well.
        Err(_) => event.value_kind = value_kind::OPAQUE,
    }
}

fn meta_event<T>(event: &mut abi::Event, meta: *const T) {
    event.value_kind = value_kind::META;
    event.value_len = size_of::<T>() as u32;
    event.value.ptr = meta.cast();
}

/// Types that a number stands for.
macro_rules! numbers {
    ($($kind:ident $field:ident $to:ty: $($type:ty)*;)*) => {
        fn plain_numbers() -> Vec<(TypeId, Convert)> {
            vec![$($({
                fn convert(value: &Value, event: &mut abi::Event, _: &mut Arena) {
                    if let Some(&number) = value.get::<$type>() {
                        event.value_kind = value_kind::$kind;
                        event.value.$field = <$to>::from(number);
                    }
                }
                (TypeId::of::<$type>(), Convert::Native(convert))
            },)*)*]
        }
    };
}

numbers! {
    BOOL u64 u64: bool;
    I64 i64 i64: i8 i16 i32;
    U64 u64 u64: u8 u16 u32;
    F64 f64 f64: f32;
}

/// Types that are text or bytes.
macro_rules! texts {
    ($($kind:ident: $($type:ty)*;)*) => {
        fn plain_texts() -> Vec<(TypeId, Convert)> {
            vec![$($({
                fn convert(value: &Value, event: &mut abi::Event, _: &mut Arena) {
                    if let Some(bytes) = value.get::<$type>() {
                        point(event, value_kind::$kind, AsRef::<[u8]>::as_ref(&**bytes));
                    }
                }
                (TypeId::of::<$type>(), Convert::Native(convert))
            },)*)*]
        }
    };
}

texts! {
    UTF8: &'static str String Box<str>;
    BYTES: &'static [u8] Vec<u8> Box<[u8]>;
}

fn cow(value: &Value, event: &mut abi::Event, _: &mut Arena) {
    if let Some(text) = value.get::<Cow<'static, str>>() {
        point(event, value_kind::UTF8, text.as_bytes());
    }
}

fn raw_json(value: &Value, event: &mut abi::Event, _: &mut Arena) {
    if let Some(json) = value.get::<Box<RawValue>>() {
        point(event, value_kind::JSON, json.get().as_bytes());
    }
}

fn size(value: &Value, event: &mut abi::Event, _: &mut Arena) {
    if let Some(&number) = value.get::<usize>() {
        event.value_kind = value_kind::U64;
        event.value.u64 = number as u64;
    } else if let Some(&number) = value.get::<isize>() {
        event.value_kind = value_kind::I64;
        event.value.i64 = number as i64;
    }
}

impl Default for Conversions {
    fn default() -> Self {
        let mut all: HashMap<_, _> = plain_numbers().into_iter().collect();
        all.extend(plain_texts());
        all.extend(metas::all());
        all.insert(TypeId::of::<u64>(), Convert::Number(value_kind::U64));
        all.insert(TypeId::of::<i64>(), Convert::Number(value_kind::I64));
        all.insert(TypeId::of::<f64>(), Convert::Number(value_kind::F64));
        all.insert(TypeId::of::<Cow<'static, str>>(), Convert::Native(cow));
        all.insert(TypeId::of::<Box<RawValue>>(), Convert::Native(raw_json));
        all.insert(TypeId::of::<usize>(), Convert::Native(size));
        all.insert(TypeId::of::<isize>(), Convert::Native(size));
        Self(all)
    }
}

impl Conversions {
    /// Registers a type as bytes of a kind.
    pub(crate) fn view<T: Send + fmt::Debug + Serialize + 'static>(
        &mut self,
        kind: u8,
        view: impl Fn(&T) -> &[u8] + Send + Sync + 'static,
    ) {
        let view: Arc<View> = Arc::new(move |value: &Value| value.get::<T>().map(&view));
        self.0.insert(TypeId::of::<T>(), Convert::Viewed(kind, view));
    }

    fn find(&self, kind: Option<TypeId>) -> Convert {
        let Some(kind) = kind else { return Convert::None };
        self.0.get(&kind).cloned().unwrap_or(Convert::Opaque)
    }
}

/// The clocks at the beginning of a batch: stamps become times by one multiplication and one addition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    rate: clock::Rate,
    pub(crate) now_mono_ns: u64,
    pub(crate) now_wall_ns: i64,
}

impl Times {
    pub(crate) fn now() -> Self {
        let (rate, now) = (clock::rate(), clock::now());
        let now_wall_ns = clock::wall_nanos_of_now(now) as i64;
        Self { rate, now_mono_ns: rate.to_nanos(now), now_wall_ns }
    }
}

/// Nanoseconds since 1970.
pub(crate) fn wall_nanos(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
    }
}

/// The type of the value before: the next one's is mostly the same.
#[derive(Debug)]
struct Last {
    /// Its mark, see [`Value::type_mark`].
    mark: *const (),
    convert: Convert,
}

impl Last {
    fn plain(&self) -> Option<Plain> {
        let Self { mark, convert } = self;
        match *convert {
            Convert::None => Some(Plain { mark: *mark, kind: value_kind::NONE }),
            Convert::Number(kind) => Some(Plain { mark: *mark, kind }),
            Convert::Native(_) | Convert::Viewed(..) | Convert::Opaque => None,
        }
    }
}

/// A type whose values are their bits, or nothing.
#[derive(Debug, Clone, Copy)]
struct Plain {
    mark: *const (),
    kind: u8,
}

impl Plain {
    /// The bits of a value of this type.
    #[inline(always)]
    fn bits(self, value: &Value) -> u64 {
        // SAFETY: the kind is none of a number only if the conversion is that of the three types whose bits these are.
        if self.kind == value_kind::NONE { 0 } else { unsafe { value.number_bits() } }
    }
}

/// What the structs of one batch have in common.
#[derive(Debug)]
struct Frame {
    rate: clock::Rate,
    /// From the monotonic clock to the wall's.
    wall_offset: i64,
    /// The number of the first converted event.
    seq: u64,
    /// How many converted events an instance has had before.
    redelivered: usize,
}

impl Frame {
    /// Writes the struct of converted event `number`.
    ///
    /// NB: Field by field, in its place. A struct that is finished on the stack is copied in larger pieces than it was written in, so the
    /// copy waits for the writes: up to three times the cost of all the rest.
    #[inline(always)]
    fn fill(&self, event: &Event, converted: &mut abi::Event, number: usize, kind: u8, bits: u64) {
        // Not by the public accessors: they would mark the event as the one that the processor has turned to.
        let (tag, body) = (event.untouched_tag(), event.body());
        let keyed = if tag.is_keyed() { event_flag::KEYED } else { 0 };
        let again = if number < self.redelivered { event_flag::REDELIVERED } else { 0 };
        let mono_ns = self.rate.to_nanos(body.stamp);
        converted.type_id = tag.kind().code().into();
        converted.value_kind = kind;
        converted.hops = tag.hops();
        converted.flags = keyed | again;
        converted.key_len = 0;
        converted.value_len = 0;
        converted.seq = self.seq + number as u64;
        converted.wall_ns = self.wall_offset.wrapping_add(mono_ns as i64);
        converted.mono_ns = mono_ns;
        converted.key_hash = body.key_hash;
        converted.key = std::ptr::null();
        converted.value.u64 = bits;
    }

    /// Writes the structs of all events up to the first one whose value is of another type, from number `first` on; returns how many.
    ///
    /// A loop of its own, so that everything it needs is in registers: in one that also looks conversions up it was not, and an event
    /// took half as long again.
    #[inline(never)]
    fn plain_run(
        &self,
        plain: Plain,
        batch: &[&Event],
        events: &mut [abi::Event],
        first: usize,
    ) -> usize {
        let mut number = first;
        for (event, converted) in batch.iter().zip(&mut events[first..]) {
            let value = &event.body().value;
            if value.type_mark() != plain.mark {
                break;
            }
            self.fill(event, converted, number, plain.kind, plain.bits(value));
            number += 1;
        }
        number - first
    }
}

/// Converts one batch after the other, in memory that is reused.
#[derive(Debug)]
pub(crate) struct Converter {
    conversions: Arc<Conversions>,
    /// Sorted; `None` for all types.
    wanted: Option<Box<[EventType]>>,
    last: Last,
    arena: Arena,
    /// Room for a batch; those up to `count` are converted.
    events: Vec<abi::Event>,
    count: usize,
    /// For each converted event its place in the batch; empty when all were converted.
    places: Vec<u32>,
}

impl Converter {
    pub(crate) fn new(conversions: Arc<Conversions>, wanted: Option<Vec<EventType>>) -> Self {
        let wanted = wanted.map(|mut types| {
            types.sort_unstable();
            types.into()
        });
        Self {
            conversions,
            wanted,
            last: Last { mark: std::ptr::null(), convert: Convert::None },
            arena: Arena::default(),
            events: Vec::new(),
            count: 0,
            places: Vec::new(),
        }
    }

    /// What the last call has converted.
    pub(crate) fn converted(&self) -> &[abi::Event] {
        &self.events[..self.count]
    }

    /// Converts those events of a batch that are wanted. The first gets the number `seq`; the first `redelivered` are marked as such.
    ///
    /// The structs point into `batch` and into this converter, until the next call.
    pub(crate) fn convert(
        &mut self,
        batch: &[&Event],
        seq: u64,
        redelivered: usize,
        times: &Times,
    ) {
        self.arena.clear();
        self.places.clear();
        self.count = 0;
        if self.events.len() < batch.len() {
            self.events.resize(batch.len(), abi::Event::BLANK);
        }
        let frame = Frame {
            rate: times.rate,
            wall_offset: times.now_wall_ns.wrapping_sub(times.now_mono_ns as i64),
            seq,
            redelivered,
        };
        let mut place = 0;
        while place < batch.len() {
            if let (None, Some(plain)) = (&self.wanted, self.last.plain()) {
                let run = frame.plain_run(plain, &batch[place..], &mut self.events, self.count);
                place += run;
                self.count += run;
            }
            if let Some(event) = batch.get(place) {
                self.convert_one(&frame, event, place);
                place += 1;
            }
        }
    }

    /// Converts the event at `place` of a batch, if it is wanted.
    fn convert_one(&mut self, frame: &Frame, event: &Event, place: usize) {
        if let Some(wanted) = &self.wanted {
            if wanted.binary_search(&event.untouched_tag().kind()).is_err() {
                return;
            }
            self.places.push(place as u32);
        }
        let value = &event.body().value;
        if self.last.mark != value.type_mark() {
            self.last =
                Last { mark: value.type_mark(), convert: self.conversions.find(value.type_id()) };
        }
        let converted = &mut self.events[self.count];
        match self.last.plain() {
            Some(plain) => frame.fill(event, converted, self.count, plain.kind, plain.bits(value)),
            None => {
                frame.fill(event, converted, self.count, value_kind::OPAQUE, 0);
                self.last.convert.fill(value, converted, &mut self.arena);
            }
        }
        self.count += 1;
    }

    /// The events of a batch, and the places in there of those that were converted, from number `from` on; without places when all were.
    pub(crate) fn origin<'a, 'b>(
        &self,
        batch: &'a [&'b Event],
        from: usize,
    ) -> (&'a [&'b Event], Option<&[u32]>) {
        match &self.wanted {
            None => (&batch[from..], None),
            Some(_) => (batch, Some(&self.places[from..])),
        }
    }

    /// The place in the batch of converted event number `index`.
    pub(crate) fn place(&self, index: usize) -> usize {
        match &self.wanted {
            None => index,
            Some(_) => self.places.get(index).map_or(index, |&place| place as usize),
        }
    }
}
