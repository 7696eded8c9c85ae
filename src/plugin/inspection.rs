//! What can be said of a file without running it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::digest::Sha256;
use super::elf::{self, ElfFacts};
use super::error::{LoadError, LoadErrorKind};
use super::host::check_bytes;
use super::manifest::PluginManifest;
use super::source_file::{self, SourceFile};
use super::trust::TrustPolicy;

/// What is known of a file, and whether it would be loaded. Made by [`PluginHost::inspect`](super::PluginHost::inspect), which runs
/// no code of the file.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes, if it can be read.
    pub size: Option<u64>,
    /// The digest of its bytes, if it can be read.
    pub sha256: Option<Sha256>,
    /// What its headers say, if it is a shared library for this machine.
    pub elf: Option<ElfFacts>,
    /// What its note says, if it has one that fits.
    pub manifest: Option<PluginManifest>,
    /// The first reason not to load it, if there is one up to where its code would run.
    pub refusal: Option<LoadError>,
}

impl Inspection {
    pub(super) fn of(path: &Path, trust: &TrustPolicy, limit: u64) -> Self {
        let mut inspection = Self {
            path: path.to_owned(),
            size: None,
            sha256: None,
            elf: None,
            manifest: None,
            refusal: None,
        };
        let mut refusals = Vec::new();
        // The place is judged, but does not keep the rest from being looked at.
        let mut place_refused = None;
        let contents = source_file::contents(path, limit, |place, file| {
            place_refused = trust.check_place(place, file).err();
            Ok(())
        });
        refusals.extend(place_refused);
        match contents {
            Err(kind) => refusals.push(kind),
            Ok((bytes, digest)) => {
                inspection.size = Some(bytes.len() as u64);
                inspection.sha256 = Some(digest);
                refusals.extend(trust.check_digest(digest).err());
                let file = SourceFile { bytes, digest };
                inspection.elf = elf::check(&file.bytes).ok();
                match check_bytes(path, &file) {
                    Ok(candidate) => inspection.manifest = candidate.manifest,
                    Err(kind) => refusals.push(kind),
                }
            }
        }
        inspection.refusal = refusals.into_iter().next().map(|kind| LoadError::new(path, kind));
        inspection
    }

    /// Whether the host would load it, as far as that can be said without running it.
    pub fn would_load(&self) -> bool {
        self.refusal.is_none()
    }

    /// The first reason not to load it.
    pub fn reason(&self) -> Option<&LoadErrorKind> {
        self.refusal.as_ref().map(LoadError::kind)
    }
}

impl fmt::Display for Inspection {
    /// `would load: yes`, or `would load: no, because` with the reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            None => f.write_str("would load: yes"),
            Some(reason) => write!(f, "would load: no, because {reason}"),
        }
    }
}
