//! What an event is about: [`EventType`].
//!
//! The codes are a contract: processors, plugins and stored streams compare them, so a code never
//! changes its meaning. The codes 9 to 255 are kept free for types that this crate may add, so that
//! a new one never renumbers the types of a program that uses the bus.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use serde_core::{Serialize, Serializer};

/// The type of an event: one of the predefined ones, or one of your own.
///
/// | codes | what they are |
/// |---|---|
/// | 0 to 8 | predefined, the associated constants |
/// | 9 to 255 | reserved for later versions of this crate |
/// | 256 to 65535 | yours: [`EventType::user`] 0 to 65279 |
///
/// `Display`, `Debug` and serialisation give the name, `START_REQUEST`, `USER(3)` or `RESERVED(42)`,
/// and [`FromStr`] reads exactly these. The order is the order of the codes.
///
/// ```
/// use keylane::EventType;
///
/// const ORDER_PLACED: EventType = EventType::user(3);
///
/// assert_eq!(ORDER_PLACED.to_string(), "USER(3)");
/// assert_eq!("USER(3)".parse(), Ok(ORDER_PLACED));
/// assert_eq!(ORDER_PLACED.code(), 259);
/// assert_eq!(EventType::START_REQUEST.to_string(), "START_REQUEST");
/// assert_eq!(EventType::default(), EventType::NOT_SET);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(transparent)]
pub struct EventType(
    /// The code; any value is valid.
    pub u16,
);

impl EventType {
    /// No type: what a default value holds. Code 0.
    pub const NOT_SET: EventType = EventType(0);
    /// Something failed outside of any request, such as an accept or a TLS handshake. Code 1.
    ///
    /// Travels with a [`CommonErrorMeta`](crate::CommonErrorMeta).
    pub const COMMON_ERROR: EventType = EventType(1);
    /// A TLS certificate was made for a host. Code 2.
    pub const NEW_CERTIFICATE: EventType = EventType(2);
    /// A TLS certificate left the store. Code 3.
    pub const DROP_CERTIFICATE: EventType = EventType(3);
    /// A client was refused for lack of valid credentials. Code 4.
    pub const FAILED_AUTH: EventType = EventType(4);
    /// A request began. Code 5.
    ///
    /// Travels with a [`RequestMeta`](crate::RequestMeta).
    pub const START_REQUEST: EventType = EventType(5);
    /// A request ended without a complete response. Code 6.
    ///
    /// Travels with an [`ErrorMeta`](crate::ErrorMeta).
    pub const FAILED_REQUEST: EventType = EventType(6);
    /// A request ended with a complete response. Code 7.
    ///
    /// Travels with a [`ResponseMeta`](crate::ResponseMeta).
    pub const FINISH_REQUEST: EventType = EventType(7);
    /// Bytes were moved for a connection or a request. Code 8.
    ///
    /// Travels with a [`TrafficMeta`](crate::TrafficMeta).
    pub const TRAFFIC: EventType = EventType(8);

    /// The first type that is yours, the same as `EventType::user(0)`. Code 256.
    pub const USER_BASE: EventType = EventType(256);

    /// The highest number that [`EventType::user`] takes: 65279.
    pub const MAX_USER_NUMBER: u16 = u16::MAX - Self::USER_BASE.0;

    /// Your type number `number`: the code [`USER_BASE`](Self::USER_BASE) + `number`.
    ///
    /// For a number that comes from outside of the program, use
    /// [`checked_user`](Self::checked_user).
    ///
    /// # Panics
    ///
    /// When `number` is above [`MAX_USER_NUMBER`](Self::MAX_USER_NUMBER). In a `const` that is a
    /// compile error.
    ///
    /// ```
    /// use keylane::EventType;
    ///
    /// assert_eq!(EventType::user(0), EventType::USER_BASE);
    /// assert_eq!(EventType::user(EventType::MAX_USER_NUMBER).code(), u16::MAX);
    /// ```
    #[must_use]
    #[track_caller]
    pub const fn user(number: u16) -> EventType {
        match Self::checked_user(number) {
            Some(kind) => kind,
            None => panic!("a user event type has a number from 0 to 65279"),
        }
    }

    /// Like [`user`](Self::user), but `None` when `number` is above
    /// [`MAX_USER_NUMBER`](Self::MAX_USER_NUMBER).
    ///
    /// ```
    /// use keylane::EventType;
    ///
    /// assert_eq!(EventType::checked_user(3), Some(EventType::user(3)));
    /// assert_eq!(EventType::checked_user(65280), None);
    /// ```
    #[must_use]
    pub const fn checked_user(number: u16) -> Option<EventType> {
        match Self::USER_BASE.0.checked_add(number) {
            Some(code) => Some(EventType(code)),
            None => None,
        }
    }

    /// Whether the type is one of yours: [`USER_BASE`](Self::USER_BASE) or above.
    ///
    /// ```
    /// use keylane::EventType;
    ///
    /// assert!(EventType::user(0).is_user());
    /// assert!(!EventType::TRAFFIC.is_user());
    /// ```
    #[must_use]
    pub const fn is_user(self) -> bool {
        self.0 >= Self::USER_BASE.0
    }

    /// The number that was given to [`user`](Self::user); `None` for a predefined or reserved type.
    ///
    /// ```
    /// use keylane::EventType;
    ///
    /// assert_eq!(EventType::user(3).user_number(), Some(3));
    /// assert_eq!(EventType::TRAFFIC.user_number(), None);
    /// ```
    #[must_use]
    pub const fn user_number(self) -> Option<u16> {
        self.0.checked_sub(Self::USER_BASE.0)
    }

    /// The number by which the type is known outside of Rust.
    ///
    /// ```
    /// use keylane::EventType;
    ///
    /// assert_eq!(EventType::TRAFFIC.code(), 8);
    /// assert_eq!(EventType::user(3).code(), 259);
    /// ```
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0
    }

    /// The type with this code. Every code is a type, reserved ones too, so that a program can pass
    /// on what a newer one has sent.
    ///
    /// ```
    /// use keylane::EventType;
    ///
    /// assert_eq!(EventType::from_code(8), EventType::TRAFFIC);
    /// assert_eq!(EventType::from_code(42).to_string(), "RESERVED(42)");
    /// ```
    #[must_use]
    pub const fn from_code(code: u16) -> EventType {
        EventType(code)
    }

    /// The types that have a name, by code.
    const NAMES: [&'static str; 9] = [
        "NOT_SET",
        "COMMON_ERROR",
        "NEW_CERTIFICATE",
        "DROP_CERTIFICATE",
        "FAILED_AUTH",
        "START_REQUEST",
        "FAILED_REQUEST",
        "FINISH_REQUEST",
        "TRAFFIC",
    ];
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = Self::NAMES.get(usize::from(self.0)) {
            return f.pad(name);
        }
        let (family, number) = match self.user_number() {
            Some(number) => ("USER", number),
            None => ("RESERVED", self.0),
        };
        // Only `pad` knows width and precision, and it wants the whole text; the common case,
        // which has neither, stays free of the allocation.
        if f.width().is_none() && f.precision().is_none() {
            write!(f, "{family}({number})")
        } else {
            f.pad(&format!("{family}({number})"))
        }
    }
}

/// The same text as `Display`.
impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A string, the same text as `Display`.
impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads exactly what `Display` prints: one text for each type, in capitals, without spaces, signs
/// or leading zeros.
impl FromStr for EventType {
    type Err = ParseEventTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(code) = Self::NAMES.iter().position(|name| *name == text) {
            // The table has nine entries.
            return Ok(EventType(code as u16));
        }
        let unknown = || ParseEventTypeError::Unknown { text: text.to_owned() };

        let (family, rest) = text.split_once('(').ok_or_else(unknown)?;
        let digits = rest.strip_suffix(')').ok_or_else(unknown)?;
        // `u16::from_str` also takes `+3` and `03`, which `Display` never prints.
        let canonical = !digits.is_empty()
            && digits.bytes().all(|b| b.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0'));
        if !canonical {
            return Err(unknown());
        }
        let number = digits.parse::<u16>().ok();
        match family {
            "USER" => number
                .and_then(Self::checked_user)
                .ok_or_else(|| ParseEventTypeError::UserNumber { number: digits.to_owned() }),
            "RESERVED" => number
                .map(EventType)
                .filter(|kind| usize::from(kind.0) >= Self::NAMES.len() && !kind.is_user())
                .ok_or_else(|| ParseEventTypeError::ReservedCode { code: digits.to_owned() }),
            _ => Err(unknown()),
        }
    }
}

/// Why a text is not the name of an [`EventType`].
///
/// ```
/// use keylane::EventType;
///
/// let error = "START".parse::<EventType>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "\"START\" is not an event type; use a name such as START_REQUEST, or USER(3)",
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseEventTypeError {
    /// The text is neither a known name nor `USER(n)` nor `RESERVED(n)`.
    Unknown {
        /// The whole text.
        text: String,
    },
    /// The number in `USER(n)` is above [`EventType::MAX_USER_NUMBER`].
    UserNumber {
        /// The digits between the parentheses.
        number: String,
    },
    /// The code in `RESERVED(n)` is not from 9 to 255.
    ReservedCode {
        /// The digits between the parentheses.
        code: String,
    },
}

impl fmt::Display for ParseEventTypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { text } => write!(
                f,
                "{text:?} is not an event type; use a name such as START_REQUEST, or USER(3)"
            ),
            Self::UserNumber { number } => write!(
                f,
                "user event type {number} is out of range; use 0 to {}",
                EventType::MAX_USER_NUMBER
            ),
            Self::ReservedCode { code } => {
                write!(f, "event type code {code} is not a reserved one; those are 9 to 255")
            }
        }
    }
}

impl Error for ParseEventTypeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predefined_codes_and_names_never_change() {
        let expected = [
            (EventType::NOT_SET, 0, "NOT_SET"),
            (EventType::COMMON_ERROR, 1, "COMMON_ERROR"),
            (EventType::NEW_CERTIFICATE, 2, "NEW_CERTIFICATE"),
            (EventType::DROP_CERTIFICATE, 3, "DROP_CERTIFICATE"),
            (EventType::FAILED_AUTH, 4, "FAILED_AUTH"),
            (EventType::START_REQUEST, 5, "START_REQUEST"),
            (EventType::FAILED_REQUEST, 6, "FAILED_REQUEST"),
            (EventType::FINISH_REQUEST, 7, "FINISH_REQUEST"),
            (EventType::TRAFFIC, 8, "TRAFFIC"),
            (EventType::USER_BASE, 256, "USER(0)"),
        ];
        for (kind, code, name) in expected {
            assert_eq!(kind.code(), code);
            assert_eq!(kind.to_string(), name);
            assert_eq!(format!("{kind:?}"), name);
        }
    }

    #[test]
    fn every_code_survives_its_text() {
        for code in 0..=u16::MAX {
            let kind = EventType::from_code(code);
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
    }

    #[test]
    fn families_meet_without_gap_or_overlap() {
        assert_eq!(EventType::from_code(9).to_string(), "RESERVED(9)");
        assert_eq!(EventType::from_code(255).to_string(), "RESERVED(255)");
        assert!(!EventType::from_code(255).is_user());
        assert!(EventType::from_code(256).is_user());
        assert_eq!(EventType::from_code(255).user_number(), None);
        assert_eq!(EventType::from_code(256).user_number(), Some(0));
        assert_eq!(EventType::from_code(u16::MAX).user_number(), Some(65279));
    }

    #[test]
    fn user_numbers_end_where_the_codes_end() {
        assert_eq!(EventType::MAX_USER_NUMBER, 65279);
        assert_eq!(EventType::user(65279).code(), u16::MAX);
        assert_eq!(EventType::checked_user(65279), Some(EventType::user(65279)));
        assert_eq!(EventType::checked_user(65280), None);
        assert_eq!(EventType::checked_user(u16::MAX), None);
    }

    #[test]
    #[should_panic(expected = "a user event type has a number from 0 to 65279")]
    fn a_user_number_beyond_the_codes_panics() {
        let _ = EventType::user(65280);
    }

    #[test]
    fn only_the_printed_text_is_read() {
        for text in [
            "",
            "start_request",
            " START_REQUEST",
            "START_REQUEST ",
            "USER",
            "USER(",
            "USER()",
            "USER(3",
            "USER(3))",
            "USER(+3)",
            "USER(-3)",
            "USER(03)",
            "USER(00)",
            "USER( 3)",
            "USER(3) ",
            "USER(\u{663})",
            "user(3)",
            "OTHER(3)",
            "NOT_SET(0)",
            "(3)",
        ] {
            let error = text.parse::<EventType>().expect_err(text);
            assert_eq!(error, ParseEventTypeError::Unknown { text: text.to_owned() });
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn numbers_outside_of_their_family_are_named() {
        for number in ["65280", "65535", "65536", "99999999999999999999"] {
            let error = format!("USER({number})").parse::<EventType>().expect_err(number);
            assert_eq!(error, ParseEventTypeError::UserNumber { number: number.to_owned() });
            assert!(error.to_string().contains(number), "{error}");
        }
        for code in ["0", "8", "256", "65535", "65536"] {
            let error = format!("RESERVED({code})").parse::<EventType>().expect_err(code);
            assert_eq!(error, ParseEventTypeError::ReservedCode { code: code.to_owned() });
            assert!(error.to_string().contains(code), "{error}");
        }
    }

    #[test]
    fn width_and_alignment_are_kept() {
        assert_eq!(format!("[{:<10}]", EventType::TRAFFIC), "[TRAFFIC   ]");
        assert_eq!(format!("[{:>10}]", EventType::user(3)), "[   USER(3)]");
        assert_eq!(format!("[{:>14}]", EventType::from_code(42)), "[  RESERVED(42)]");
    }

    #[test]
    fn json_is_the_name() {
        let json = |kind| serde_json::to_string(&kind).expect("a string");
        assert_eq!(json(EventType::START_REQUEST), r#""START_REQUEST""#);
        assert_eq!(json(EventType::user(3)), r#""USER(3)""#);
        assert_eq!(json(EventType::from_code(42)), r#""RESERVED(42)""#);
    }
}
