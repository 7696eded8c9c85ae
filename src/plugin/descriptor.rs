//! What a library says about the processors that it makes.

use std::ffi::c_char;

use keylane_plugin_abi as abi;

use super::error::{LoadErrorKind, printable};
use super::manifest::{ID_RULE, is_id};

/// One kind of processor that a plugin makes. Texts come from the plugin: escape them before you print them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginDescriptor {
    /// In reverse DNS order, `org.example.dedup`.
    pub id: String,
    /// Its version.
    pub version: String,
    /// A name for people.
    pub name: Option<String>,
    /// Who made it.
    pub vendor: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// Its licence.
    pub license: Option<String>,
    /// Where to read more.
    pub url: Option<String>,
    /// A JSON Schema of its configuration.
    pub config_schema: Option<String>,
    /// The names of the event types that it wants; `None` for all.
    pub event_types: Option<Vec<String>>,
    /// `KEYLANE_F_*` bits.
    pub flags: u32,
    /// The form of the state that it saves.
    pub state_version: u32,
    /// How many events it would like in a batch; 0 when it does not care.
    pub preferred_batch: u32,
}

impl PluginDescriptor {
    /// Whether it saves its state for its successor.
    pub fn is_stateful(&self) -> bool {
        self.flags & abi::plugin_flag::STATEFUL != 0
    }

    /// Whether an instance has to stay on one thread.
    pub fn is_thread_affine(&self) -> bool {
        self.flags & abi::plugin_flag::THREAD_AFFINE != 0
    }

    /// Whether it must not be loaded twice in one process.
    pub fn is_loaded_once(&self) -> bool {
        self.flags & abi::plugin_flag::NO_RELOAD != 0
    }
}

/// Bounds for what is read of a plugin's memory.
const MAX_TEXT: usize = 4 * 1024;
const MAX_SCHEMA: usize = 1024 * 1024;
const MAX_TYPES: usize = 1024;
/// The most kinds of processors of one library.
pub(super) const MAX_DESCRIPTORS: u32 = 256;

pub(super) fn wrong(
    field: impl Into<String>,
    found: impl Into<String>,
    expected: impl Into<String>,
) -> LoadErrorKind {
    LoadErrorKind::Abi { field: field.into(), found: found.into(), expected: expected.into() }
}

pub(super) fn too_small(place: String, error: abi::TooSmall) -> LoadErrorKind {
    let expected = format!("{} or more, as {} has", error.least, error.name);
    wrong(format!("{place}.struct_size"), error.found.to_string(), expected)
}

/// Reads descriptor number `index`.
///
/// # Safety
/// `from` is null or a descriptor of the ABI, whose texts live as long as the process.
pub(super) unsafe fn read(
    index: u32,
    from: *const abi::Descriptor,
) -> Result<PluginDescriptor, LoadErrorKind> {
    let place = format!("descriptor({index})");
    if from.is_null() {
        return Err(wrong(place, "null", "a descriptor, because count() is larger"));
    }
    if !from.is_aligned() {
        return Err(wrong(place, format!("{from:p}"), "an address that is a multiple of 8"));
    }
    // SAFETY: passed on; the address is aligned.
    let raw = unsafe { abi::read(from) }.map_err(|error| too_small(place.clone(), error))?;
    // SAFETY: passed on.
    let text = |field: &str, from, limit| unsafe { text(&format!("{place}.{field}"), from, limit) };
    let optional = |field: &str, from| text(field, from, MAX_TEXT);
    let required = |field: &str, from, rule: &str| {
        optional(field, from)?.ok_or_else(|| wrong(format!("{place}.{field}"), "null", rule))
    };
    let id = required("id", raw.id, ID_RULE)?;
    if !is_id(&id) {
        return Err(wrong(format!("{place}.id"), format!("\"{}\"", printable(&id)), ID_RULE));
    }
    const VERSION_RULE: &str = "1 to 31 characters";
    let version = required("version", raw.version, VERSION_RULE)?;
    if !(1..=31).contains(&version.len()) {
        let found = format!("\"{}\"", printable(&version));
        return Err(wrong(format!("{place}.version"), found, VERSION_RULE));
    }
    let mut event_types = None;
    if !raw.event_types.is_null() {
        let types = event_types.insert(Vec::new());
        loop {
            if types.len() >= MAX_TYPES {
                let found = format!("a list of more than {MAX_TYPES}");
                return Err(wrong(
                    format!("{place}.event_types"),
                    found,
                    "NULL behind the last name",
                ));
            }
            // SAFETY: the list goes on to its null pointer, which has not come yet.
            let name = unsafe { raw.event_types.add(types.len()).read() };
            match text("event_types", name, MAX_TEXT)? {
                Some(name) => types.push(name),
                None => break,
            }
        }
    }
    Ok(PluginDescriptor {
        id,
        version,
        name: optional("name", raw.name)?,
        vendor: optional("vendor", raw.vendor)?,
        description: optional("description", raw.description)?,
        license: optional("license", raw.license)?,
        url: optional("url", raw.url)?,
        config_schema: text("config_schema_json", raw.config_schema_json, MAX_SCHEMA)?,
        event_types,
        flags: raw.flags,
        state_version: raw.state_version,
        preferred_batch: raw.preferred_batch,
    })
}

/// A text that ends with a NUL.
///
/// # Safety
/// `from` is null or leads to a text with a NUL at its end.
unsafe fn text(
    field: &str,
    from: *const c_char,
    limit: usize,
) -> Result<Option<String>, LoadErrorKind> {
    if from.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller vouches for a text with a NUL; nothing behind the NUL is read, and no more than `limit` bytes.
    let length = unsafe { libc::strnlen(from, limit) };
    if length == limit {
        return Err(wrong(
            field,
            format!("longer than {limit} bytes"),
            "a text that ends with a NUL",
        ));
    }
    // SAFETY: `length` bytes were just read.
    let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), length) };
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(wrong(field, format!("\"{}\"", bytes.escape_ascii()), "UTF-8")),
    }
}
