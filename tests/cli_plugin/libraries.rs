//! Libraries for the tests: built from `faulty.c` with one fault each, and the bundled plugins.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::command::ended;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// An empty folder for one test, where nobody else may write.
pub(crate) fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli_plugin").join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the target folder can be written to");
    folder
}

/// Builds the plugin with these definitions.
pub(crate) fn build(out: &Path, defines: &[&str]) {
    let defines: Vec<_> = defines.iter().map(|define| format!("-D{define}")).collect();
    let flags: Vec<_> =
        ["-std=gnu11"].into_iter().chain(defines.iter().map(String::as_str)).collect();
    compile("cc", &flags, "tests/cli_plugin/faulty.c", out);
}

/// Builds a library from a source.
pub(crate) fn compile(compiler: &str, flags: &[&str], source: &str, out: &Path) {
    let output = ended(
        Command::new(compiler)
            .args(flags)
            .args(["-w", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread", "-I"])
            .arg(Path::new(ROOT).join("plugins/abi/include"))
            .arg("-o")
            .arg(out)
            .arg(Path::new(ROOT).join(source)),
    );
    assert_eq!(output.code, Some(0), "{}", output.stderr);
}

/// Cargo, for builds that need nothing but what this build has needed.
pub(crate) fn cargo(folder: &Path, args: &[&str]) -> Command {
    let target =
        Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target folder");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(args).args(["--offline", "--target-dir"]).arg(target).current_dir(folder);
    // What cargo has set for this test is not meant for another build.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name == "RUSTFLAGS"
        {
            cargo.env_remove(&*name);
        }
    }
    cargo
}

/// The bundled plugins in C and C++.
pub(crate) fn native(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let folder = folder("native");
        let mut script = Command::new(Path::new(ROOT).join("plugins/build.sh"));
        let output = ended(script.args(["--native", "--out"]).arg(&folder));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        folder
    });
    folder.join(format!("{name}.so"))
}

/// The bundled plugins in Rust, as libraries of a debug build.
pub(crate) fn bundled(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let packages = [
            "-p",
            "keylane-plugin-ndjson-file",
            "-p",
            "keylane-plugin-rate-alarm",
            "-p",
            "keylane-plugin-rollup",
        ];
        let mut build = cargo(Path::new(ROOT), &["build", "--locked"]);
        let output = ended(build.args(packages));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("debug")
    });
    folder.join(format!("lib{}.so", name.replace('-', "_")))
}
