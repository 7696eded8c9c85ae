//! Finds out which compiler builds, for the manifest of plugins.

use std::process::Command;

fn main() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    let version = version.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    // "rustc 1.95.0 (59807616e 2026-04-14)": the commit does not fit, and the number says it all.
    let version = version.unwrap_or_default();
    let version = version.split(" (").next().unwrap_or_default().trim();
    let target = std::env::var("TARGET").unwrap_or_default();
    let mut built_with = format!("{version} {target}");
    built_with.truncate(63);
    println!("cargo::rustc-env=KEYLANE_PLUGIN_BUILT_WITH={}", built_with.trim());
    println!("cargo::rerun-if-changed=build.rs");
}
