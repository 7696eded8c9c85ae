//! What is read: a file, or standard input under the name `-`.

use std::fs::{File, Metadata};
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use keylane::ingest::printable::plain;

/// An opened input.
pub(crate) struct Source {
    /// How messages call it, fit to be printed.
    pub(crate) name: String,
    /// The bytes.
    pub(crate) reader: Box<dyn Read + Send>,
    /// How many bytes there are, if that is known beforehand.
    pub(crate) size: Option<u64>,
    /// Which file it is, if it is a regular one: an output must not be the same.
    pub(crate) identity: Option<Identity>,
}

/// A regular file, whatever path led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// The identity of the file behind `metadata`, if it is a regular one.
    pub(crate) fn of(metadata: &Metadata) -> Option<Self> {
        metadata.is_file().then_some(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Source {
    /// Opens the file at `path`, or standard input if that is `-`.
    ///
    /// # Errors
    ///
    /// What the operating system says, or that the path is a folder.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let standard = path.as_os_str() == "-";
        let file = if standard { duplicate(io::stdin())? } else { File::open(path)? };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Self {
            name: if standard { "standard input".to_owned() } else { name(path) },
            size: metadata.is_file().then_some(metadata.len()),
            identity: Identity::of(&metadata),
            reader: Box::new(file),
        })
    }

    /// Whether somebody has to type this input: it deserves a word on how to end it.
    pub(crate) fn is_typed(path: &Path) -> bool {
        path.as_os_str() == "-" && io::stdin().is_terminal()
    }
}

/// A path, fit to be printed.
pub(crate) fn name(path: &Path) -> String {
    plain(&path.to_string_lossy(), 200)
}

/// A standard stream as a file of its own: without the buffer and the lock of the standard library's handle.
pub(crate) fn duplicate(stream: impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}
