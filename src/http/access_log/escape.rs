//! Making text harmless that a client has chosen.

use std::io::Write;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// As nginx does it, for lines of text: `\x22` for what could end a quoted field or the line, or confuse a terminal.
    Text,
    /// The inside of a JSON string.
    Json,
    /// A value of logfmt, in quotes when it needs them.
    Logfmt,
}

impl Style {
    /// Writes a value that is present.
    pub(super) fn write(self, value: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Text => text(value, out),
            Self::Json => json(value, out),
            Self::Logfmt => {
                let plain = |&byte: &u8| byte.is_ascii_graphic() && !b"\"\\=".contains(&byte);
                if !value.is_empty() && value.iter().all(plain) {
                    out.extend_from_slice(value);
                } else {
                    out.push(b'"');
                    json(value, out);
                    out.push(b'"');
                }
            }
        }
    }
}

/// Quotes, backslashes, control characters and everything above ASCII become `\xNN`.
fn text(value: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in value {
        if (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\' {
            out.push(byte);
        } else {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(&[b'\\', b'x', digits[0], digits[1]]);
        }
    }
}

/// What is not UTF-8 is replaced; characters that are not printable, `<` and `>` become `\uNNNN`.
fn json(value: &[u8], out: &mut Vec<u8>) {
    for c in String::from_utf8_lossy(value).chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            // A page that shows the log must not become one that runs it.
            ' '..='~' if c != '<' && c != '>' => out.push(c as u8),
            _ if c.is_alphanumeric() => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect("writing to memory does not fail");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(style: Style, value: &[u8]) -> String {
        let mut out = Vec::new();
        style.write(value, &mut out);
        String::from_utf8(out).expect("what is written is UTF-8")
    }

    #[test]
    fn a_corpus_of_hostile_values() {
        for (value, text, json, logfmt) in [
            (&b"harmless"[..], "harmless", "harmless", "harmless"),
            (b"a b", "a b", "a b", r#""a b""#),
            (b"a=b", "a=b", "a=b", r#""a=b""#),
            (b"a\"b", r"a\x22b", r#"a\"b"#, r#""a\"b""#),
            (br"a\b", r"a\x5Cb", r"a\\b", r#""a\\b""#),
            (b"a\r\nb", r"a\x0D\x0Ab", r"a\u000d\u000ab", r#""a\u000d\u000ab""#),
            (b"\x1b[2J", r"\x1B[2J", r"\u001b[2J", r#""\u001b[2J""#),
            (b"\x7f", r"\x7F", r"\u007f", r#""\u007f""#),
            (b"\xff\xfe", r"\xFF\xFE", r"\ufffd\ufffd", r#""\ufffd\ufffd""#),
            ("é".as_bytes(), r"\xC3\xA9", "é", r#""é""#),
            ("\u{202e}x".as_bytes(), r"\xE2\x80\xAEx", r"\u202ex", r#""\u202ex""#),
            ("😀".as_bytes(), r"\xF0\x9F\x98\x80", r"\ud83d\ude00", r#""\ud83d\ude00""#),
            (b"<script>", "<script>", r"\u003cscript\u003e", "<script>"),
            (b"", "", "", r#""""#),
        ] {
            assert_eq!(written(Style::Text, value), text);
            assert_eq!(written(Style::Json, value), json);
            assert_eq!(written(Style::Logfmt, value), logfmt);
        }
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_field(value in proptest::collection::vec(any::<u8>(), 0..100)) {
            let text = written(Style::Text, &value);
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"'));

            let json = format!("\"{}\"", written(Style::Json, &value));
            let read: String = serde_json::from_str(&json).expect("a JSON string");
            prop_assert_eq!(read, String::from_utf8_lossy(&value));

            let logfmt = written(Style::Logfmt, &value);
            prop_assert!(!logfmt.contains('\n'));
            prop_assert!(logfmt.starts_with('"') || !logfmt.contains([' ', '"', '=']));
        }
    }
}
