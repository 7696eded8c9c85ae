//! The dynamic section: what the dynamic loader reads, follows and writes to before anything else.

use super::bytes::Bytes;
use super::header::{Frame, PT_DYNAMIC, PT_GNU_RELRO, PT_TLS, malformed};
use super::image::Image;
use super::relocations::{self, RELOCATION};
use super::symbols::{Places, SYMBOL, Symbols};
use crate::plugin::error::LoadErrorKind;

const ENTRY: u64 = 16;
/// A bound for the loop: far beyond what any library has.
const MAX_ENTRIES: u64 = 4096;
/// The most that a library may want of each thread.
const MAX_THREAD_LOCAL: u64 = 64 << 20;

const DT_NEEDED: u64 = 1;
const DT_PLTRELSZ: u64 = 2;
const DT_PLTGOT: u64 = 3;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_RELAENT: u64 = 9;
const DT_STRSZ: u64 = 10;
const DT_SYMENT: u64 = 11;
const DT_INIT: u64 = 12;
const DT_FINI: u64 = 13;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_REL: u64 = 17;
const DT_PLTREL: u64 = 20;
const DT_TEXTREL: u64 = 22;
const DT_JMPREL: u64 = 23;
const DT_INIT_ARRAY: u64 = 25;
const DT_FINI_ARRAY: u64 = 26;
const DT_INIT_ARRAYSZ: u64 = 27;
const DT_FINI_ARRAYSZ: u64 = 28;
const DT_RUNPATH: u64 = 29;
const DT_FLAGS: u64 = 30;
const DT_RELRSZ: u64 = 35;
const DT_RELR: u64 = 36;
const DT_RELRENT: u64 = 37;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const DT_VERSYM: u64 = 0x6fff_fff0;
const DT_RELACOUNT: u64 = 0x6fff_fff9;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERDEFNUM: u64 = 0x6fff_fffd;
const DT_VERNEED: u64 = 0x6fff_fffe;
const DT_VERNEEDNUM: u64 = 0x6fff_ffff;
const DF_TEXTREL: u64 = 4;

/// Entries that are of no use without each other.
const PAIRS: [(u64, u64); 8] = [
    (DT_STRTAB, DT_STRSZ),
    (DT_RELA, DT_RELASZ),
    (DT_JMPREL, DT_PLTRELSZ),
    (DT_INIT_ARRAY, DT_INIT_ARRAYSZ),
    (DT_FINI_ARRAY, DT_FINI_ARRAYSZ),
    (DT_RELR, DT_RELRSZ),
    (DT_VERDEF, DT_VERDEFNUM),
    (DT_VERNEED, DT_VERNEEDNUM),
];

/// Entries that must come with another one and have one possible value on 64-bit machines.
const FIXED: [(u64, u64, u64, &str); 4] = [
    (DT_SYMTAB, DT_SYMENT, SYMBOL, "size of a symbol"),
    (DT_RELA, DT_RELAENT, RELOCATION, "size of a relocation"),
    (DT_JMPREL, DT_PLTREL, DT_RELA, "kind of jump relocations"),
    (DT_RELR, DT_RELRENT, 8, "size of a packed relocation"),
];

/// What the dynamic section says.
#[derive(Debug, Default)]
pub(super) struct Dynamic {
    pub(super) needed: Vec<String>,
    /// `DT_RPATH` or `DT_RUNPATH`.
    pub(super) search_path: Option<String>,
    pub(super) text_relocations: bool,
    /// Defined symbols with the prefix that was asked for.
    pub(super) symbols: Vec<String>,
}

/// The entries, in their order.
struct Entries(Vec<(u64, u64)>);

impl Entries {
    fn get(&self, tag: u64) -> Option<u64> {
        self.0.iter().find(|entry| entry.0 == tag).map(|entry| entry.1)
    }

    fn require(&self, tag: u64, name: &str) -> Result<u64, LoadErrorKind> {
        self.get(tag).ok_or_else(|| malformed(format!("its dynamic section names no {name}")))
    }
}

/// Reads the dynamic section and checks what it leads to. Looks for symbols that begin with `prefix`.
pub(super) fn dynamic(
    file: Bytes<'_>,
    frame: &Frame,
    prefix: &[u8],
) -> Result<Dynamic, LoadErrorKind> {
    let image = Image { file, frame };
    check_segments(image)?;
    let entries = entries(image)?;
    for (one, other) in PAIRS {
        if entries.get(one).is_some() != entries.get(other).is_some() {
            let missing = if entries.get(one).is_some() { other } else { one };
            return Err(malformed(format!(
                "its dynamic section has no entry {missing:#x} to go with another"
            )));
        }
    }
    for (table, tag, value, name) in FIXED {
        if entries.get(table).is_some() && entries.get(tag) != Some(value) {
            let found = entries.get(tag).map_or("missing".to_owned(), |found| found.to_string());
            return Err(malformed(format!("the {name} is {found}, not {value}")));
        }
    }
    if entries.get(DT_REL).is_some() {
        return Err(malformed("it has relocations without addends, which this machine has not"));
    }
    let table = |address: u64, size: u64, name: &str| {
        image.bytes(address, size).ok_or_else(|| {
            malformed(format!("its {name} at {address:#x} with {size} bytes is not in the file"))
        })
    };
    let strings = entries.require(DT_STRTAB, "string table")?;
    let names = table(strings, entries.require(DT_STRSZ, "string table")?, "string table")?;
    if names.len().checked_sub(1).and_then(|last| names.u8(last)) != Some(0) {
        return Err(malformed("its string table does not end with a NUL"));
    }
    let places = Places {
        names: strings,
        symbols: entries.require(DT_SYMTAB, "symbol table")?,
        gnu_hash: entries.get(DT_GNU_HASH),
        hash: entries.get(DT_HASH),
        versions: entries.get(DT_VERSYM),
    };
    let symbols = Symbols::read(image, names, &places)?;
    let text_relocations = entries.get(DT_TEXTREL).is_some()
        || entries.get(DT_FLAGS).is_some_and(|flags| flags & DF_TEXTREL != 0);
    for (address, size, name) in [
        (DT_RELA, DT_RELASZ, "relocation table"),
        (DT_JMPREL, DT_PLTRELSZ, "table of jump relocations"),
    ] {
        if let Some((address, size)) = entries.get(address).zip(entries.get(size)) {
            let relocations = table(address, size, name)?;
            if size % RELOCATION != 0
                || entries
                    .get(DT_RELACOUNT)
                    .is_some_and(|count| name == "relocation table" && count > size / RELOCATION)
            {
                return Err(malformed(format!("its {name} has {size} bytes, which does not fit")));
            }
            relocations::check(image, relocations, symbols.count, text_relocations)?;
        }
    }
    if let Some((address, size)) = entries.get(DT_RELR).zip(entries.get(DT_RELRSZ)) {
        relocations::check_packed(image, table(address, size, "table of packed relocations")?)?;
    }
    check_code(image, &entries)?;
    let needed = check_needed_versions(image, &entries, &symbols)?;
    let defined = defined_versions(image, &entries)?;
    symbols.check_versions(needed.max(defined))?;
    if entries.get(DT_VERNEED).is_some() && entries.get(DT_VERSYM).is_none() {
        return Err(malformed("it needs versions of symbols and does not say of which"));
    }

    let mut dynamic =
        Dynamic { text_relocations, symbols: symbols.defined(prefix), ..Dynamic::default() };
    for &(tag, value) in &entries.0 {
        if !matches!(tag, DT_NEEDED | DT_SONAME | DT_RPATH | DT_RUNPATH) {
            continue;
        }
        let name = symbols.name(value).ok_or_else(|| {
            malformed(format!("the name at {value:#x} of its string table has no end"))
        })?;
        match tag {
            DT_NEEDED => dynamic.needed.push(name),
            DT_SONAME => {}
            _ => dynamic.search_path = Some(name),
        }
    }
    Ok(dynamic)
}

/// What the loader takes for granted about segments that it does not map by themselves.
fn check_segments(image: Image<'_>) -> Result<(), LoadErrorKind> {
    for segment in &image.frame.segments {
        let (address, size) = (segment.address, segment.memory_size);
        match segment.kind {
            PT_GNU_RELRO if !image.is_mapped_in_pages(address, size) => {
                return Err(malformed(format!(
                    "what is to be write-protected, {size} bytes at {address:#x}, is not mapped"
                )));
            }
            PT_TLS => {
                let aligned = segment.align <= 1 || segment.align.is_power_of_two();
                let inside =
                    segment.file_size <= size && image.offset(address, segment.file_size).is_some();
                if !aligned
                    || segment.align > MAX_THREAD_LOCAL
                    || size > MAX_THREAD_LOCAL
                    || !inside
                {
                    return Err(malformed(format!(
                        "its thread-local data, {size} bytes at {address:#x}, is not right"
                    )));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn entries(image: Image<'_>) -> Result<Entries, LoadErrorKind> {
    let mut found = image.frame.segments.iter().filter(|segment| segment.kind == PT_DYNAMIC);
    let (Some(segment), None) = (found.next(), found.next()) else {
        return Err(malformed("it does not have exactly one dynamic section"));
    };
    // The loader reads it where it is mapped, so both must be the same bytes. It writes to it as well.
    let mapped = image.offset(segment.address, segment.file_size) == Some(segment.offset);
    if !mapped || !image.is_writable(segment.address, segment.file_size) {
        return Err(malformed("its dynamic section is not where it is mapped"));
    }
    let mut entries = Vec::new();
    for index in 0..(segment.file_size / ENTRY).min(MAX_ENTRIES) {
        let at = segment.offset + index * ENTRY;
        let (Some(tag), Some(value)) = (image.file.u64(at), image.file.u64(at + 8)) else { break };
        if tag == 0 {
            return Ok(Entries(entries));
        }
        if tag != DT_NEEDED && entries.iter().any(|entry: &(u64, u64)| entry.0 == tag) {
            return Err(malformed(format!("its dynamic section has entry {tag:#x} twice")));
        }
        entries.push((tag, value));
    }
    Err(malformed("its dynamic section has no end"))
}

/// What the loader calls, and the table that calls go through.
fn check_code(image: Image<'_>, entries: &Entries) -> Result<(), LoadErrorKind> {
    for tag in [DT_INIT, DT_FINI] {
        if let Some(address) = entries.get(tag).filter(|&address| !image.is_executable(address)) {
            return Err(malformed(format!("its start or end function at {address:#x} is no code")));
        }
    }
    for (address, size) in [(DT_INIT_ARRAY, DT_INIT_ARRAYSZ), (DT_FINI_ARRAY, DT_FINI_ARRAYSZ)] {
        let Some((address, size)) = entries.get(address).zip(entries.get(size)) else { continue };
        let relocated = entries.get(DT_RELA).zip(entries.get(DT_RELASZ));
        let relocated = relocated.and_then(|(address, size)| image.bytes(address, size));
        // Each word of it is an address, which becomes one by a relocation. Packed ones are not looked through.
        let packed = entries.get(DT_RELR).is_some();
        let all = |table| {
            (0..size / 8).all(|word| relocations::is_function(image, table, address + word * 8))
        };
        if size % 8 != 0
            || !image.is_writable(address, size)
            || !packed && !relocated.is_none_or(all)
        {
            return Err(malformed(format!(
                "its table of start or end functions at {address:#x} with {size} bytes is not right"
            )));
        }
    }
    // The loader writes into the first three words when it binds lazily.
    match entries.get(DT_PLTGOT) {
        Some(address) if !image.is_mapped(address, 24) => Err(malformed(format!(
            "its global offset table at {address:#x} is outside of all segments"
        ))),
        None if entries.get(DT_JMPREL).is_some() => {
            Err(malformed("it has jump relocations and no table for them"))
        }
        _ => Ok(()),
    }
}

/// The versions that it wants of other libraries' symbols: lists of lists. Returns the highest number of one.
fn check_needed_versions(
    image: Image<'_>,
    entries: &Entries,
    symbols: &Symbols<'_>,
) -> Result<u16, LoadErrorKind> {
    let Some((address, count)) = entries.get(DT_VERNEED).zip(entries.get(DT_VERNEEDNUM)) else {
        return Ok(0);
    };
    let whole = || {
        let table = image.rest(address)?;
        let (mut at, mut files, mut highest) = (0u64, 0u64, 0);
        loop {
            let (version, names) = (table.u16(at)?, table.u16(at + 2)?);
            symbols.names.text(table.u32(at + 4)?.into(), u64::MAX)?;
            if version != 1 {
                return None;
            }
            let mut name_at = at.checked_add(table.u32(at + 8)?.into())?;
            for index in 0..names {
                highest = highest.max(table.u16(name_at.checked_add(6)?)? & 0x7fff);
                symbols.names.text(table.u32(name_at.checked_add(8)?)?.into(), u64::MAX)?;
                let next = table.u32(name_at.checked_add(12)?)?;
                if (next == 0) != (index + 1 == names) {
                    return None;
                }
                name_at = name_at.checked_add(next.into())?;
            }
            files += 1;
            let next = table.u32(at + 12)?;
            if next == 0 {
                return (files == count).then_some(highest);
            }
            at = at.checked_add(next.into())?;
        }
    };
    whole().ok_or_else(|| malformed("the list of versions that it needs is not whole"))
}

/// The highest number of a version that it defines itself.
fn defined_versions(image: Image<'_>, entries: &Entries) -> Result<u16, LoadErrorKind> {
    let Some((address, count)) = entries.get(DT_VERDEF).zip(entries.get(DT_VERDEFNUM)) else {
        return Ok(0);
    };
    let whole = || {
        let table = image.rest(address)?;
        let (mut at, mut highest, mut found) = (0u64, 0, 0u64);
        loop {
            if table.u16(at)? != 1 {
                return None;
            }
            highest = highest.max(table.u16(at + 4)? & 0x7fff);
            found += 1;
            let next = table.u32(at + 16)?;
            if next == 0 {
                return (found == count).then_some(highest);
            }
            at = at.checked_add(next.into())?;
        }
    };
    whole().ok_or_else(|| malformed("the list of versions that it defines is not whole"))
}
