//! Reading a plugin's file: once, from one open file, so that what is checked is what is loaded.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::digest::Sha256;
use super::error::LoadErrorKind;
use super::trust::TrustPolicy;

/// The bytes of a file that passed the policy.
#[derive(Debug)]
pub(crate) struct SourceFile {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Sha256,
}

/// Opens, checks and reads a file.
///
/// Without waiting: a pipe that nobody writes to would hold an ordinary open for ever.
pub(crate) fn read(
    path: &Path,
    trust: &TrustPolicy,
    limit: u64,
) -> Result<SourceFile, LoadErrorKind> {
    let (bytes, digest) = contents(path, limit, |place, file| trust.check_place(place, file))?;
    trust.check_digest(digest)?;
    Ok(SourceFile { bytes, digest })
}

/// Reads a file and its digest; `check` may refuse its place before it is read.
pub(crate) fn contents(
    path: &Path,
    limit: u64,
    check: impl FnOnce(&Path, &std::fs::Metadata) -> Result<(), LoadErrorKind>,
) -> Result<(Vec<u8>, Sha256), LoadErrorKind> {
    let open = |error| LoadErrorKind::Open { error };
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(path).map_err(|error| match error.raw_os_error() {
        // What a socket answers.
        Some(libc::ENXIO) => LoadErrorKind::NotRegular { found: "a socket or a device" },
        _ => open(error),
    })?;
    let metadata = file.metadata().map_err(open)?;
    if let Some(found) = irregular(&metadata) {
        return Err(LoadErrorKind::NotRegular { found });
    }
    check(&real_path(path, &file), &metadata)?;
    let too_large = |size| LoadErrorKind::TooLarge { size, limit };
    if metadata.len() > limit {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // One more than allowed: the file may grow while it is read.
    let read = (&file).take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| LoadErrorKind::Read { error })?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    let digest = Sha256::of(&bytes);
    Ok((bytes, digest))
}

fn irregular(metadata: &std::fs::Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a folder")
    } else if kind.is_fifo() {
        Some("a pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

/// Where the open file lies, whatever links led to it: who may change a link may only choose among files that are checked themselves.
fn real_path(path: &Path, file: &File) -> PathBuf {
    let by_number = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::read_link(by_number)
        .ok()
        .filter(|place| place.is_absolute())
        .or_else(|| path.canonicalize().ok())
        .unwrap_or_else(|| path.to_owned())
}
