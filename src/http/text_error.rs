//! Errors as plain text, for the client of a service.

use ::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use ::http::{HeaderValue, Response, StatusCode};
use bytes::Bytes;

/// A response that says in plain text what is wrong: the status, its name, and a text of yours.
///
/// It becomes a response with [`into_response`](Self::into_response), with any body that can be made from [`Bytes`]:
///
/// ```
/// use axum::body::Body;
/// use http::{Method, Response, StatusCode};
/// use keylane::http::TextError;
///
/// fn only_get(method: &Method) -> Result<(), Response<Body>> {
///     if method == Method::GET {
///         return Ok(());
///     }
///     Err(TextError::new(StatusCode::METHOD_NOT_ALLOWED, method.as_str()).into_response())
/// }
///
/// let response = only_get(&Method::POST).unwrap_err();
/// assert_eq!(response.status(), 405);
/// assert_eq!(response.headers()["x-content-type-options"], "nosniff");
///
/// let error = TextError::new(StatusCode::METHOD_NOT_ALLOWED, "POST");
/// assert_eq!(error.to_string(), "405 Method Not Allowed: POST");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[doc(alias = "gohm")]
pub struct TextError {
    status: StatusCode,
    text: String,
}

impl TextError {
    /// An error with this status and text. The text may be empty.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The response: the text and a line feed, as `text/plain`, with the order not to take it for anything else.
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let mut response = Response::new(B::from(Bytes::from(format!("{self}\n"))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

/// The body without the line feed: `405 Method Not Allowed: POST`, or `599: POST` for a status without a name.
impl std::fmt::Display for TextError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.status.as_str())?;
        if let Some(name) = self.status.canonical_reason() {
            write!(f, " {name}")?;
        }
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

impl std::error::Error for TextError {}

/// A [`TextError`] as a response, in one call. This is gohm's `Error`.
///
/// ```
/// # use axum::body::Body;
/// let response: http::Response<Body> =
///     keylane::http::text_error(http::StatusCode::FORBIDDEN, "some error");
/// assert_eq!(response.status(), 403);
/// ```
#[doc(alias = "Error")]
pub fn text_error<B: From<Bytes>>(status: StatusCode, text: impl Into<String>) -> Response<B> {
    TextError::new(status, text).into_response()
}
