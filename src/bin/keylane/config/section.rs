//! Reading a table of a file key by key: every value is asked for by its name and kind, and whatever was not asked for is a
//! mistake.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::{BitOr, Range, RangeInclusive};
use std::time::Duration;

use keylane::ingest::printable::{plain, quoted};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, Mistakes};
use super::units;

/// The most shards of a bus.
pub(crate) const MAX_SHARDS: u64 = 1024;

/// The most slots of a ring.
pub(crate) const MAX_CAPACITY: usize = 1 << 20;

/// A file under examination.
pub(super) struct Document<'a> {
    name: &'a str,
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
}

/// A table of it.
pub(super) struct Section<'a> {
    document: &'a Document<'a>,
    /// Its name; empty for the file itself.
    name: &'static str,
    table: &'a DeTable<'a>,
    /// The keys that were asked for.
    known: Vec<&'static str>,
}

impl<'a> Document<'a> {
    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text, mistakes: RefCell::default() }
    }

    /// Parses the file and has it read, if it is TOML at all.
    pub(super) fn read(&self, read: impl FnOnce(&mut Section<'_>)) {
        match DeTable::parse(self.text) {
            Ok(table) => {
                let table = table.get_ref();
                let mut root = Section { document: self, name: "", table, known: Vec::new() };
                read(&mut root);
                root.end();
            }
            Err(error) => {
                let said: Vec<_> = error.message().lines().collect();
                self.note(
                    error.span().unwrap_or(0..0),
                    format!("not TOML: {}", plain(&said.join(", "), 200)),
                );
            }
        }
    }

    /// What was read, if nothing was wrong.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Mistakes> {
        let mistakes = self.mistakes.into_inner();
        if mistakes.is_empty() { Ok(value) } else { Err(Mistakes::new(self.name, mistakes)) }
    }

    fn note(&self, span: Range<usize>, text: String) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self.mistakes.borrow_mut().push(Mistake { line, column, text });
    }
}

/// A value in words.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => plain(&number.to_string(), 40),
        DeValue::Float(number) => plain(number.as_str(), 40),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(value) => value.to_string(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

impl<'a> Section<'a> {
    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.get(key)
    }

    fn full_name(&self, key: &str) -> String {
        if self.name.is_empty() {
            plain(key, 60)
        } else {
            format!("{}.{}", self.name, plain(key, 60))
        }
    }

    /// Notes that a value is wrong, and what to write.
    fn wrong<T>(&self, key: &str, value: &Spanned<DeValue<'_>>, why: impl Display) -> Option<T> {
        let text = format!("{} = {}: {why}", self.full_name(key), shown(value.get_ref()));
        self.document.note(value.span(), text);
        None
    }

    /// The table of that name.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => {
                Some(Section { document: self.document, name: key, table, known: Vec::new() })
            }
            _ => self.wrong(key, value, format_args!("not a table; write it as [{key}]")),
        }
    }

    /// The tables of an array, written as `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            let _: Option<()> = self.wrong(
                key,
                value,
                format_args!("not a list of tables; write each as [[{key}]]"),
            );
            return Vec::new();
        };
        let section = |item: &'a Spanned<DeValue<'a>>| match item.get_ref() {
            DeValue::Table(table) => {
                Some(Section { document: self.document, name: key, table, known: Vec::new() })
            }
            _ => self.wrong(key, item, format_args!("not a table; write each as [[{key}]]")),
        };
        items.iter().filter_map(section).collect()
    }

    /// Whether the key is there, with whatever value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// Notes that a key is missing.
    pub(super) fn missing(&self, key: &str, why: &str) {
        let span = self.table.iter().next().map_or(0..0, |(key, _)| key.span());
        self.document.note(span, format!("{} is missing: {why}", self.full_name(key)));
    }

    /// A JSON object: as a table, or as text.
    pub(super) fn object(&mut self, key: &'static str) -> Option<String> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => match super::json_object(text) {
                Ok(json) => Some(json),
                Err(why) => self.wrong(key, value, why),
            },
            DeValue::Table(_) => match json(value.get_ref()) {
                Ok(json) => Some(json.to_string()),
                Err(why) => self.wrong(key, value, why),
            },
            _ => self.wrong(key, value, "write a table, such as { limit = 10 }, or JSON in quotes"),
        }
    }

    /// An integer in a range.
    pub(super) fn number<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let number = integer(value.get_ref()).filter(|number| range.contains(number));
        match number.and_then(|number| T::try_from(number).ok()) {
            Some(number) => Some(number),
            None => {
                let (least, most) = range.into_inner();
                self.wrong(key, value, format_args!("write an integer from {least} to {most}"))
            }
        }
    }

    /// A power of two.
    pub(super) fn power_of_two(&mut self, key: &'static str, most: usize) -> Option<usize> {
        let value = self.get(key)?;
        let number = integer(value.get_ref()).and_then(|number| usize::try_from(number).ok());
        match number {
            Some(number) if number.is_power_of_two() && number <= most => Some(number),
            Some(number) if number < most => {
                let better = number.next_power_of_two();
                self.wrong(key, value, format_args!("not a power of two; write {better}"))
            }
            _ => self.wrong(key, value, format_args!("write a power of two up to {most}")),
        }
    }

    /// A number of bytes: an integer, or a text with a unit.
    pub(super) fn size<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let size = match value.get_ref() {
            DeValue::String(text) => match units::size(text) {
                Ok(size) => Some(size),
                Err(why) => return self.wrong(key, value, why),
            },
            other => integer(other),
        };
        let size = size.filter(|size| range.contains(size)).and_then(|size| T::try_from(size).ok());
        let most = units::show_size(*range.end());
        size.or_else(|| {
            self.wrong(
                key,
                value,
                format_args!("write a size up to {most}, such as \"1 MiB\", or bytes"),
            )
        })
    }

    /// A time: a text with a unit.
    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let value = self.get(key)?;
        let DeValue::String(text) = value.get_ref() else {
            return self.wrong(
                key,
                value,
                "write a time with its unit, such as \"10s\" or \"500ms\"",
            );
        };
        match units::duration(text) {
            Ok(duration) => Some(duration),
            Err(why) => self.wrong(key, value, why),
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong(key, value, "write true or false"),
        }
    }

    /// A text that means something.
    pub(super) fn word<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.get(key)?;
        self.parsed(key, value, parse)
    }

    fn parsed<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let DeValue::String(text) = value.get_ref() else {
            return self.wrong(key, value, "write a text in quotes");
        };
        match parse(text) {
            Ok(parsed) => Some(parsed),
            Err(why) => self.wrong(key, value, why),
        }
    }

    /// An array of such texts. Each wrong one is noted.
    pub(super) fn words<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.get(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            return self.wrong(key, value, "write an array of texts, such as [\"a\", \"b\"]");
        };
        let parsed: Vec<_> = items.iter().map(|item| self.parsed(key, item, &parse)).collect();
        parsed.into_iter().collect()
    }

    /// One such text or an array of them, put together.
    pub(super) fn word_or_words<T: BitOr<Output = T>>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match self.table.get(key)?.get_ref() {
            DeValue::Array(items) if !items.is_empty() => {
                self.words(key, parse)?.into_iter().reduce(T::bitor)
            }
            _ => self.word(key, parse),
        }
    }

    /// Notes every key that nobody has asked for.
    pub(super) fn end(&self) {
        for (key, _) in self.table.iter() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let near =
                self.known.iter().map(|known| (strsim::damerau_levenshtein(known, name), known));
            let kind = if self.name.is_empty() { "section" } else { "key" };
            let mut text = format!("{}: there is no such {kind}; ", self.full_name(name));
            match near.min().filter(|(distance, known)| *distance <= known.len().div_ceil(3)) {
                Some((_, known)) => text.push_str(&format!("did you mean {known}?")),
                None if self.name.is_empty() => {
                    text.push_str(&format!("there are [{}]", self.known.join("], [")));
                }
                None => text.push_str(&format!("[{}] has {}", self.name, self.known.join(", "))),
            }
            self.document.note(key.span(), text);
        }
    }
}

/// What JSON has for a value; the nesting is that of the file, which its parser has bounded.
fn json(value: &DeValue<'_>) -> Result<serde_json::Value, String> {
    use serde_json::Value as Json;
    Ok(match value {
        DeValue::String(text) => Json::from(&**text),
        DeValue::Integer(number) => {
            let (digits, radix) = (number.as_str(), number.radix());
            let signed = i64::from_str_radix(digits, radix).map(Json::from);
            signed
                .or_else(|_| u64::from_str_radix(digits, radix).map(Json::from))
                .map_err(|_| format!("{} does not fit into 64 bits", plain(digits, 40)))?
        }
        DeValue::Float(number) => {
            let float = number.as_str().parse::<f64>().ok().and_then(serde_json::Number::from_f64);
            Json::from(float.ok_or("JSON has no such number; write a finite one")?)
        }
        DeValue::Boolean(value) => Json::from(*value),
        DeValue::Datetime(value) => Json::from(value.to_string()),
        DeValue::Array(items) => Json::from(
            items.iter().map(|item| json(item.get_ref())).collect::<Result<Vec<_>, _>>()?,
        ),
        DeValue::Table(table) => {
            let members = table
                .iter()
                .map(|(key, value)| Ok((key.get_ref().to_string(), json(value.get_ref())?)));
            Json::from(members.collect::<Result<serde_json::Map<_, _>, String>>()?)
        }
    })
}

fn integer(value: &DeValue<'_>) -> Option<u64> {
    match value {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}
