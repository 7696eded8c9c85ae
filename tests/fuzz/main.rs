//! The fuzz targets over their corpus and over random changes of it, with any compiler and a bounded time.
//!
//! `fuzz/` runs the same targets with coverage, see `CONTRIBUTING.md`. What that finds belongs into `tests/corpus`.

mod mutation;
// There it belongs to a crate of its own, whose targets see what is public.
#[allow(unreachable_pub)]
#[path = "../../fuzz/src/targets.rs"]
mod targets;

use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;

use mutation::Mutator;

/// The inputs of a folder of the corpus, in the order of their names.
fn corpus(folder: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a file")).collect()
}

/// Runs a target over its seeds and so many changes of them.
fn fuzz(target: fn(&[u8]), seeds: Vec<Vec<u8>>, changes: u64) {
    assert!(!seeds.is_empty());
    let stress: u64 =
        std::env::var("KEYLANE_STRESS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut mutator = Mutator::new(1);
    let unchanged = seeds.iter().cloned();
    let changed = (0..changes * stress).map(|_| mutator.change(&seeds));
    for input in unchanged.chain(changed) {
        if let Err(panic) = catch_unwind(|| target(&input)) {
            eprintln!("the input, for tests/corpus: b\"{}\"", input.escape_ascii());
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn cloud_events() {
    fuzz(targets::cloud_events, corpus("cloudevents"), 20_000);
}

#[test]
fn ndjson() {
    let mut seeds = corpus("ndjson");
    // Bodies of requests are lines, too.
    seeds.extend(corpus("cloudevents").iter().filter_map(|file| {
        let end = file.windows(2).position(|two| two == b"\n\n")?;
        Some(file[end + 2..].to_vec())
    }));
    fuzz(targets::ndjson, seeds, 40_000);
}

#[test]
fn config() {
    let mut seeds = corpus("config");
    let example = include_str!("../../keylane.example.toml");
    let settings =
        example.lines().filter(|line| line.starts_with(['#', '[']) && !line.starts_with("# "));
    seeds.push(
        settings
            .map(|line| line.trim_start_matches("#:").to_owned() + "\n")
            .collect::<String>()
            .into_bytes(),
    );
    fuzz(targets::config, seeds, 20_000);
}

#[test]
fn log_line() {
    fuzz(targets::log_line, corpus("log_line"), 1_500);
}

#[test]
fn traceparent() {
    fuzz(targets::traceparent, corpus("traceparent"), 100_000);
}

#[test]
fn forwarded_for() {
    fuzz(targets::forwarded_for, corpus("forwarded_for"), 40_000);
}
