//! One event as text: a CloudEvent or the simple form, checked and kept as it was written.
//!
//! What is read is what routing needs: the form, the type and the key. What would let two readers see two different
//! events is refused (a name that stands twice, `data` beside `data_base64`), and so is what the specification gives a form that a
//! reader relies on (`time`, `data_base64`); what nobody here uses is carried and not judged.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_core::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::printable::{plain, quoted};
use super::record::{Record, offset_within};
use super::refusal::{Defect, Form, Refusal};

mod rfc3339;

/// How deep brackets may nest: as deep as `serde_json` follows them when it reads a value, so that what is accepted here
/// can be read at the other end.
pub const MAX_DEPTH: usize = 127;

/// The longest name of a type, in bytes: a run keeps every name that it has seen.
pub const MAX_TYPE_BYTES: usize = 1024;

/// An event as it stands in a text.
#[derive(Debug)]
#[non_exhaustive]
pub struct Parsed<'a> {
    /// The name of its type, at most [`MAX_TYPE_BYTES`] long.
    pub type_name: Cow<'a, str>,
    /// Where that name stands in the text, in bytes, counted from 1.
    pub type_column: usize,
    /// Its text and its key.
    pub record: Record,
}

/// Which forms of an event are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forms {
    /// CloudEvents and the simple form.
    Both,
    /// CloudEvents only.
    CloudEvents,
}

/// Reads the one event in `line`, in either form. See [the module](crate::ingest) for the forms.
///
/// A byte order mark at the front and white space around the object are not part of the event. White space may be line ends too; in the
/// [`Record`] they are blanks.
///
/// ```
/// let parsed = keylane::ingest::parse_line(br#"{"type":"order.paid","key":"order-17"}"#)?;
/// assert_eq!((&*parsed.type_name, parsed.record.key()), ("order.paid", "order-17"));
///
/// let refusal = keylane::ingest::parse_line(br#"{"type":"order.paid","key":17}"#).unwrap_err();
/// assert_eq!(refusal.to_string(), "column 28: \"key\" must be a string, not the number 17");
/// # Ok::<(), keylane::ingest::Refusal>(())
/// ```
///
/// # Errors
/// A [`Refusal`] with the place and what is wrong there.
pub fn parse_line(line: &[u8]) -> Result<Parsed<'_>, Refusal> {
    parse(line, Forms::Both)
}

/// Reads the one event in `line`, in one of `forms`.
pub(super) fn parse(line: &[u8], forms: Forms) -> Result<Parsed<'_>, Refusal> {
    if line.len() > Record::MAX_BYTES / 2 {
        let limit = Record::MAX_BYTES / 2;
        return Err(Refusal { column: limit + 1, defect: Defect::TooLong(limit) });
    }
    let text = std::str::from_utf8(line).map_err(|error| not_utf8(line, &error))?;
    let json = text.strip_prefix('\u{feff}').unwrap_or(text).trim_matches(JSON_SPACE);
    let place = Place { line, json, start: offset_within(text, json).unwrap_or(0) };
    if let Some(at) = first_too_deep(json) {
        return Err(place.refuse(at, Defect::TooDeep(MAX_DEPTH)));
    }
    if !json.starts_with('{') {
        return Err(place.not_an_object());
    }
    let members: Members<'_> =
        serde_json::from_str(json).map_err(|error| place.bad_json(0, &error))?;
    if let Some(at) = first_lone_surrogate(json) {
        let complaint = "half of a surrogate pair, which no character has".to_owned();
        return Err(place.refuse(at, Defect::not_json(complaint, line, place.start + at)));
    }
    let names = Names::of(members, &place)?;
    let (type_name, key) = if names.specversion.is_some() || forms == Forms::CloudEvents {
        cloud_event(&names, &place)?
    } else if names.key.is_some() {
        simple(&names, &place)?
    } else {
        return Err(place.refuse(0, Defect::NoForm));
    };
    let type_at = names.type_name.and_then(|raw| offset_within(json, raw.get())).unwrap_or(0);
    if type_name.len() > MAX_TYPE_BYTES {
        let defect = Defect::LongType { name: type_name.into_owned(), limit: MAX_TYPE_BYTES };
        return Err(place.refuse(type_at, defect));
    }
    let type_column = place.start + type_at + 1;
    Ok(Parsed { type_name, type_column, record: Record::new(json, &key) })
}

/// Refuses `text` for what is not UTF-8 in it.
pub(super) fn not_utf8(text: &[u8], error: &std::str::Utf8Error) -> Refusal {
    let at = error.valid_up_to();
    let byte = text.get(at).copied().unwrap_or_default();
    Refusal { column: at + 1, defect: Defect::NotUtf8(byte) }
}

/// Refuses `whole`, which ends with `json`, for what the JSON parser said about that.
pub(super) fn json_refusal(whole: &[u8], json: &str, error: &serde_json::Error) -> Refusal {
    Place { line: whole, json, start: whole.len() - json.len() }.bad_json(0, error)
}

/// White space between JSON tokens.
const JSON_SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Type and key of a CloudEvent.
fn cloud_event<'a>(
    names: &Names<'a>,
    place: &Place<'a>,
) -> Result<(Cow<'a, str>, Cow<'a, str>), Refusal> {
    let required = |name, member| place.required(name, member, Form::CloudEvent);
    match names.specversion {
        None => {
            return Err(
                place.refuse(0, Defect::Missing { name: "specversion", form: Form::CloudEvent })
            );
        }
        Some(raw) if raw.get() == r#""1.0""# => {}
        // Decoded only here: nobody writes the version with escapes, but it would be legal.
        Some(raw) => {
            if place.text("specversion", raw)? != "1.0" {
                return Err(place.refuse_at(raw, Defect::Version(describe(raw.get()))));
            }
        }
    }
    required("id", names.id)?;
    let source = required("source", names.source)?;
    let type_name = required("type", names.type_name)?;
    for (name, member) in [
        ("subject", names.subject),
        ("datacontenttype", names.datacontenttype),
        ("dataschema", names.dataschema),
    ] {
        if present(member).is_some() {
            required(name, member)?;
        }
    }
    if let Some(raw) = present(names.time) {
        let time = place.text("time", raw)?;
        if let Err(complaint) = rfc3339::check(&time) {
            let defect = Defect::Time { found: time.into_owned(), complaint };
            return Err(place.refuse_at(raw, defect));
        }
    }
    if let Some(raw) = present(names.data_base64) {
        let data = place.text("data_base64", raw)?;
        if let Err(error) = STANDARD.decode(data.as_bytes()) {
            return Err(place.refuse_at(raw, Defect::Base64(error.to_string())));
        }
    }
    if let (Some(_), Some(second)) = (present(names.data), present(names.data_base64)) {
        return Err(place.refuse_at(second, Defect::TwoData));
    }
    let key = match present(names.partitionkey) {
        Some(_) => required("partitionkey", names.partitionkey)?,
        None => source,
    };
    Ok((type_name, key))
}

/// Type and key of an event in the simple form.
fn simple<'a>(
    names: &Names<'a>,
    place: &Place<'a>,
) -> Result<(Cow<'a, str>, Cow<'a, str>), Refusal> {
    let required = |name, member| place.required(name, member, Form::Simple);
    Ok((required("type", names.type_name)?, required("key", names.key)?))
}

/// A member that is there: in a CloudEvent `null` says that it is not.
fn present(member: Option<&RawValue>) -> Option<&RawValue> {
    member.filter(|raw| raw.get() != "null")
}

/// The line under the parser, to turn pieces of it into columns.
struct Place<'a> {
    /// All of it.
    line: &'a [u8],
    /// The JSON text in it.
    json: &'a str,
    /// Where the JSON text begins in the line.
    start: usize,
}

impl<'a> Place<'a> {
    /// Refuses the line for what stands at byte `at` of its JSON text.
    fn refuse(&self, at: usize, defect: Defect) -> Refusal {
        Refusal { column: self.start + at + 1, defect }
    }

    /// Refuses the line for the member `raw`.
    fn refuse_at(&self, raw: &RawValue, defect: Defect) -> Refusal {
        self.refuse(offset_within(self.json, raw.get()).unwrap_or(0), defect)
    }

    /// Refuses the line for what `serde_json` said about the text that begins at byte `base`.
    fn bad_json(&self, base: usize, error: &serde_json::Error) -> Refusal {
        // The parser's columns count from 1, and say 0 for a text with nothing in it.
        let before: usize = self.json[base..]
            .split_inclusive('\n')
            .take(error.line().saturating_sub(1))
            .map(str::len)
            .sum();
        let at = base + before + error.column().saturating_sub(1);
        let said = error.to_string();
        let suffix = format!(" at line {} column {}", error.line(), error.column());
        let complaint = said.strip_suffix(&suffix).unwrap_or(&said).to_owned();
        // At the end of the text, and at a control character, the parser points one byte too far to the left.
        let at = match self.json.as_bytes().get(at + 1) {
            _ if error.is_eof() => self.json.len(),
            Some(0..0x20) if complaint.starts_with("control character") => at + 1,
            _ => at,
        };
        self.refuse(at, Defect::not_json(complaint, self.line, self.start + at))
    }

    /// Refuses a line that does not begin as an object does.
    fn not_an_object(&self) -> Refusal {
        match serde_json::from_str::<&RawValue>(self.json) {
            Ok(raw) => self.refuse(0, Defect::NotAnObject(describe(raw.get()))),
            Err(error) => self.bad_json(0, &error),
        }
    }

    /// The string that the member `name` has to be.
    fn text(&self, name: &'static str, raw: &'a RawValue) -> Result<Cow<'a, str>, Refusal> {
        let json = raw.get();
        let Some(inner) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
            return Err(self.refuse_at(raw, Defect::NotAString { name, found: describe(json) }));
        };
        if !inner.contains('\\') {
            return Ok(Cow::Borrowed(inner));
        }
        serde_json::from_str(json)
            .map(Cow::Owned)
            .map_err(|error| self.bad_json(offset_within(self.json, json).unwrap_or(0), &error))
    }

    /// The string of a member that has to be there and say something.
    fn required(
        &self,
        name: &'static str,
        member: Option<&'a RawValue>,
        form: Form,
    ) -> Result<Cow<'a, str>, Refusal> {
        let raw = member.ok_or_else(|| self.refuse(0, Defect::Missing { name, form }))?;
        let text = self.text(name, raw)?;
        if text.is_empty() {
            return Err(self.refuse_at(raw, Defect::Empty(name)));
        }
        Ok(text)
    }
}

/// A JSON value in words, for an error message.
fn describe(json: &str) -> String {
    match json.as_bytes().first() {
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "an array".to_owned(),
        Some(b'"') => format!("the string {}", quoted(&json[1..json.len().max(2) - 1])),
        Some(b't' | b'f' | b'n') => json.to_owned(),
        _ => format!("the number {}", plain(json, 40)),
    }
}

/// Where brackets first nest deeper than [`MAX_DEPTH`].
fn first_too_deep(json: &str) -> Option<usize> {
    let opening = |byte: &u8| matches!(byte, b'[' | b'{');
    // Counting is many times faster than following strings, and nearly every line has fewer brackets than levels.
    if json.bytes().filter(|byte| opening(byte)).count() <= MAX_DEPTH {
        return None;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (at, byte) in json.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some(at);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Where an escape first names half of a surrogate pair without the other. JSON's grammar allows that, and most readers do not, so
/// what is accepted here could not be read at the other end.
fn first_lone_surrogate(json: &str) -> Option<usize> {
    let bytes = json.as_bytes();
    let unit = |at: usize| {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut at = 0;
    // In JSON a backslash stands in a string, and always before what it escapes.
    while let Some(next) = json.get(at..)?.find('\\') {
        at += next;
        at += match unit(at) {
            Some(0xd800..0xdc00) if matches!(unit(at + 6), Some(0xdc00..0xe000)) => 12,
            Some(0xd800..0xe000) => return Some(at),
            Some(_) => 6,
            None => 2,
        };
    }
    None
}

/// The members of an object in their order, values as they are written.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The name of a member, borrowed where it has no escapes (serde's own `Cow` never borrows).
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowing;
        impl<'de> Visitor<'de> for Borrowing {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrowing)
    }
}

/// The members that say how to route an event.
#[derive(Default)]
struct Names<'a> {
    specversion: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    source: Option<&'a RawValue>,
    type_name: Option<&'a RawValue>,
    partitionkey: Option<&'a RawValue>,
    subject: Option<&'a RawValue>,
    time: Option<&'a RawValue>,
    datacontenttype: Option<&'a RawValue>,
    dataschema: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    data_base64: Option<&'a RawValue>,
    key: Option<&'a RawValue>,
}

impl<'a> Names<'a> {
    /// Picks the known names, after making sure that none stands twice.
    fn of(members: Members<'a>, place: &Place<'_>) -> Result<Self, Refusal> {
        let mut members = members.0;
        // Sorted by name, and equal names by place: what stands twice lies side by side, the later one behind.
        members.sort_unstable_by(|(a, x), (b, y)| {
            a.cmp(b).then(x.get().as_ptr().addr().cmp(&y.get().as_ptr().addr()))
        });
        if let Some([_, (name, again)]) = members.array_windows().find(|[(a, _), (b, _)]| a == b) {
            return Err(place.refuse_at(again, Defect::Duplicate(name.to_string())));
        }
        let mut names = Self::default();
        for (name, raw) in members {
            let member = match name.as_ref() {
                "specversion" => &mut names.specversion,
                "id" => &mut names.id,
                "source" => &mut names.source,
                "type" => &mut names.type_name,
                "partitionkey" => &mut names.partitionkey,
                "subject" => &mut names.subject,
                "time" => &mut names.time,
                "datacontenttype" => &mut names.datacontenttype,
                "dataschema" => &mut names.dataschema,
                "data" => &mut names.data,
                "data_base64" => &mut names.data_base64,
                "key" => &mut names.key,
                _ => continue,
            };
            *member = Some(raw);
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests;
