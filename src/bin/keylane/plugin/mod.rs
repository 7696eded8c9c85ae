//! `keylane plugin`: looking at plugins, checking and measuring them, and beginning new ones.

mod bench;
mod inspect;
mod new;
mod raw;
mod validate;

use std::path::PathBuf;

use clap::Subcommand;

use crate::config::{PluginConfig, PluginsConfig, Trust};
use crate::exit::Exit;

/// Look at plugins, check them, measure them, and begin new ones.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Inspect(inspect::Args),
    Validate(validate::Args),
    Bench(bench::Args),
    New(new::Args),
    #[command(hide = true)]
    Check(validate::CheckArgs),
}

/// Which library, and who may have written it.
#[derive(Debug, Clone, clap::Args)]
struct Library {
    /// The library
    #[arg(value_name = "FILE.so")]
    path: PathBuf,

    /// Whose libraries are loaded: owned (those that only root or this user could have written) or any
    #[arg(long, value_name = "WHOSE", default_value = "owned", hide_possible_values = true)]
    trust: Trust,
}

impl Library {
    /// The same as settings of a command that loads it.
    fn settings(&self) -> PluginsConfig {
        PluginsConfig {
            trust: Some(self.trust),
            all: vec![PluginConfig::new(self.path.clone())],
            ..PluginsConfig::default()
        }
    }
}

/// Runs the command.
pub(crate) fn plugin(args: &Args) -> Exit {
    match &args.command {
        Command::Inspect(args) => inspect::inspect(args),
        Command::Validate(args) => validate::validate(args),
        Command::Bench(args) => bench::bench(args),
        Command::New(args) => new::new(args),
        Command::Check(args) => validate::check(args),
    }
}

const EXAMPLES: &str = "\
Examples:
  keylane plugin inspect target/release/libbig_words.so
      What it is, what it needs, and whether it would be loaded; runs nothing of it

  keylane plugin validate target/release/libbig_words.so --config '{\"bytes\": 3}'
      Checks it against odd input, each check in a process of its own

  keylane plugin bench target/release/libbig_words.so --config '{\"bytes\": 3}'
      What an event costs in it

  keylane plugin new big-words
      A folder with a plugin that builds, passes its test, and loads

Exit codes:
  0  it would be loaded; all checks passed
  1  it would not; a check failed
  2  nothing was done: wrong arguments, or something that cannot be read or written";
