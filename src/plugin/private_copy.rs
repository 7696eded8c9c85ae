//! The private copy of a library: the checked bytes, under a name that was never used before.
//!
//! The dynamic loader knows libraries by name and by file: the same path with another file behind it gives the old library again, and a
//! file that is overwritten in place takes the mapped code with it. A fresh name in a folder that only this user can enter has
//! neither problem.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::LoadErrorKind;

/// What the names of folders begin with; the number of the process follows.
const PREFIX: &str = "keylane-plugins-";

/// Removes folders of this user whose processes are gone: one that crashed could not do it itself.
fn remove_orphans(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        let Some(process) = process.and_then(|process| process.parse::<u32>().ok()) else {
            continue;
        };
        // SAFETY: geteuid has no preconditions and cannot fail.
        let user = unsafe { libc::geteuid() };
        // What the name leads to must be a folder itself: a link could lead anywhere.
        let own = entry.path().symlink_metadata();
        let own = own.is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == user);
        if own
            && !Path::new(&format!("/proc/{process}")).exists()
            && Path::new("/proc/self").exists()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A folder for the copies of one host. It is removed with the host; libraries that are mapped live on without their names.
#[derive(Debug)]
pub(crate) struct CopyFolder {
    path: PathBuf,
    copies: AtomicU64,
}

impl CopyFolder {
    /// Makes a new folder in `parent`, for this user only.
    pub(crate) fn create(parent: &Path) -> Result<Self, LoadErrorKind> {
        remove_orphans(parent);
        static FOLDERS: AtomicU64 = AtomicU64::new(0);
        let mut tries = 0;
        loop {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let (process, number) = (std::process::id(), FOLDERS.fetch_add(1, Ordering::Relaxed));
            let name = format!("{PREFIX}{process}-{number}-{:08x}", now.subsec_nanos());
            let path = parent.join(name);
            // A folder that exists is not used: somebody else may have made it, and what is in it.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, copies: AtomicU64::new(0) }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && tries < 16 => {
                    tries += 1;
                }
                Err(error) => return Err(LoadErrorKind::Copy { to: path, error }),
            }
        }
    }

    /// Writes a copy under a fresh name that begins with `name`.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, LoadErrorKind> {
        let number = self.copies.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(format!("{name}-{number}.so"));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o500)
            .open(&path)
            .and_then(|mut file| file.write_all(bytes));
        match written {
            Ok(()) => Ok(path),
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                Err(LoadErrorKind::Copy { to: path, error })
            }
        }
    }
}

impl Drop for CopyFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the copies of plugins stay behind");
        }
    }
}
