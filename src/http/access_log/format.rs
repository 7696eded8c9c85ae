//! What a line looks like.

use std::error::Error;
use std::fmt;

use ::http::HeaderName;

use super::escape::Style;
use super::field::{Ending, Field};
use super::time_text::TimeText;

/// The format of an [`AccessLog`](crate::http::AccessLog): a text with directives in braces, compiled once.
///
/// | directive | prints |
/// |---|---|
/// | `{begin}`, `{end}` | when the request began and ended, as Apache writes it: `02/Jan/2006:15:04:05 +0000` |
/// | `{begin-epoch}`, `{end-epoch}` | the same in seconds since 1970 |
/// | `{begin-iso8601}`, `{end-iso8601}` | the same as `2006-01-02T15:04:05Z` |
/// | `{bytes}`, `{bytes-in}` | bytes of the response body, and of the request body as far as it was read |
/// | `{client}` | `{client-ip}:{client-port}`, or only the address when the port is not known |
/// | `{client-ip}`, `{client-port}` | the client's address, without brackets, and port |
/// | `{duration}`, `{ttfb}` | seconds from the begin to the end, and to the head of the response: `0.001234` |
/// | `{error}` | how the request failed: `body: client gone` |
/// | `{host}` | the host that was asked |
/// | `{http-NAME}` | the request header of that name |
/// | `{method}`, `{uri}`, `{proto}` | the first line of the request: `GET`, `/some/url?x`, `HTTP/1.1` |
/// | `{request-id}` | the [id](crate::http::RequestId) of the request |
/// | `{route}` | the pattern of the route |
/// | `{status}`, `{status-text}` | the status and its name; 499 when the client has gone |
/// | `{user}` | who was authenticated |
///
/// A missing or empty value prints `-`. Times are in UTC. A backslash takes the meaning from the next character: `\{status\}` prints
/// `{status}`. What is no directive, and one that is not closed, is printed as it stands. Each line ends with a line feed.
///
/// What a client can choose is escaped as nginx does it: quotes, backslashes, control characters and all bytes above ASCII become
/// `\x22` and the like. Quote the fields that may have spaces.
#[derive(Debug, Clone)]
pub struct LogFormat {
    layout: Layout,
}

#[derive(Debug, Clone)]
enum Layout {
    /// Pieces one after the other.
    Template(Vec<Piece>),
    /// An object a line; the names are those of the directives with `_` for `-`.
    Json(Vec<(String, Field)>),
    /// `name=value`, likewise.
    Logfmt(Vec<(String, Field)>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Field),
}

/// A name that is no directive of a [`LogFormat`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownDirective {
    name: String,
}

impl fmt::Display for UnknownDirective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log format has no directive {:?}", self.name)
    }
}

impl Error for UnknownDirective {}

/// The fields of the formats for machines.
const FIELDS: [&str; 15] = [
    "begin-iso8601",
    "request-id",
    "client-ip",
    "user",
    "method",
    "host",
    "uri",
    "route",
    "proto",
    "status",
    "bytes-in",
    "bytes",
    "ttfb",
    "duration",
    "error",
];

fn named(directive: &str) -> Result<(String, Field), UnknownDirective> {
    let field = Field::named(directive);
    let field = field.ok_or_else(|| UnknownDirective { name: directive.to_owned() })?;
    Ok((directive.replace('-', "_"), field))
}

impl LogFormat {
    /// gohm's default format.
    #[doc(alias = "DefaultLogFormat")]
    pub const GOHM: &'static str =
        "{client-ip} [{begin-iso8601}] \"{method} {uri} {proto}\" {status} {bytes} {duration}";

    /// The Common Log Format of Apache, as gohm writes it.
    #[doc(alias = "ApacheCommonLogFormat")]
    pub const APACHE_COMMON: &'static str =
        "{client-ip} - - [{begin}] \"{method} {uri} {proto}\" {status} {bytes}";

    /// The Combined Log Format of Apache.
    pub const APACHE_COMBINED: &'static str = "{client-ip} - {user} [{begin}] \"{method} {uri} {proto}\" {status} {bytes} \"{http-Referer}\" \"{http-User-Agent}\"";

    /// Compiles a format. Every text is one.
    #[must_use]
    pub fn parse(format: &str) -> Self {
        Self { layout: Layout::Template(compile(format)) }
    }

    /// [`LogFormat::GOHM`].
    #[must_use]
    pub fn gohm() -> Self {
        Self::parse(Self::GOHM)
    }

    /// [`LogFormat::APACHE_COMMON`].
    #[must_use]
    pub fn apache_common() -> Self {
        Self::parse(Self::APACHE_COMMON)
    }

    /// [`LogFormat::APACHE_COMBINED`].
    #[must_use]
    pub fn apache_combined() -> Self {
        Self::parse(Self::APACHE_COMBINED)
    }

    /// A JSON object a line, with the fields that matter most. A missing value is `null`. For other fields see
    /// [`json_with`](Self::json_with).
    #[must_use]
    pub fn json() -> Self {
        Self::json_with(FIELDS).expect("these are directives")
    }

    /// A JSON object a line with these directives, named like them with `_` for `-`.
    ///
    /// ```
    /// use keylane::http::LogFormat;
    ///
    /// let format = LogFormat::json_with(["end-epoch", "status", "http-user-agent"])?;
    /// assert_eq!(format.headers(), ["user-agent"]);
    /// assert!(LogFormat::json_with(["beer"]).is_err());
    /// # Ok::<(), keylane::http::UnknownDirective>(())
    /// ```
    ///
    /// # Errors
    /// When a name is not a directive.
    pub fn json_with<'a>(
        directives: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, UnknownDirective> {
        let fields = directives.into_iter().map(named).collect::<Result<_, _>>()?;
        Ok(Self { layout: Layout::Json(fields) })
    }

    /// A line of `name=value`, with the fields that matter most. A missing value is left out. For other fields see
    /// [`logfmt_with`](Self::logfmt_with).
    #[must_use]
    pub fn logfmt() -> Self {
        Self::logfmt_with(FIELDS).expect("these are directives")
    }

    /// A line of `name=value` with these directives, named like them with `_` for `-`.
    ///
    /// # Errors
    /// When a name is not a directive.
    pub fn logfmt_with<'a>(
        directives: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, UnknownDirective> {
        let fields = directives.into_iter().map(named).collect::<Result<_, _>>()?;
        Ok(Self { layout: Layout::Logfmt(fields) })
    }

    /// The request headers that the format prints, each once.
    #[must_use]
    pub fn headers(&self) -> Vec<HeaderName> {
        let mut names = Vec::new();
        let mut add = |field: &Field| {
            names.extend(field.header().filter(|name| !names.contains(name)));
        };
        match &self.layout {
            Layout::Template(pieces) => pieces.iter().for_each(|piece| match piece {
                Piece::Field(field) => add(field),
                Piece::Text(_) => {}
            }),
            Layout::Json(fields) | Layout::Logfmt(fields) => {
                fields.iter().for_each(|(_, field)| add(field));
            }
        }
        names
    }

    /// Writes the line of a request.
    pub(super) fn write_line(&self, ending: &Ending<'_>, times: &mut TimeText, out: &mut Vec<u8>) {
        match &self.layout {
            Layout::Template(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                        Piece::Field(field) => {
                            if !field.write(ending, times, Style::Text, out) {
                                out.push(b'-');
                            }
                        }
                    }
                }
            }
            Layout::Json(fields) => write_json(fields, ending, times, out),
            Layout::Logfmt(fields) => write_logfmt(fields, ending, times, out),
        }
        out.push(b'\n');
    }
}

fn write_json(
    fields: &[(String, Field)],
    ending: &Ending<'_>,
    times: &mut TimeText,
    out: &mut Vec<u8>,
) {
    for (place, (name, field)) in fields.iter().enumerate() {
        out.extend_from_slice(if place == 0 { b"{\"" } else { b",\"" });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        let start = out.len();
        let quote = !field.is_number();
        if quote {
            out.push(b'"');
        }
        if !field.write(ending, times, Style::Json, out) {
            out.truncate(start);
            out.extend_from_slice(b"null");
        } else if quote {
            out.push(b'"');
        }
    }
    out.extend_from_slice(if fields.is_empty() { b"{}" } else { b"}" });
}

fn write_logfmt(
    fields: &[(String, Field)],
    ending: &Ending<'_>,
    times: &mut TimeText,
    out: &mut Vec<u8>,
) {
    let line = out.len();
    for (name, field) in fields {
        let start = out.len();
        if start > line {
            out.push(b' ');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        if !field.write(ending, times, Style::Logfmt, out) {
            out.truncate(start);
        }
    }
}

/// Takes a format apart. As in gohm a backslash works inside of a directive too; unlike there, a brace that closes nothing and
/// one that opens a directive inside of another are printed as they stand.
fn compile(format: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    // Of the directive that is open.
    let mut token: Option<String> = None;
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        let escaped = c == '\\';
        let c = if escaped { chars.next().unwrap_or('\\') } else { c };
        match (c, &mut token) {
            ('{', _) if !escaped => {
                if let Some(unclosed) = token.replace(String::new()) {
                    text.push('{');
                    text.push_str(&unclosed);
                }
            }
            ('}', Some(name)) if !escaped => {
                let name = std::mem::take(name);
                token = None;
                match Field::named(&name) {
                    Some(field) => {
                        if !text.is_empty() {
                            pieces.push(Piece::Text(std::mem::take(&mut text)));
                        }
                        pieces.push(Piece::Field(field));
                    }
                    None => {
                        text.push('{');
                        text.push_str(&name);
                        text.push('}');
                    }
                }
            }
            (c, Some(name)) => name.push(c),
            (c, None) => text.push(c),
        }
    }
    if let Some(unclosed) = token {
        text.push('{');
        text.push_str(&unclosed);
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn only_text(format: &str) -> String {
        match &compile(format)[..] {
            [] => String::new(),
            [Piece::Text(text)] => text.clone(),
            pieces => panic!("{pieces:?} is not only text"),
        }
    }

    #[test]
    fn what_is_no_directive_is_printed_as_it_stands() {
        for (format, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("{unknown}", "{unknown}"),
            ("{status", "{status"),
            ("status}", "status}"),
            ("{}", "{}"),
            ("}{", "}{"),
            ("{{", "{{"),
            (r"\{status\}", "{status}"),
            (r"\\", r"\"),
            (r"\", r"\"),
            (r"{status\}", "{status}"),
            ("{Status}", "{Status}"),
            ("{ status }", "{ status }"),
            ("{http-}", "{http-}"),
            ("{http-a b}", "{http-a b}"),
        ] {
            assert_eq!(only_text(format), expected, "{format}");
        }
    }

    #[test]
    fn a_directive_is_found_wherever_it_stands() {
        let status = || Piece::Field(Field::Status);
        let text = |text: &str| Piece::Text(text.to_owned());
        assert_eq!(compile("{status}"), [status()]);
        assert_eq!(compile("{a{status}}"), [text("{a"), status(), text("}")]);
        assert_eq!(compile(r"{sta\tus}"), [status()]);
        assert_eq!(compile("{x}{status}{"), [text("{x}"), status(), text("{")]);
        let name = HeaderName::from_static("x-y");
        assert_eq!(compile("{http-X-Y}"), [Piece::Field(Field::Header(name))]);
    }

    #[test]
    fn every_directive_of_the_table_exists() {
        for name in FIELDS.into_iter().chain([
            "begin",
            "begin-epoch",
            "client",
            "client-port",
            "end",
            "end-epoch",
            "end-iso8601",
            "status-text",
            "http-anything",
        ]) {
            assert!(Field::named(name).is_some(), "{name}");
        }
        assert_eq!(LogFormat::apache_combined().headers(), ["referer", "user-agent"]);
        assert_eq!(LogFormat::parse("{host}{http-Host}{http-x}{http-X}").headers(), ["host", "x"]);
    }

    proptest! {
        #[test]
        fn every_text_compiles(format in "[a-z{}\\\\ -]{0,40}") {
            let pieces = compile(&format);
            prop_assert!(!pieces.contains(&Piece::Text(String::new())));
        }
    }
}
