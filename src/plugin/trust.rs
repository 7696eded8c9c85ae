//! Which files may be loaded: who owns them, who could have changed them, and what is in them.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::digest::Sha256;
use super::error::{Distrust, LoadErrorKind};

/// Which plugins a host trusts. To load a plugin is to run its code with all rights of the process.
///
/// ```
/// use keylane::plugin::{Sha256, TrustPolicy};
///
/// // Files that only root or this user could have written:
/// let owned = TrustPolicy::owned();
/// // The same, and only with these contents:
/// let listed = TrustPolicy::owned().allow(Sha256::of(b"the bytes of a plugin"));
/// # let _ = (owned, listed);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustPolicy {
    check_owner: bool,
    digests: Option<BTreeSet<Sha256>>,
}

impl TrustPolicy {
    /// The file and every folder above it, up to the root, belong to root or to the user of the process, and nobody else may write
    /// to them. A folder such as `/tmp`, where everybody may add files, does not count as safe.
    pub fn owned() -> Self {
        Self { check_owner: true, digests: None }
    }

    /// Any file from any place. For tests, and where something else guards the files.
    pub fn any_owner() -> Self {
        Self { check_owner: false, digests: None }
    }

    /// In addition, only files whose bytes have this digest, or another one that was allowed.
    pub fn allow(self, digest: Sha256) -> Self {
        self.allow_only([digest])
    }

    /// In addition, only files whose bytes have one of these digests, or another one that was allowed. With an empty list:
    /// none.
    pub fn allow_only(mut self, digests: impl IntoIterator<Item = Sha256>) -> Self {
        self.digests.get_or_insert_default().extend(digests);
        self
    }

    /// Checks an open file, and the folders on the way to it. `place` is its real path, without symbolic links.
    pub(crate) fn check_place(&self, place: &Path, file: &Metadata) -> Result<(), LoadErrorKind> {
        if !self.check_owner {
            return Ok(());
        }
        // SAFETY: geteuid has no preconditions and cannot fail.
        let user = unsafe { libc::geteuid() };
        check_one(place, file, user)?;
        for folder in place.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            let metadata = folder.metadata().map_err(|error| LoadErrorKind::Untrusted {
                place: folder.to_owned(),
                why: Distrust::Unknown { error: error.to_string() },
            })?;
            check_one(folder, &metadata, user)?;
        }
        Ok(())
    }

    /// Checks the contents.
    pub(crate) fn check_digest(&self, found: Sha256) -> Result<(), LoadErrorKind> {
        match &self.digests {
            Some(allowed) if !allowed.contains(&found) => {
                Err(LoadErrorKind::DigestNotAllowed { found, allowed: allowed.len() })
            }
            _ => Ok(()),
        }
    }
}

impl Default for TrustPolicy {
    fn default() -> Self {
        Self::owned()
    }
}

fn check_one(place: &Path, metadata: &Metadata, user: u32) -> Result<(), LoadErrorKind> {
    let untrusted = |why| Err(LoadErrorKind::Untrusted { place: place.to_owned(), why });
    let mode = metadata.permissions().mode() & 0o7777;
    let owner = metadata.uid();
    if mode & 0o002 != 0 {
        return untrusted(Distrust::WorldWritable { mode });
    }
    if owner != 0 && owner != user {
        return untrusted(Distrust::Owner { owner, user });
    }
    Ok(())
}
