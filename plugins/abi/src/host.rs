//! What the host does for an instance.

use core::ffi::{c_char, c_void};
use core::fmt;

use crate::{Bytes, Event, Kv, Status};

/// `KEYLANE_LOG_*`.
#[allow(missing_docs)]
pub mod log {
    pub const OFF: u32 = 0;
    pub const ERROR: u32 = 1;
    pub const WARN: u32 = 2;
    pub const INFO: u32 = 3;
    pub const DEBUG: u32 = 4;
    pub const TRACE: u32 = 5;
}

/// `KEYLANE_CELL_*`.
pub mod cell {
    /// Only ever grows.
    pub const COUNTER: u32 = 0;
    /// An `i64` as its two's complement.
    pub const GAUGE: u32 = 1;
}

/// `KEYLANE_KEY_*`.
pub mod key_kind {
    /// Any shard, no order.
    pub const NONE: u8 = 0;
    /// The host hashes `key`.
    pub const BYTES: u8 = 1;
    /// `key_hash` is the hash.
    pub const HASH: u8 = 2;
}

/// `KEYLANE_RENDER_*`.
pub mod render {
    /// One JSON text without a line break.
    pub const JSON: u32 = 0;
    /// For people.
    pub const TEXT: u32 = 1;
}

/// What `Host::type_id` says about a name that it does not know.
pub const TYPE_UNKNOWN: u32 = u32::MAX;
/// `Emit::parent` of an event that descends from the batch as a whole.
pub const NO_PARENT: u32 = u32::MAX;

/// A line for the log.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LogRecord {
    /// The writer's `size_of`.
    pub struct_size: u32,
    /// `log`.
    pub level: u32,
    /// The part of the plugin that speaks.
    pub target: Bytes,
    /// The text.
    pub message: Bytes,
    /// May be absent.
    pub file: Bytes,
    /// 0 when unknown.
    pub line: u32,
    /// How many pairs are at `kv`.
    pub kv_count: u32,
    /// Fields.
    pub kv: *const Kv,
}

/// The value of a derived event, when it is a number.
#[repr(C)]
#[derive(Clone, Copy)]
pub union Scalar {
    /// For `I64`.
    pub i64: i64,
    /// For `U64` and `BOOL`.
    pub u64: u64,
    /// For `F64`.
    pub f64: f64,
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: all members are 64-bit words, and every bit pattern is a `u64`.
        write!(f, "{:#x}", unsafe { self.u64 })
    }
}

/// A derived event.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Emit {
    /// The code of the type.
    pub type_id: u32,
    /// What it carries.
    pub value_kind: u8,
    /// `key_kind`.
    pub key_kind: u8,
    /// 0.
    pub flags: u16,
    /// The event of the batch that this one descends from.
    pub parent: u32,
    /// 0.
    pub reserved: u32,
    /// For `key_kind::BYTES`.
    pub key: Bytes,
    /// For `key_kind::HASH`.
    pub key_hash: u64,
    /// For text, bytes and JSON.
    pub value: Bytes,
    /// For numbers.
    pub scalar: Scalar,
}

/// The host as one instance sees it. What each function promises is in the header.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Host {
    pub struct_size: u32,
    pub abi_version: u32,
    pub ctx: *mut c_void,
    pub name: Bytes,
    pub version: Bytes,
    pub max_log_level: *const u32,
    pub log: Option<unsafe extern "C" fn(*const Host, *const LogRecord)>,
    pub cell: Option<unsafe extern "C" fn(*const Host, u32, Bytes, Bytes) -> *mut u64>,
    pub histogram: Option<unsafe extern "C" fn(*const Host, Bytes, Bytes) -> u32>,
    pub observe: Option<unsafe extern "C" fn(*const Host, u32, u64)>,
    pub emit:
        Option<unsafe extern "C" fn(*const Host, *const Emit, usize, usize, *mut usize) -> Status>,
    pub render: Option<unsafe extern "C" fn(*const Host, *const Event, u32, *mut Bytes) -> Status>,
    pub type_id: Option<unsafe extern "C" fn(*const Host, Bytes) -> u32>,
    pub type_name: Option<unsafe extern "C" fn(*const Host, u32) -> Bytes>,
    pub request_flush: Option<unsafe extern "C" fn(*const Host, u64)>,
    pub now_wall_ns: Option<unsafe extern "C" fn(*const Host) -> i64>,
    pub now_mono_ns: Option<unsafe extern "C" fn(*const Host) -> u64>,
    pub get_extension: Option<unsafe extern "C" fn(*const Host, *const c_char) -> *const c_void>,
}
