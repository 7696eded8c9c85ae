//! How much of a response body must be handed over before the response is complete.

use ::http::header::CONTENT_LENGTH;
use ::http::{HeaderMap, Method, StatusCode, Version};
use http_body::Body;

/// Follows a response body on its way to the server.
///
/// A server does not always ask a body for its end. hyper drops it unread when the response cannot have one, and when all bytes that
/// the head declared have been written (<https://github.com/hyperium/hyper/issues/1521>). Both are complete responses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery {
    /// The length that the head of the response declares.
    declared: Option<u64>,
    /// The body needs no reading.
    empty: bool,
    bytes: u64,
}

impl Delivery {
    /// For a response with this head to a request of this kind.
    pub(crate) fn new<B: Body>(
        method: &Method,
        version: Version,
        status: StatusCode,
        headers: &HeaderMap,
        body: &B,
    ) -> Self {
        let declared = content_length(headers);
        let ended = body.is_end_stream();
        // Over HTTP/1 hyper corrects the length of a body that has already ended. Over HTTP/2 it sends what was declared, which
        // the client takes for a broken response.
        let corrected = version < Version::HTTP_2 || declared.is_none_or(|length| length == 0);
        let empty = !can_have_body(method, status) || ended && corrected;
        // Where the head says nothing, the server writes down what the body knows of itself.
        Self { declared: declared.or_else(|| body.size_hint().exact()), empty, bytes: 0 }
    }

    /// Whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.empty
    }

    /// Notes that bytes have been handed over.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The bytes handed over.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many bytes are missing now that the body has ended; 0 when it is complete.
    pub(crate) fn missing(&self) -> u64 {
        if self.empty { 0 } else { self.declared.unwrap_or(0).saturating_sub(self.bytes) }
    }

    /// Whether a body that is dropped now, without having been asked for its end, is complete.
    pub(crate) fn is_complete_when_dropped(&self) -> bool {
        self.empty || self.declared.is_some_and(|length| self.bytes >= length)
    }
}

/// Whether a response has a body at all; the same rule as `can_have_body` in hyper's `proto/h1/role.rs`.
fn can_have_body(method: &Method, status: StatusCode) -> bool {
    if method == Method::HEAD
        || method == Method::CONNECT && status.is_success()
        || status.is_informational()
    {
        false
    } else {
        !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    }
}

/// The declared length; `None` when there is none, or more than one.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().map(|value| decimal(value.as_bytes()));
    let length: u64 = lengths.next()??;
    lengths.all(|other| other == Some(length)).then_some(length)
}

/// A number that is written in digits and nothing else; `parse` would take a sign.
fn decimal(digits: &[u8]) -> Option<u64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let append = |number: u64, &byte| number.checked_mul(10)?.checked_add(digit(byte)?);
    if digits.is_empty() { None } else { digits.iter().try_fold(0, append) }
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;

    use super::*;

    #[test]
    fn the_rule_is_that_of_hyper() {
        for (method, status, expected) in [
            (Method::GET, 200, true),
            (Method::HEAD, 200, false),
            (Method::HEAD, 404, false),
            (Method::GET, 100, false),
            (Method::GET, 101, false),
            (Method::GET, 204, false),
            (Method::GET, 304, false),
            (Method::GET, 205, true),
            (Method::CONNECT, 200, false),
            (Method::CONNECT, 299, false),
            (Method::CONNECT, 407, true),
            (Method::POST, 599, true),
        ] {
            let status = StatusCode::from_u16(status).expect("three digits");
            assert_eq!(can_have_body(&method, status), expected, "{method} {status}");
        }
    }

    #[test]
    fn a_length_that_is_not_clear_is_none() {
        let lengths = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            content_length(&headers)
        };
        assert_eq!(lengths(&["30"]), Some(30));
        assert_eq!(lengths(&["30", "30"]), Some(30));
        for unclear in [&[][..], &["30", "31"], &["+30"], &["-1"], &["x"], &[""], &["3 0"]] {
            assert_eq!(lengths(unclear), None, "{unclear:?}");
        }
        assert_eq!(lengths(&["18446744073709551616"]), None);
    }
}
