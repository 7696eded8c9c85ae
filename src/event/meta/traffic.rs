//! The value of `TRAFFIC`.

use std::fmt;
use std::net::SocketAddr;

use serde_core::ser::SerializeStruct;
use serde_core::{Serialize, Serializer};

use super::render::{AsText, Field, OptionalField};

/// Bytes were moved for a connection or a request.
///
/// ```
/// use keylane::TrafficMeta;
///
/// let meta = TrafficMeta {
///     id: "reqid".into(),
///     addr: Some(([127, 0, 0, 1], 6000).into()),
///     read_bytes: 120,
///     written_bytes: 4096,
/// };
/// assert_eq!(
///     meta.to_string(),
///     "id=reqid addr=127.0.0.1:6000 read_bytes=120 written_bytes=4096",
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficMeta {
    /// The id of the request or of the connection that is counted.
    pub id: String,
    /// The peer; `None` for a Unix socket.
    pub addr: Option<SocketAddr>,
    /// Bytes read from the peer.
    pub read_bytes: u64,
    /// Bytes written to the peer.
    pub written_bytes: u64,
}

impl fmt::Display for TrafficMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, addr, read_bytes, written_bytes } = self;
        write!(
            f,
            "id={} addr={} read_bytes={read_bytes} written_bytes={written_bytes}",
            Field(id),
            OptionalField(addr.as_ref()),
        )
    }
}

/// An object; the address is a string or `null`, the byte counts are numbers.
impl Serialize for TrafficMeta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { id, addr, read_bytes, written_bytes } = self;
        let mut object = serializer.serialize_struct("TrafficMeta", 4)?;
        object.serialize_field("id", id)?;
        object.serialize_field("addr", &addr.as_ref().map(AsText))?;
        object.serialize_field("read_bytes", read_bytes)?;
        object.serialize_field("written_bytes", written_bytes)?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_renders_the_whole_range() {
        let meta =
            TrafficMeta { id: "c 1".into(), addr: None, read_bytes: u64::MAX, written_bytes: 0 };
        assert_eq!(
            meta.to_string(),
            r#"id="c 1" addr=- read_bytes=18446744073709551615 written_bytes=0"#
        );
        assert_eq!(
            serde_json::to_string(&meta).expect("an object"),
            r#"{"id":"c 1","addr":null,"read_bytes":18446744073709551615,"written_bytes":0}"#
        );
    }

    #[test]
    fn the_address_is_a_string() {
        let meta = TrafficMeta {
            id: String::new(),
            addr: Some(([127, 0, 0, 1], 6000).into()),
            read_bytes: 1,
            written_bytes: 2,
        };
        assert_eq!(
            serde_json::to_string(&meta).expect("an object"),
            r#"{"id":"","addr":"127.0.0.1:6000","read_bytes":1,"written_bytes":2}"#
        );
    }
}
