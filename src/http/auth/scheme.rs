//! Authentication schemes.

use std::fmt;
use std::sync::Arc;

use ::http::HeaderValue;

use super::AuthFailure;

/// Checks the credentials of one authentication scheme. [`Basic`] and [`Bearer`] are two.
pub trait Authenticator: Send + Sync + 'static {
    /// The name of the scheme, as it stands before the credentials: `Basic`.
    fn scheme(&self) -> &'static str;

    /// The value of `www-authenticate` that a refused client is sent.
    fn challenge(&self) -> HeaderValue;

    /// Checks what stands behind the scheme, and names the user.
    ///
    /// # Errors
    /// Why the client is refused.
    fn check(&self, credentials: &str) -> Result<Arc<str>, AuthFailure>;
}

/// User and password in clear text, [RFC 7617](https://www.rfc-editor.org/rfc/rfc7617). For use over TLS only.
///
/// ```
/// use keylane::http::{AuthFailure, Authenticator, Basic};
///
/// let basic = Basic::new("orders", |user, password| user == "Aladdin" && password == "open sesame");
/// assert_eq!(basic.check("QWxhZGRpbjpvcGVuIHNlc2FtZQ==").as_deref(), Ok("Aladdin"));
/// assert_eq!(basic.check("Aladdin:open sesame"), Err(AuthFailure::Malformed));
/// ```
#[derive(Clone)]
pub struct Basic<F> {
    realm: String,
    check: F,
}

/// A token, [RFC 6750](https://www.rfc-editor.org/rfc/rfc6750).
///
/// ```
/// use keylane::http::{Authenticator, Bearer};
///
/// let bearer = Bearer::new("orders", |token| (token == "mF_9.B5f-4.1JqM").then(|| "ci".into()));
/// assert_eq!(bearer.check("mF_9.B5f-4.1JqM").as_deref(), Ok("ci"));
/// ```
#[derive(Clone)]
pub struct Bearer<F> {
    realm: String,
    check: F,
}

impl<F: Fn(&str, &str) -> bool> Basic<F> {
    /// An authenticator that asks `check` about each pair of user and password. [`Secrets`](super::Secrets) compares in
    /// constant time.
    pub fn new(realm: impl Into<String>, check: F) -> Self {
        Self { realm: realm.into(), check }
    }
}

impl<F: Fn(&str) -> Option<Arc<str>>> Bearer<F> {
    /// An authenticator that asks `check` for the user of each token. [`Secrets`](super::Secrets) compares in constant
    /// time.
    pub fn new(realm: impl Into<String>, check: F) -> Self {
        Self { realm: realm.into(), check }
    }
}

impl<F> fmt::Debug for Basic<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic").field("realm", &self.realm).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Bearer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").field("realm", &self.realm).finish_non_exhaustive()
    }
}

impl<F: Fn(&str, &str) -> bool + Send + Sync + 'static> Authenticator for Basic<F> {
    fn scheme(&self) -> &'static str {
        "Basic"
    }

    fn challenge(&self) -> HeaderValue {
        challenge("Basic", &self.realm, ", charset=\"UTF-8\"")
    }

    fn check(&self, credentials: &str) -> Result<Arc<str>, AuthFailure> {
        let decoded = decode_base64(credentials).and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.ok_or(AuthFailure::Malformed)?;
        let (user, password) = decoded.split_once(':').ok_or(AuthFailure::Malformed)?;
        if (self.check)(user, password) {
            Ok(user.into())
        } else {
            Err(AuthFailure::Rejected { user: Some(user.to_owned()) })
        }
    }
}

impl<F: Fn(&str) -> Option<Arc<str>> + Send + Sync + 'static> Authenticator for Bearer<F> {
    fn scheme(&self) -> &'static str {
        "Bearer"
    }

    fn challenge(&self) -> HeaderValue {
        challenge("Bearer", &self.realm, "")
    }

    fn check(&self, credentials: &str) -> Result<Arc<str>, AuthFailure> {
        (self.check)(credentials).ok_or(AuthFailure::Rejected { user: None })
    }
}

/// A challenge with a realm; what a header cannot hold is left out of it.
fn challenge(scheme: &str, realm: &str, more: &str) -> HeaderValue {
    let visible = |c: &char| (' '..='~').contains(c) && !"\"\\".contains(*c);
    let realm: String = realm.chars().filter(visible).collect();
    HeaderValue::try_from(format!("{scheme} realm=\"{realm}\"{more}"))
        .expect("only visible characters are left")
}

/// Decodes standard base64 with padding; `None` when it is not canonical.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digit = |byte| {
        Some(match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        })
    };
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0);
    for byte in digits.bytes() {
        bits = bits << 6 | u32::from(digit(byte)?);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    // Bits that are left over must be zero, and fewer than a digit.
    (held < 6 && bits == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_it_is_written() {
        for (text, expected) in [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zm8=", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9vYg==", Some("foob")),
            ("Zm9vYmE=", Some("fooba")),
            ("Zm9vYmFy", Some("foobar")),
            ("Zh==", None),
            ("Zg=", None),
            ("Zg", None),
            ("=", None),
            ("====", None),
            ("Z===", None),
            ("Zm9v\n", None),
            ("Zm-v", None),
            ("Zm9=Zm9v", None),
        ] {
            let decoded = decode_base64(text);
            assert_eq!(decoded.as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn a_realm_cannot_end_its_quotes() {
        let value = challenge("Basic", "a\"b\\c\r\nd é", "");
        assert_eq!(value, "Basic realm=\"abcd \"");
    }
}
