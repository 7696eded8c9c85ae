//! The value that an event from outside becomes on the bus.

use std::fmt;

use serde_core::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;

use super::in_flight;

/// An event from outside: its JSON text as it was written, and the key in it. The value of the events that [`ingest`](crate::ingest) emits.
///
/// The text is kept whole instead of being taken apart, so nothing of it is lost or changed on the way: the order
/// of members, the digits of a number, members that nobody here knows. Text and key share one allocation, and the
/// struct is 32 bytes, the size that an event holds inline.
pub struct Record {
    /// The JSON text, then the key if it does not stand in the text as it is (because it is written with escapes).
    text: Box<str>,
    /// Where the JSON text ends.
    json_end: u32,
    /// Where the key begins.
    key_start: u32,
    /// Where the key ends.
    key_end: u32,
}

impl Record {
    /// The longest JSON text and key together, in bytes: offsets are 32 bits wide.
    pub(super) const MAX_BYTES: usize = u32::MAX as usize;

    /// A record of the object `json`, which the caller has checked, on one line.
    ///
    /// A key that is a piece of `json` costs no bytes of its own.
    ///
    /// # Panics
    ///
    /// If text and key together are longer than `Record::MAX_BYTES`.
    pub(super) fn new(json: &str, key: &str) -> Self {
        let inside = offset_within(json, key);
        let mut text = String::with_capacity(json.len() + inside.map_or(key.len(), |_| 0));
        // Line ends can only be white space between tokens here, and a record has to stay one line.
        for (i, piece) in json.split(['\r', '\n']).enumerate() {
            text.push_str(if i == 0 { "" } else { " " });
            text.push_str(piece);
        }
        let key_start = inside.unwrap_or_else(|| {
            text.push_str(key);
            json.len()
        });
        let offset = |at: usize| u32::try_from(at).expect("the reader bounds the length of a line");
        let (json_end, key_end) = (offset(json.len()), offset(key_start + key.len()));
        in_flight::add(text.len());
        let text = text.into_boxed_str();
        Self { text, json_end, key_start: offset(key_start), key_end }
    }

    /// The JSON text: one object on one line.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.text[..self.json_end as usize]
    }

    /// The key that the event was routed by.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.text[self.key_start as usize..self.key_end as usize]
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        in_flight::remove(self.text.len());
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.json())
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.json()).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// Where `part` begins in `whole`, if it is a piece of it.
pub(super) fn offset_within(whole: &str, part: &str) -> Option<usize> {
    let offset = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    (offset + part.len() <= whole.len()).then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_an_event_without_a_box() {
        assert!(size_of::<Record>() <= 32);
    }

    #[test]
    fn a_key_inside_the_text_is_not_copied() {
        let json = r#"{"key":"order-17","n":1.000000000000000000001}"#;
        let record = Record::new(json, &json[8..16]);
        assert_eq!((record.key(), record.json()), ("order-17", json));
        assert_eq!(record.text.len(), json.len());
    }

    #[test]
    fn a_key_with_escapes_is_kept_beside_the_text() {
        let json = r#"{"key":"a\u0062"}"#;
        let record = Record::new(json, &String::from("ab"));
        assert_eq!((record.key(), record.json()), ("ab", json));
    }

    #[test]
    fn renders_as_it_was_written() {
        let json = r#"{ "z":1e400, "a":0.10, "a ":[ ]}"#;
        let record = Record::new(json, "k");
        assert_eq!(serde_json::to_string(&record).unwrap(), json);
        assert_eq!(format!("{record:?}"), json);
    }

    #[test]
    fn stays_one_line() {
        let record = Record::new("{\"a\":\r\n1}", "k\r");
        assert_eq!((record.json(), record.key()), ("{\"a\":  1}", "k\r"));
    }
}
