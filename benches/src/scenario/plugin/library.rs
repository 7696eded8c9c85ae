//! The plugins as files, and the host that loads them.
//!
//! The one in Rust is built by cargo, along with this program and into the folder beside it. The one in C is compiled here, from
//! `plugins/tally.c`, by the machine's C compiler.

use std::fmt;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use keylane::plugin::{
    Plugin, PluginFactory, PluginHost, PluginMetric, PluginMetricValue, TrustPolicy,
};

use super::linked::{KINDS, Tally};

/// A loaded plugin, and the host that it counts in.
#[derive(Debug)]
pub(super) struct Library {
    host: PluginHost,
    plugin: Plugin,
}

/// Why a plugin takes no part: something that this machine lacks.
#[derive(Debug)]
pub(super) struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Library {
    /// Loads a file, with a host of its own.
    ///
    /// # Errors
    /// When it is refused.
    fn load(path: &Path) -> Result<Self, String> {
        // Whoever could have replaced the file could have replaced this program as well.
        let host = PluginHost::builder().allow_loading(TrustPolicy::any_owner()).build();
        let host = host.map_err(|error| error.to_string())?;
        let plugin = host.load(path).map_err(|error| error.to_string())?;
        Ok(Self { host, plugin })
    }

    /// The plugin in Rust.
    ///
    /// # Errors
    /// When it is refused.
    pub(super) fn rust() -> Result<Result<Self, Missing>, String> {
        const FILE: &str = "libkeylane_bench_tally.so";
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        // `deps` first: the other one is only renewed when the library is built for itself.
        let beside = [program.with_file_name("deps").join(FILE), program.with_file_name(FILE)];
        match beside.iter().find(|path| path.exists()) {
            Some(path) => Self::load(path).map(Ok),
            None => Ok(Err(Missing(format!(
                "there is no {FILE} beside {}: run the program where cargo has built it",
                program.display()
            )))),
        }
    }

    /// The plugin in C.
    ///
    /// # Errors
    /// When it does not compile, or is refused.
    pub(super) fn c() -> Result<Result<Self, Missing>, String> {
        let folder = Folder::create().map_err(|error| error.to_string())?;
        let file = folder.0.join("tally.so");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(&compiler);
        command
            .args(["-std=c99", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared"])
            .args(["-fvisibility=hidden", "-Wl,-z,defs", "-I"])
            .arg(sources.join("../plugins/abi/include"))
            .arg("-o")
            .args([&file, &sources.join("plugins/tally.c")]);
        let output = match command.output() {
            Ok(output) => output,
            Err(error) => {
                return Ok(Err(Missing(format!(
                    "the C compiler `{compiler}` does not start ({error}); name another one by CC"
                ))));
            }
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{command:?}, {}:\n{said}", output.status));
        }
        // The host has a copy of its own from here on.
        Self::load(&file).map(Ok)
    }

    /// A factory of its processor.
    ///
    /// # Errors
    /// When the plugin refuses an empty configuration.
    pub(super) fn factory(&self) -> Result<PluginFactory, String> {
        self.plugin.processor("{}").map_err(|error| error.to_string())
    }

    /// What the instances of `processor` have counted so far.
    pub(super) fn counted(&self, processor: &str) -> Tally {
        let metrics = self.host.stats().metrics;
        let value = |name: &str| {
            let is_it =
                |metric: &&PluginMetric| metric.processor == processor && metric.name == name;
            match metrics.iter().find(is_it).map(|metric| &metric.value) {
                Some(PluginMetricValue::Counter(value)) => *value,
                _ => 0,
            }
        };
        let counts: [u64; KINDS] = std::array::from_fn(|kind| value(&format!("count{kind}")));
        Tally { counts, sum: value("sum") }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // The last instances are destroyed on the host's thread, which should not outlive the measurement.
        self.host.settle(Duration::from_secs(10));
    }
}

/// A folder for what is built here: nobody else may write to it, and it goes with this.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn create() -> std::io::Result<Self> {
        let folder = format!("keylane-benches-plugins-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        // Left by a process of the same number that was killed.
        let _ = fs::remove_dir_all(&folder);
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What remains is a few kilobytes in a folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
