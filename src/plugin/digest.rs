//! The SHA-256 of a library's bytes: its identity.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256 as Hasher};

/// A SHA-256 digest. Prints and parses as 64 hexadecimal digits.
///
/// ```
/// use keylane::plugin::Sha256;
///
/// let digest = Sha256::of(b"");
/// assert_eq!(digest.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
/// assert_eq!(digest.to_string().parse(), Ok(digest));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Hasher::digest(bytes).into())
    }

    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 digits, for names.
    pub(crate) fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl From<[u8; 32]> for Sha256 {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a [`Sha256`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseSha256Error {
    /// It does not have 64 characters.
    Length {
        /// How many it has.
        found: usize,
    },
    /// A character is no hexadecimal digit.
    Digit {
        /// The character.
        found: char,
        /// Its place, from 0.
        at: usize,
    },
}

impl fmt::Display for ParseSha256Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found } => {
                write!(
                    f,
                    "a SHA-256 digest has 64 hexadecimal digits, this has {found} characters; `sha256sum` prints it"
                )
            }
            Self::Digit { found, at } => {
                write!(
                    f,
                    "character {} of the SHA-256 digest, {found:?}, is no hexadecimal digit",
                    at + 1
                )
            }
        }
    }
}

impl std::error::Error for ParseSha256Error {}

impl FromStr for Sha256 {
    type Err = ParseSha256Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let length = text.chars().count();
        if length != 64 {
            return Err(ParseSha256Error::Length { found: length });
        }
        let mut bytes = [0; 32];
        for (at, found) in text.chars().enumerate() {
            let digit = found.to_digit(16).ok_or(ParseSha256Error::Digit { found, at })?;
            bytes[at / 2] = bytes[at / 2] << 4 | digit as u8;
        }
        Ok(Self(bytes))
    }
}
