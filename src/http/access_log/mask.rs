//! Which requests are logged.

use std::ops::{BitOr, BitOrAssign};
use std::sync::atomic::{AtomicU8, Ordering};

/// A set of classes of statuses: which requests an [`AccessLog`](crate::http::AccessLog) prints.
///
/// ```
/// use keylane::http::StatusMask;
///
/// let mask = StatusMask::STATUS_3XX | StatusMask::ERRORS;
/// assert!(mask.contains(302) && mask.contains(404) && mask.contains(599));
/// assert!(!mask.contains(200));
/// assert!(mask.contains(700), "a status without a class is always logged");
/// assert_eq!(mask.bits(), 4 | 8 | 16);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatusMask(u8);

impl StatusMask {
    /// No request with a status from 100 to 599.
    pub const NONE: Self = Self(0);
    /// Informational responses.
    #[doc(alias = "LogStatus1xx")]
    pub const STATUS_1XX: Self = Self(1);
    /// Successes.
    #[doc(alias = "LogStatus2xx")]
    pub const STATUS_2XX: Self = Self(1 << 1);
    /// Redirections.
    #[doc(alias = "LogStatus3xx")]
    pub const STATUS_3XX: Self = Self(1 << 2);
    /// Errors of clients, and 499 for those that have gone.
    #[doc(alias = "LogStatus4xx")]
    pub const STATUS_4XX: Self = Self(1 << 3);
    /// Errors of the service, and all requests that failed.
    #[doc(alias = "LogStatus5xx")]
    pub const STATUS_5XX: Self = Self(1 << 4);
    /// Everything.
    #[doc(alias = "LogStatusAll")]
    pub const ALL: Self = Self(0b11111);
    /// Errors of clients and of the service.
    #[doc(alias = "LogStatusErrors")]
    pub const ERRORS: Self = Self(0b11000);

    /// Whether requests with this status are logged. A status that is not from 100 to 599 always is.
    #[must_use]
    pub const fn contains(self, status: u16) -> bool {
        match status {
            100..=599 => self.0 & 1 << (status / 100 - 1) != 0,
            _ => true,
        }
    }

    /// The set as bits: 1 for 1xx, 2 for 2xx, 4 for 3xx, 8 for 4xx, 16 for 5xx.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set with these [`bits`](Self::bits); bits without a meaning are dropped.
    #[must_use]
    pub const fn from_bits_truncate(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }
}

impl BitOr for StatusMask {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for StatusMask {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// A mask that is changed while others read it.
#[derive(Debug)]
pub(super) struct SharedMask(AtomicU8);

impl SharedMask {
    pub(super) fn new(mask: StatusMask) -> Self {
        Self(AtomicU8::new(mask.0))
    }

    pub(super) fn get(&self) -> StatusMask {
        StatusMask(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, mask: StatusMask) {
        self.0.store(mask.0, Ordering::Relaxed);
    }
}
