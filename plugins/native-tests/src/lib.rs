//! Builds plugins in C and C++ with the machine's own compiler, and loads them into the test host.
//!
//! A crate of its own because the plugins themselves are no crates: cargo does not build them, `plugins/build.sh` does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use keylane_plugin::abi;
use keylane_plugin::testing::{Report, TestHost};

/// The folder of the plugins' sources.
fn plugins() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in a folder")
}

/// A folder for what this test builds, beside the test itself. The next run replaces what is in it.
fn scratch() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = std::env::current_exe().expect("the test has a path");
        let folder = test.with_extension("libraries");
        std::fs::create_dir_all(&folder).expect("a folder for libraries");
        folder
    })
}

/// A bundled plugin, as `plugins/build.sh` builds it.
///
/// # Panics
/// When it does not compile without a warning.
#[must_use]
pub fn bundled(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        run(Command::new(plugins().join("build.sh")).args(["--native", "--out"]).arg(scratch()));
    });
    scratch().join(format!("{name}.so"))
}

/// A plugin from this source: C when `standard` is one of C's, as strictly compiled as the bundled ones.
///
/// # Panics
/// When it does not compile without a warning.
#[must_use]
pub fn compiled(standard: &str, source: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let cplusplus = standard.starts_with("c++");
    let (variable, fallback, extension) =
        if cplusplus { ("CXX", "c++", "cpp") } else { ("CC", "cc", "c") };
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let file = scratch().join(format!("plugin-{number}.{extension}"));
    std::fs::write(&file, source).expect("the source can be written");
    let library = file.with_extension("so");
    let compiler = std::env::var(variable).unwrap_or_else(|_| fallback.into());
    run(Command::new(compiler)
        .arg(format!("-std={standard}"))
        .args([
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            "-fPIC",
            "-shared",
            "-fvisibility=hidden",
            "-I",
        ])
        .arg(plugins().join("abi/include"))
        .arg("-o")
        .args([&library, &file]));
    library
}

fn run(command: &mut Command) {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// An instance of the plugin in this library, which stays loaded.
///
/// # Errors
/// What the plugin said when it refused.
///
/// # Panics
/// When the library does not load or has no entry.
pub fn load(library: &Path, config: &str) -> Result<TestHost, Report> {
    // SAFETY: the library was built here, from sources that run nothing when they are loaded.
    let library =
        unsafe { libloading::Library::new(library) }.unwrap_or_else(|error| panic!("{error}"));
    // SAFETY: the symbol is the entry, by its name.
    let entry: *const abi::Entry =
        unsafe { *library.get(abi::ENTRY_SYMBOL).expect("it has an entry") };
    std::mem::forget(library);
    // SAFETY: the library stays loaded.
    unsafe { TestHost::from_entry(entry, None, config) }
}
