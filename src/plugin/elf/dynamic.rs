//! What the dynamic loader reads: the dynamic section, and the symbols.

use super::bytes::Bytes;
use super::header::{Frame, PT_DYNAMIC, PT_LOAD, SHT_DYNSYM, malformed};
use crate::plugin::error::LoadErrorKind;

const ENTRY: u64 = 16;
const SYMBOL: u64 = 24;
/// The longest name that is looked at.
const MAX_NAME: u64 = 256;
/// Bounds for the loops: far beyond what any library has.
const MAX_ENTRIES: u64 = 4096;
const MAX_SYMBOLS: u64 = 1 << 22;

const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_RPATH: u64 = 15;
const DT_TEXTREL: u64 = 22;
const DT_FLAGS: u64 = 30;
const DT_RUNPATH: u64 = 29;
const DF_TEXTREL: u64 = 4;

/// Tables that the loader follows: the tag of the address, that of the size if there is one, and a name.
const TABLES: [(u64, Option<u64>, &str); 12] = [
    (DT_STRTAB, Some(DT_STRSZ), "string table"),
    (6, None, "symbol table"),
    (7, Some(8), "relocation table"),
    (17, Some(18), "relocation table"),
    (23, Some(2), "table of jump relocations"),
    (3, None, "global offset table"),
    (4, None, "hash table"),
    (0x6fff_fef5, None, "GNU hash table"),
    (25, Some(27), "table of constructors"),
    (26, Some(28), "table of destructors"),
    (0x6fff_fff0, None, "table of versions"),
    (0x6fff_fffe, None, "table of needed versions"),
];

/// What the dynamic section says.
#[derive(Debug, Default)]
pub(super) struct Dynamic {
    pub(super) needed: Vec<String>,
    /// `DT_RPATH` or `DT_RUNPATH`.
    pub(super) search_path: Option<String>,
    pub(super) text_relocations: bool,
}

/// Reads the dynamic section, and checks that what it points to is mapped.
pub(super) fn dynamic(bytes: Bytes<'_>, frame: &Frame) -> Result<Dynamic, LoadErrorKind> {
    let mut found = frame.segments.iter().filter(|segment| segment.kind == PT_DYNAMIC);
    let (Some(segment), None) = (found.next(), found.next()) else {
        return Err(malformed("it does not have exactly one dynamic section"));
    };
    // The loader reads it where it is mapped, so both must be the same bytes.
    if offset_of(frame, segment.address, segment.file_size) != Some(segment.offset) {
        return Err(malformed("its dynamic section is not where it is mapped"));
    }
    let mut entries = Vec::new();
    let mut ended = false;
    for index in 0..(segment.file_size / ENTRY).min(MAX_ENTRIES) {
        let at = segment.offset + index * ENTRY;
        let (Some(tag), Some(value)) = (bytes.u64(at), bytes.u64(at + 8)) else { break };
        if tag == 0 {
            ended = true;
            break;
        }
        entries.push((tag, value));
    }
    if !ended {
        return Err(malformed("its dynamic section has no end"));
    }
    let get = |tag| entries.iter().find(|entry| entry.0 == tag).map(|entry| entry.1);
    for (address_tag, size_tag, name) in TABLES {
        let Some(address) = get(address_tag) else { continue };
        let size = size_tag.and_then(get).unwrap_or(1);
        if offset_of(frame, address, size).is_none() && !is_mapped(frame, address, size) {
            return Err(malformed(format!(
                "its {name} at {address:#x} with {size} bytes is outside of all segments"
            )));
        }
    }
    let strings = get(DT_STRTAB).zip(get(DT_STRSZ));
    let Some((strings, size)) =
        strings.and_then(|(at, size)| Some((offset_of(frame, at, size)?, size)))
    else {
        return Err(malformed("it has no string table"));
    };
    let name = |offset: u64| {
        let inside = offset < size;
        let text = inside.then(|| bytes.text(strings + offset, (size - offset).min(4096)));
        let text = text.flatten().ok_or_else(|| {
            malformed(format!("the name at {offset:#x} of its string table has no end"))
        })?;
        Ok(String::from_utf8_lossy(text).into_owned())
    };
    let mut dynamic = Dynamic::default();
    for &(tag, value) in &entries {
        match tag {
            DT_NEEDED => dynamic.needed.push(name(value)?),
            DT_RPATH | DT_RUNPATH => dynamic.search_path = Some(name(value)?),
            DT_TEXTREL => dynamic.text_relocations = true,
            DT_FLAGS => dynamic.text_relocations |= value & DF_TEXTREL != 0,
            _ => {}
        }
    }
    Ok(dynamic)
}

/// Where in the file the bytes are that are mapped at `address`.
fn offset_of(frame: &Frame, address: u64, size: u64) -> Option<u64> {
    let end = address.checked_add(size)?;
    let mut loads = frame.segments.iter().filter(|segment| segment.kind == PT_LOAD);
    let segment = loads.find(|load| {
        load.address <= address
            && load.address.checked_add(load.file_size).is_some_and(|limit| end <= limit)
    })?;
    segment.offset.checked_add(address - segment.address)
}

fn is_mapped(frame: &Frame, address: u64, size: u64) -> bool {
    let Some(end) = address.checked_add(size) else { return false };
    let mut loads = frame.segments.iter().filter(|segment| segment.kind == PT_LOAD);
    loads.any(|load| {
        load.address <= address
            && load.address.checked_add(load.memory_size).is_some_and(|limit| end <= limit)
    })
}

/// The names of defined dynamic symbols that begin with `prefix`; `None` when the file has no section that lists them.
pub(super) fn symbols(bytes: Bytes<'_>, frame: &Frame, prefix: &[u8]) -> Option<Vec<String>> {
    let table = frame.sections.iter().find(|section| section.kind == SHT_DYNSYM)?;
    let strings = frame.sections.get(usize::try_from(table.link).ok()?)?;
    let mut names = Vec::new();
    for index in 0..(table.size / SYMBOL).min(MAX_SYMBOLS) {
        let at = table.offset + index * SYMBOL;
        let (Some(name), Some(section)) = (bytes.u32(at), bytes.u16(at + 6)) else { break };
        let name = u64::from(name);
        if section == 0 || name >= strings.size {
            continue;
        }
        let text = bytes.text(strings.offset + name, (strings.size - name).min(MAX_NAME));
        if let Some(text) = text.filter(|text| text.starts_with(prefix)) {
            names.push(String::from_utf8_lossy(text).into_owned());
        }
    }
    names.sort_unstable();
    names.dedup();
    Some(names)
}
