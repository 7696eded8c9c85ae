//! Reading a struct whose writer may know fewer members, or more.

use core::fmt;
use core::mem::{MaybeUninit, offset_of};

use crate::{
    Batch, BatchResult, CreateArgs, Descriptor, Entry, Factory, Host, LogRecord, Manifest,
    MetaCertificate, MetaCommonError, MetaError, MetaFailedAuth, MetaRequest, MetaResponse,
    MetaTraffic, Processor, Writer,
};

/// A struct that carries its size.
///
/// # Safety
/// `struct_size` is a `u32` at `SIZE_OFFSET`, which is before `MIN_SIZE`, and a value whose bytes are all zero is valid.
pub unsafe trait Versioned: Copy {
    /// Its name in the header.
    const NAME: &'static str;
    /// What it had in minor 0. Never changes.
    const MIN_SIZE: usize;
    /// Where its `struct_size` is.
    const SIZE_OFFSET: usize;
}

macro_rules! versioned {
    ($($type:ty, $name:literal, $min:literal;)*) => {$(
        // SAFETY: `struct_size` is where the compiler says, and all members are integers, pointers or optional functions.
        unsafe impl Versioned for $type {
            const NAME: &'static str = $name;
            const MIN_SIZE: usize = $min;
            const SIZE_OFFSET: usize = offset_of!($type, struct_size);
        }
        const _: () = assert!(size_of::<$type>() >= $min, "smaller than in minor 0");
    )*};
}

versioned! {
    Batch, "keylane_batch", 56;
    BatchResult, "keylane_batch_result", 24;
    CreateArgs, "keylane_create_args", 56;
    Descriptor, "keylane_descriptor", 88;
    Entry, "keylane_entry", 48;
    Factory, "keylane_factory", 40;
    Host, "keylane_host", 152;
    LogRecord, "keylane_log_record", 72;
    Manifest, "keylane_manifest", 184;
    MetaCertificate, "keylane_meta_certificate", 48;
    MetaCommonError, "keylane_meta_common_error", 112;
    MetaError, "keylane_meta_error", 40;
    MetaFailedAuth, "keylane_meta_failed_auth", 112;
    MetaRequest, "keylane_meta_request", 136;
    MetaResponse, "keylane_meta_response", 32;
    MetaTraffic, "keylane_meta_traffic", 64;
    Processor, "keylane_processor", 72;
    Writer, "keylane_writer", 24;
}

/// A struct says that it is smaller than minor 0 of the ABI had it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooSmall {
    /// Its name in the header.
    pub name: &'static str,
    /// What it says.
    pub found: u32,
    /// What it had in minor 0.
    pub least: usize,
}

impl fmt::Display for TooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, found, least } = self;
        write!(
            f,
            "{name}.struct_size is {found}, but the smallest {name} has {least} bytes; set it to sizeof({name})"
        )
    }
}

impl core::error::Error for TooSmall {}

/// Copies as much of a struct as both sides know; what the writer did not know is zero.
///
/// ```
/// use keylane_plugin_abi as abi;
///
/// let mut batch = abi::BatchResult { struct_size: 24, processed: 7, error: std::ptr::null_mut(), retry_after_ns: 0 };
/// // SAFETY: the struct has the size that it says.
/// assert_eq!(unsafe { abi::read(&batch) }.unwrap().processed, 7);
/// batch.struct_size = 8;
/// // SAFETY: it is even larger.
/// let error = unsafe { abi::read(&batch) }.unwrap_err();
/// assert!(error.to_string().starts_with("keylane_batch_result.struct_size is 8, but the smallest"));
/// ```
///
/// # Errors
/// When the struct says that it is smaller than it was in minor 0.
///
/// # Safety
/// `from` is aligned and leads to the `struct_size` bytes that the struct there says it has, or at least up to and including
/// `struct_size` if it says less than `MIN_SIZE`. Nobody writes to it meanwhile.
pub unsafe fn read<T: Versioned>(from: *const T) -> Result<T, TooSmall> {
    // SAFETY: the caller vouches for the bytes up to and including the size, and for the alignment.
    let found = unsafe { from.cast::<u8>().add(T::SIZE_OFFSET).cast::<u32>().read() };
    if (found as usize) < T::MIN_SIZE {
        return Err(TooSmall { name: T::NAME, found, least: T::MIN_SIZE });
    }
    let mut copy = MaybeUninit::<T>::zeroed();
    let known = size_of::<T>().min(found as usize);
    // SAFETY: both sides have `known` bytes, and the copy is a local.
    unsafe { from.cast::<u8>().copy_to_nonoverlapping(copy.as_mut_ptr().cast(), known) };
    // SAFETY: zero is valid for every member, and so is what the writer wrote, for they are plain data.
    Ok(unsafe { copy.assume_init() })
}
