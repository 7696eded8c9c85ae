//! How a request travels: [`RequestType`].

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use serde_core::{Serialize, Serializer};

/// How a request travels: a set of [`TUNNELED`](Self::TUNNELED), [`TLS`](Self::TLS) and
/// [`UPGRADED`](Self::UPGRADED). The default is the empty set, a plain HTTP request.
///
/// As JSON it is the list of the names that are set, so that a reader needs no parser: `["tls"]`.
///
/// ```
/// use keylane::RequestType;
///
/// let mut kind = RequestType::TUNNELED | RequestType::TLS;
/// assert!(kind.contains(RequestType::TLS));
/// assert_eq!(kind.to_string(), "tunneled:yes | tls:yes | upgraded:no");
///
/// kind |= RequestType::UPGRADED;
/// assert!(kind.contains(RequestType::TLS | RequestType::UPGRADED));
/// assert!(RequestType::default().is_empty());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RequestType(u8);

impl RequestType {
    /// The request came through a tunnel that the client opened with CONNECT.
    pub const TUNNELED: RequestType = RequestType(1);
    /// The request came over TLS.
    pub const TLS: RequestType = RequestType(1 << 1);
    /// The connection left HTTP, for a WebSocket for example.
    pub const UPGRADED: RequestType = RequestType(1 << 2);

    /// Every member with its name, in the order in which they are printed.
    const MEMBERS: [(RequestType, &'static str); 3] =
        [(Self::TUNNELED, "tunneled"), (Self::TLS, "tls"), (Self::UPGRADED, "upgraded")];

    /// Whether every member of `other` is in this set; the empty set is in every set.
    ///
    /// ```
    /// use keylane::RequestType;
    ///
    /// let both = RequestType::TLS | RequestType::UPGRADED;
    /// assert!(both.contains(RequestType::TLS));
    /// assert!(!RequestType::TLS.contains(both));
    /// ```
    #[must_use]
    pub const fn contains(self, other: RequestType) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set as bits: 1 for `TUNNELED`, 2 for `TLS`, 4 for `UPGRADED`.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set with these [`bits`](Self::bits); bits without a meaning are dropped.
    ///
    /// ```
    /// use keylane::RequestType;
    ///
    /// assert_eq!(RequestType::from_bits_truncate(0b1111_0010), RequestType::TLS);
    /// ```
    #[must_use]
    pub const fn from_bits_truncate(bits: u8) -> RequestType {
        RequestType(bits & (Self::TUNNELED.0 | Self::TLS.0 | Self::UPGRADED.0))
    }
}

impl BitOr for RequestType {
    type Output = RequestType;

    fn bitor(self, other: RequestType) -> RequestType {
        RequestType(self.0 | other.0)
    }
}

impl BitOrAssign for RequestType {
    fn bitor_assign(&mut self, other: RequestType) {
        *self = *self | other;
    }
}

impl fmt::Display for RequestType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (member, name)) in Self::MEMBERS.into_iter().enumerate() {
            let separator = if i == 0 { "" } else { " | " };
            let answer = if self.contains(member) { "yes" } else { "no" };
            write!(f, "{separator}{name}:{answer}")?;
        }
        Ok(())
    }
}

/// `RequestType(tunneled:no | tls:yes | upgraded:no)`
impl fmt::Debug for RequestType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestType({self})")
    }
}

/// A list of the names of what is set: `["tunneled", "tls"]`.
impl Serialize for RequestType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = Self::MEMBERS.iter().filter(|(member, _)| self.contains(*member));
        serializer.collect_seq(members.map(|(_, name)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_prints_and_renders_its_members() {
        let expected = [
            ("tunneled:no | tls:no | upgraded:no", "[]"),
            ("tunneled:yes | tls:no | upgraded:no", r#"["tunneled"]"#),
            ("tunneled:no | tls:yes | upgraded:no", r#"["tls"]"#),
            ("tunneled:yes | tls:yes | upgraded:no", r#"["tunneled","tls"]"#),
            ("tunneled:no | tls:no | upgraded:yes", r#"["upgraded"]"#),
            ("tunneled:yes | tls:no | upgraded:yes", r#"["tunneled","upgraded"]"#),
            ("tunneled:no | tls:yes | upgraded:yes", r#"["tls","upgraded"]"#),
            ("tunneled:yes | tls:yes | upgraded:yes", r#"["tunneled","tls","upgraded"]"#),
        ];
        for (bits, (text, json)) in (0_u8..).zip(expected) {
            let set = RequestType::from_bits_truncate(bits);
            assert_eq!(set.to_string(), text);
            assert_eq!(serde_json::to_string(&set).expect("a list"), json);
            assert_eq!(format!("{set:?}"), format!("RequestType({text})"));
        }
    }

    #[test]
    fn bits_survive_and_unknown_ones_are_dropped() {
        for bits in 0..=u8::MAX {
            assert_eq!(RequestType::from_bits_truncate(bits).bits(), bits & 0b111);
        }
        assert_eq!(RequestType::TUNNELED.bits(), 1);
        assert_eq!(RequestType::TLS.bits(), 2);
        assert_eq!(RequestType::UPGRADED.bits(), 4);
    }

    #[test]
    fn contains_asks_for_every_member() {
        let both = RequestType::TUNNELED | RequestType::TLS;
        assert!(both.contains(RequestType::TLS));
        assert!(both.contains(both));
        assert!(both.contains(RequestType::default()));
        assert!(!both.contains(RequestType::UPGRADED));
        assert!(!both.contains(RequestType::TLS | RequestType::UPGRADED));
    }

    #[test]
    fn joining_keeps_what_was_there() {
        let mut set = RequestType::default();
        assert!(set.is_empty());
        set |= RequestType::UPGRADED;
        set |= RequestType::TUNNELED;
        assert_eq!(set, RequestType::UPGRADED | RequestType::TUNNELED);
        assert!(!set.is_empty());
    }
}
