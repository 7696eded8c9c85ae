//! What a plugin does. Its functions are `C-unwind`: one that unwinds all the same is a defined abort.

use core::ffi::{c_char, c_void};

use crate::data::CText;
use crate::{Batch, BatchResult, Bytes, ErrorBuffer, Host, Status, Writer};

/// `KEYLANE_FLUSH_*`.
pub mod flush_reason {
    /// The shard has nothing to read right now.
    pub const IDLE: u32 = 0;
    /// The plugin asked for it.
    pub const REQUESTED: u32 = 1;
    /// The instance is about to be replaced.
    pub const SWAP: u32 = 2;
    /// The bus shuts down.
    pub const SHUTDOWN: u32 = 3;
}

/// `KEYLANE_SHUTDOWN_*`.
pub mod shutdown_reason {
    /// The bus shuts down.
    pub const BUS: u32 = 0;
    /// The instance was replaced.
    pub const SWAP: u32 = 1;
    /// The processor was removed.
    pub const REMOVED: u32 = 2;
    /// After `E_FATAL` or `E_PANIC`.
    pub const FAULT: u32 = 3;
}

/// `KEYLANE_F_*`.
pub mod plugin_flag {
    /// Has `save_state` and `load_state`.
    pub const STATEFUL: u32 = 1;
    /// One thread from `create` to `destroy`.
    pub const THREAD_AFFINE: u32 = 2;
    /// Panics are caught and become `E_PANIC`.
    pub const PANIC_UNWIND: u32 = 4;
    /// Must not be loaded twice in one process.
    pub const NO_RELOAD: u32 = 8;
    /// Emits derived events.
    pub const EMITS: u32 = 16;
    /// Has threads of its own.
    pub const SPAWNS_THREADS: u32 = 32;
}

/// An instance. What each function promises is in the header; `process` and `destroy` are required.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Processor {
    pub struct_size: u32,
    pub reserved: u32,
    pub data: *mut c_void,
    pub process: Option<
        unsafe extern "C-unwind" fn(*mut Processor, *const Batch, *mut BatchResult) -> Status,
    >,
    pub flush: Option<unsafe extern "C-unwind" fn(*mut Processor, u32, *mut ErrorBuffer) -> Status>,
    pub save_state: Option<
        unsafe extern "C-unwind" fn(*mut Processor, *const Writer, *mut ErrorBuffer) -> Status,
    >,
    pub load_state:
        Option<unsafe extern "C-unwind" fn(*mut Processor, Bytes, u32, *mut ErrorBuffer) -> Status>,
    pub shutdown: Option<unsafe extern "C-unwind" fn(*mut Processor, u32)>,
    pub destroy: Option<unsafe extern "C-unwind" fn(*mut Processor)>,
    pub get_extension:
        Option<unsafe extern "C-unwind" fn(*mut Processor, *const c_char) -> *const c_void>,
}

/// What a factory can make. Texts end with a NUL; all but `id` and `version` may be null.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Descriptor {
    pub struct_size: u32,
    pub flags: u32,
    pub state_version: u32,
    pub preferred_batch: u32,
    pub id: CText,
    pub version: CText,
    pub name: CText,
    pub vendor: CText,
    pub description: CText,
    pub license: CText,
    pub url: CText,
    pub config_schema_json: CText,
    /// Null behind the last; null for all types.
    pub event_types: *const CText,
}

// SAFETY: a descriptor leads to texts that nobody changes.
unsafe impl Sync for Descriptor {}

/// What `create` is told.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct CreateArgs {
    pub struct_size: u32,
    pub shard: u32,
    pub shard_count: u32,
    pub reserved: u32,
    pub generation: u64,
    pub config_json: Bytes,
    pub instance_name: Bytes,
}

/// Makes instances; `count`, `descriptor` and `create` are required.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Factory {
    pub struct_size: u32,
    pub reserved: u32,
    pub count: Option<unsafe extern "C-unwind" fn() -> u32>,
    pub descriptor: Option<unsafe extern "C-unwind" fn(u32) -> *const Descriptor>,
    pub check_config:
        Option<unsafe extern "C-unwind" fn(*const c_char, Bytes, *mut ErrorBuffer) -> Status>,
    pub create: Option<
        unsafe extern "C-unwind" fn(
            *const c_char,
            *const Host,
            *const CreateArgs,
            *mut *mut Processor,
            *mut ErrorBuffer,
        ) -> Status,
    >,
}
