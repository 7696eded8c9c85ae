//! What a request says that its body is.

use ::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderValue};

use super::printable::quoted_bytes;
use super::rejected::Rejected;

/// The media types that [`Mode::of`] takes, for people and for the `accept` header of a refusal.
pub(super) const ACCEPTED: &str =
    "application/cloudevents+json, application/cloudevents-batch+json, application/x-ndjson";

/// How events stand in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// One CloudEvent in the body.
    Structured,
    /// An array of CloudEvents in the body.
    Batched,
    /// One CloudEvent in the headers, its data in the body.
    Binary,
    /// An event a line.
    Ndjson,
}

impl Mode {
    /// The mode of a request with these headers.
    ///
    /// # Errors
    /// When they name none, or a coding that is not undone here.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Rejected> {
        for coding in headers.get_all(CONTENT_ENCODING) {
            if !coding.as_bytes().eq_ignore_ascii_case(b"identity") {
                return Err(Rejected::media_type(format!(
                    "content-encoding {} is not undone here; send the body as it is",
                    quoted_bytes(coding.as_bytes())
                )));
            }
        }
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let content_type = types.next();
        if types.next().is_some() {
            return Err(Rejected::media_type(
                "there are two content-type headers; send one".to_owned(),
            ));
        }
        let has_attributes = headers.keys().any(|name| name.as_str().starts_with("ce-"));
        let Some(content_type) = content_type else {
            return if has_attributes { Ok(Self::Binary) } else { Err(unknown(None)) };
        };
        let (essence, charset) = taken_apart(content_type.as_bytes());
        let mode = match essence.as_slice() {
            b"application/cloudevents+json" => Self::Structured,
            b"application/cloudevents-batch+json" => Self::Batched,
            b"application/x-ndjson" | b"application/ndjson" | b"application/jsonl" => Self::Ndjson,
            other if other.starts_with(b"application/cloudevents") => {
                return Err(unknown(Some(content_type)));
            }
            _ if has_attributes => return Ok(Self::Binary),
            _ => return Err(unknown(Some(content_type))),
        };
        match charset {
            Some(charset) if !matches!(&*charset, b"utf-8" | b"utf8" | b"us-ascii") => {
                Err(Rejected::media_type(format!(
                    "charset {} is not read; send UTF-8",
                    quoted_bytes(&charset)
                )))
            }
            _ => Ok(mode),
        }
    }
}

/// The media type without its parameters, and the value of the parameter `charset`, both in lower case.
pub(super) fn taken_apart(content_type: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut pieces = content_type.split(|&byte| byte == b';');
    let essence = pieces.next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    let charset = pieces.find_map(|piece| {
        let piece = piece.trim_ascii().to_ascii_lowercase();
        let value = piece.strip_prefix(b"charset=")?.trim_ascii();
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        Some(unquoted.unwrap_or(value).to_vec())
    });
    (essence, charset)
}

fn unknown(found: Option<&HeaderValue>) -> Rejected {
    let found = match found {
        Some(found) => format!("content-type {} is not read", quoted_bytes(found.as_bytes())),
        None => "there is no content-type".to_owned(),
    };
    Rejected::media_type(format!(
        "{found}; send {ACCEPTED}, or the headers ce-specversion, ce-id, ce-source and ce-type with data of any type"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(headers: &[(&'static str, &str)]) -> Result<Mode, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header value"));
        }
        Mode::of(&map).map_err(|rejected| rejected.to_string())
    }

    #[test]
    fn the_content_type_says_the_mode() {
        for (content_type, expected) in [
            ("application/cloudevents+json", Mode::Structured),
            ("Application/CloudEvents+JSON; charset=UTF-8", Mode::Structured),
            ("application/cloudevents+json;a=b; charset=\"utf-8\"", Mode::Structured),
            ("application/cloudevents-batch+json", Mode::Batched),
            ("application/x-ndjson", Mode::Ndjson),
            ("application/jsonl ", Mode::Ndjson),
        ] {
            assert_eq!(mode(&[("content-type", content_type)]), Ok(expected), "{content_type}");
            // The content type goes before the headers of the binary mode.
            let both = [("content-type", content_type), ("ce-id", "1")];
            assert_eq!(mode(&both), Ok(expected), "{content_type}");
        }
        assert_eq!(mode(&[("ce-id", "1")]), Ok(Mode::Binary));
        assert_eq!(mode(&[("ce-id", "1"), ("content-type", "text/plain")]), Ok(Mode::Binary));
        assert_eq!(mode(&[("ce-id", "1"), ("content-encoding", "Identity")]), Ok(Mode::Binary));
    }

    #[test]
    fn others_are_refused_with_what_to_send() {
        for headers in [
            &[][..],
            &[("content-type", "")],
            &[("content-type", "application/json")],
            &[("content-type", "text/plain")],
            &[("content-type", "application/cloudevents+avro"), ("ce-id", "1")],
            &[("content-type", "application/cloudevents+jsonx")],
        ] {
            let said = mode(headers).expect_err("no mode");
            assert!(said.contains("send application/cloudevents+json, "), "{said}");
        }
        let said = |headers: &[(&'static str, &str)]| mode(headers).expect_err("no mode");
        assert!(
            said(&[("content-type", "application/x-ndjson; charset=latin1")])
                .ends_with("charset \"latin1\" is not read; send UTF-8")
        );
        let twice = [("content-type", "application/x-ndjson"); 2];
        assert!(said(&twice).ends_with("there are two content-type headers; send one"));
        let packed = [("content-type", "application/x-ndjson"), ("content-encoding", "gzip")];
        assert!(said(&packed).contains("content-encoding \"gzip\" is not undone here"));
    }
}
