//! keylane side by side with its rivals, interleaved in one run.
//!
//! `cargo run --release -p keylane-benches` runs every scenario, prints tables, and writes `target/bench/report.json` and
//! plots; `-- dispatch --cells 1x1,8x2 --only keylane,crossbeam` runs a part.

mod affinity;
mod contender;
mod cpu;
mod machine;
mod measure;
mod plot;
mod report;
mod rounds;
mod scenario;
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::{env, fs};

use clap::{Parser, ValueEnum};

use machine::Machine;
use report::Report;
use rounds::Rounds;
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

    /// Rounds that count; one more goes before each cell [default: 5, quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,

    /// Repeats rounds during which others took more than so many per cent of the machine
    #[arg(long)]
    calm: Option<f64>,

    /// Events per round over all producers, instead of each scenario's own number
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    events: Option<u64>,

    /// Seconds of a round of those scenarios that last a time, instead of each scenario's own
    #[arg(long)]
    seconds: Option<f64>,

    /// Rates of `latency`, such as `1k/s,1M/s`; all of them when none is named
    #[arg(long, value_delimiter = ',')]
    rates: Vec<String>,

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

    /// Where the report goes, the page and the plots beside it; `bench/report.json` in the target folder by default
    #[arg(long)]
    out: Option<PathBuf>,

    /// Adds to the report that is there, and keeps what this run does not measure
    #[arg(long)]
    join: bool,

    /// Runs the work of one scenario, for whoever counts its instructions from outside, and reports nothing
    #[arg(long, hide = true)]
    work_only: bool,

    /// Measures nothing: draws the plots of the report that is there
    #[arg(long, conflicts_with = "scenarios")]
    redraw: bool,
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
    for rate in &arguments.rates {
        if !scenario::RATE_NAMES.contains(&rate.as_str()) {
            return Err(format!("no rate `{rate}`; there are {}", scenario::RATE_NAMES.join(", ")));
        }
    }
    if arguments.seconds.is_some_and(|seconds| !(0.001..=600.0).contains(&seconds)) {
        return Err("seconds of a round lie between 0.001 and 600".to_owned());
    }
    let path = arguments.out.clone().unwrap_or_else(default_path);
    let earlier = if arguments.join || arguments.redraw { Some(read(&path)?) } else { None };
    let report = match earlier {
        Some(mut report) if arguments.redraw => {
            // A quick run had no goals.
            if !report.goals.is_empty() {
                report.conclude();
            }
            report
        }
        earlier => measure(arguments, earlier)?,
    };
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    write(&report, &path).map_err(failed)?;
    let plots = plot::draw(&report);
    for (name, svg) in &plots {
        fs::write(path.with_file_name(name), svg).map_err(failed)?;
    }
    let names: Vec<&str> = plots.iter().map(|(name, _)| *name).collect();
    fs::write(path.with_file_name("results.md"), report.markdown(&names)).map_err(failed)?;
    println!("\nwritten to {}, beside it results.md, {}", path.display(), names.join(", "));
    Ok(())
}

/// Runs the scenarios, and prints each as it comes.
fn measure(arguments: Arguments, earlier: Option<Report>) -> Result<Report, String> {
    let names = if arguments.scenarios.is_empty() {
        Name::value_variants().to_vec()
    } else {
        arguments.scenarios
    };
    let rounds = arguments.rounds.map_or(if arguments.quick { 1 } else { 5 }, usize::from);
    let plan = Plan {
        cells: if arguments.sweep { sweep() } else { arguments.cells },
        rounds: Rounds::new(rounds, arguments.calm.map(|percent| percent / 100.0)),
        events: arguments.events,
        seconds: arguments.seconds,
        rates: arguments.rates,
        capacity: arguments.capacity,
        only: arguments.only,
        all_modes: arguments.all_modes,
        quick: arguments.quick,
        work_only: arguments.work_only,
        keys: Arc::new(Keys::new()),
    };
    if arguments.work_only {
        names.into_iter().try_for_each(|name| scenario::work(name, &plan).map(drop))?;
        std::process::exit(0);
    }
    let mut report = Report { machine: Machine::read(), scenarios: Vec::new(), goals: Vec::new() };
    println!("{}\n{}", report.machine, report::LEGEND);
    for name in names {
        let mut scenario = scenario::run(name, &plan)?;
        let arguments: Vec<String> = env::args().skip(1).collect();
        scenario.note(format!("arguments: {}", arguments.join(" ")));
        println!("\n{scenario}");
        report.scenarios.push(scenario);
    }
    if let Some(earlier) = earlier {
        report.join(earlier);
    }
    let place =
        |name: &str| Name::value_variants().iter().position(|variant| variant.text() == name);
    report.scenarios.sort_by_key(|scenario| place(&scenario.name));
    print!("{}", report.entrants());
    // A quick run shows that everything works; its figures mean nothing.
    if !plan.quick {
        report.conclude();
        print!("\n{}", report.goals_table());
    }
    Ok(report)
}

fn read(path: &Path) -> Result<Report, String> {
    let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&text)
        .map_err(|error| format!("{}: not a report of this version: {error}", path.display()))
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
