//! The header of the file, its segments and its sections.

use super::bytes::Bytes;
use crate::plugin::error::LoadErrorKind;

/// The size of a program header, a section header, and the file's header.
const PROGRAM_HEADER: u64 = 56;
const SECTION_HEADER: u64 = 64;
const FILE_HEADER: u64 = 64;
/// More than any linker makes; a bound for the loops.
const MAX_SEGMENTS: u16 = 256;
/// What a library may map: far more than the largest one needs, and far less than the address space has.
const MAX_MAPPED: u64 = 1 << 32;

pub(super) const PT_LOAD: u32 = 1;
pub(super) const PT_DYNAMIC: u32 = 2;
pub(super) const PT_NOTE: u32 = 4;
pub(super) const PT_TLS: u32 = 7;
pub(super) const PT_GNU_RELRO: u32 = 0x6474_e552;
const PT_NULL: u32 = 0;
const SHT_NULL: u32 = 0;
const SHT_NOBITS: u32 = 8;

/// The machine that this program runs on: its number in ELF files, and its name.
const HOST_MACHINE: (u16, &str) = if cfg!(target_arch = "x86_64") {
    (62, "x86-64")
} else if cfg!(target_arch = "aarch64") {
    (183, "aarch64")
} else if cfg!(target_arch = "riscv64") {
    (243, "riscv")
} else if cfg!(target_arch = "loongarch64") {
    (258, "loongarch")
} else {
    (0, "an unknown machine")
};

fn machine_name(machine: u16) -> String {
    let name = match machine {
        3 => "i386",
        8 => "mips",
        20 => "powerpc",
        21 => "powerpc64",
        22 => "s390",
        40 => "arm",
        62 => "x86-64",
        183 => "aarch64",
        243 => "riscv",
        258 => "loongarch",
        _ => return format!("machine {machine}"),
    };
    name.to_owned()
}

/// A segment: a piece of the file, and where it is mapped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) kind: u32,
    /// 1 to execute, 2 to write, 4 to read.
    pub(super) flags: u32,
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) file_size: u64,
    pub(super) memory_size: u64,
    pub(super) align: u64,
}

/// The frame of a file that is a shared library for this machine, all of it inside the file.
pub(super) struct Frame {
    pub(super) segments: Vec<Segment>,
}

pub(super) fn wrong(field: &'static str, found: impl Into<String>, host: &str) -> LoadErrorKind {
    LoadErrorKind::WrongTarget { field, found: found.into(), host: host.to_owned() }
}

pub(super) fn malformed(what: impl Into<String>) -> LoadErrorKind {
    LoadErrorKind::Malformed { what: what.into() }
}

fn truncated(what: impl Into<String>, end: Option<u64>, size: u64) -> LoadErrorKind {
    LoadErrorKind::Truncated { what: what.into(), needs: end.unwrap_or(u64::MAX), size }
}

/// Reads and checks the frame.
pub(super) fn frame(bytes: Bytes<'_>) -> Result<Frame, LoadErrorKind> {
    identify(bytes)?;
    let segments = segments(bytes)?;
    check_sections(bytes)?;
    Ok(Frame { segments })
}

/// Whether the file is a shared library for this machine.
fn identify(bytes: Bytes<'_>) -> Result<(), LoadErrorKind> {
    let start = &bytes.0[..bytes.0.len().min(4)];
    if start != b"\x7fELF" {
        return Err(LoadErrorKind::NotElf { found: start.escape_ascii().to_string() });
    }
    if bytes.len() < FILE_HEADER {
        return Err(truncated("the file's header", Some(FILE_HEADER), bytes.len()));
    }
    // All of these are inside the header, whose size was just checked.
    let byte = |at| bytes.u8(at).unwrap_or(0);
    let half = |at| bytes.u16(at).unwrap_or(0);
    let host_class = if cfg!(target_pointer_width = "64") { 2 } else { 1 };
    let class = |class| match class {
        1 => "32-bit".to_owned(),
        2 => "64-bit".to_owned(),
        other => format!("class {other}"),
    };
    if byte(4) != host_class {
        return Err(wrong("word size", class(byte(4)), &class(host_class)));
    }
    match byte(5) {
        1 => {}
        2 => return Err(wrong("byte order", "big-endian", "little-endian")),
        other => return Err(wrong("byte order", format!("order {other}"), "little-endian")),
    }
    if byte(6) != 1 {
        return Err(wrong("ELF version", byte(6).to_string(), "1"));
    }
    // 0 is System V, 3 is GNU.
    if !matches!(byte(7), 0 | 3) {
        return Err(wrong("system", format!("OS/ABI {}", byte(7)), "Linux"));
    }
    match half(16) {
        3 => {}
        kind => {
            let found = match kind {
                1 => "an object file (ET_REL)".to_owned(),
                2 => "a program (ET_EXEC)".to_owned(),
                4 => "a core dump (ET_CORE)".to_owned(),
                other => format!("type {other}"),
            };
            return Err(wrong("file type", found, "a shared library (ET_DYN)"));
        }
    }
    let (machine, name) = HOST_MACHINE;
    if half(18) != machine {
        return Err(wrong("machine", machine_name(half(18)), name));
    }
    Ok(())
}

fn segments(bytes: Bytes<'_>) -> Result<Vec<Segment>, LoadErrorKind> {
    let header = |at| bytes.u64(at).unwrap_or(0);
    let half = |at| bytes.u16(at).unwrap_or(0);
    let (table, entry, count) = (header(32), u64::from(half(54)), half(56));
    if entry != PROGRAM_HEADER {
        return Err(malformed(format!("its program headers have {entry} bytes each, not 56")));
    }
    if count == 0 || count > MAX_SEGMENTS {
        return Err(malformed(format!("it has {count} segments; 1 to {MAX_SEGMENTS} are allowed")));
    }
    let size = entry * u64::from(count);
    if bytes.slice(table, size).is_none() {
        return Err(truncated("the table of segments", table.checked_add(size), bytes.len()));
    }
    let mut segments = Vec::with_capacity(count.into());
    let mut mapped_to = 0;
    for index in 0..u64::from(count) {
        let at = table + index * entry;
        let field = |offset| bytes.u64(at + offset).unwrap_or(0);
        let segment = Segment {
            kind: bytes.u32(at).unwrap_or(0),
            flags: bytes.u32(at + 4).unwrap_or(0),
            offset: field(8),
            address: field(16),
            file_size: field(32),
            memory_size: field(40),
            align: field(48),
        };
        if segment.kind == PT_NULL {
            continue;
        }
        if bytes.slice(segment.offset, segment.file_size).is_none() {
            let end = segment.offset.checked_add(segment.file_size);
            return Err(truncated(format!("segment {index}"), end, bytes.len()));
        }
        if segment.kind == PT_LOAD {
            check_mapping(index, &segment, &mut mapped_to)?;
        }
        segments.push(segment);
    }
    if !segments.iter().any(|segment| segment.kind == PT_LOAD) {
        return Err(malformed("no segment of it is to be loaded"));
    }
    Ok(segments)
}

/// What the dynamic loader takes for granted about a segment that it maps.
fn check_mapping(index: u64, segment: &Segment, mapped_to: &mut u64) -> Result<(), LoadErrorKind> {
    let Segment { offset, address, file_size, memory_size, align, .. } = *segment;
    if memory_size < file_size {
        return Err(malformed(format!(
            "segment {index} has {file_size} bytes in the file and {memory_size} in memory"
        )));
    }
    let end = address.checked_add(memory_size).filter(|&end| end <= MAX_MAPPED);
    let Some(end) = end else {
        return Err(malformed(format!(
            "segment {index} would be mapped from {address:#x} on with {memory_size:#x} bytes"
        )));
    };
    if address < *mapped_to {
        return Err(malformed(format!("segment {index} overlaps the one before it")));
    }
    let congruent = align <= 1 || address % align == offset % align;
    if align > 1 && !align.is_power_of_two() || align > MAX_MAPPED || !congruent {
        return Err(malformed(format!(
            "segment {index} cannot be aligned: {align:#x} at offset {offset:#x} and address {address:#x}"
        )));
    }
    *mapped_to = end;
    Ok(())
}

/// Whether the sections are in the file. The loader does not look at them, but they come last in a file: they tell one that was cut off.
/// A file may have none.
fn check_sections(bytes: Bytes<'_>) -> Result<(), LoadErrorKind> {
    let table = bytes.u64(40).unwrap_or(0);
    let half = |at| bytes.u16(at).unwrap_or(0);
    let (entry, count) = (u64::from(half(58)), u64::from(half(60)));
    if table == 0 && count == 0 {
        return Ok(());
    }
    if entry != SECTION_HEADER {
        return Err(malformed(format!("its section headers have {entry} bytes each, not 64")));
    }
    let size = entry * count;
    if bytes.slice(table, size.max(SECTION_HEADER)).is_none() {
        let end = table.checked_add(size.max(SECTION_HEADER));
        return Err(truncated("the table of sections", end, bytes.len()));
    }
    for index in 0..count {
        let at = table + index * entry;
        let kind = bytes.u32(at + 4).unwrap_or(0);
        let (offset, size) = (bytes.u64(at + 24).unwrap_or(0), bytes.u64(at + 32).unwrap_or(0));
        if !matches!(kind, SHT_NULL | SHT_NOBITS) && bytes.slice(offset, size).is_none() {
            let end = offset.checked_add(size);
            return Err(truncated(format!("section {index}"), end, bytes.len()));
        }
    }
    Ok(())
}
