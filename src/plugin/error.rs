//! Why a plugin was not loaded: one kind for each step of the load, with what was found and what was wanted.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keylane_plugin_abi::Status;

use super::digest::Sha256;

/// A plugin that was not loaded: the file and the reason.
#[derive(Debug)]
pub struct LoadError {
    path: PathBuf,
    kind: Box<LoadErrorKind>,
}

impl LoadError {
    pub(crate) fn new(path: &Path, kind: LoadErrorKind) -> Self {
        Self { path: path.to_owned(), kind: Box::new(kind) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The reason.
    pub fn kind(&self) -> &LoadErrorKind {
        &self.kind
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {:?} is not loaded: {}", self.path, self.kind)
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.kind {
            LoadErrorKind::Open { error }
            | LoadErrorKind::Read { error }
            | LoadErrorKind::Copy { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Why a file is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Distrust {
    /// Everybody may change it.
    WorldWritable {
        /// Its permissions.
        mode: u32,
    },
    /// It belongs to somebody else.
    Owner {
        /// The owner's number.
        owner: u32,
        /// The number of the user that the process runs as.
        user: u32,
    },
    /// Its folder cannot be looked at.
    Unknown {
        /// The system's error.
        error: String,
    },
}

/// Why a plugin was not loaded, in the order in which it is looked at. No code of the file has run for any kind up to
/// [`Copy`](Self::Copy).
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadErrorKind {
    /// The host was not built with [`allow_loading`](super::PluginHostBuilder::allow_loading).
    Disabled,
    /// It cannot be opened; there may be no such file.
    Open {
        /// The system's error.
        error: io::Error,
    },
    /// It is a folder, a pipe, a device or a socket.
    NotRegular {
        /// What it is.
        found: &'static str,
    },
    /// Somebody else could have put it there.
    Untrusted {
        /// The file, or the folder above it, that is not safe.
        place: PathBuf,
        /// What is wrong with it.
        why: Distrust,
    },
    /// It has more bytes than the host allows.
    TooLarge {
        /// Its size.
        size: u64,
        /// The largest size that is allowed.
        limit: u64,
    },
    /// It cannot be read.
    Read {
        /// The system's error.
        error: io::Error,
    },
    /// Its SHA-256 is not on the list of those that are allowed.
    DigestNotAllowed {
        /// Its digest.
        found: Sha256,
        /// How many are allowed.
        allowed: usize,
    },
    /// It is no ELF file.
    NotElf {
        /// Its first bytes, escaped.
        found: String,
    },
    /// It is built for another machine, or is another kind of file.
    WrongTarget {
        /// In what it differs.
        field: &'static str,
        /// What it has.
        found: String,
        /// What this program needs.
        host: String,
    },
    /// It ends before something that its headers name.
    Truncated {
        /// What is missing.
        what: String,
        /// How many bytes the file needs to have.
        needs: u64,
        /// How many it has.
        size: u64,
    },
    /// Its headers contradict each other.
    Malformed {
        /// What is wrong.
        what: String,
    },
    /// It exports no entry for this version of the plugin ABI.
    NoEntry {
        /// The entries that it exports.
        found: Vec<String>,
    },
    /// The manifest in its ELF note does not fit.
    Manifest {
        /// Which field.
        field: &'static str,
        /// What it says.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// So many different libraries are loaded that the host loads no more. They are never unloaded.
    TooManyGenerations {
        /// How many are resident.
        resident: usize,
        /// How many may be.
        limit: usize,
    },
    /// Another library of this plugin is loaded, and it says that it must not be loaded twice in one process.
    NoReload {
        /// The plugin.
        id: String,
    },
    /// The private copy that would be loaded cannot be written.
    Copy {
        /// Where.
        to: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The dynamic loader refused it.
    Dlopen {
        /// The loader's words.
        message: String,
    },
    /// Something in its interface is not what the ABI demands.
    Abi {
        /// Which field.
        field: String,
        /// What it has.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A pointer that the ABI requires is null.
    NullPointer {
        /// Which one.
        what: &'static str,
    },
    /// Its `init` failed.
    Init {
        /// What it returned.
        status: Status,
        /// What it said.
        message: String,
    },
    /// Loading took too long. The thread that it runs on is left behind.
    Timeout {
        /// How long the host has waited.
        after: Duration,
    },
}

impl LoadErrorKind {
    /// The name of the kind, as the [counters](super::PluginStats::refused) have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Open { .. } => "open",
            Self::NotRegular { .. } => "not_regular",
            Self::Untrusted { .. } => "untrusted",
            Self::TooLarge { .. } => "too_large",
            Self::Read { .. } => "read",
            Self::DigestNotAllowed { .. } => "digest_not_allowed",
            Self::NotElf { .. } => "not_elf",
            Self::WrongTarget { .. } => "wrong_target",
            Self::Truncated { .. } => "truncated",
            Self::Malformed { .. } => "malformed",
            Self::NoEntry { .. } => "no_entry",
            Self::Manifest { .. } => "manifest",
            Self::TooManyGenerations { .. } => "too_many_generations",
            Self::NoReload { .. } => "no_reload",
            Self::Copy { .. } => "copy",
            Self::Dlopen { .. } => "dlopen",
            Self::Abi { .. } => "abi",
            Self::NullPointer { .. } => "null_pointer",
            Self::Init { .. } => "init",
            Self::Timeout { .. } => "timeout",
        }
    }
}

impl fmt::Display for LoadErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => f.write_str(
                "this program does not load plugins; it has to allow that with PluginHost::builder().allow_loading(..)",
            ),
            Self::Open { error } => write!(f, "it cannot be opened: {error}"),
            Self::NotRegular { found } => write!(f, "it is {found}, not a regular file"),
            Self::Untrusted { place, why } => match why {
                Distrust::WorldWritable { mode } => write!(
                    f,
                    "everybody may write to {place:?} (mode {mode:04o}), so anybody could have put it there; `chmod o-w {}`",
                    place.display().to_string().escape_debug(),
                ),
                Distrust::Owner { owner, user } => write!(
                    f,
                    "{place:?} belongs to user {owner}, but only root's and user {user}'s files are trusted; `chown {user}` it"
                ),
                Distrust::Unknown { error } => {
                    write!(f, "the owner of {place:?} cannot be found out: {error}")
                }
            },
            Self::TooLarge { size, limit } => write!(
                f,
                "it has {size} bytes, and {limit} are allowed; strip it, or raise the limit of the host"
            ),
            Self::Read { error } => write!(f, "it cannot be read: {error}"),
            Self::DigestNotAllowed { found, allowed } => write!(
                f,
                "its SHA-256 {found} is none of the {allowed} that are allowed; add it if you trust the file"
            ),
            Self::NotElf { found } => write!(
                f,
                "it is no ELF file: it begins with \"{found}\", not with \"\\x7fELF\""
            ),
            Self::WrongTarget { field, found, host } => write!(
                f,
                "its {field} is {found}, and this program needs {host}; build it for this machine as a shared library"
            ),
            Self::Truncated { what, needs, size } => write!(
                f,
                "it is cut off: {what} ends at byte {needs}, the file has {size}; copy it again"
            ),
            Self::Malformed { what } => write!(f, "it is damaged: {what}; build or copy it again"),
            Self::NoEntry { found } if found.is_empty() => f.write_str(
                "it does not export keylane_plugin_entry_v1, so it is no keylane plugin; see export_plugin! or keylane_plugin.h",
            ),
            Self::NoEntry { found } => write!(
                f,
                "it exports {}, and this program needs keylane_plugin_entry_v1; build it for major version 1 of the ABI",
                found.join(", ")
            ),
            Self::Manifest { field, found, expected } => write!(
                f,
                "its manifest is not right: {field} is {found}, expected is {expected}; build it with the headers of this version"
            ),
            Self::TooManyGenerations { resident, limit } => write!(
                f,
                "{resident} libraries are loaded and {limit} may be, because none is ever unloaded; restart the program to load others"
            ),
            Self::NoReload { id } => write!(
                f,
                "plugin {id:?} is loaded already and says that it must not be loaded twice in one process; restart the program"
            ),
            Self::Copy { to, error } => write!(f, "its private copy {to:?} cannot be made: {error}"),
            Self::Dlopen { message } => {
                write!(f, "the dynamic loader refuses it: {}", printable(message))?;
                if message.contains("static TLS") {
                    f.write_str(
                        "; an allocator inside of the plugin is the usual cause, build it without initial-exec TLS",
                    )?;
                }
                Ok(())
            }
            Self::Abi { field, found, expected } => write!(
                f,
                "{field} is {found}, expected is {expected}; build it with the headers of this version"
            ),
            Self::NullPointer { what } => write!(f, "{what} is null, and the ABI requires it"),
            Self::Init { status, message } => {
                write!(f, "its init returned {status}: {}", said(message))
            }
            Self::Timeout { after } => write!(
                f,
                "it was not loaded within {after:?}: its init or a constructor hangs; the thread is left behind"
            ),
        }
    }
}

/// What a plugin said, or that it said nothing. Escaped: a plugin wrote it.
pub(crate) fn said(message: &str) -> String {
    if message.is_empty() { "without a message".to_owned() } else { printable(message) }
}

/// A foreign text on one line, without what could act on a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let plain =
                !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}');
            let escaped = (!plain).then(|| c.escape_debug());
            escaped.into_iter().flatten().chain(plain.then_some(c))
        })
        .collect()
}
