//! The binary mode: the attributes of an event in headers, its data in the body.
//!
//! What arrives is written as the JSON text of the same event, as the specification's JSON format maps it, and then read like any other:
//! JSON data stays as it was written, text becomes a string, the rest Base64.

use std::borrow::Cow;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::event::{json_refusal, not_utf8};
use super::mode::taken_apart;
use super::printable::quoted_bytes;
use super::refusal::{Defect, Refusal};
use super::rejected::{BadEvent, Place};

/// The event in `headers` and `body` as a JSON text.
///
/// # Errors
/// A header that cannot be an attribute, or data that is not what its type says.
pub(super) fn to_json(headers: &HeaderMap, body: &[u8]) -> Result<String, BadEvent> {
    let mut json = String::with_capacity(256 + body.len());
    json.push('{');
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
        if !is_attribute(attribute) {
            return Err(in_headers(Defect::NotAnAttribute(attribute.to_owned())));
        }
        let value = decoded(attribute, only(headers, name, attribute)?)?;
        push_member(&mut json, attribute, &value);
    }
    let content_type = match headers.get(CONTENT_TYPE) {
        Some(value) => {
            let text = value.to_str().map_err(|_| {
                in_headers(Defect::HeaderText {
                    name: "datacontenttype".to_owned(),
                    found: quoted_bytes(value.as_bytes()),
                })
            })?;
            push_member(&mut json, "datacontenttype", text);
            taken_apart(value.as_bytes()).0
        }
        None => Vec::new(),
    };
    if !body.is_empty() {
        push_data(&mut json, &content_type, body)?;
    }
    json.push('}');
    Ok(json)
}

/// Whether a header `ce-NAME` is an attribute: the specification allows letters and digits, and data is in the body.
fn is_attribute(name: &str) -> bool {
    let legal = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    legal && !matches!(name, "" | "data" | "datacontenttype")
}

fn in_headers(defect: Defect) -> BadEvent {
    BadEvent { place: Place::Headers, refusal: Refusal { column: 1, defect } }
}

/// The value of a header that may stand there once only.
fn only<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    attribute: &str,
) -> Result<&'a HeaderValue, BadEvent> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(in_headers(Defect::Duplicate(attribute.to_owned()))),
    }
}

/// The text of a header: without the quotes that older senders put around it, and percent-decoded once.
fn decoded(attribute: &str, value: &HeaderValue) -> Result<String, BadEvent> {
    let bytes = value.as_bytes();
    let unquoted = match bytes {
        [b'"', inner @ .., b'"'] => Cow::Owned(without_backslashes(inner)),
        _ => Cow::Borrowed(bytes),
    };
    let text = percent_encoding::percent_decode(&unquoted).decode_utf8();
    text.map(Cow::into_owned).map_err(|_| {
        in_headers(Defect::HeaderText {
            name: attribute.to_owned(),
            found: quoted_bytes(value.as_bytes()),
        })
    })
}

/// The inside of a quoted string of RFC 9110.
fn without_backslashes(inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => out.extend(bytes.next()),
            _ => out.push(byte),
        }
    }
    out
}

fn push_member(json: &mut String, name: &str, value: &str) {
    push_name(json, name);
    // A string always has a JSON text.
    json.push_str(&serde_json::Value::from(value).to_string());
}

fn push_name(json: &mut String, name: &str) {
    if json.len() > 1 {
        json.push(',');
    }
    json.push('"');
    json.push_str(name);
    json.push_str("\":");
}

fn push_data(json: &mut String, content_type: &[u8], body: &[u8]) -> Result<(), BadEvent> {
    let in_data = |refusal| BadEvent { place: Place::Data, refusal };
    if content_type == b"application/json" || content_type.ends_with(b"+json") {
        let text = std::str::from_utf8(body).map_err(|error| in_data(not_utf8(body, &error)))?;
        let data: &RawValue = serde_json::from_str(text)
            .map_err(|error| in_data(json_refusal(body, text, &error)))?;
        push_name(json, "data");
        json.push_str(data.get());
    } else if let (true, Ok(text)) = (content_type.starts_with(b"text/"), std::str::from_utf8(body))
    {
        push_member(json, "data", text);
    } else {
        push_name(json, "data_base64");
        json.push('"');
        STANDARD.encode_string(body, json);
        json.push('"');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(headers: &[(&'static str, &[u8])], body: &[u8]) -> Result<String, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).expect("a header value"));
        }
        to_json(&map, body).map_err(|bad| bad.to_string())
    }

    #[test]
    fn attributes_come_from_headers_and_data_from_the_body() {
        let headers: [(_, &[u8]); 4] = [
            ("ce-specversion", b"1.0"),
            ("content-type", b"application/json; charset=utf-8"),
            ("ce-partitionkey", b"order-17"),
            ("host", b"localhost"),
        ];
        let text = json(&headers, br#" {"n": 1.10} "#).expect("an event");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["specversion"], "1.0");
        assert_eq!(value["partitionkey"], "order-17");
        assert_eq!(value["datacontenttype"], "application/json; charset=utf-8");
        assert_eq!(value.as_object().map(serde_json::Map::len), Some(4));
        assert!(text.ends_with(r#""data":{"n": 1.10}}"#), "{text}");
    }

    #[test]
    fn data_keeps_its_kind() {
        let data = |content_type: &'static [u8], body: &[u8]| {
            json(&[("content-type", content_type)], body).expect("an event")
        };
        assert!(data(b"text/plain", "a\"é".as_bytes()).ends_with(r#","data":"a\"é"}"#));
        assert!(data(b"text/plain", b"\xff").ends_with(r#","data_base64":"/w=="}"#));
        assert!(data(b"image/png", b"\x89PNG").ends_with(r#","data_base64":"iVBORw=="}"#));
        assert!(data(b"application/vnd.x+json", b"[1]").ends_with(r#","data":[1]}"#));
        assert!(data(b"application/json", b"").ends_with("json\"}"));
        assert_eq!(json(&[], b"\x01").expect("an event"), r#"{"data_base64":"AQ=="}"#);
    }

    #[test]
    fn values_are_decoded_once() {
        for (value, expected) in [
            (&b"Euro%20%E2%82%AC%20%F0%9F%98%80"[..], "Euro € 😀"),
            (b"%e2%82%ac", "€"),
            (b"\"quoted \\\"value\\\"\"", "quoted \"value\""),
            (b"%2541", "%41"),
            (b"100%", "100%"),
            (b"%zz", "%zz"),
            ("raw é".as_bytes(), "raw é"),
            (b"\"", "\""),
            (b"", ""),
        ] {
            let text = json(&[("ce-id", value)], b"").expect("an event");
            let parsed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(parsed["id"], expected);
        }
    }

    #[test]
    fn what_cannot_be_an_attribute_is_refused() {
        let said = |headers: &[(&'static str, &[u8])], body: &[u8]| {
            json(headers, body).expect_err("no event")
        };
        assert_eq!(
            said(&[("ce-id", b"1"), ("ce-id", b"1")], b""),
            "header ce-id: \"id\" stands twice in the event; leave one out"
        );
        assert!(said(&[("ce-id", b"%ff\xff")], b"").contains("is not UTF-8"));
        for name in ["ce-", "ce-data", "ce-data_base64", "ce-datacontenttype", "ce-a-b"] {
            let said = said(&[(name, b"1")], b"");
            assert!(said.starts_with(&format!("header {name}: ")), "{said}");
        }
        let bad_json = said(&[("content-type", b"application/json")], b"{\"a\":}");
        assert!(bad_json.starts_with("data, byte 6: not JSON: expected value"), "{bad_json}");
        let bad_text = said(&[("content-type", b"application/json")], b"\"\xff\"");
        assert!(bad_text.starts_with("data, byte 2: invalid UTF-8: byte 0xff"), "{bad_text}");
    }
}
