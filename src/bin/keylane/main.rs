//! The `keylane` command: events from files and pipes, through the bus.
//!
//! ```text
//! keylane run FILE|-      read events, process them by key, report
//! ```

mod exit;
mod printable;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs events through keylane, an in-process event bus that keeps the order of every key.
#[derive(Debug, Parser)]
#[command(name = "keylane", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(&args).into(),
    }
}
