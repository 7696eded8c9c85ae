//! The check of a library's bytes before the dynamic loader sees them.
//!
//! The loader maps what the headers say and trusts them: a file that is shorter than its headers say kills the process with
//! SIGBUS inside `dlopen`, one for another machine is "no such file". So the headers are read here first. The check
//! reads untrusted bytes only through [`bytes::Bytes`], whose reads cannot be out of bounds, and its loops are bounded by the
//! size of the file or by constants.
//!
//! What it promises: every segment, every section and every table that the dynamic section names lies inside the file; names, symbols and
//! relocations lead to where something is, and the loader writes only to what is writable. It does not promise that the library's
//! code makes sense; to load a library is to run it.

mod bytes;
mod dynamic;
mod header;
mod image;
mod relocations;
mod symbols;

use self::bytes::Bytes;
use self::header::{PT_NOTE, PT_TLS};
use super::error::LoadErrorKind;

/// What can be said about a library without loading it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ElfFacts {
    /// The libraries that it needs.
    pub needed: Vec<String>,
    /// Where it wants those to be searched (`DT_RPATH`, `DT_RUNPATH`).
    pub search_path: Option<String>,
    /// Whether its code must be changed to be loaded (`TEXTREL`), which hardened systems refuse.
    pub text_relocations: bool,
    /// The bytes that each thread gets of it.
    pub thread_local_bytes: u64,
    /// The symbols of plugin entries that it exports, of any major version.
    pub entries: Vec<String>,
    /// The descriptor of its keylane note.
    pub(crate) note: Option<Vec<u8>>,
}

/// What an entry symbol begins with; the major version follows.
const ENTRY_PREFIX: &str = "keylane_plugin_entry_v";
/// The note's owner and type.
const NOTE_OWNER: &[u8] = b"keylane\0";
const NOTE_TYPE: u32 = 1;
/// The most that is read of a note.
const MAX_NOTE: u64 = 64 * 1024;

/// Checks a library's bytes.
pub(crate) fn check(file: &[u8]) -> Result<ElfFacts, LoadErrorKind> {
    let bytes = Bytes(file);
    let frame = header::frame(bytes)?;
    let dynamic = dynamic::dynamic(bytes, &frame, ENTRY_PREFIX.as_bytes())?;
    let mut facts = ElfFacts {
        needed: dynamic.needed,
        search_path: dynamic.search_path,
        text_relocations: dynamic.text_relocations,
        entries: dynamic.symbols,
        ..ElfFacts::default()
    };
    for segment in &frame.segments {
        match segment.kind {
            PT_TLS => facts.thread_local_bytes = segment.memory_size,
            PT_NOTE if facts.note.is_none() => {
                facts.note = note(bytes, segment.offset, segment.file_size, segment.align);
            }
            _ => {}
        }
    }
    Ok(facts)
}

/// The descriptor of keylane's note among the notes from `at` on.
fn note(bytes: Bytes<'_>, at: u64, size: u64, align: u64) -> Option<Vec<u8>> {
    let align = if align == 8 { 8 } else { 4 };
    let padded = |size: u32| u64::from(size).next_multiple_of(align);
    let mut rest = bytes.slice(at, size)?;
    // Each turn takes at least the 12 bytes of a head.
    loop {
        let notes = Bytes(rest);
        let (name, length, kind) = (notes.u32(0)?, notes.u32(4)?, notes.u32(8)?);
        let begin = (12 + u64::from(name)).next_multiple_of(align);
        let descriptor = notes.slice(begin, length.into())?;
        if notes.slice(12, name.into())? == NOTE_OWNER && kind == NOTE_TYPE {
            return (u64::from(length) <= MAX_NOTE).then(|| descriptor.to_vec());
        }
        rest = rest.get(usize::try_from(begin + padded(length)).ok()?..)?;
    }
}
