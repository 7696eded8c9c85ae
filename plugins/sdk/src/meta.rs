//! The values of the predefined types, with text as `&str` and what may be missing as `Option`.

use std::fmt;

use keylane_plugin_abi as abi;

pub use abi::Addr;

/// The value of a predefined type. It says itself which one it is: a program may send a meta with a type of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Meta<'a> {
    /// Of `COMMON_ERROR`.
    CommonError(CommonError<'a>),
    /// Of `NEW_CERTIFICATE`.
    NewCertificate(Certificate<'a>),
    /// Of `DROP_CERTIFICATE`.
    DropCertificate(Certificate<'a>),
    /// Of `FAILED_AUTH`.
    FailedAuth(FailedAuth<'a>),
    /// Of `START_REQUEST`.
    Request(Request<'a>),
    /// Of `FAILED_REQUEST`.
    FailedRequest(FailedRequest<'a>),
    /// Of `FINISH_REQUEST`.
    Response(Response<'a>),
    /// Of `TRAFFIC`.
    Traffic(Traffic<'a>),
    /// One that this version of the SDK does not know, or that is too small; the id is what it says it is.
    Unknown(u32),
}

/// A URI in pieces, all absent when there is none. It prints as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Uri<'a> {
    /// `https`.
    pub scheme: Option<&'a str>,
    /// `user:password@host:port`; user and password are not removed.
    pub authority: Option<&'a str>,
    /// `/path?query`.
    pub path_and_query: Option<&'a str>,
}

impl Uri<'_> {
    /// Whether there is none.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        *self == Uri::default()
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = self.scheme {
            write!(f, "{scheme}://")?;
        }
        f.write_str(self.authority.unwrap_or_default())?;
        f.write_str(self.path_and_query.unwrap_or_default())
    }
}

/// Something failed outside of any request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommonError<'a> {
    /// The method, if it was known.
    pub method: Option<&'a str>,
    /// What was asked for, if it was known.
    pub uri: Uri<'a>,
    /// The error with its causes.
    pub err: &'a str,
    /// The peer.
    pub addr: Addr,
}

/// A TLS certificate was made or dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certificate<'a> {
    /// What it is for.
    pub host: &'a str,
    /// Why it was dropped.
    pub cause: Option<&'a str>,
    /// The end of its validity in nanoseconds since 1970, if it is known.
    pub not_after_ns: Option<i64>,
}

/// A client was refused for lack of valid credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedAuth<'a> {
    /// One of [`auth_reason`](abi::auth_reason), or another.
    pub reason: u32,
    /// The request's id.
    pub request_id: Option<&'a str>,
    /// The scheme that was asked for.
    pub scheme: &'a str,
    /// Who the client claims to be.
    pub user: Option<&'a str>,
    /// The other end of the connection.
    pub peer: Addr,
    /// The client that trusted proxies name, or the peer.
    pub client: Addr,
}

/// A request began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// The method.
    pub method: &'a str,
    /// What was asked for.
    pub uri: Uri<'a>,
    /// Who asked.
    pub user: Option<&'a str>,
    /// The peer.
    pub addr: Addr,
    /// A set of [`request_type`](abi::request_type).
    pub request_type: u32,
}

/// A request ended without a complete response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedRequest<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// The error with its causes.
    pub err: &'a str,
}

/// A request ended with a complete response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// The status of the response.
    pub status_code: u32,
}

/// Bytes were moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic<'a> {
    /// Of the request or of the connection.
    pub id: &'a str,
    /// The peer.
    pub addr: Addr,
    /// Bytes read from the peer.
    pub read_bytes: u64,
    /// Bytes written to the peer.
    pub written_bytes: u64,
}

/// # Safety
/// The bytes live as long as `'a`, and are UTF-8.
unsafe fn optional<'a>(bytes: abi::Bytes) -> Option<&'a str> {
    // SAFETY: passed on.
    unsafe { bytes.get().map(|bytes| std::str::from_utf8_unchecked(bytes)) }
}

/// # Safety
/// As for [`optional`].
unsafe fn text<'a>(bytes: abi::Bytes) -> &'a str {
    // SAFETY: passed on.
    unsafe { optional(bytes) }.unwrap_or_default()
}

/// # Safety
/// As for [`optional`].
unsafe fn uri<'a>(uri: abi::Uri) -> Uri<'a> {
    // SAFETY: passed on.
    unsafe {
        Uri {
            scheme: optional(uri.scheme),
            authority: optional(uri.authority),
            path_and_query: optional(uri.path_and_query),
        }
    }
}

impl<'a> Meta<'a> {
    /// # Safety
    /// `from` leads to a meta that, with all that it leads to, lives as long as `'a` and is what it says it is.
    pub(crate) unsafe fn read(from: *const abi::Meta) -> Self {
        // SAFETY: the caller vouches for the meta; `abi::read` copies no more than it says it has, and what it leads to is UTF-8.
        unsafe {
            let id = (*from).meta_id;
            Self::read_known(from, id).unwrap_or(Self::Unknown(id))
        }
    }

    /// # Safety
    /// As for [`read`](Self::read).
    unsafe fn read_known(from: *const abi::Meta, id: u32) -> Option<Self> {
        use abi::event_type as kind;

        // SAFETY: as the caller says.
        Some(unsafe {
            match id {
                kind::COMMON_ERROR => {
                    let meta = abi::read(from.cast::<abi::MetaCommonError>()).ok()?;
                    Self::CommonError(CommonError {
                        method: optional(meta.method),
                        uri: uri(meta.uri),
                        err: text(meta.err),
                        addr: meta.addr,
                    })
                }
                kind::NEW_CERTIFICATE | kind::DROP_CERTIFICATE => {
                    let meta = abi::read(from.cast::<abi::MetaCertificate>()).ok()?;
                    let certificate = Certificate {
                        host: text(meta.host),
                        cause: optional(meta.cause),
                        not_after_ns: (meta.not_after_ns != 0).then_some(meta.not_after_ns),
                    };
                    if id == kind::NEW_CERTIFICATE {
                        Self::NewCertificate(certificate)
                    } else {
                        Self::DropCertificate(certificate)
                    }
                }
                kind::FAILED_AUTH => {
                    let meta = abi::read(from.cast::<abi::MetaFailedAuth>()).ok()?;
                    Self::FailedAuth(FailedAuth {
                        reason: meta.reason,
                        request_id: optional(meta.request_id),
                        scheme: text(meta.scheme),
                        user: optional(meta.user),
                        peer: meta.peer,
                        client: meta.client,
                    })
                }
                kind::START_REQUEST => {
                    let meta = abi::read(from.cast::<abi::MetaRequest>()).ok()?;
                    Self::Request(Request {
                        request_id: text(meta.request_id),
                        method: text(meta.method),
                        uri: uri(meta.uri),
                        user: optional(meta.user),
                        addr: meta.addr,
                        request_type: meta.request_type,
                    })
                }
                kind::FAILED_REQUEST => {
                    let meta = abi::read(from.cast::<abi::MetaError>()).ok()?;
                    Self::FailedRequest(FailedRequest {
                        request_id: text(meta.request_id),
                        err: text(meta.err),
                    })
                }
                kind::FINISH_REQUEST => {
                    let meta = abi::read(from.cast::<abi::MetaResponse>()).ok()?;
                    Self::Response(Response {
                        request_id: text(meta.request_id),
                        status_code: meta.status_code,
                    })
                }
                kind::TRAFFIC => {
                    let meta = abi::read(from.cast::<abi::MetaTraffic>()).ok()?;
                    Self::Traffic(Traffic {
                        id: text(meta.id),
                        addr: meta.addr,
                        read_bytes: meta.read_bytes,
                        written_bytes: meta.written_bytes,
                    })
                }
                _ => return None,
            }
        })
    }
}
