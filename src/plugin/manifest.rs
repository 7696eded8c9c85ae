//! What a plugin says of itself in its ELF note, without any of its code run.

use keylane_plugin_abi as abi;

use super::error::{LoadErrorKind, printable};

/// What the manifest of a plugin says. Texts come from the file: escape them before you print them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginManifest {
    /// The major and the minor version of the ABI that it was built with.
    pub abi_version: (u16, u16),
    /// `keylane_manifest.flags`, the same bits as [`PluginDescriptor::flags`](super::PluginDescriptor::flags).
    pub flags: u32,
    /// How many kinds of processors it has.
    pub processors: u32,
    /// The id of the first.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Compiler and target; may be empty.
    pub built_with: String,
}

/// The sizes of the texts, and where they begin.
const TEXTS: [(&str, usize, usize); 3] =
    [("id", 24, 64), ("version", 88, 32), ("built_with", 120, 64)];
const SIZE: usize = size_of::<abi::Manifest>();
const _: () = assert!(SIZE == 184 && TEXTS[2].1 + TEXTS[2].2 == SIZE);

/// Reads and checks the descriptor of a note.
pub(crate) fn parse(note: &[u8]) -> Result<PluginManifest, LoadErrorKind> {
    let wrong =
        |field, found: String, expected: String| LoadErrorKind::Manifest { field, found, expected };
    if note.len() < SIZE {
        return Err(wrong("its size", note.len().to_string(), format!("{SIZE} bytes or more")));
    }
    let number = |index: usize| {
        let at = index * 4;
        u32::from_le_bytes([note[at], note[at + 1], note[at + 2], note[at + 3]])
    };
    let size = number(0) as usize;
    if size < SIZE || size > note.len() {
        let expected = format!("{SIZE} to {}, the size of the note", note.len());
        return Err(wrong("struct_size", size.to_string(), expected));
    }
    let version = number(1);
    let (major, minor) = ((version >> 16) as u16, version as u16);
    if u32::from(major) != abi::ABI_MAJOR {
        return Err(wrong(
            "abi_version",
            format!("{major}.{minor}"),
            format!("{}.x", abi::ABI_MAJOR),
        ));
    }
    let layout = u64::from(number(3)) << 32 | u64::from(number(2));
    if layout != abi::LAYOUT {
        return Err(wrong("layout", format!("{layout:#018x}"), format!("{:#018x}", abi::LAYOUT)));
    }
    let mut texts = [const { String::new() }; 3];
    for (text, (field, at, size)) in texts.iter_mut().zip(TEXTS) {
        let place = &note[at..at + size];
        let end = place.iter().position(|&byte| byte == 0);
        let Some(end) = end else {
            return Err(wrong(
                field,
                "without an end".into(),
                format!("at most {} bytes and a NUL", size - 1),
            ));
        };
        match std::str::from_utf8(&place[..end]) {
            Ok(valid) => valid.clone_into(text),
            Err(_) => {
                return Err(wrong(
                    field,
                    format!("\"{}\"", place[..end].escape_ascii()),
                    "UTF-8".into(),
                ));
            }
        }
    }
    let [id, version, built_with] = texts;
    check_id("id", &id)?;
    Ok(PluginManifest {
        abi_version: (major, minor),
        flags: number(4),
        processors: number(5),
        id,
        version,
        built_with,
    })
}

/// What an id may look like: it becomes part of file names and metrics.
pub(crate) fn is_id(id: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    (1..=63).contains(&id.len()) && id.bytes().all(allowed)
}

/// What is expected of an id, in words.
pub(crate) const ID_RULE: &str = "1 to 63 of a-z 0-9 . - _";

fn check_id(field: &'static str, id: &str) -> Result<(), LoadErrorKind> {
    if is_id(id) {
        return Ok(());
    }
    Err(LoadErrorKind::Manifest {
        field,
        found: format!("\"{}\"", printable(id)),
        expected: ID_RULE.to_owned(),
    })
}
