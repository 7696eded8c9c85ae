//! Text from outside, made fit to be printed.
//!
//! Keys, type names, file names and pieces of bad lines come from whoever wrote the input, and they are shown on a
//! terminal that obeys escape sequences. Nothing of theirs reaches it raw: what could move the cursor, change the
//! title, reorder the text or hide in it is shown as an escape.

use std::borrow::Cow;

/// How many columns of a foreign value an error message shows.
const SHOWN: usize = 60;

/// Whether `c` acts on a terminal or on the reader's eye instead of being seen.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'                        // soft hyphen
                | '\u{61c}'                 // Arabic letter mark
                | '\u{180e}'                // Mongolian vowel separator
                | '\u{200b}'..='\u{200f}'   // zero width, direction marks
                | '\u{2028}'..='\u{202e}'   // line separators, direction overrides
                | '\u{2060}'..='\u{206f}'   // joiners, direction isolates
                | '\u{feff}'                // byte order mark
                | '\u{fff9}'..='\u{fffb}'   // annotations
                | '\u{e0000}'..='\u{e007f}' // tags
        )
}

/// Text under construction that stops, with an ellipsis, when its room is used up.
struct Shown {
    text: String,
    room: usize,
    full: bool,
}

impl Shown {
    fn with_room(room: usize) -> Self {
        Self { text: String::new(), room, full: false }
    }

    fn push(&mut self, piece: &str) {
        let columns = piece.chars().count();
        if self.full || columns > self.room {
            if !self.full {
                self.text.push('…');
            }
            self.full = true;
        } else {
            self.room -= columns;
            self.text.push_str(piece);
        }
    }

    fn push_str(&mut self, text: &str, quoting: bool) {
        for c in text.chars() {
            if self.full {
                break;
            }
            if acts(c) || quoting && (c == '"' || c == '\\') {
                self.push(&c.escape_default().to_string());
            } else {
                self.push(c.encode_utf8(&mut [0; 4]));
            }
        }
    }
}

/// A foreign string in double quotes, on one line, cut at 60 columns.
#[must_use]
pub fn quoted(text: &str) -> String {
    quoted_bytes(text.as_bytes())
}

/// Foreign bytes as [`quoted`] shows text, with `\xNN` for what is not UTF-8.
#[must_use]
pub fn quoted_bytes(bytes: &[u8]) -> String {
    let mut shown = Shown::with_room(SHOWN);
    for chunk in bytes.utf8_chunks() {
        shown.push_str(chunk.valid(), true);
        for byte in chunk.invalid() {
            shown.push(&format!("\\x{byte:02x}"));
        }
        if shown.full {
            break;
        }
    }
    format!("\"{}\"", shown.text)
}

/// A foreign string for a cell of a table or a place in a message: no quotes, cut at `width` columns.
#[must_use]
pub fn plain(text: &str, width: usize) -> String {
    let mut shown = Shown::with_room(width);
    shown.push_str(text, false);
    shown.text
}

/// A foreign string of any length without quotes, with backslashes escaped too: different strings look different.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| acts(c) || c == '\\') {
        return Cow::Borrowed(text);
    }
    let escape = |c| match c {
        c if acts(c) || c == '\\' => c.escape_default().to_string(),
        c => c.to_string(),
    };
    Cow::Owned(text.chars().map(escape).collect())
}

/// The same JSON with every character that acts on a terminal written as `\uXXXX`.
///
/// Such a character can only stand inside a string of a JSON text, where the escape means the same.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| acts(c) && c != '\n' && c != '\t') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) && c != '\n' && c != '\t' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_escaped() {
        assert_eq!(quoted("a\x1b[31m\u{9b}2J\u{202e}b"), r#""a\u{1b}[31m\u{9b}2J\u{202e}b""#);
        assert_eq!(quoted("say \"x\"\\\n"), r#""say \"x\"\\\n""#);
        assert_eq!(plain("a\tb\"c", 40), "a\\tb\"c");
        assert_eq!(quoted("naïve 数据"), "\"naïve 数据\"");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown_as_hex() {
        assert_eq!(quoted_bytes(b"ok \xff\xfe \xe2\x82"), r#""ok \xff\xfe \xe2\x82""#);
    }

    #[test]
    fn long_text_is_cut() {
        let long = "x".repeat(61);
        assert_eq!(quoted(&long), format!("\"{}…\"", "x".repeat(60)));
        assert_eq!(quoted(&long[..60]), format!("\"{}\"", "x".repeat(60)));
        assert_eq!(plain("abcdef", 3), "abc…");
        assert_eq!(plain("ab\x1bdef", 5), "ab…");
    }

    #[test]
    fn different_strings_look_different() {
        assert_eq!(escaped("a\u{1b}[2J"), r"a\u{1b}[2J");
        assert_eq!(escaped(r"a\u{1b}[2J"), r"a\\u{1b}[2J");
        assert_eq!(escaped("\"naïve\""), "\"naïve\"");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let text = "{\"a\":\"\u{9b}2J \u{202e}\u{e0041}\"}";
        let safe = json(text);
        assert_eq!(safe, "{\"a\":\"\\u009b2J \\u202e\\udb40\\udc41\"}");
        let before: serde_json::Value = serde_json::from_str(text).unwrap();
        let after: serde_json::Value = serde_json::from_str(&safe).unwrap();
        assert_eq!(before, after);
        assert!(matches!(json("{\n\t\"a\":1}"), Cow::Borrowed(_)));
    }
}
