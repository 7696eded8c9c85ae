//! Why a line was refused, in words that name the place, the value and the way out.

use std::fmt;

use crate::printable::{quoted, quoted_bytes};

/// A line that is not an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LineError {
    /// Where in the line, in bytes, counted from 1.
    pub(crate) column: usize,
    /// What is wrong there.
    pub(crate) reason: Reason,
}

/// What is wrong with a line. The text of each variant shows the offending value, cut and escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A byte that cannot stand there in UTF-8.
    NotUtf8(u8),
    /// What the JSON parser said, and the text where it said it.
    NotJson { complaint: String, near: String },
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
    Missing { name: &'static str, form: Form },
    /// A member that is no string, with its value.
    NotAString { name: &'static str, found: String },
    /// A member that may not be the empty string.
    Empty(&'static str),
    /// A CloudEvents version that is not read.
    Version(String),
    /// `data` and `data_base64` in one event.
    TwoData,
    /// A type name too long to be kept.
    LongType { name: String, limit: usize },
    /// A type name beyond the number of types that a run keeps apart.
    TooManyTypes { name: String, limit: usize },
}

/// The two forms of an event in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A CloudEvent in the JSON format: recognised by `specversion`.
    CloudEvent,
    /// `{"type": .., "key": .., "data": ..}`.
    Simple,
}

impl Reason {
    /// A complaint of the JSON parser at byte `at` of `line`.
    pub(super) fn not_json(complaint: String, line: &[u8], at: usize) -> Self {
        let rest = &line[at.min(line.len())..];
        let near = match rest {
            [] => "at the end of the line".to_owned(),
            _ => format!("near {}", quoted_bytes(&rest[..rest.len().min(24)])),
        };
        Self::NotJson { complaint, near }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8(byte) => {
                write!(f, "invalid UTF-8: byte 0x{byte:02x}; convert the input to UTF-8")
            }
            Self::NotJson { complaint, near } => write!(f, "not JSON: {complaint}, {near}"),
            Self::NotAnObject(found) => {
                write!(f, "an event is a JSON object, but this line is {found}")
            }
            Self::TooDeep(limit) => write!(f, "brackets are nested more than {limit} deep"),
            Self::TooLong(limit) => {
                write!(f, "the line is longer than {limit} bytes; raise --max-line to read it")
            }
            Self::Duplicate(name) => write!(f, "{} stands twice in the event", quoted(name)),
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
            Self::Empty(name) => write!(f, "\"{name}\" is an empty string"),
            Self::Version(found) => {
                write!(f, "\"specversion\" is {found}; only CloudEvents \"1.0\" are read")
            }
            Self::TwoData => {
                f.write_str("\"data\" and \"data_base64\" in one event; CloudEvents allow one of them")
            }
            Self::LongType { name, limit } => {
                write!(f, "type {} is longer than {limit} bytes", quoted(name))
            }
            Self::TooManyTypes { name, limit } => write!(
                f,
                "type {} would be one more than the {limit} that are kept apart; raise --max-types",
                quoted(name)
            ),
        }
    }
}
