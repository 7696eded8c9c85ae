//! What is checked, and how a process sees what it costs.

use std::path::PathBuf;

use keylane::plugin::PluginHost;

use crate::config::{PluginConfig, PluginsConfig, Trust};
use crate::plugin::raw::{Answer, Library};
use crate::processors::plugins;
use crate::types::SharedTypes;

use super::talk::Talk;

/// The plugin, and a configuration that it takes.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) path: PathBuf,
    pub(super) trust: Trust,
    pub(super) id: Option<String>,
    pub(super) config: String,
}

impl Subject {
    /// A host that loads it as the command does.
    pub(super) fn host(&self) -> Result<PluginHost, String> {
        let settings = PluginsConfig {
            trust: Some(self.trust),
            all: vec![PluginConfig::new(self.path.clone())],
            ..PluginsConfig::default()
        };
        plugins::host(&settings, &SharedTypes::of_strangers(4096))
    }

    /// The library at the level of its ABI; `None` when it does not load, which has been told then.
    pub(super) fn library(&self, talk: &Talk) -> Option<Library> {
        talk.step("loading the library");
        let inspection = self.host().map(|host| host.inspect(&self.path));
        match inspection {
            Ok(inspection) if inspection.would_load() => {}
            Ok(inspection) => {
                talk.fail(inspection.to_string());
                return None;
            }
            Err(error) => {
                talk.fail(error);
                return None;
            }
        }
        match Library::load(&self.path, self.id.as_deref()) {
            Ok(library) => Some(library),
            Err(error) => {
                talk.fail(format!("it does not load: {error}"));
                None
            }
        }
    }

    /// Tells that there is no instance.
    pub(super) fn not_created(&self, talk: &Talk, answer: &Answer) {
        let hint = if self.config == "{}" {
            "; give a configuration that it takes with --config"
        } else {
            ""
        };
        talk.fail(format!("create with the configuration {}: {answer}{hint}", self.config));
    }
}

/// What the process holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holdings {
    /// Bytes that were allocated from the C library and not freed: exact, but blind for a plugin with an allocator of its own.
    allocated: i64,
    /// Bytes of memory of its own that the process has touched: in pages, and sees everything.
    resident: i64,
    pub(super) threads: usize,
    pub(super) files: usize,
}

impl Holdings {
    pub(super) fn now() -> Self {
        let entries = |path: &str| std::fs::read_dir(path).map_or(0, Iterator::count);
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = |column: usize| -> i64 {
            statm
                .split_ascii_whitespace()
                .nth(column)
                .and_then(|pages| pages.parse().ok())
                .unwrap_or(0)
        };
        Self {
            allocated: allocated(),
            resident: (pages(1) - pages(2)) * 4096,
            threads: entries("/proc/self/task"),
            files: entries("/proc/self/fd"),
        }
    }

    /// How many bytes more are held than before, for `turns` times the same thing; `None` when that is what memory does anyway.
    pub(super) fn leaked_since(&self, before: &Self, turns: i64) -> Option<i64> {
        let (allocated, resident) =
            (self.allocated - before.allocated, self.resident - before.resident);
        // The smallest allocation takes 24 bytes. Pages are handed out in their own rhythm, so it takes more of them to be sure.
        if allocated > turns * 12 && allocated > 8192 {
            Some(allocated)
        } else if resident > turns * 512 && resident > (8 << 20) {
            Some(resident)
        } else {
            None
        }
    }
}

#[cfg(target_env = "gnu")]
fn allocated() -> i64 {
    // SAFETY: it only reads the allocator's own numbers.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks as i64 + info.hblkhd as i64
}

#[cfg(not(target_env = "gnu"))]
fn allocated() -> i64 {
    0
}
