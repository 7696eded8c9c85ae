//! The dynamic symbols: how many there are, by the hash table that the loader finds them with, and whether they make sense.

use super::bytes::Bytes;
use super::header::malformed;
use super::image::Image;
use crate::plugin::error::LoadErrorKind;

pub(super) const SYMBOL: u64 = 24;
/// The longest name that is looked at.
const MAX_NAME: u64 = 4096;
/// Far more than any library has.
const MAX_SYMBOLS: u64 = 1 << 22;

/// The tables of symbols and their names.
#[derive(Clone, Copy)]
pub(super) struct Symbols<'a> {
    pub(super) names: Bytes<'a>,
    table: Bytes<'a>,
    versions: Option<Bytes<'a>>,
    pub(super) count: u64,
}

/// Where the dynamic section says that they are.
pub(super) struct Places {
    pub(super) symbols: u64,
    pub(super) names: u64,
    pub(super) gnu_hash: Option<u64>,
    pub(super) hash: Option<u64>,
    pub(super) versions: Option<u64>,
}

impl<'a> Symbols<'a> {
    /// Checks the tables; `names` are the strings.
    pub(super) fn read(
        image: Image<'a>,
        names: Bytes<'a>,
        places: &Places,
    ) -> Result<Self, LoadErrorKind> {
        let count = match (places.gnu_hash, places.hash) {
            (Some(at), _) => gnu_count(image, at).map(|count| match count {
                // The table knows defined symbols only. Without any, the symbols end where linkers put their names.
                Hashed::Nothing => places.names.saturating_sub(places.symbols) / SYMBOL,
                Hashed::UpTo(count) => count,
            }),
            (None, Some(at)) => hash_count(image, at),
            (None, None) => return Err(malformed("it has no hash table for its symbols")),
        };
        let count = count.filter(|&count| count <= MAX_SYMBOLS);
        let count = count.ok_or_else(|| malformed("the hash table of its symbols is not whole"))?;
        let table = image.bytes(places.symbols, count * SYMBOL);
        let table = table
            .ok_or_else(|| malformed(format!("its {count} symbols are not all in the file")))?;
        let versions = places.versions.map(|at| image.bytes(at, count * 2));
        if versions.is_some_and(|versions| versions.is_none()) {
            return Err(malformed(format!(
                "the versions of its {count} symbols are not all in the file"
            )));
        }
        let symbols = Self { names, table, versions: versions.flatten(), count };
        for index in 0..count {
            let name = u64::from(symbols.table.u32(index * SYMBOL).unwrap_or(u32::MAX));
            if name >= names.len() {
                return Err(malformed(format!(
                    "the name of symbol {index} is outside of the string table"
                )));
            }
            let value = symbols.table.u64(index * SYMBOL + 8).unwrap_or(0);
            // Thread-local ones (6) have an offset there, absolute ones (section 0xfff1) a number.
            let kind = symbols.table.u8(index * SYMBOL + 4).unwrap_or(0) & 15;
            let section = symbols.section(index);
            if !matches!(section, 0 | 0xfff1) && kind != 6 && !image.is_mapped(value, 0) {
                return Err(malformed(format!(
                    "symbol {index} at {value:#x} is outside of all segments"
                )));
            }
        }
        Ok(symbols)
    }

    /// Whether every symbol has a version that there is; 0 and 1 are none.
    pub(super) fn check_versions(&self, highest: u16) -> Result<(), LoadErrorKind> {
        let Some(versions) = self.versions else { return Ok(()) };
        for index in 0..self.count {
            let version = versions.u16(index * 2).unwrap_or(0) & 0x7fff;
            if version > highest.max(1) {
                return Err(malformed(format!(
                    "symbol {index} has version {version} of {highest}"
                )));
            }
        }
        Ok(())
    }

    fn section(&self, index: u64) -> u16 {
        self.table.u16(index * SYMBOL + 6).unwrap_or(0)
    }

    /// The name at an offset of the string table.
    pub(super) fn name(&self, offset: u64) -> Option<String> {
        let text = self.names.text(offset, MAX_NAME)?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// The names of defined symbols that begin with `prefix`.
    pub(super) fn defined(&self, prefix: &[u8]) -> Vec<String> {
        let defined = (0..self.count).filter(|&index| self.section(index) != 0);
        let texts = defined.filter_map(|index| {
            let name = self.table.u32(index * SYMBOL)?;
            self.names.text(name.into(), MAX_NAME)
        });
        let mut names: Vec<_> = texts
            .filter(|text| text.starts_with(prefix))
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// How many symbols the hash table of System V knows.
fn hash_count(image: Image<'_>, at: u64) -> Option<u64> {
    let table = image.rest(at)?;
    let (buckets, chains) = (u64::from(table.u32(0)?), u64::from(table.u32(4)?));
    let size = buckets.checked_add(chains)?.checked_mul(4)?.checked_add(8)?;
    let all = Bytes(table.slice(0, size)?);
    let inside = (0..buckets + chains).all(|index| {
        all.u32(8 + index * 4).is_some_and(|symbol| u64::from(symbol) < chains.max(1))
    });
    (buckets > 0 && inside).then_some(chains)
}

/// What a GNU hash table says about the number of symbols.
enum Hashed {
    Nothing,
    /// One more than the last symbol of the last chain.
    UpTo(u64),
}

/// How many symbols the GNU hash table knows.
fn gnu_count(image: Image<'_>, at: u64) -> Option<Hashed> {
    let table = image.rest(at)?;
    let (buckets, first) = (u64::from(table.u32(0)?), u64::from(table.u32(4)?));
    let (bloom, shift) = (u64::from(table.u32(8)?), table.u32(12)?);
    if buckets == 0 || !bloom.is_power_of_two() || shift >= 64 {
        return None;
    }
    let buckets_at = bloom.checked_mul(8)?.checked_add(16)?;
    let chains_at = buckets.checked_mul(4)?.checked_add(buckets_at)?;
    table.slice(0, chains_at)?;
    let mut last = 0;
    for bucket in 0..buckets {
        let symbol = u64::from(table.u32(buckets_at + bucket * 4)?);
        if symbol != 0 && symbol < first {
            return None;
        }
        last = last.max(symbol);
    }
    if last == 0 {
        return Some(Hashed::Nothing);
    }
    // The chains lie one after the other, so the one that begins last ends last.
    loop {
        let hash = table.u32((last - first).checked_mul(4)?.checked_add(chains_at)?)?;
        last += 1;
        if hash & 1 != 0 {
            return Some(Hashed::UpTo(last));
        }
    }
}
