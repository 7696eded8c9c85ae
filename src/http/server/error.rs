//! What goes wrong outside of requests, as the error inside of `COMMON_ERROR`.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use super::Limits;
use super::connection::Connection;

/// What goes wrong at a listener or on a connection: the `err` of the [`CommonErrorMeta`](crate::CommonErrorMeta) of `COMMON_ERROR`.
///
/// ```
/// use keylane::{CommonErrorMeta, Event, http::ServeError};
///
/// fn is_slow_client(event: &Event) -> bool {
///     let error = event.get::<CommonErrorMeta>().map(|meta| meta.err.as_error());
///     let error = error.and_then(|error| error.downcast_ref::<ServeError>());
///     matches!(error, Some(ServeError::HeadTimeout { .. } | ServeError::WriteTimeout { .. }))
/// }
/// # let _ = is_slow_client;
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// A connection could not be accepted. The server waits and tries again.
    Accept {
        /// What the system says.
        error: io::Error,
        /// How long the server waits before the next try.
        retry: Duration,
    },
    /// As many connections are open as may be. New ones wait until others end.
    Saturated {
        /// [`Server::max_connections`](crate::http::Server::max_connections).
        max_connections: usize,
    },
    /// The TLS handshake failed.
    Handshake(io::Error),
    /// The TLS handshake was not over in time.
    HandshakeTimeout {
        /// [`Server::handshake_timeout`](crate::http::Server::handshake_timeout).
        after: Duration,
    },
    /// The head of a request was not there in time.
    HeadTimeout {
        /// [`Server::head_timeout`](crate::http::Server::head_timeout).
        after: Duration,
    },
    /// The head of a request is too large.
    HeadTooLarge {
        /// [`Server::max_head_size`](crate::http::Server::max_head_size), in bytes.
        max_size: usize,
        /// [`Server::max_headers`](crate::http::Server::max_headers).
        max_headers: usize,
        /// What the HTTP implementation says.
        error: hyper::Error,
    },
    /// The request is not valid HTTP.
    Parse(hyper::Error),
    /// The client closed the connection in the middle of a request.
    Incomplete,
    /// The client did not read what was written for it.
    WriteTimeout {
        /// [`Server::write_timeout`](crate::http::Server::write_timeout).
        after: Duration,
    },
    /// The connection broke.
    Broken(io::Error),
    /// The client violates HTTP/2, or the connection ended with an error of HTTP/2.
    Http2(hyper::Error),
    /// The service has made a response that cannot be sent.
    Response(hyper::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept { error, retry } if is_out_of_files(error) => write!(
                f,
                "no file descriptor for a new connection, next try in {retry:?}; raise the limit of open files (`ulimit -n`) or \
                 lower `max_connections`"
            ),
            Self::Accept { retry, .. } if retry.is_zero() => {
                f.write_str("a client left before its connection was accepted")
            }
            Self::Accept { retry, .. } => {
                write!(f, "a connection cannot be accepted, next try in {retry:?}")
            }
            Self::Saturated { max_connections } => write!(
                f,
                "{max_connections} connections are open, new ones wait; raise `max_connections` if the machine has room for more"
            ),
            Self::Handshake(error) if is_not_tls(error) => {
                f.write_str("the client does not speak TLS; use https:// on this port")
            }
            Self::Handshake(_) => f.write_str("the TLS handshake failed"),
            Self::HandshakeTimeout { after } => write!(
                f,
                "the TLS handshake took more than {after:?}; raise `handshake_timeout` for slow clients"
            ),
            Self::HeadTimeout { after } => write!(
                f,
                "the head of the request was not complete after {after:?}; send it at once, or raise `head_timeout` for slow clients"
            ),
            Self::HeadTooLarge { max_size, max_headers, .. } => write!(
                f,
                "the head of the request is larger than {max_size} bytes or has more than {max_headers} headers; send less, or raise \
                 `max_head_size` or `max_headers`"
            ),
            Self::Parse(_) => f.write_str("the request is not valid HTTP; mend the client"),
            Self::Incomplete => {
                f.write_str("the client closed the connection in the middle of a request")
            }
            Self::WriteTimeout { after } => write!(
                f,
                "the client read nothing for {after:?}; raise `write_timeout` for slow clients"
            ),
            Self::Broken(_) => f.write_str("the connection broke"),
            Self::Http2(_) => f.write_str("the HTTP/2 connection ended with an error"),
            Self::Response(_) => {
                f.write_str("the service's response cannot be sent; mend the service")
            }
        }
    }
}

impl Error for ServeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Accept { error, .. } | Self::Handshake(error) | Self::Broken(error) => {
                Some(error)
            }
            Self::HeadTooLarge { error, .. }
            | Self::Parse(error)
            | Self::Http2(error)
            | Self::Response(error) => Some(error),
            Self::Saturated { .. }
            | Self::HandshakeTimeout { .. }
            | Self::HeadTimeout { .. }
            | Self::Incomplete
            | Self::WriteTimeout { .. } => None,
        }
    }
}

/// Whether the process or the machine has no file descriptor left.
pub(super) fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Whether the bytes of the client are no TLS at all.
fn is_not_tls(error: &io::Error) -> bool {
    #[cfg(feature = "tls")]
    {
        use tokio_rustls::rustls::{Error, InvalidMessage};
        matches!(
            error.get_ref().and_then(|error| error.downcast_ref()),
            Some(Error::InvalidMessage(InvalidMessage::InvalidContentType))
        )
    }
    #[cfg(not(feature = "tls"))]
    {
        let _ = error;
        false
    }
}

impl ServeError {
    /// What the end of a connection means; `None` when it is a normal one, or the affair of a request that has its own events.
    pub(super) fn of_connection(
        error: hyper::Error,
        connection: &Connection,
        limits: &Limits,
    ) -> Option<Self> {
        // Between two requests, hyper reports what is merely the end of an idle connection.
        let in_message = connection.has_unread_bytes();
        if error.is_timeout() {
            return in_message.then_some(Self::HeadTimeout { after: limits.head_timeout });
        }
        if error.is_parse_too_large() {
            let Limits { max_head_size: max_size, max_headers, .. } = *limits;
            return Some(Self::HeadTooLarge { max_size, max_headers, error });
        }
        if error.is_parse() {
            return Some(Self::Parse(error));
        }
        if error.is_incomplete_message() {
            return in_message.then_some(Self::Incomplete);
        }
        if error.is_user() {
            // With a cause, it is an error of the service or of its body.
            let own = error.source().is_none() && !error.is_body_write_aborted();
            return own.then_some(Self::Response(error));
        }
        if error.is_canceled() || error.is_closed() || error.is_shutdown() {
            return None;
        }
        match io_cause(&error) {
            Some(cause) => Self::of_io(cause, in_message, limits),
            None => Some(Self::Http2(error)),
        }
    }

    pub(super) fn of_io(cause: &io::Error, in_message: bool, limits: &Limits) -> Option<Self> {
        // NB: h2 keeps the kind and the text of an error, not the error. The system's own timeouts have a number.
        if cause.kind() == io::ErrorKind::TimedOut && cause.raw_os_error().is_none() {
            return Some(Self::WriteTimeout { after: limits.write_timeout });
        }
        if cause.kind() == io::ErrorKind::UnexpectedEof {
            return in_message.then_some(Self::Incomplete);
        }
        // `io::Error` cannot be cloned, and what holds it hides it.
        let copy = match cause.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(cause.kind(), cause.to_string()),
        };
        Some(Self::Broken(copy))
    }
}

/// The I/O error that an error comes from.
fn io_cause(error: &hyper::Error) -> Option<&io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
