//! A batch of a test's events as C structs.

use std::marker::PhantomData;

use keylane_plugin_abi as abi;

use super::event::{RawMeta, TestEvent, TestValue};
use crate::Payload;

/// Events lie this far apart, to find those who walk by `sizeof`.
const STRIDE: usize = 96;

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Spaced {
    event: abi::Event,
    rubbish: [u8; STRIDE - size_of::<abi::Event>()],
}

/// The events as C structs, which borrow from the test's events.
#[derive(Debug)]
pub(super) struct RawEvents<'a> {
    events: Vec<Spaced>,
    /// What the events lead to. In boxes, so that it stays where it is.
    _metas: Vec<Option<Box<RawMeta>>>,
    _borrowed: PhantomData<&'a [TestEvent]>,
}

impl<'a> RawEvents<'a> {
    /// The events, the first of which has number `seq`.
    pub(super) fn new(
        events: &'a [TestEvent],
        seq: u64,
        now_wall_ns: i64,
        now_mono_ns: u64,
    ) -> Self {
        let metas: Vec<_> = events.iter().map(raw_meta).collect();
        let spaced = (seq..).zip(events.iter().zip(&metas)).map(|(seq, (event, meta))| Spaced {
            event: raw_event(event, meta.as_deref(), seq, now_wall_ns, now_mono_ns),
            rubbish: [0xa5; STRIDE - size_of::<abi::Event>()],
        });
        Self { events: spaced.collect(), _metas: metas, _borrowed: PhantomData }
    }

    /// All of it as bytes, to see whether the plugin has changed any.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: an event has no padding, nor has what lies behind it.
        unsafe {
            std::slice::from_raw_parts(
                self.events.as_ptr().cast(),
                size_of_val(self.events.as_slice()),
            )
        }
    }

    /// The batch, as long as this lives.
    pub(super) fn batch(
        &self,
        (shard, shard_count): (u32, u32),
        now_wall_ns: i64,
        now_mono_ns: u64,
    ) -> abi::Batch {
        abi::Batch {
            struct_size: size_of::<abi::Batch>() as u32,
            count: self.events.len() as u32,
            events: self.events.as_ptr().cast(),
            event_stride: STRIDE,
            shard,
            shard_count,
            flags: 0,
            reserved: 0,
            now_wall_ns,
            now_mono_ns,
        }
    }
}

fn raw_meta(event: &TestEvent) -> Option<Box<RawMeta>> {
    match &event.value {
        TestValue::Meta(meta) => Some(Box::new(meta.to_raw(event.kind))),
        _ => None,
    }
}

fn raw_event(
    event: &TestEvent,
    meta: Option<&RawMeta>,
    seq: u64,
    now_wall_ns: i64,
    now_mono_ns: u64,
) -> abi::Event {
    use abi::value_kind as kind;

    let inline = |kind: u8, u64: u64| (kind, 0, abi::Value { u64 });
    let bytes = |kind: u8, bytes: &[u8]| {
        (kind, bytes.len() as u32, abi::Value { ptr: bytes.as_ptr().cast() })
    };
    let (value_kind, value_len, value) = match (&event.value, meta) {
        (TestValue::Plain(payload), _) => match payload {
            Payload::None => inline(kind::NONE, 0),
            Payload::Bool(value) => inline(kind::BOOL, (*value).into()),
            Payload::I64(value) => inline(kind::I64, *value as u64),
            Payload::U64(value) => inline(kind::U64, *value),
            Payload::F64(value) => inline(kind::F64, value.to_bits()),
            Payload::Str(value) => bytes(kind::UTF8, value.as_bytes()),
            Payload::Bytes(value) => bytes(kind::BYTES, value),
            Payload::Json(value) => bytes(kind::JSON, value.as_bytes()),
        },
        (TestValue::Meta(_), Some(meta)) => {
            let (ptr, size) = meta.place();
            (kind::META, size, abi::Value { ptr })
        }
        _ => inline(kind::OPAQUE, 0xdead),
    };
    let keyed = if event.key_hash.is_some() { abi::event_flag::KEYED } else { 0 };
    let wall_ns = event.wall_ns.unwrap_or(now_wall_ns);
    abi::Event {
        type_id: event.kind.code(),
        value_kind,
        hops: event.hops,
        flags: event.flags | keyed,
        key_len: event.key.as_ref().map_or(0, |key| key.len() as u32),
        value_len,
        seq,
        wall_ns,
        mono_ns: now_mono_ns.saturating_add_signed(wall_ns - now_wall_ns),
        key_hash: event.key_hash.unwrap_or(seq),
        key: event.key.as_ref().map_or(std::ptr::null(), |key| key.as_ptr()),
        value,
    }
}
