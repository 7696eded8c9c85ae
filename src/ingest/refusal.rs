//! Why a text is no event, in words that name the place, the value and the way out.

use std::fmt;

use super::printable::{quoted, quoted_bytes};

/// A text that is not an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// Where in the text, in bytes, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub defect: Defect,
}

/// What is wrong with a text. `Display` of each variant shows the offending value, cut and escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Defect {
    /// A byte that cannot stand there in UTF-8.
    NotUtf8(u8),
    /// What the JSON parser said, and the text where it said it.
    NotJson {
        /// The parser's words.
        complaint: String,
        /// The text there, fit to be printed.
        near: String,
    },
    /// Well-formed JSON that is no object.
    NotAnObject(String),
    /// Brackets nested deeper than a JSON parser downstream can be expected to follow.
    TooDeep(usize),
    /// A line longer than the limit.
    TooLong(usize),
    /// One name twice in the object: two parsers may pick different values.
    Duplicate(String),
    /// Neither `specversion` nor `key`: no form that is known.
    NoForm,
    /// A required member that is absent.
    Missing {
        /// Its name.
        name: &'static str,
        /// The form that asks for it.
        form: Form,
    },
    /// A member that is no string, with its value.
    NotAString {
        /// Its name.
        name: &'static str,
        /// What it is.
        found: String,
    },
    /// A member that may not be the empty string.
    Empty(&'static str),
    /// A CloudEvents version that is not read.
    Version(String),
    /// `data` and `data_base64` in one event.
    TwoData,
    /// A `time` that is not one of RFC 3339.
    Time {
        /// What is there.
        found: String,
        /// What is wrong with it.
        complaint: &'static str,
    },
    /// A `data_base64` that is not Base64, with what the decoder said.
    Base64(String),
    /// A header `ce-NAME` whose name is no name of an attribute.
    NotAnAttribute(String),
    /// A header whose value is not UTF-8, after percent-decoding.
    HeaderText {
        /// The name of the attribute.
        name: String,
        /// The value, fit to be printed.
        found: String,
    },
    /// A type name that the bus uses for its own events.
    ReservedType(String),
    /// A type name too long to be kept.
    LongType {
        /// The name.
        name: String,
        /// The limit.
        limit: usize,
    },
    /// A type name beyond the number of types that a run keeps apart.
    TooManyTypes {
        /// The name.
        name: String,
        /// The limit.
        limit: usize,
    },
}

/// The two forms of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A CloudEvent in the JSON format: recognised by `specversion`.
    CloudEvent,
    /// `{"type": .., "key": .., "data": ..}`.
    Simple,
}

impl Refusal {
    /// The member of the event that is meant, if it is one: `id`, `time`.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        Some(match &self.defect {
            Defect::Duplicate(name) => name,
            Defect::Missing { name, .. }
            | Defect::NotAString { name, .. }
            | Defect::Empty(name) => name,
            Defect::NotAnAttribute(name) | Defect::HeaderText { name, .. } => name,
            Defect::Version(_) => "specversion",
            Defect::TwoData | Defect::Base64(_) => "data_base64",
            Defect::Time { .. } => "time",
            Defect::ReservedType(_) | Defect::LongType { .. } | Defect::TooManyTypes { .. } => {
                "type"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.defect)
    }
}

impl std::error::Error for Refusal {}

impl Defect {
    /// A complaint of the JSON parser at byte `at` of `line`.
    pub(super) fn not_json(complaint: String, line: &[u8], at: usize) -> Self {
        let rest = &line[at.min(line.len())..];
        let near = match rest {
            [] => "at its end".to_owned(),
            _ => format!("near {}", quoted_bytes(&rest[..rest.len().min(24)])),
        };
        Self::NotJson { complaint, near }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8(byte) => {
                write!(f, "invalid UTF-8: byte 0x{byte:02x}; convert the input to UTF-8")
            }
            Self::NotJson { complaint, near } => write!(f, "not JSON: {complaint}, {near}"),
            Self::NotAnObject(found) => {
                write!(f, "an event is a JSON object, but this is {found}")
            }
            Self::TooDeep(limit) => write!(f, "brackets are nested more than {limit} deep; nest the data less"),
            Self::TooLong(limit) => {
                write!(f, "the event is longer than {limit} bytes; make it smaller")
            }
            Self::Duplicate(name) => write!(f, "{} stands twice in the event; leave one out", quoted(name)),
            Self::NoForm => f.write_str(
                "neither a CloudEvent (no \"specversion\") nor {\"type\",\"key\",\"data\"} (no \"key\")",
            ),
            Self::Missing { name, form: Form::CloudEvent } => {
                write!(f, "\"{name}\" is missing; a CloudEvent has specversion, id, source and type")
            }
            Self::Missing { name, form: Form::Simple } => {
                write!(f, "\"{name}\" is missing; an event without \"specversion\" has type and key")
            }
            Self::NotAString { name, found } => write!(f, "\"{name}\" must be a string, not {found}"),
            Self::Empty(name) => write!(f, "\"{name}\" is an empty string; give it a value"),
            Self::Version(found) => {
                write!(f, "\"specversion\" is {found}; only CloudEvents \"1.0\" are read")
            }
            Self::TwoData => {
                f.write_str("\"data\" and \"data_base64\" in one event; CloudEvents allow one of them; leave one out")
            }
            Self::Time { found, complaint } => write!(
                f,
                "\"time\" is {}: {complaint}; a time is written as 2026-01-31T23:59:59.5Z or with +01:00 in place of the Z",
                quoted(found)
            ),
            Self::Base64(complaint) => write!(
                f,
                "\"data_base64\" is not Base64: {complaint}; use the alphabet of RFC 4648 section 4, with padding"
            ),
            Self::NotAnAttribute(name) => {
                write!(f, "{} is no attribute: ", quoted(name))?;
                f.write_str(match name.as_str() {
                    "data" => "data is the body of the request",
                    "datacontenttype" => "the type of the data is the header content-type",
                    _ => "names have letters and digits only",
                })
            }
            Self::HeaderText { name, found } => write!(
                f,
                "\"{name}\" is not UTF-8 after percent-decoding: {found}; send other characters as %NN"
            ),
            Self::ReservedType(name) => {
                write!(f, "\"type\" is {}, which the bus uses for its own events; choose another name", quoted(name))
            }
            Self::LongType { name, limit } => {
                write!(f, "type {} is longer than {limit} bytes; use a shorter name", quoted(name))
            }
            Self::TooManyTypes { name, limit } => write!(
                f,
                "type {} would be one more than the {limit} that are kept apart; use fewer names",
                quoted(name)
            ),
        }
    }
}
