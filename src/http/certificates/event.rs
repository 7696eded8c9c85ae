//! The values of `NEW_CERTIFICATE` and `DROP_CERTIFICATE`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_core::ser::SerializeStruct;
use serde_core::{Serialize, Serializer};

use crate::event::meta::render::{AsText, Field};
use crate::event::timestamp::Rfc3339;

/// The value of `NEW_CERTIFICATE`: a certificate was made, and nobody has it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewCertificate {
    /// The host name in lower case, or the IP address.
    pub host: Arc<str>,
    /// The serial number.
    pub serial: u128,
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// How long it took to make.
    pub took: Duration,
}

/// The value of `DROP_CERTIFICATE`: the store let go of a certificate. Connections that use it go on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DroppedCertificate {
    /// The host name in lower case, or the IP address.
    pub host: Arc<str>,
    /// The serial number, the same as in [`NewCertificate`].
    pub serial: u128,
    /// Why.
    pub cause: DropCause,
    /// How long it was held.
    pub age: Duration,
}

/// Why a certificate was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropCause {
    /// Its time was over.
    Expired,
    /// The store was full, and it was unused for longest.
    Evicted,
    /// There is a newer one for the host.
    Replaced,
    /// The store was closed.
    Closed,
}

impl fmt::Display for DropCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Replaced => "replaced",
            Self::Closed => "closed",
        })
    }
}

impl fmt::Display for NewCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, serial, not_after, took } = self;
        let (not_after, took) = (Rfc3339(*not_after), took.as_secs_f64());
        write!(f, "host={} serial={serial:032x} not_after={not_after} took={took:.6}", Field(host))
    }
}

impl fmt::Display for DroppedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, serial, cause, age } = self;
        let age = age.as_secs_f64();
        write!(f, "host={} serial={serial:032x} cause={cause} age={age:.6}", Field(host))
    }
}

/// An object; the serial number is a string of 32 hexadecimal digits, the duration is in seconds.
impl Serialize for NewCertificate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("NewCertificate", 4)?;
        out.serialize_field("host", &*self.host)?;
        out.serialize_field("serial", &format_args!("{:032x}", self.serial))?;
        out.serialize_field("not_after", &AsText(Rfc3339(self.not_after)))?;
        out.serialize_field("took", &self.took.as_secs_f64())?;
        out.end()
    }
}

/// An object; the serial number is a string of 32 hexadecimal digits, the duration is in seconds.
impl Serialize for DroppedCertificate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("DroppedCertificate", 4)?;
        out.serialize_field("host", &*self.host)?;
        out.serialize_field("serial", &format_args!("{:032x}", self.serial))?;
        out.serialize_field("cause", &format_args!("{}", self.cause))?;
        out.serialize_field("age", &self.age.as_secs_f64())?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_one_line_and_renders_as_json() {
        let new = NewCertificate {
            host: "example.com".into(),
            serial: 0x1f,
            not_after: SystemTime::UNIX_EPOCH,
            took: Duration::from_micros(30),
        };
        let serial = "0000000000000000000000000000001f";
        assert!(new.to_string().starts_with(&format!(
            "host=example.com serial={serial} not_after=1970-01-01T00:00:00"
        )));
        let dropped = DroppedCertificate {
            host: "example.com".into(),
            serial: 0x1f,
            cause: DropCause::Evicted,
            age: Duration::from_millis(1500),
        };
        assert_eq!(
            dropped.to_string(),
            format!("host=example.com serial={serial} cause=evicted age=1.500000")
        );
        assert_eq!(
            serde_json::to_string(&dropped).expect("an object"),
            format!(r#"{{"host":"example.com","serial":"{serial}","cause":"evicted","age":1.5}}"#)
        );
    }
}
