//! What calls return.

use core::fmt;

/// What a call returns. Every value is legal; those without a name count as [`E_FATAL`](Self::E_FATAL).
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(
    /// The number.
    pub i32,
);

impl Status {
    /// Done.
    pub const OK: Self = Self(0);
    /// Not now: the events from `processed` on were not taken, and are to be offered again later.
    pub const AGAIN: Self = Self(1);
    /// The event at `processed` cannot be processed and is lost; delivery goes on behind it.
    pub const E_EVENT: Self = Self(-1);
    /// The instance is of no more use. No event is to blame: those from `processed` on go to its successor.
    pub const E_FATAL: Self = Self(-2);
    /// As `E_FATAL`, but the event at `processed` is to blame and lost.
    pub const E_PANIC: Self = Self(-3);
    /// The configuration is refused.
    pub const E_CONFIG: Self = Self(-4);
    /// The saved state is refused.
    pub const E_STATE: Self = Self(-5);
    /// This side does not do that, or not here.
    pub const E_UNSUPPORTED: Self = Self(-6);
    /// Out of memory.
    pub const E_NOMEM: Self = Self(-7);
    /// There is no room; try again in a later call.
    pub const E_WOULD_BLOCK: Self = Self(-8);
    /// A struct is too small, or its contents contradict each other.
    pub const E_ABI: Self = Self(-9);
    /// The derived event would have too many ancestors.
    pub const E_HOPS: Self = Self(-10);
    /// An argument is wrong.
    pub const E_INVALID: Self = Self(-11);

    /// The constant's name; `None` for a number that this minor does not know.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::OK => "OK",
            Self::AGAIN => "AGAIN",
            Self::E_EVENT => "E_EVENT",
            Self::E_FATAL => "E_FATAL",
            Self::E_PANIC => "E_PANIC",
            Self::E_CONFIG => "E_CONFIG",
            Self::E_STATE => "E_STATE",
            Self::E_UNSUPPORTED => "E_UNSUPPORTED",
            Self::E_NOMEM => "E_NOMEM",
            Self::E_WOULD_BLOCK => "E_WOULD_BLOCK",
            Self::E_ABI => "E_ABI",
            Self::E_HOPS => "E_HOPS",
            Self::E_INVALID => "E_INVALID",
            _ => return None,
        })
    }
}

/// The name, or the number in parentheses: `E_FATAL`, `unknown status (77)`.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "unknown status ({})", self.0),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
