//! The `keylane` command: events from files and pipes, through the bus.
//!
//! ```text
//! keylane serve           take events over HTTP, process them by key, and tell about it
//! keylane run FILE|-      read events, process them by key, report
//! keylane plugin ...      look at processors in shared libraries, check, measure and begin them
//! ```

mod bus_flags;
mod config;
mod config_file;
mod diagnostics;
mod exit;
mod interrupt;
mod plugin;
mod plugin_flags;
mod plugin_log;
mod processors;
mod run;
mod serve;
mod source;
mod tables;
mod types;

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
    Serve(serve::Args),
    Run(run::Args),
    Plugin(plugin::Args),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => serve::serve(&args).into(),
        Command::Run(args) => run::run(&args).into(),
        Command::Plugin(args) => plugin::plugin(&args).into(),
    }
}
