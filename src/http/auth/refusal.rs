//! The value of `FAILED_AUTH`.

use std::fmt;
use std::net::SocketAddr;

use serde_core::ser::SerializeStruct;
use serde_core::{Serialize, Serializer};

use crate::event::meta::render::{AsText, Field, OptionalField};
use crate::http::{ClientAddr, RequestId};

/// Why a client was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthFailure {
    /// There were no credentials.
    Missing,
    /// The credentials are of another scheme.
    OtherScheme,
    /// The credentials cannot be read, or there are several.
    Malformed,
    /// The credentials are wrong.
    Rejected {
        /// The user that the client claims to be, if the scheme has one in clear text. Chosen by the client.
        user: Option<String>,
    },
}

impl fmt::Display for AuthFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::OtherScheme => "other scheme",
            Self::Malformed => "malformed",
            Self::Rejected { .. } => "rejected",
        })
    }
}

/// The value of `FAILED_AUTH`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AuthFailed {
    /// The id of the request, when the [`AuthLayer`](crate::http::AuthLayer) is inside of an [`EventLayer`](crate::http::EventLayer).
    pub request_id: Option<RequestId>,
    /// The other end of the connection.
    pub peer: Option<SocketAddr>,
    /// The peer, or the client that trusted proxies name in its place.
    pub client: Option<ClientAddr>,
    /// The scheme that was asked for.
    pub scheme: &'static str,
    /// Why the client was refused.
    pub reason: AuthFailure,
}

impl AuthFailed {
    /// The user that the client claims to be.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match &self.reason {
            AuthFailure::Rejected { user } => user.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for AuthFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "request_id={} addr={} client={} scheme={} user={} reason={}",
            OptionalField(self.request_id),
            OptionalField(self.peer),
            OptionalField(self.client),
            self.scheme,
            OptionalField(self.user()),
            Field(&self.reason),
        )
    }
}

/// An object; what is missing is `null`.
impl Serialize for AuthFailed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("AuthFailed", 6)?;
        out.serialize_field("request_id", &self.request_id)?;
        out.serialize_field("addr", &self.peer.as_ref().map(AsText))?;
        out.serialize_field("client", &self.client)?;
        out.serialize_field("scheme", self.scheme)?;
        out.serialize_field("user", &self.user())?;
        out.serialize_field("reason", &format_args!("{}", self.reason))?;
        out.end()
    }
}
