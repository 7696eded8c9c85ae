//! A loaded library: its entry, its factory, its descriptors. The boundary to the plugin's code.
//!
//! The order of the checks is the ABI's: nothing is called before magic, size, version and layout fit.

use std::ffi::{CString, c_void};
use std::path::{Path, PathBuf};

use keylane_plugin_abi as abi;

use super::call::{Identity, Role, enter};
use super::descriptor::{self, MAX_DESCRIPTORS, PluginDescriptor, too_small, wrong};
use super::digest::Sha256;
use super::elf::ElfFacts;
use super::error::LoadErrorKind;
use super::manifest::PluginManifest;

/// What is known of a library before it is loaded.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// Where it came from.
    pub(crate) source: PathBuf,
    pub(crate) digest: Sha256,
    pub(crate) size: u64,
    pub(crate) facts: ElfFacts,
    pub(crate) manifest: Option<PluginManifest>,
}

impl Candidate {
    /// Id and version as far as the manifest tells.
    pub(crate) fn identity(&self) -> Identity {
        match &self.manifest {
            Some(manifest) => Identity::of_library(&manifest.id, &manifest.version),
            None => Identity::of_library("without a manifest", &self.digest.short()),
        }
    }
}

/// A library that is mapped for the rest of the process.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) candidate: Candidate,
    pub(crate) descriptors: Vec<PluginDescriptor>,
    pub(crate) factory: abi::Factory,
}

// SAFETY: the factory's functions are [any] or [control]: they may be called from every thread. The rest is plain data.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

/// `RTLD_NOW`: what is missing is an error now, not the end of the process later. `RTLD_NODELETE`: the library is never unmapped.
const FLAGS: libc::c_int = libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_NODELETE;

/// Loads the checked copy at `path`. Runs code of the library, which may hang or end the process: never on a shard's thread.
pub(crate) fn load(path: &Path, candidate: Candidate) -> Result<Library, LoadErrorKind> {
    let identity = candidate.identity();
    enter(std::ptr::null(), Role::Control, &identity, || load_inside(path, candidate))
}

fn load_inside(path: &Path, candidate: Candidate) -> Result<Library, LoadErrorKind> {
    let dlopen = |error: libloading::Error| {
        use std::error::Error;
        // The loader's own words are the cause.
        let message = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        LoadErrorKind::Dlopen { message }
    };
    // SAFETY: this runs the library's constructors. Whoever allowed loading, and trusts this file, has vouched for them.
    let handle =
        unsafe { libloading::os::unix::Library::open(Some(path), FLAGS) }.map_err(dlopen)?;
    // SAFETY: the symbol is data; only its address is used for now.
    let symbol = unsafe { handle.get::<*const c_void>(abi::ENTRY_SYMBOL.to_bytes_with_nul()) };
    let address = symbol.map(|symbol| symbol.as_raw_ptr().cast_const());
    // Never unloaded: threads, thread-locals and pointers of the library may live on.
    std::mem::forget(handle);
    let entry = match address {
        Ok(address) if !address.is_null() => address.cast::<abi::Entry>(),
        _ => return Err(LoadErrorKind::NoEntry { found: candidate.facts.entries }),
    };
    // SAFETY: the symbol leads to an entry, as its name says; what can be checked of that is checked.
    let entry = unsafe { check_entry(entry) }?;
    if let Some(init) = entry.init {
        call_init(init, path)?;
    }
    let factory = get_factory(&entry)?;
    let descriptors = read_descriptors(&factory)?;
    if let (Some(manifest), Some(first)) = (&candidate.manifest, descriptors.first()) {
        for (field, says, is) in
            [("id", &manifest.id, &first.id), ("version", &manifest.version, &first.version)]
        {
            if says != is {
                return Err(LoadErrorKind::Manifest {
                    field,
                    found: format!("{says:?}"),
                    expected: format!("{is:?}, as its first descriptor says"),
                });
            }
        }
    }
    Ok(Library { candidate, descriptors, factory })
}

/// # Safety
/// `entry` leads to a `keylane_entry` of some version, or to something else of at least 24 bytes.
unsafe fn check_entry(entry: *const abi::Entry) -> Result<abi::Entry, LoadErrorKind> {
    if !entry.is_aligned() {
        return Err(wrong("entry", format!("{entry:p}"), "an address that is a multiple of 8"));
    }
    // SAFETY: the first 24 bytes are there, and any bytes are integers.
    let (magic, size, version, layout) = unsafe {
        (
            (&raw const (*entry).magic).read(),
            (&raw const (*entry).struct_size).read(),
            (&raw const (*entry).abi_version).read(),
            (&raw const (*entry).layout).read(),
        )
    };
    if magic != abi::MAGIC {
        let expected = format!("{:#018x}", abi::MAGIC);
        return Err(wrong("entry.magic", format!("{magic:#018x}"), expected));
    }
    let least = <abi::Entry as abi::Versioned>::MIN_SIZE;
    if (size as usize) < least {
        return Err(wrong("entry.struct_size", size.to_string(), format!("{least} or more")));
    }
    let (major, minor) = (version >> 16, version & 0xffff);
    if major != abi::ABI_MAJOR {
        let expected = format!("{}.x", abi::ABI_MAJOR);
        return Err(wrong("entry.abi_version", format!("{major}.{minor}"), expected));
    }
    if layout != abi::LAYOUT {
        let expected = format!("{:#018x}", abi::LAYOUT);
        return Err(wrong("entry.layout", format!("{layout:#018x}"), expected));
    }
    // SAFETY: the entry has the size that it says, which was found large enough.
    unsafe { abi::read(entry) }.map_err(|error| too_small("entry".into(), error))
}

type Init =
    unsafe extern "C-unwind" fn(*const std::ffi::c_char, u32, *mut abi::ErrorBuffer) -> abi::Status;

fn call_init(init: Init, path: &Path) -> Result<(), LoadErrorKind> {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default();
    let mut error = abi::ErrorBuffer::new();
    // SAFETY: a function of an entry that fits; path and buffer live until it returns. The copies of one host are loaded one at a time.
    let status = unsafe { init(path.as_ptr(), abi::ABI_VERSION, &mut error) };
    if status == abi::Status::OK {
        return Ok(());
    }
    Err(LoadErrorKind::Init { status, message: message(&error) })
}

fn get_factory(entry: &abi::Entry) -> Result<abi::Factory, LoadErrorKind> {
    let get = entry.get_factory.ok_or(LoadErrorKind::NullPointer { what: "entry.get_factory" })?;
    // SAFETY: a function of an entry that fits; the id lives for ever.
    let factory = unsafe { get(abi::FACTORY_ID.as_ptr()) }.cast::<abi::Factory>();
    if factory.is_null() {
        return Err(LoadErrorKind::NullPointer {
            what: "get_factory(\"keylane.processor-factory/1\")",
        });
    }
    if !factory.is_aligned() {
        return Err(wrong("factory", format!("{factory:p}"), "an address that is a multiple of 8"));
    }
    // SAFETY: the id stands for this struct, and what a plugin returns lives as long as the process.
    let factory =
        unsafe { abi::read(factory) }.map_err(|error| too_small("factory".into(), error))?;
    let required = [
        ("factory.count", factory.count.is_none()),
        ("factory.descriptor", factory.descriptor.is_none()),
        ("factory.create", factory.create.is_none()),
    ];
    match required.into_iter().find(|(_, missing)| *missing) {
        Some((what, _)) => Err(LoadErrorKind::NullPointer { what }),
        None => Ok(factory),
    }
}

fn read_descriptors(factory: &abi::Factory) -> Result<Vec<PluginDescriptor>, LoadErrorKind> {
    let (Some(count), Some(get)) = (factory.count, factory.descriptor) else {
        return Ok(Vec::new());
    };
    // SAFETY: a function of a factory that fits, [any].
    let count = unsafe { count() };
    if count == 0 || count > MAX_DESCRIPTORS {
        let expected = format!("1 to {MAX_DESCRIPTORS}");
        return Err(wrong("factory.count()", count.to_string(), expected));
    }
    let mut descriptors: Vec<PluginDescriptor> = Vec::new();
    for index in 0..count {
        // SAFETY: as above.
        let raw = unsafe { get(index) };
        // SAFETY: the factory returns null or a descriptor that lives as long as the process.
        let descriptor = unsafe { descriptor::read(index, raw) }?;
        if let Some(other) = descriptors.iter().position(|known| known.id == descriptor.id) {
            let expected = format!("another one than that of descriptor({other})");
            return Err(wrong(
                format!("descriptor({index}).id"),
                format!("{:?}", descriptor.id),
                expected,
            ));
        }
        descriptors.push(descriptor);
    }
    Ok(descriptors)
}

/// What a plugin wrote into an error buffer.
pub(crate) fn message(error: &abi::ErrorBuffer) -> String {
    String::from_utf8_lossy(error.message()).into_owned()
}
