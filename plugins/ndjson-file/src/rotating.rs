//! A file that is renamed away when it is large or old: `path` to `path.1`, `path.1` to `path.2`, and so on.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// When to wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fsync {
    #[default]
    Never,
    Rotate,
    Flush,
}

/// When to rotate, and what becomes of the old files.
#[derive(Debug, Clone)]
pub(crate) struct Rotation {
    pub(crate) max_bytes: Option<u64>,
    pub(crate) max_age_ns: Option<u64>,
    pub(crate) keep: u32,
    pub(crate) fsync: Fsync,
}

/// How long to wait before a rotation that failed is tried again.
const RETRY_NS: u64 = 1_000_000_000;

/// The file. It is opened by the first write: at a swap the successor is made while its predecessor still writes and may still rotate.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    file: Option<File>,
    /// The file's length; `None` before the first look, for until then the predecessor may write.
    len: Option<u64>,
    opened_at: u64,
    /// Not before this time is the next rotation.
    not_before: u64,
    /// Whether something was written that may not be on the disk.
    unsynced: bool,
}

impl RotatingFile {
    /// Looks whether the file can be written, but does not keep it open.
    pub(crate) fn new(path: PathBuf, rotation: Rotation) -> io::Result<Self> {
        open(&path)?;
        Ok(Self {
            path,
            rotation,
            file: None,
            len: None,
            opened_at: 0,
            not_before: 0,
            unsynced: false,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn len(&mut self) -> u64 {
        let Self { len, path, .. } = self;
        *len.get_or_insert_with(|| std::fs::metadata(path).map_or(0, |file| file.len()))
    }

    /// Whether to rotate before `more` bytes come behind the `so_far`.
    pub(crate) fn is_due(&self, so_far: u64, more: u64, now: u64) -> bool {
        if so_far == 0 || now < self.not_before {
            return false;
        }
        let Rotation { max_bytes, max_age_ns, .. } = self.rotation;
        max_bytes.is_some_and(|most| so_far + more > most)
            || self.file.is_some()
                && max_age_ns.is_some_and(|most| now.saturating_sub(self.opened_at) >= most)
    }

    /// Writes some of the bytes, at least one.
    pub(crate) fn write(&mut self, bytes: &[u8], now: u64) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = open(&self.path)?;
                self.len = Some(file.metadata()?.len());
                self.opened_at = now;
                self.file.insert(file)
            }
        };
        match file.write(bytes) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                self.len = self.len.map(|len| len + written as u64);
                self.unsynced = true;
                Ok(written)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Renames the file away. What was to be written to it is written.
    pub(crate) fn rotate(&mut self, now: u64) -> io::Result<()> {
        self.not_before = now.saturating_add(RETRY_NS);
        if self.rotation.fsync != Fsync::Never {
            self.sync()?;
        }
        // From the oldest on; `rename` replaces what is there, so the oldest one goes.
        for number in (1..self.rotation.keep).rev() {
            match std::fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, self.numbered(1))?;
        self.file = None;
        self.len = Some(0);
        self.not_before = 0;
        Ok(())
    }

    /// Waits for the disk, if that is wanted at every flush.
    pub(crate) fn flushed(&mut self) -> io::Result<()> {
        if self.rotation.fsync == Fsync::Flush { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.as_ref().filter(|_| self.unsynced) {
            file.sync_data()?;
        }
        self.unsynced = false;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot open {}: {error}", path.display()))
    })
}
