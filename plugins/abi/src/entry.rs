//! How a plugin is found.

use core::ffi::{CStr, c_char, c_void};
use core::mem::offset_of;

use crate::{Batch, BatchResult, Emit, ErrorBuffer, Event, Host, Processor, Status};

/// The symbol that a plugin exports; the major version is in it.
pub const ENTRY_SYMBOL: &CStr = c"keylane_plugin_entry_v1";

/// What `Entry::get_factory` is asked for.
pub const FACTORY_ID: &CStr = c"keylane.processor-factory/1";

/// `KEYLANE1`, little end first.
pub const MAGIC: u64 = 0x3145_4e41_4c59_454b;

/// Where the last member of minor 0 lies in each struct, a byte each, so that a plugin built for other pointers, with other packing or
/// from another header is found out before any call.
pub const LAYOUT: u64 = u64::from_le_bytes([
    (size_of::<*const ()>() | size_of::<usize>() << 4) as u8,
    byte(offset_of!(Event, value) / 4),
    byte(offset_of!(Batch, now_mono_ns) / 4),
    byte(offset_of!(Emit, scalar) / 4),
    byte(offset_of!(BatchResult, retry_after_ns) / 4),
    byte(offset_of!(Host, get_extension) / 4),
    byte(offset_of!(Processor, get_extension) / 4),
    byte(size_of::<ErrorBuffer>() / 8),
]);

const fn byte(offset: usize) -> u8 {
    assert!(offset < 256, "an offset does not fit into the layout word");
    offset as u8
}

/// What the symbol leads to. `magic`, `struct_size`, `abi_version` and `layout` are checked, in this order, before any call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Entry {
    pub magic: u64,
    pub struct_size: u32,
    pub abi_version: u32,
    pub layout: u64,
    /// May be null.
    pub init: Option<
        unsafe extern "C-unwind" fn(
            load_path: *const c_char,
            host_abi_version: u32,
            *mut ErrorBuffer,
        ) -> Status,
    >,
    /// May be null.
    pub deinit: Option<unsafe extern "C-unwind" fn()>,
    /// Required.
    pub get_factory:
        Option<unsafe extern "C-unwind" fn(factory_id: *const c_char) -> *const c_void>,
}
