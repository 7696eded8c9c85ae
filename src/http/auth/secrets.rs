//! Secrets and whom they belong to.

use std::fmt;
use std::sync::Arc;

use subtle::{Choice, ConstantTimeEq};

/// A short list of users with their passwords, or of tokens with their owners, for [`Basic`](super::Basic) and
/// [`Bearer`](super::Bearer).
///
/// Looking something up compares it with every entry, each in a time that depends on lengths only: how long it takes does not tell how
/// much of a guess was right, or whether there is such a user.
///
/// ```
/// use keylane::http::{Basic, Bearer, Secrets};
///
/// let users = Secrets::new([("alice", "open sesame"), ("bob", "hunter2")]);
/// assert!(users.allow("alice", "open sesame"));
/// assert!(!users.allow("alice", "hunter2"));
/// let basic = Basic::new("orders", move |user, password| users.allow(user, password));
///
/// let tokens = Secrets::new([("ci", "mF_9.B5f-4.1JqM")]);
/// assert_eq!(tokens.owner("mF_9.B5f-4.1JqM").as_deref(), Some("ci"));
/// let bearer = Bearer::new("orders", move |token| tokens.owner(token));
/// # let _ = (basic, bearer);
/// ```
#[derive(Clone, Default)]
pub struct Secrets {
    entries: Vec<(Arc<str>, Box<[u8]>)>,
}

impl Secrets {
    /// A list of names and their secrets. A name may have several, so that one can be changed for another.
    pub fn new<N: Into<Arc<str>>, S: AsRef<[u8]>>(
        entries: impl IntoIterator<Item = (N, S)>,
    ) -> Self {
        let entries =
            entries.into_iter().map(|(name, secret)| (name.into(), secret.as_ref().into()));
        Self { entries: entries.collect() }
    }

    /// Whether the secret is one of that name.
    #[must_use]
    pub fn allow(&self, name: &str, secret: &str) -> bool {
        let mut found = Choice::from(0);
        for (known, known_secret) in &self.entries {
            found |=
                known.as_bytes().ct_eq(name.as_bytes()) & known_secret.ct_eq(secret.as_bytes());
        }
        found.into()
    }

    /// Whose secret it is.
    #[must_use]
    pub fn owner(&self, secret: &str) -> Option<Arc<str>> {
        let mut owner = None;
        for (name, known_secret) in &self.entries {
            if known_secret.ct_eq(secret.as_bytes()).into() {
                owner = Some(name);
            }
        }
        owner.cloned()
    }
}

/// The names without the secrets.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_pair_is_right() {
        let secrets = Secrets::new([("a", "secret"), ("b", "other"), ("a", "newer")]);
        for (name, secret, right) in [
            ("a", "secret", true),
            ("a", "newer", true),
            ("b", "other", true),
            ("b", "secret", false),
            ("a", "secre", false),
            ("a", "secret1", false),
            ("a", "", false),
            ("", "secret", false),
            ("A", "secret", false),
        ] {
            assert_eq!(secrets.allow(name, secret), right, "{name} {secret}");
        }
        assert_eq!(secrets.owner("newer").as_deref(), Some("a"));
        assert_eq!(secrets.owner(""), None);
        assert!(!Secrets::default().allow("", ""));
        assert!(!format!("{secrets:?}").contains("secret"));
    }
}
