//! The value of `FAILED_REQUEST`.

use std::error::Error;
use std::fmt;

use serde_core::ser::SerializeStruct;
use serde_core::{Serialize, Serializer};

use super::EventError;
use super::render::Field;

/// A request ended without a complete response.
///
/// As an [`Error`], its `source` is `err`. NB: for the sake of logs `Display` already includes `err`
/// with its causes, so that a reporter that walks the sources prints them twice.
///
/// ```
/// use std::error::Error;
/// use std::io;
/// use keylane::ErrorMeta;
///
/// let meta = ErrorMeta {
///     request_id: "reqid".into(),
///     err: io::Error::from(io::ErrorKind::UnexpectedEof).into(),
/// };
/// assert_eq!(meta.to_string(), r#"request_id=reqid err="unexpected end of file""#);
/// assert!(meta.source().is_some_and(|source| source.is::<io::Error>()));
/// ```
#[derive(Debug, Clone)]
pub struct ErrorMeta {
    /// The id of the request, the same as in its [`RequestMeta`](crate::RequestMeta).
    pub request_id: String,
    /// Why it failed.
    pub err: EventError,
}

impl fmt::Display for ErrorMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request_id, err } = self;
        write!(f, "request_id={} err={}", Field(request_id), Field(format_args!("{err:#}")))
    }
}

impl Error for ErrorMeta {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.err.as_error())
    }
}

/// An object; the error is its text with its causes.
impl Serialize for ErrorMeta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { request_id, err } = self;
        let mut object = serializer.serialize_struct("ErrorMeta", 2)?;
        object.serialize_field("request_id", request_id)?;
        object.serialize_field("err", err)?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::super::event_error::tests::{Outer, two_level_error};
    use super::*;

    fn meta() -> ErrorMeta {
        ErrorMeta { request_id: "reqid".into(), err: two_level_error() }
    }

    #[test]
    fn prints_one_line() {
        assert_eq!(
            meta().to_string(),
            r#"request_id=reqid err="cannot read the head: peer reset""#
        );
        let forged = ErrorMeta { request_id: "a err=none\n".into(), err: "EOF".into() };
        assert_eq!(forged.to_string(), r#"request_id="a err=none\n" err=EOF"#);
    }

    #[test]
    fn renders_as_json() {
        assert_eq!(
            serde_json::to_string(&meta()).expect("an object"),
            r#"{"request_id":"reqid","err":"cannot read the head: peer reset"}"#
        );
    }

    #[test]
    fn its_source_is_the_error_itself() {
        let meta = meta();
        let source = meta.source().expect("the error");
        assert!(source.is::<Outer>());
        assert!(source.source().is_some());
    }
}
