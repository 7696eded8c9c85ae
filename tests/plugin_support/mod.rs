//! What the tests of plugins share: real libraries, built by the system's compiler from `fixture.c` with one thing changed each, and
//! a bus that is looked at afterwards.

// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keylane::plugin::{
    LoadErrorKind, PluginHost, PluginHostBuilder, PluginMetricValue, TrustPolicy,
};
use keylane::{Bus, EventType, NoopProcessor, ShardContext};

pub(crate) const KIND: EventType = EventType::user(0);

/// A folder for one test, below the build's folder, where nobody else may write. Removed at the end.
#[derive(Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static FOLDERS: AtomicU64 = AtomicU64::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("plugins-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Builds the fixture with these definitions, `"NAME"` or `"NAME=value"`.
    pub(crate) fn build(&self, name: &str, defines: &[&str]) -> PathBuf {
        let out = self.path(name);
        build(&out, defines);
        out
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugin_support").join(file)
}

/// Builds the fixture.
pub(crate) fn build(out: &Path, defines: &[&str]) {
    let defines = defines.iter().map(|define| format!("-D{define}"));
    compile(Command::new("cc").arg("-std=gnu11").args(defines).arg(here("fixture.c")), out);
}

/// Runs a compiler that makes a shared library.
pub(crate) fn compile(compiler: &mut Command, out: &Path) {
    let headers = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/abi/include");
    let output = compiler
        .args(["-w", "-O0", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread", "-I"])
        .arg(headers)
        .arg("-o")
        .arg(out)
        .output()
        .expect("the system has a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A host for libraries in the folders of tests.
pub(crate) fn builder() -> PluginHostBuilder {
    PluginHost::builder().allow_loading(TrustPolicy::owned()).patience(Duration::from_secs(60))
}

pub(crate) fn host() -> PluginHost {
    builder().build().expect("a thread")
}

/// The text of a load's error, after a check that the host counts it under its name and still loads what is right.
#[track_caller]
pub(crate) fn refused(host: &PluginHost, path: &Path, name: &str) -> String {
    let before = host.stats().refused.get(name).copied().unwrap_or(0);
    let error = host.load(path).expect_err("it is not to be loaded");
    assert_eq!(error.kind().name(), name, "{error}");
    assert_eq!(host.stats().refused[name], before + 1);
    assert_eq!(error.path(), path);
    works(host);
    error.to_string()
}

/// Fails unless the host loads a good plugin and a bus runs it.
#[track_caller]
pub(crate) fn works(host: &PluginHost) {
    let folder = Folder::new();
    let good = folder.path("good.so");
    std::fs::copy(good_library(), &good).expect("a copy");
    let plugin = host.load(&good).expect("a good plugin loads");
    let bus = Bus::builder()
        .shards(1)
        .processor("after", plugin.processor("{}").expect("a factory"))
        .build()
        .expect("a bus");
    for number in 0..10_u64 {
        bus.emitter().emit_blocking(KIND, number, "key").expect("open");
    }
    let report = bus.shutdown(Duration::from_secs(60));
    assert_eq!((report.accepted, report.processed), (10, 10), "{report}");
}

/// A good plugin, built once.
pub(crate) fn good_library() -> &'static Path {
    static GOOD: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    GOOD.get_or_init(|| {
        let name = format!("good-{}.so", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        build(&path, &[]);
        path
    })
}

/// The sum of a counter or gauge over the shards of a processor.
pub(crate) fn count(host: &PluginHost, processor: &str, name: &str) -> u64 {
    let metrics = host.stats().metrics;
    let found =
        metrics.iter().filter(|metric| metric.processor == processor && metric.name == name);
    found
        .map(|metric| match metric.value {
            PluginMetricValue::Counter(value) => value,
            PluginMetricValue::Gauge(value) => value as u64,
            _ => panic!("{name} is a histogram"),
        })
        .sum()
}

/// A bus with one processor that does nothing, for replacing it.
pub(crate) fn idle_bus(shards: usize, name: &str) -> Bus {
    let noop = |_: &ShardContext| NoopProcessor;
    Bus::builder().shards(shards).processor(name, noop).build().expect("a bus")
}

/// Waits for something that has to come.
#[track_caller]
pub(crate) fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !reached() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The name of a reason.
pub(crate) fn name_of(kind: &LoadErrorKind) -> &'static str {
    kind.name()
}
