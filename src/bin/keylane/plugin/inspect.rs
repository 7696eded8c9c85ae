//! `keylane plugin inspect`: what a file is, and whether it would be loaded, without running any of it.

use std::fmt::Write as _;
use std::io::Write;

use indicatif::HumanCount;
use keylane::ingest::printable::{self, plain};
use keylane::plugin::{ElfFacts, Inspection, LoadErrorKind, PluginHost, PluginManifest};
use keylane_plugin_abi::plugin_flag;
use serde_json::{Value, json};

use super::Library;
use crate::exit::Exit;
use crate::processors::plugins;
use crate::source;

/// Say what a library is and whether it would be loaded, without running any of it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    library: Library,

    /// Answer as one JSON object, for programs
    #[arg(long)]
    json: bool,
}

/// What to do about a place that is not trusted, beside changing it.
pub(super) fn hint(inspection: &Inspection) -> &'static str {
    match inspection.reason() {
        Some(LoadErrorKind::Untrusted { .. }) => ", put the file elsewhere, or say --trust any",
        _ => "",
    }
}

/// Runs the command.
pub(super) fn inspect(args: &Args) -> Exit {
    let host =
        PluginHost::builder().allow_loading(plugins::trust(&args.library.settings())).build();
    let inspection = match host {
        Ok(host) => host.inspect(&args.library.path),
        Err(error) => {
            eprintln!("keylane: cannot start a thread: {error}");
            return Exit::Usage;
        }
    };
    let text = if args.json {
        format!("{}\n", printable::json(&as_json(&inspection).to_string()))
    } else {
        table(&inspection)
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) if inspection.would_load() => Exit::Clean,
        Ok(()) => Exit::Lost,
        Err(error) => {
            eprintln!("keylane: cannot write the answer: {error}");
            Exit::NoReport
        }
    }
}

/// The names of the flags that are set.
pub(super) fn flags(bits: u32) -> Vec<String> {
    let known = [
        (plugin_flag::STATEFUL, "STATEFUL"),
        (plugin_flag::THREAD_AFFINE, "THREAD_AFFINE"),
        (plugin_flag::PANIC_UNWIND, "PANIC_UNWIND"),
        (plugin_flag::NO_RELOAD, "NO_RELOAD"),
        (plugin_flag::EMITS, "EMITS"),
        (plugin_flag::SPAWNS_THREADS, "SPAWNS_THREADS"),
    ];
    let mut names: Vec<_> = known
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    let rest = known.iter().fold(bits, |bits, (bit, _)| bits & !bit);
    if rest != 0 {
        names.push(format!("{rest:#x}"));
    }
    names
}

/// Texts of a file, shown on one line.
fn listed(items: &[String]) -> String {
    if items.is_empty() { "nothing".to_owned() } else { plain(&items.join(", "), 400) }
}

fn table(inspection: &Inspection) -> String {
    let mut out = String::new();
    let mut line = |label: &str, text: String| {
        let _ = writeln!(out, "{label:12}{text}");
    };
    let size =
        inspection.size.map_or_else(String::new, |size| format!(", {} bytes", HumanCount(size)));
    line("file", format!("{}{size}", source::name(&inspection.path)));
    if let Some(sha256) = inspection.sha256 {
        line("sha256", sha256.to_string());
    }
    match &inspection.manifest {
        Some(PluginManifest {
            abi_version: (major, minor),
            flags: bits,
            processors,
            id,
            version,
            built_with,
            ..
        }) => {
            line("plugin", format!("{} {}", plain(id, 64), plain(version, 32)));
            line(
                "built with",
                if built_with.is_empty() { "unknown".to_owned() } else { plain(built_with, 64) },
            );
            line("abi", format!("{major}.{minor}"));
            line("processors", processors.to_string());
            line("flags", listed(&flags(*bits)));
        }
        None if inspection.elf.is_some() => {
            line("manifest", "none: what it is shows only when it is loaded".into())
        }
        None => {}
    }
    if let Some(ElfFacts {
        needed,
        search_path,
        text_relocations,
        thread_local_bytes,
        entries,
        ..
    }) = &inspection.elf
    {
        line("needs", listed(needed));
        if let Some(search_path) = search_path {
            line("searches", plain(search_path, 400));
        }
        line("exports", listed(entries));
        let relocations = if *text_relocations {
            "; has text relocations, which hardened systems refuse"
        } else {
            ""
        };
        line("threads", format!("{thread_local_bytes} bytes for each{relocations}"));
    }
    let kind = inspection
        .reason()
        .map_or_else(String::new, |reason| format!("{} ({})", hint(inspection), reason.name()));
    let _ = writeln!(out, "\n{}{kind}", plain(&inspection.to_string(), 2000));
    out
}

/// The answer for programs; what comes from the file is in it as it is.
pub(super) fn as_json(inspection: &Inspection) -> Value {
    let manifest = inspection.manifest.as_ref().map(|manifest| {
        json!({
            "id": manifest.id,
            "version": manifest.version,
            "built_with": manifest.built_with,
            "abi": format!("{}.{}", manifest.abi_version.0, manifest.abi_version.1),
            "processors": manifest.processors,
            "flags": flags(manifest.flags),
        })
    });
    let elf = inspection.elf.as_ref().map(|elf| {
        json!({
            "needed": elf.needed,
            "search_path": elf.search_path,
            "text_relocations": elf.text_relocations,
            "thread_local_bytes": elf.thread_local_bytes,
            "entries": elf.entries,
        })
    });
    json!({
        "path": inspection.path.to_string_lossy(),
        "size": inspection.size,
        "sha256": inspection.sha256.map(|sha256| sha256.to_string()),
        "manifest": manifest,
        "elf": elf,
        "would_load": inspection.would_load(),
        "reason": inspection.reason().map(|reason| reason.name()),
        "message": inspection.reason().map(ToString::to_string),
    })
}
