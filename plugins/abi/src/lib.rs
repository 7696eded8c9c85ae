//! The C ABI between keylane and its plugins, major 1: the types of `keylane_plugin.h` for Rust.
//!
//! A plugin in Rust uses the crate `keylane-plugin`, which hides all of this. This crate is for hosts, and for whoever builds an SDK of
//! his own. What each struct, member and function means, who calls it and on which thread, is written in the header, [`HEADER`],
//! and only there; here are the same names without the prefix.
//!
//! # The compatibility rule
//!
//! * **Append only.** What is released is never changed in place: no member moves, changes its type, its meaning, its thread or
//!   whether it may be null. A changed thing gets a new name beside the old one, or a new extension id.
//! * **Sizes guard.** A struct that one side hands to the other begins with the `struct_size` that its writer knew. A reader looks at a
//!   member only if the struct reaches behind it: [`read`] copies as much as there is, and what is not there is zero, which every member
//!   behind minor 0 takes for "absent". Elements of arrays carry no size; their array carries a stride.
//! * **Both directions.** Host and plugin load every minor of the same major, older or newer.
//! * **A break is a new major**, which has a new name in [`ENTRY_SYMBOL`]. A library may export several.
//! * **Unknown values are met**: an unknown [`Status`] is fatal, an unknown value kind is left alone, unknown flags mean nothing.
//!
//! `golden/abi_v1.txt` holds every constant, size and offset; lines are only ever added to it. The tests compare it with these types and
//! with what C and C++ compilers make of the header.
//!
//! ```
//! use keylane_plugin_abi as abi;
//!
//! assert_eq!(size_of::<abi::Event>(), 64);
//! assert!(abi::HEADER.contains(abi::ENTRY_SYMBOL.to_str().unwrap()));
//! ```
#![no_std]

mod data;
mod entry;
mod event;
mod host;
mod manifest;
mod meta;
mod processor;
mod read;
mod status;

pub use data::{Addr, Bytes, ErrorBuffer, Kv, Writer};
pub use entry::{ENTRY_SYMBOL, Entry, FACTORY_ID, LAYOUT, MAGIC};
pub use event::{Batch, BatchResult, Event, Value, batch_flag, event_flag, event_type, value_kind};
pub use host::{
    Emit, Host, LogRecord, NO_PARENT, Scalar, TYPE_UNKNOWN, cell, key_kind, log, render,
};
pub use manifest::{Manifest, NOTE_OWNER, NOTE_SECTION, NOTE_TYPE, Note, text};
pub use meta::{
    Meta, MetaCertificate, MetaCommonError, MetaError, MetaFailedAuth, MetaRequest, MetaResponse,
    MetaTraffic, Uri, auth_reason, request_type,
};
pub use processor::{
    CreateArgs, Descriptor, Factory, Processor, flush_reason, plugin_flag, shutdown_reason,
};
pub use read::{TooSmall, Versioned, read};
pub use status::Status;

/// The major version: what is in the symbol's name.
pub const ABI_MAJOR: u32 = 1;
/// The minor version: what has been appended.
pub const ABI_MINOR: u32 = 0;
/// Both, as [`Entry::abi_version`] has them.
pub const ABI_VERSION: u32 = ABI_MAJOR << 16 | ABI_MINOR;

/// The text of `keylane_plugin.h`.
pub const HEADER: &str = include_str!("../include/keylane_plugin.h");

/// The text of `keylane_plugin_easy.h`, which makes plugins in C short.
pub const EASY_HEADER: &str = include_str!("../include/keylane_plugin_easy.h");

#[cfg(not(target_pointer_width = "64"))]
compile_error!("major 1 of the plugin ABI is for 64-bit targets only");
