//! How the metas become text: one field of a log line, or one string of a JSON object.

use std::fmt::{self, Display, Write};

use serde_core::{Serialize, Serializer};

/// One value of a `name=value` line, in quotes when it would otherwise be ambiguous.
///
/// NB: much of what passes here is chosen by clients: hyper lets `"`, `\`, control characters in
/// header values and raw bytes through. A value must not be able to end its field, forge another
/// one or begin a new line.
pub(crate) struct Field<T>(pub(crate) T);

impl<T: Display> Display for Field<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Looking first and printing second needs no buffer for the common, harmless value.
        let mut plain = Plain { empty: true };
        let fits = write!(plain, "{}", self.0).is_ok();
        if fits && !plain.empty {
            self.0.fmt(f)
        } else {
            f.write_char('"')?;
            write!(Escape(f), "{}", self.0)?;
            f.write_char('"')
        }
    }
}

/// The same as [`Field`], with `-` for a missing value.
pub(crate) struct OptionalField<T>(pub(crate) Option<T>);

impl<T: Display> Display for OptionalField<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => Field(value).fmt(f),
            None => f.write_char('-'),
        }
    }
}

/// Refuses text that cannot stand without quotes.
struct Plain {
    /// Nothing was written yet; a lone `-` counts as nothing, because it means "missing".
    empty: bool,
}

impl Write for Plain {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // An `=` is harmless: a reader splits a field at its first one, and URIs are full of them.
        let harmless = |c: char| c.is_alphanumeric() || c.is_ascii_graphic() && !"\"\\".contains(c);
        if !text.chars().all(harmless) {
            return Err(fmt::Error);
        }
        if text != "-" && !text.is_empty() {
            self.empty = false;
        }
        Ok(())
    }
}

/// Writes the inside of a quoted value.
struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            // `escape_debug` knows what is not printable, bidirectional overrides too, but it is made
            // for Rust literals, where `'` needs a backslash.
            if c == '\'' { self.0.write_char(c)? } else { write!(self.0, "{}", c.escape_debug())? }
        }
        Ok(())
    }
}

/// Serialises a value as the string that its `Display` prints.
pub(crate) struct AsText<T>(pub(crate) T);

impl<T: Display> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_values_stand_as_they_are() {
        for value in ["reqid", "GET", "http://a.example/?q=1&r='x'", "[::1]:80", "jörg", "--", "0"]
        {
            assert_eq!(Field(value).to_string(), value);
        }
    }

    #[test]
    fn a_value_cannot_leave_its_field() {
        for (value, expected) in [
            ("", r#""""#),
            ("-", r#""-""#),
            ("a b", r#""a b""#),
            ("it's so", r#""it's so""#),
            ("x\nstatus_code=200", r#""x\nstatus_code=200""#),
            ("x\r\0", r#""x\r\0""#),
            (r#"x" user="root"#, r#""x\" user=\"root""#),
            (r"x\", r#""x\\""#),
            ("\u{202e}gpj", r#""\u{202e}gpj""#),
            ("\u{1b}[2J", r#""\u{1b}[2J""#),
            ("\u{2028}", r#""\u{2028}""#),
        ] {
            assert_eq!(Field(value).to_string(), expected);
        }
    }

    #[test]
    fn a_missing_value_differs_from_every_present_one() {
        assert_eq!(OptionalField::<&str>(None).to_string(), "-");
        assert_eq!(OptionalField(Some("-")).to_string(), r#""-""#);
        assert_eq!(OptionalField(Some("")).to_string(), r#""""#);
        assert_eq!(OptionalField(Some("x")).to_string(), "x");
    }

    #[test]
    fn a_value_written_in_pieces_is_judged_as_a_whole() {
        assert_eq!(Field(format_args!("{}-{}", "", "b")).to_string(), "-b");
        assert_eq!(Field(format_args!("{}:{}", "a", "b c")).to_string(), r#""a:b c""#);
    }
}
