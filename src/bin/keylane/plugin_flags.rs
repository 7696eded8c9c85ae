//! `--plugin` and what belongs to it, and `--config`, which names a file or configures the plugin before it.
//!
//! What is said of a plugin belongs to the `--plugin` before it, so places on the command line matter, and the flags are read by
//! hand: [`Sources::from_arg_matches`].

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, value_parser};
use keylane::ingest::printable::plain;
use keylane::plugin::Sha256;

use crate::config::{LogLevel, PluginConfig, PluginsConfig, Trust, json_object};

/// Where the configuration comes from, and the plugins of the command line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    /// The configuration's file.
    pub(crate) config: Option<PathBuf>,
    flags: PluginsConfig,
}

impl Sources {
    /// The plugins: those of the command line, or else those of the file; each setting likewise.
    pub(crate) fn plugins(&self, file: &PluginsConfig) -> PluginsConfig {
        let (flags, file) = (self.flags.clone(), file.clone());
        PluginsConfig {
            trust: flags.trust.or(file.trust),
            sha256: if flags.sha256.is_empty() { file.sha256 } else { flags.sha256 },
            reload: flags.reload.or(file.reload),
            max_libraries: file.max_libraries,
            log: flags.log.or(file.log),
            all: if flags.all.is_empty() { file.all } else { flags.all },
        }
    }
}

fn flag(name: &'static str, value: &'static str, parser: impl Into<ValueParser>) -> Arg {
    Arg::new(name).long(name).value_name(value).value_parser(parser.into())
}

impl clap::Args for Sources {
    fn augment_args(command: Command) -> Command {
        let repeated = |arg: Arg| arg.action(ArgAction::Append).help_heading("Plugins");
        let events = repeated(flag("plugin-events", "TYPES", value_parser!(String)));
        let sha256 = flag("plugin-sha256", "HEX", |text: &str| text.parse::<Sha256>());
        command
            .arg(
                flag("config", "FILE|JSON", value_parser!(OsString))
                    .action(ArgAction::Append)
                    .help("The configuration [default: ./keylane.toml if it is there]; behind a --plugin and beginning with {, the plugin's"),
            )
            .arg(repeated(flag("plugin", "FILE.so", value_parser!(PathBuf))).help(
                "A processor from a shared library; may be repeated. What follows belongs to it: --config, --plugin-events, --plugin-name",
            ))
            .arg(events.help("The types that the plugin gets, with commas between them [default: all that it wants]"))
            .arg(
                repeated(flag("plugin-name", "NAME", value_parser!(String)))
                    .help("The plugin's name in reports and metrics [default: the file's name]"),
            )
            .arg(
                repeated(flag("plugin-id", "ID", value_parser!(String)))
                    .help("Which processor, if the library has several [default: its first]"),
            )
            .arg(
                flag("plugin-trust", "WHOSE", value_parser!(Trust))
                    .help("Whose libraries are loaded: owned (those that only root or this user could have written) or any [default: owned]")
                    .help_heading("Plugins")
                    .hide_possible_values(true),
            )
            .arg(repeated(sha256).help(
                "Load only libraries with this digest, or another one that is given; may be repeated",
            ))
            .arg(
                flag("plugin-log", "LEVEL", value_parser!(LogLevel))
                    .help("What of the plugins' logs is shown: off, error, warn, info, debug or trace [default: info]")
                    .help_heading("Plugins")
                    .hide_possible_values(true),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Values with their places on the command line.
fn placed<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Vec<(usize, T)> {
    let indices = matches.indices_of(name).into_iter().flatten();
    let values = matches.get_many::<T>(name).into_iter().flatten().cloned();
    indices.zip(values).collect()
}

fn wrong(text: String) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, text + "\n")
}

/// What of a plugin is set at most once.
struct Owners(Vec<(usize, PluginConfig)>);

impl Owners {
    /// Gives `values` of `name` to the plugins before them.
    fn give<T>(
        &mut self,
        name: &str,
        values: Vec<(usize, T)>,
        mut set: impl FnMut(&mut PluginConfig, T) -> Result<bool, String>,
    ) -> Result<(), clap::Error> {
        for (place, value) in values {
            let owner = self.0.iter_mut().rev().find(|(index, _)| *index < place);
            let Some((_, plugin)) = owner else {
                return Err(wrong(format!("--{name} belongs to a --plugin: say it behind one")));
            };
            let path = plain(&plugin.path.to_string_lossy(), 200);
            match set(plugin, value) {
                Ok(true) => {}
                Ok(false) => {
                    return Err(wrong(format!("--{name} is said twice of the plugin {path}")));
                }
                Err(why) => return Err(wrong(format!("--{name} of the plugin {path}: {why}"))),
            }
        }
        Ok(())
    }
}

/// Sets what is not set yet.
fn once<T>(place: &mut Option<T>, value: T) -> bool {
    place.replace(value).is_none()
}

impl FromArgMatches for Sources {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let plugins = placed::<PathBuf>(matches, "plugin").into_iter();
        let mut owners =
            Owners(plugins.map(|(place, path)| (place, PluginConfig::new(path))).collect());
        let mut config = None;
        let mut objects = Vec::new();
        for (place, value) in placed::<OsString>(matches, "config") {
            match value.to_str().filter(|text| text.trim_start().starts_with('{')) {
                Some(json) => objects.push((place, json.to_owned())),
                None if config.is_none() => config = Some(PathBuf::from(value)),
                None => {
                    return Err(wrong(
                        "two configuration files are named with --config; a plugin's configuration is JSON and begins with {".into(),
                    ));
                }
            }
        }
        owners.give("config", objects, |plugin, json| {
            Ok(once(&mut plugin.config, json_object(&json)?))
        })?;
        owners.give(
            "plugin-events",
            placed::<String>(matches, "plugin-events"),
            |plugin, text| {
                let names: Vec<_> = text.split(',').map(|name| name.trim().to_owned()).collect();
                if names.iter().any(String::is_empty) {
                    return Err("a name is empty; write types with commas between them".into());
                }
                plugin.events.get_or_insert_default().extend(names);
                Ok(true)
            },
        )?;
        owners.give("plugin-name", placed(matches, "plugin-name"), |plugin, text: String| {
            Ok(once(&mut plugin.name, crate::config::plugin_name(&text)?))
        })?;
        owners.give("plugin-id", placed(matches, "plugin-id"), |plugin, id: String| {
            Ok(once(&mut plugin.id, id))
        })?;
        let flags = PluginsConfig {
            trust: matches.get_one("plugin-trust").copied(),
            sha256: placed(matches, "plugin-sha256")
                .into_iter()
                .map(|(_, digest)| digest)
                .collect(),
            reload: None,
            max_libraries: None,
            log: matches.get_one("plugin-log").copied(),
            all: owners.0.into_iter().map(|(_, plugin)| plugin).collect(),
        };
        Ok(Self { config, flags })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Sources, String> {
        let command = <Sources as clap::Args>::augment_args(Command::new("x"));
        let all = std::iter::once("x").chain(args.iter().copied());
        let matches = command.try_get_matches_from(all).map_err(|error| error.to_string())?;
        Sources::from_arg_matches(&matches).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_said_of_a_plugin_belongs_to_the_one_before() {
        let sources = read(&[
            "--config",
            "k.toml",
            "--plugin",
            "a.so",
            "--config",
            "{\"a\": 1}",
            "--plugin-events",
            "x, y",
            "--plugin",
            "b.so",
            "--plugin-name",
            "bee",
            "--plugin",
            "c.so",
            "--config",
            " {}",
        ]);
        let sources = sources.expect("right");
        assert_eq!(sources.config, Some("k.toml".into()));
        let plugins = sources.plugins(&PluginsConfig::default()).all;
        let [a, b, c] = plugins.as_slice() else { panic!("three, not {plugins:?}") };
        assert_eq!(a.config.as_deref(), Some("{\"a\": 1}"));
        assert_eq!(a.events, Some(vec!["x".to_owned(), "y".to_owned()]));
        assert_eq!((b.config.as_deref(), b.name.as_deref()), (None, Some("bee")));
        assert_eq!((c.config.as_deref(), c.path.to_str()), (Some("{}"), Some("c.so")));
    }

    #[test]
    fn what_belongs_to_no_plugin_is_refused() {
        for (args, said) in [
            (&["--config", "{}"][..], "--config belongs to a --plugin"),
            (
                &["--plugin-events", "a", "--plugin", "a.so"],
                "--plugin-events belongs to a --plugin",
            ),
            (
                &["--plugin", "a.so", "--config", "{}", "--config", "{}"],
                "said twice of the plugin a.so",
            ),
            (
                &["--plugin", "a.so", "--config", "{\"a\""],
                "--config of the plugin a.so: no JSON object",
            ),
            (&["--config", "a.toml", "--config", "b.toml"], "two configuration files"),
            (&["--plugin", "a.so", "--plugin-events", "a,,b"], "a name is empty"),
            (&["--plugin-sha256", "abc"], "64 hexadecimal digits"),
        ] {
            let error = read(args).expect_err("wrong");
            assert!(error.contains(said), "{args:?}: {error}");
        }
    }
}
