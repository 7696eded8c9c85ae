//! keylane side by side with its rivals, interleaved in one run.
//!
//! `cargo run --release -p keylane-benches` runs every scenario, prints a table and writes
//! `target/bench/report.json`; `-- dispatch --cells 1x1,8x2 --only keylane,crossbeam` runs a part.

mod contender;
mod machine;
mod measure;
mod report;
mod scenario;
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::{env, fs};

use clap::{Parser, ValueEnum};

use machine::Machine;
use report::Report;
use scenario::{Name, Plan};
use workload::{Keys, Shape};

/// Runs keylane and its rivals in turn and compares them
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Scenarios to run, in this order; all of them when none is named
    scenarios: Vec<Name>,

    /// Producers x shards, such as `1x1,8x2`
    #[arg(long, value_delimiter = ',', default_value = "1x1,2x1,2x2,8x2")]
    cells: Vec<Shape>,

    /// The whole sweep instead of --cells: {1,2,4,8,32} producers x {1,2} shards
    #[arg(long, conflicts_with = "cells")]
    sweep: bool,

    /// Rounds that count; one more goes before each cell
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,

    /// Events per round over all producers, instead of each scenario's own number
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    events: Option<u64>,

    /// Slots per producer and shard; a rival's channel gets as many in total
    #[arg(long, default_value_t = 1024)]
    capacity: usize,

    /// Contenders by name, such as `keylane,crossbeam`
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,

    /// Also runs the modes of the rivals that were found to be slower
    #[arg(long)]
    all_modes: bool,

    /// A small run that shows that everything works and nothing else
    #[arg(long)]
    quick: bool,

    /// Where the report goes; `bench/report.json` in the target folder by default
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    let known = scenario::contenders();
    for name in &arguments.only {
        if !known.contains(&name.as_str()) {
            return Err(format!("no contender `{name}`; there are {}", known.join(", ")));
        }
    }
    if !arguments.capacity.is_power_of_two() {
        return Err(format!("capacity {} is not a power of two", arguments.capacity));
    }
    if cfg!(debug_assertions) && !arguments.quick {
        eprintln!("warning: built without optimisation, the figures mean nothing; use --release");
    }
    let names =
        if arguments.scenarios.is_empty() { Name::value_variants() } else { &arguments.scenarios };
    let plan = Plan {
        cells: if arguments.sweep { sweep() } else { arguments.cells },
        rounds: arguments.rounds.into(),
        events: arguments.events,
        capacity: arguments.capacity,
        only: arguments.only,
        all_modes: arguments.all_modes,
        quick: arguments.quick,
        keys: Arc::new(Keys::new()),
    };
    let mut report = Report {
        machine: Machine::read(),
        arguments: env::args().skip(1).collect(),
        rounds: plan.rounds,
        scenarios: Vec::new(),
    };
    println!("{}\n{}", report.machine, report.legend());
    for name in names {
        let scenario = scenario::run(*name, &plan)?;
        println!("\n{scenario}");
        report.scenarios.push(scenario);
    }
    print!("{}", report.entrants());
    let path = arguments.out.unwrap_or_else(default_path);
    write(&report, &path).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("\nwritten to {}", path.display());
    Ok(())
}

fn sweep() -> Vec<Shape> {
    [1, 2, 4, 8, 32]
        .into_iter()
        .flat_map(|producers| [1, 2].map(|shards| Shape { producers, shards }))
        .collect()
}

fn default_path() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target"),
        PathBuf::from,
    );
    target.join("bench").join("report.json")
}

fn write(report: &Report, path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    fs::write(path, text)
}
