//! Events and batches of them.

use core::ffi::c_void;
use core::fmt;

use crate::ErrorBuffer;

/// The predefined types of events: `KEYLANE_START_REQUEST` and so on.
#[allow(missing_docs)]
pub mod event_type {
    pub const NOT_SET: u32 = 0;
    pub const COMMON_ERROR: u32 = 1;
    pub const NEW_CERTIFICATE: u32 = 2;
    pub const DROP_CERTIFICATE: u32 = 3;
    pub const FAILED_AUTH: u32 = 4;
    pub const START_REQUEST: u32 = 5;
    pub const FAILED_REQUEST: u32 = 6;
    pub const FINISH_REQUEST: u32 = 7;
    pub const TRAFFIC: u32 = 8;
    pub const USER_BASE: u32 = 256;
}

/// What an event carries: `KEYLANE_V_*`.
#[allow(missing_docs)]
pub mod value_kind {
    pub const NONE: u8 = 0;
    /// In `value.u64`, 0 or 1.
    pub const BOOL: u8 = 1;
    pub const I64: u8 = 2;
    pub const U64: u8 = 3;
    pub const F64: u8 = 4;
    /// In `value.ptr`, with `value_len`.
    pub const UTF8: u8 = 5;
    pub const BYTES: u8 = 6;
    pub const JSON: u8 = 7;
    /// A [`Meta`](crate::Meta) at `value.ptr`.
    pub const META: u8 = 8;
    /// To be rendered by the host.
    pub const OPAQUE: u8 = 9;
}

/// `KEYLANE_EV_*`.
pub mod event_flag {
    /// The event has a key.
    pub const KEYED: u16 = 1;
    /// An instance that failed was given the event before.
    pub const REDELIVERED: u16 = 2;
    /// The event comes from a stored stream.
    pub const REPLAY: u16 = 4;
}

/// `KEYLANE_BATCH_*`.
pub mod batch_flag {
    /// The bus shuts down, or the instance is about to be replaced.
    pub const DRAINING: u32 = 1;
}

/// The value of an event, or where it is.
#[repr(C)]
#[derive(Clone, Copy)]
pub union Value {
    /// For text, bytes, JSON, metas; the host's own for opaque ones.
    pub ptr: *const c_void,
    /// For `I64`.
    pub i64: i64,
    /// For `U64` and `BOOL`.
    pub u64: u64,
    /// For `F64`.
    pub f64: f64,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: all members are plain 64-bit words, and every bit pattern is a `u64`.
        write!(f, "{:#x}", unsafe { self.u64 })
    }
}

/// One event; walk by the batch's stride.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The code of the type.
    pub type_id: u32,
    /// What `value` holds.
    pub value_kind: u8,
    /// How many events lie between this one and its origin.
    pub hops: u8,
    /// `event_flag`.
    pub flags: u16,
    /// Bytes at `key`.
    pub key_len: u32,
    /// Bytes at `value.ptr`.
    pub value_len: u32,
    /// The number in the stream of this processor on this shard.
    pub seq: u64,
    /// When it was emitted, in nanoseconds since 1970.
    pub wall_ns: i64,
    /// The same on the clock that never goes back.
    pub mono_ns: u64,
    /// The hash of the key, or the number that chose the shard.
    pub key_hash: u64,
    /// Null when only the hash travelled.
    pub key: *const u8,
    /// The value.
    pub value: Value,
}

impl Event {
    /// An event of nothing, for memory that is to be written over.
    pub const BLANK: Self = Self {
        type_id: 0,
        value_kind: value_kind::NONE,
        hops: 0,
        flags: 0,
        key_len: 0,
        value_len: 0,
        seq: 0,
        wall_ns: 0,
        mono_ns: 0,
        key_hash: 0,
        key: core::ptr::null(),
        value: Value { u64: 0 },
    };
}

/// A batch of events.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The writer's `size_of`.
    pub struct_size: u32,
    /// How many events.
    pub count: u32,
    /// The first event.
    pub events: *const c_void,
    /// From one event to the next, in bytes.
    pub event_stride: usize,
    /// The shard, from 0.
    pub shard: u32,
    /// How many shards there are.
    pub shard_count: u32,
    /// `batch_flag`.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
    /// The wall clock when the call began.
    pub now_wall_ns: i64,
    /// The monotonic clock when the call began.
    pub now_mono_ns: u64,
}

/// What a call of `process` says beside its status.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BatchResult {
    /// The writer's `size_of`.
    pub struct_size: u32,
    /// How many events are done.
    pub processed: u32,
    /// Where the text goes.
    pub error: *mut ErrorBuffer,
    /// With `AGAIN`: when to offer the rest again.
    pub retry_after_ns: u64,
}
