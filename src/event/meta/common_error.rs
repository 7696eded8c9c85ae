//! The value of `COMMON_ERROR`.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;

use http::{Method, Uri};
use serde_core::ser::SerializeStruct;
use serde_core::{Serialize, Serializer};

use super::EventError;
use super::render::{AsText, Field, OptionalField};

/// Something failed outside of any request: an accept, a TLS handshake, a head that does not parse.
///
/// What was not known when it failed is `None`. As an [`Error`], its `source` is `err`. NB: for the
/// sake of logs `Display` already includes `err` with its causes, so that a reporter that walks the
/// sources prints them twice.
///
/// ```
/// use http::Method;
/// use keylane::CommonErrorMeta;
///
/// let meta = CommonErrorMeta {
///     uri: Some(http::Uri::from_static("http://example.com/image.gif")),
///     method: Some(Method::POST),
///     addr: None,
///     err: "header timeout".into(),
/// };
/// assert_eq!(
///     meta.to_string(),
///     r#"uri=http://example.com/image.gif method=POST addr=- err="header timeout""#,
/// );
/// ```
#[derive(Debug, Clone)]
pub struct CommonErrorMeta {
    /// What was asked for, as it was received: user and password are not removed.
    pub uri: Option<Uri>,
    /// The method of the request.
    pub method: Option<Method>,
    /// The peer; `None` also for a Unix socket.
    pub addr: Option<SocketAddr>,
    /// What went wrong.
    pub err: EventError,
}

impl fmt::Display for CommonErrorMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uri, method, addr, err } = self;
        write!(
            f,
            "uri={} method={} addr={} err={}",
            OptionalField(uri.as_ref()),
            OptionalField(method.as_ref()),
            OptionalField(addr.as_ref()),
            Field(format_args!("{err:#}")),
        )
    }
}

impl Error for CommonErrorMeta {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.err.as_error())
    }
}

/// An object; URI, method and address are strings or `null`, the error is its text with its causes.
impl Serialize for CommonErrorMeta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { uri, method, addr, err } = self;
        let mut object = serializer.serialize_struct("CommonErrorMeta", 4)?;
        object.serialize_field("uri", &uri.as_ref().map(AsText))?;
        object.serialize_field("method", &method.as_ref().map(AsText))?;
        object.serialize_field("addr", &addr.as_ref().map(AsText))?;
        object.serialize_field("err", err)?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::event_error::tests::{Outer, two_level_error};
    use super::*;

    fn full() -> CommonErrorMeta {
        CommonErrorMeta {
            uri: Some(Uri::from_static("http://example.com/image.gif?a=b")),
            method: Some(Method::POST),
            addr: Some(([127, 0, 0, 1], 6001).into()),
            err: two_level_error(),
        }
    }

    fn bare() -> CommonErrorMeta {
        CommonErrorMeta { uri: None, method: None, addr: None, err: "x\ny".into() }
    }

    #[test]
    fn prints_one_line() {
        assert_eq!(
            full().to_string(),
            "uri=http://example.com/image.gif?a=b method=POST addr=127.0.0.1:6001 \
             err=\"cannot read the head: peer reset\""
        );
        assert_eq!(bare().to_string(), r#"uri=- method=- addr=- err="x\ny""#);
    }

    #[test]
    fn renders_as_json() {
        assert_eq!(
            serde_json::to_value(full()).expect("an object"),
            json!({
                "uri": "http://example.com/image.gif?a=b",
                "method": "POST",
                "addr": "127.0.0.1:6001",
                "err": "cannot read the head: peer reset",
            })
        );
        assert_eq!(
            serde_json::to_string(&bare()).expect("an object"),
            r#"{"uri":null,"method":null,"addr":null,"err":"x\ny"}"#
        );
    }

    #[test]
    fn its_source_is_the_error_itself() {
        let meta = full();
        let source = meta.source().expect("the error");
        assert!(source.is::<Outer>());
        assert!(source.source().is_some());
    }
}
