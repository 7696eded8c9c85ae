//! The directives of a format, and what each one prints.

use std::io::Write;
use std::time::{Duration, SystemTime};

use ::http::header::HOST;
use ::http::{HeaderName, Method, StatusCode, Version};

use super::StatusMask;
use super::escape::Style;
use super::time_text::{Notation, TimeText};
use crate::http::{Failed, Finished, RequestHead};

/// A request that has ended, in either way.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending<'a> {
    Finished(&'a Finished),
    Failed(&'a Failed),
}

impl Ending<'_> {
    fn request(&self) -> &RequestHead {
        match self {
            Self::Finished(finished) => &finished.request,
            Self::Failed(failed) => &failed.request,
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::Finished(finished) => finished.status.as_u16(),
            Self::Failed(failed) => failed.log_status(),
        }
    }

    fn end(&self) -> SystemTime {
        match self {
            Self::Finished(finished) => finished.end(),
            Self::Failed(failed) => failed.end(),
        }
    }

    fn total(&self) -> Duration {
        match self {
            Self::Finished(finished) => finished.total,
            Self::Failed(failed) => failed.total,
        }
    }

    fn ttfb(&self) -> Option<Duration> {
        match self {
            Self::Finished(finished) => Some(finished.ttfb),
            Self::Failed(failed) => failed.ttfb,
        }
    }

    /// Bytes in, bytes out.
    fn bytes(&self) -> (u64, u64) {
        match self {
            Self::Finished(finished) => (finished.bytes_in, finished.bytes_out),
            Self::Failed(failed) => (failed.bytes_in, failed.bytes_out),
        }
    }

    /// Whether a mask asks for this request. A failed one counts as an error of the service, whatever status was sent before.
    pub(super) fn is_wanted(&self, mask: StatusMask) -> bool {
        mask.contains(self.status()) || matches!(self, Self::Failed(_)) && mask.contains(500)
    }
}

/// A directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Begin(Notation),
    End(Notation),
    Bytes,
    BytesIn,
    Client,
    ClientIp,
    ClientPort,
    Duration,
    Error,
    Header(HeaderName),
    Host,
    Method,
    Proto,
    RequestId,
    Route,
    Status,
    StatusText,
    Ttfb,
    Uri,
    User,
}

impl Field {
    /// The directive of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "begin" => Self::Begin(Notation::Apache),
            "begin-epoch" => Self::Begin(Notation::Epoch),
            "begin-iso8601" => Self::Begin(Notation::Iso8601),
            "bytes" => Self::Bytes,
            "bytes-in" => Self::BytesIn,
            "client" => Self::Client,
            "client-ip" => Self::ClientIp,
            "client-port" => Self::ClientPort,
            "duration" => Self::Duration,
            "end" => Self::End(Notation::Apache),
            "end-epoch" => Self::End(Notation::Epoch),
            "end-iso8601" => Self::End(Notation::Iso8601),
            "error" => Self::Error,
            "host" => Self::Host,
            "method" => Self::Method,
            "proto" => Self::Proto,
            "request-id" => Self::RequestId,
            "route" => Self::Route,
            "status" => Self::Status,
            "status-text" => Self::StatusText,
            "ttfb" => Self::Ttfb,
            "uri" => Self::Uri,
            "user" => Self::User,
            _ => Self::Header(HeaderName::from_bytes(name.strip_prefix("http-")?.as_bytes()).ok()?),
        })
    }

    /// The header that the directive needs.
    pub(super) fn header(&self) -> Option<HeaderName> {
        match self {
            Self::Header(name) => Some(name.clone()),
            Self::Host => Some(HOST),
            _ => None,
        }
    }

    /// Whether it prints a number, which stands without quotes in JSON.
    pub(super) fn is_number(&self) -> bool {
        matches!(
            self,
            Self::Begin(Notation::Epoch)
                | Self::End(Notation::Epoch)
                | Self::Bytes
                | Self::BytesIn
                | Self::ClientPort
                | Self::Duration
                | Self::Status
                | Self::Ttfb
        )
    }

    /// Writes what the directive stands for; false, and nothing, when there is no such thing.
    pub(super) fn write(
        &self,
        ending: &Ending<'_>,
        times: &mut TimeText,
        style: Style,
        out: &mut Vec<u8>,
    ) -> bool {
        let before = out.len();
        let request = ending.request();
        let text = |value: Option<&str>, out: &mut Vec<u8>| match value {
            Some(value) if !value.is_empty() => style.write(value.as_bytes(), out),
            _ => {}
        };
        match self {
            Self::Begin(notation) => times.write(request.begin(), *notation, out),
            Self::End(notation) => times.write(ending.end(), *notation, out),
            Self::Bytes => put(out, format_args!("{}", ending.bytes().1)),
            Self::BytesIn => put(out, format_args!("{}", ending.bytes().0)),
            Self::Client => {
                if let Some(client) = request.client() {
                    put(out, format_args!("{client}"));
                }
            }
            Self::ClientIp => {
                if let Some(client) = request.client() {
                    put(out, format_args!("{}", client.ip));
                }
            }
            Self::ClientPort => {
                if let Some(port) = request.client().and_then(|client| client.port) {
                    put(out, format_args!("{port}"));
                }
            }
            Self::Duration => put(out, format_args!("{:.6}", ending.total().as_secs_f64())),
            Self::Error => {
                if let Ending::Failed(failed) = ending {
                    style.write(failed.text().as_bytes(), out);
                }
            }
            Self::Header(name) => {
                if let Some(value) = request.captured().get(name).filter(|value| !value.is_empty())
                {
                    style.write(value.as_bytes(), out);
                }
            }
            Self::Host => match request.captured().get(&HOST) {
                Some(value) if !value.is_empty() => style.write(value.as_bytes(), out),
                _ => text(request.uri().authority().map(|authority| authority.as_str()), out),
            },
            Self::Method => text(Some(request.method().as_str()), out),
            Self::Proto => put(out, format_args!("{:?}", request.version())),
            Self::RequestId => put(out, format_args!("{}", request.id())),
            Self::Route => text(request.route(), out),
            Self::Status => put(out, format_args!("{}", ending.status())),
            Self::StatusText => text(status_text(ending.status()), out),
            Self::Ttfb => {
                if let Some(ttfb) = ending.ttfb() {
                    put(out, format_args!("{:.6}", ttfb.as_secs_f64()));
                }
            }
            Self::Uri => write_uri(request, style, out),
            Self::User => text(request.user(), out),
        }
        out.len() > before
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory does not fail");
}

fn status_text(status: u16) -> Option<&'static str> {
    match status {
        499 => Some("Client Closed Request"),
        _ => StatusCode::from_u16(status).ok()?.canonical_reason(),
    }
}

/// The target of the request as it was on the wire. HTTP/2 sends it in parts, of which path and query are what HTTP/1 would send.
fn write_uri(request: &RequestHead, style: Style, out: &mut Vec<u8>) {
    let uri = request.uri();
    let parts = request.version() >= Version::HTTP_2 && request.method() != Method::CONNECT;
    match uri.path_and_query() {
        Some(path) if parts || uri.scheme().is_none() && uri.authority().is_none() => {
            style.write(path.as_str().as_bytes(), out);
        }
        _ => style.write(uri.to_string().as_bytes(), out),
    }
}
