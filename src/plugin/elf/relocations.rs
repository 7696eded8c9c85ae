//! The relocations: the loader writes where they say.

use super::bytes::Bytes;
use super::header::malformed;
use super::image::Image;
use crate::plugin::error::LoadErrorKind;

pub(super) const RELOCATION: u64 = 24;

/// The types of relocations that take an address of the library itself, and of those that call a function of it.
const RELATIVE: &[u32] = if cfg!(target_arch = "x86_64") {
    &[8]
} else if cfg!(target_arch = "aarch64") {
    &[1027]
} else {
    &[]
};
const CALLING: &[u32] = if cfg!(target_arch = "x86_64") {
    &[37]
} else if cfg!(target_arch = "aarch64") {
    &[1032]
} else {
    &[]
};

/// Checks a table of relocations with addends against the mapped segments and the number of symbols.
pub(super) fn check(
    image: Image<'_>,
    table: Bytes<'_>,
    symbols: u64,
    in_text: bool,
) -> Result<(), LoadErrorKind> {
    for index in 0..table.len() / RELOCATION {
        let at = index * RELOCATION;
        let field = |offset| table.u64(at + offset).unwrap_or(u64::MAX);
        let (place, info, addend) = (field(0), field(8), field(16));
        let (symbol, kind) = (info >> 32, info as u32);
        // No relocation at all.
        if kind == 0 {
            continue;
        }
        let room = if in_text { image.is_mapped(place, 8) } else { image.is_writable(place, 8) };
        if !room {
            return Err(malformed(format!(
                "relocation {index} writes to {place:#x}, where nothing may be written"
            )));
        }
        if symbol >= symbols.max(1) {
            return Err(malformed(format!(
                "relocation {index} names symbol {symbol} of {symbols}"
            )));
        }
        // One past the end is an address as well.
        if RELATIVE.contains(&kind) && !image.is_mapped(addend, 0) {
            return Err(malformed(format!(
                "relocation {index} leads to {addend:#x}, outside of all segments"
            )));
        }
        if CALLING.contains(&kind) && !image.is_executable(addend) {
            return Err(malformed(format!(
                "relocation {index} calls {addend:#x}, where there is no code"
            )));
        }
    }
    Ok(())
}

/// Whether the word at `place` becomes the address of a function by one of these relocations.
pub(super) fn is_function(image: Image<'_>, table: Bytes<'_>, place: u64) -> bool {
    let mut all = (0..table.len() / RELOCATION).map(|index| index * RELOCATION);
    let found = all.find(|&at| table.u64(at) == Some(place));
    found.is_some_and(|at| {
        let kind = table.u64(at + 8).unwrap_or(0) as u32;
        // Others take the address of a symbol.
        !RELATIVE.contains(&kind) || image.is_executable(table.u64(at + 16).unwrap_or(0))
    })
}

/// Checks a table of packed relative relocations (`DT_RELR`): addresses, and bit maps of the words behind them.
pub(super) fn check_packed(image: Image<'_>, table: Bytes<'_>) -> Result<(), LoadErrorKind> {
    let mut next = None;
    for index in 0..table.len() / 8 {
        let entry = table.u64(index * 8).unwrap_or(0);
        let (place, words) = match (entry & 1, next) {
            (0, _) => (entry, 1),
            // The highest bit that is set tells how far the map writes.
            (_, Some(place)) => (place, u64::from(63 - entry.leading_zeros())),
            (_, None) => return Err(malformed("its packed relocations begin with a bit map")),
        };
        if words > 0 && !image.is_writable(place, words * 8) {
            return Err(malformed(format!(
                "packed relocation {index} writes to {place:#x}, where nothing may be written"
            )));
        }
        let step = if entry & 1 == 0 { 8 } else { 63 * 8 };
        next = place.checked_add(step);
    }
    Ok(())
}
