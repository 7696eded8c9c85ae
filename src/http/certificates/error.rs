//! Why there is no certificate.

use std::error::Error;
use std::fmt;

/// Why there is no certificate, or no authority.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateError {
    /// The text is neither a host name nor an IP address.
    InvalidHost {
        /// The text, shortened to 256 characters.
        host: String,
    },
    /// The authority's certificate or key cannot be read.
    Authority {
        /// What is wrong with it.
        error: String,
    },
    /// The certificate could not be made.
    Make {
        /// The host.
        host: String,
        /// What is wrong.
        error: String,
    },
    /// The store is closed.
    Closed,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidHost { host } => {
                write!(f, "{host:?} is not a host; use a name such as example.com or an IP address")
            }
            Self::Authority { error } => write!(
                f,
                "the certificate authority cannot be used: {error}; give the PEM of a CA certificate and of its private key"
            ),
            Self::Make { host, error } => {
                write!(f, "no certificate could be made for {host:?}: {error}")
            }
            Self::Closed => f.write_str("the certificate store is closed"),
        }
    }
}

impl Error for CertificateError {}
