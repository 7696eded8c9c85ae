//! The value of `FINISH_REQUEST`.

use std::fmt;

use http::StatusCode;
use serde_core::ser::SerializeStruct;
use serde_core::{Serialize, Serializer};

use super::render::Field;

/// A request ended with a complete response.
///
/// ```
/// use http::StatusCode;
/// use keylane::ResponseMeta;
///
/// let meta = ResponseMeta { request_id: "reqid".into(), status_code: StatusCode::NOT_FOUND };
/// assert_eq!(meta.to_string(), "request_id=reqid status_code=404");
/// assert_eq!(serde_json::to_string(&meta)?, r#"{"request_id":"reqid","status_code":404}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseMeta {
    /// The id of the request, the same as in its [`RequestMeta`](crate::RequestMeta).
    pub request_id: String,
    /// The status of the response.
    pub status_code: StatusCode,
}

impl fmt::Display for ResponseMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request_id, status_code } = self;
        write!(f, "request_id={} status_code={}", Field(request_id), status_code.as_u16())
    }
}

/// An object; the status is a number.
impl Serialize for ResponseMeta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { request_id, status_code } = self;
        let mut object = serializer.serialize_struct("ResponseMeta", 2)?;
        object.serialize_field("request_id", request_id)?;
        object.serialize_field("status_code", &status_code.as_u16())?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_without_a_name_is_printed_too() {
        let status_code = StatusCode::from_u16(599).expect("three digits");
        let meta = ResponseMeta { request_id: "a b".into(), status_code };
        assert_eq!(meta.to_string(), r#"request_id="a b" status_code=599"#);
        assert_eq!(
            serde_json::to_string(&meta).expect("an object"),
            r#"{"request_id":"a b","status_code":599}"#
        );
    }
}
