//! The `traceparent` header of [W3C Trace Context](https://www.w3.org/TR/trace-context/).

use std::fmt;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use serde_core::{Serialize, Serializer};

/// Where a request stands in a distributed trace, as its `traceparent` header says.
///
/// ```
/// use keylane::http::TraceParent;
///
/// let header = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let parent = TraceParent::parse(header).expect("it is valid");
/// assert!(parent.is_sampled());
/// assert_eq!(parent.to_string().as_bytes(), header);
/// assert_eq!(TraceParent::parse(b"00-0-0-01"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// Names the whole trace.
    pub trace_id: [u8; 16],
    /// Names the span of the caller.
    pub parent_id: [u8; 8],
    /// The lowest bit says that the caller records the trace.
    pub flags: u8,
}

/// The length of the header in version 00; later versions may only append to it.
const LEN: usize = 55;

impl TraceParent {
    /// Reads the value of a header; `None` when it is not valid, and then the standard says to act as if there were none.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<Self> {
        let (head, rest) = header.split_at_checked(LEN)?;
        let version = hex::<1>(&head[..2])?[0];
        let dashes = [2, 35, 52].iter().all(|&at| head[at] == b'-');
        let length = match version {
            0xff => false,
            0 => rest.is_empty(),
            _ => rest.first().is_none_or(|&next| next == b'-'),
        };
        let parent = Self {
            trace_id: hex(&head[3..35])?,
            parent_id: hex(&head[36..52])?,
            flags: hex::<1>(&head[53..])?[0],
        };
        let named = parent.trace_id != [0; 16] && parent.parent_id != [0; 8];
        (dashes && length && named).then_some(parent)
    }

    /// The parent that a request names. A request with more than one such header has none.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        // A name that is made from text is looked at byte by byte.
        static NAME: HeaderName = HeaderName::from_static("traceparent");
        let mut values = headers.get_all(&NAME).iter();
        let value = values.next().map(HeaderValue::as_bytes)?;
        if values.next().is_some() { None } else { Self::parse(value) }
    }

    /// Whether the caller records the trace.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.flags & 1 != 0
    }
}

/// Reads lower-case hexadecimal digits.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    fn digit(byte: u8) -> Option<u8> {
        match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        }
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, parent_id, flags } = self;
        let (trace, parent) = (u128::from_be_bytes(*trace_id), u64::from_be_bytes(*parent_id));
        write!(f, "00-{trace:032x}-{parent:016x}-{flags:02x}")
    }
}

/// A string, the same as it prints.
impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_not_valid_is_nothing() {
        for header in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736x00f067aa0ba902b7-01",
            "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(header.as_bytes()), None, "{header}");
        }
    }

    #[test]
    fn a_later_version_may_say_more() {
        for more in ["", "-", "-anything"] {
            let header = format!("cc{}{more}", &VALID[2..]);
            let parent = TraceParent::parse(header.as_bytes()).expect("valid");
            assert_eq!(parent.to_string(), VALID);
        }
    }

    #[test]
    fn two_headers_are_none() {
        let mut headers = HeaderMap::new();
        headers.append("traceparent", HeaderValue::from_static(VALID));
        assert!(TraceParent::of(&headers).is_some());
        headers.append("traceparent", HeaderValue::from_static(VALID));
        assert_eq!(TraceParent::of(&headers), None);
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_read_without_a_panic(
            noise in proptest::collection::vec(any::<u8>(), 0..80),
            at in 0..VALID.len(),
            byte in any::<u8>(),
        ) {
            let _ = TraceParent::parse(&noise);
            let mut broken = VALID.as_bytes().to_vec();
            broken[at] = byte;
            if let Some(parent) = TraceParent::parse(&broken) {
                let text = parent.to_string();
                prop_assert_eq!(&text.as_bytes()[2..], &broken[2..]);
            }
        }
    }
}
