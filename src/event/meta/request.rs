//! The value of `START_REQUEST`.

use std::fmt;
use std::net::SocketAddr;

use http::{Method, Uri};
use serde_core::ser::SerializeStruct;
use serde_core::{Serialize, Serializer};

use super::RequestType;
use super::render::{AsText, Field, OptionalField};

/// A request began.
///
/// ```
/// use http::{Method, Uri};
/// use keylane::{RequestMeta, RequestType};
///
/// let meta = RequestMeta {
///     request_id: "reqid".into(),
///     method: Method::GET,
///     uri: Uri::from_static("https://example.com/image.gif"),
///     user: None,
///     addr: Some(([127, 0, 0, 1], 6000).into()),
///     request_type: RequestType::TLS,
/// };
/// assert_eq!(
///     meta.to_string(),
///     "request_id=reqid method=GET uri=https://example.com/image.gif user=- addr=127.0.0.1:6000 \
///      request_type=\"tunneled:no | tls:yes | upgraded:no\"",
/// );
/// assert_eq!(
///     serde_json::to_string(&meta)?,
///     r#"{"request_id":"reqid","method":"GET","uri":"https://example.com/image.gif","user":null,"addr":"127.0.0.1:6000","request_type":["tls"]}"#,
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestMeta {
    /// The id of the request: the other events of this request carry it too.
    pub request_id: String,
    /// The method of the request.
    pub method: Method,
    /// What was asked for, as it was received: user and password are not removed.
    pub uri: Uri,
    /// Who asked; `None` when nobody was authenticated.
    pub user: Option<String>,
    /// The peer; `None` for a Unix socket.
    pub addr: Option<SocketAddr>,
    /// How the request travels.
    pub request_type: RequestType,
}

impl fmt::Display for RequestMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request_id, method, uri, user, addr, request_type } = self;
        write!(
            f,
            "request_id={} method={} uri={} user={} addr={} request_type={}",
            Field(request_id),
            Field(method),
            Field(uri),
            OptionalField(user.as_ref()),
            OptionalField(addr.as_ref()),
            Field(request_type),
        )
    }
}

/// An object; method, URI and address are strings, the request type is a list of the names of what
/// is set.
impl Serialize for RequestMeta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { request_id, method, uri, user, addr, request_type } = self;
        let mut object = serializer.serialize_struct("RequestMeta", 6)?;
        object.serialize_field("request_id", request_id)?;
        object.serialize_field("method", &AsText(method))?;
        object.serialize_field("uri", &AsText(uri))?;
        object.serialize_field("user", user)?;
        object.serialize_field("addr", &addr.as_ref().map(AsText))?;
        object.serialize_field("request_type", request_type)?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use serde_json::json;

    use super::*;

    fn meta() -> RequestMeta {
        RequestMeta {
            request_id: "reqid".into(),
            method: Method::GET,
            uri: Uri::from_static("http://example.com/image.gif"),
            user: Some("user".into()),
            addr: Some((Ipv6Addr::LOCALHOST, 6000).into()),
            request_type: RequestType::TUNNELED | RequestType::TLS,
        }
    }

    #[test]
    fn prints_one_line() {
        assert_eq!(
            meta().to_string(),
            "request_id=reqid method=GET uri=http://example.com/image.gif user=user \
             addr=[::1]:6000 request_type=\"tunneled:yes | tls:yes | upgraded:no\""
        );
    }

    #[test]
    fn text_of_a_client_stays_in_its_field() {
        let hostile = RequestMeta {
            uri: "/a\"b".parse().expect("a path may hold a quote"),
            user: Some("x\nrequest_id=0".into()),
            addr: None,
            ..meta()
        };
        let line = hostile.to_string();
        assert!(line.contains(r#" uri="/a\"b" user="x\nrequest_id=0" addr=- "#), "{line}");
    }

    #[test]
    fn renders_as_json() {
        assert_eq!(
            serde_json::to_value(meta()).expect("an object"),
            json!({
                "request_id": "reqid",
                "method": "GET",
                "uri": "http://example.com/image.gif",
                "user": "user",
                "addr": "[::1]:6000",
                "request_type": ["tunneled", "tls"],
            })
        );
        let bare = RequestMeta { user: None, addr: None, ..meta() };
        let value = serde_json::to_value(bare).expect("an object");
        assert!(value["user"].is_null() && value["addr"].is_null());
        assert_eq!(value.as_object().map(serde_json::Map::len), Some(6));
    }
}
