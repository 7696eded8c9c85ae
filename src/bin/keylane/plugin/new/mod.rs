//! `keylane plugin new`: a folder with a plugin that builds, passes its own test, and loads.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use keylane::ingest::printable::plain;

use crate::exit::Exit;
use crate::source;

/// Begin a plugin: a folder that builds, passes its own test, and loads
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name, such as big-words
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,

    /// In which language: rust or c
    #[arg(long, value_name = "LANGUAGE", default_value = "rust", hide_possible_values = true)]
    lang: Language,

    /// The folder, which must not be there yet [default: ./NAME]
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,

    /// Where the source of the crate keylane-plugin lies, plugins/sdk in keylane's own [default: found beside this command or the
    /// working folder, or else the version from the registry]
    #[arg(long, value_name = "FOLDER")]
    sdk: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Language {
    Rust,
    C,
}

/// What becomes a name of a crate, of a file, of a type and of an identifier in C.
fn name(text: &str) -> Result<String, String> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    if text.len() > 40
        || !text.starts_with(|c: char| c.is_ascii_lowercase())
        || !text.bytes().all(allowed)
    {
        return Err(
            "write up to 40 of a-z, 0-9, - and _, with a letter first, such as big-words".into()
        );
    }
    Ok(text.to_owned())
}

const RUST: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("rust/Cargo.toml.template")),
    ("src/lib.rs", include_str!("rust/lib.rs.template")),
    ("README.md", include_str!("rust/README.md.template")),
    (".gitignore", "/target\n"),
];

const C: [(&str, &str); 7] = [
    ("NAME.c", include_str!("c/plugin.c.template")),
    ("test.c", include_str!("c/test.c.template")),
    ("Makefile", include_str!("c/Makefile.template")),
    ("README.md", include_str!("c/README.md.template")),
    (".gitignore", "*.so\n/test\n"),
    ("keylane_plugin.h", keylane_plugin_abi::HEADER),
    ("keylane_plugin_easy.h", keylane_plugin_abi::EASY_HEADER),
];

/// Runs the command.
pub(super) fn new(args: &Args) -> Exit {
    match write(args) {
        Ok(said) => {
            // What was written is there, whoever hears of it.
            let _ = io::stdout().write_all(said.as_bytes());
            Exit::Clean
        }
        Err(error) => {
            eprintln!("keylane: {error}");
            Exit::Usage
        }
    }
}

fn write(args: &Args) -> Result<String, String> {
    let folder = args.path.clone().unwrap_or_else(|| args.name.clone().into());
    let shown = source::name(&folder);
    let dependency = match args.lang {
        Language::Rust => dependency(args.sdk.as_deref(), &folder)?,
        Language::C => String::new(),
    };
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)
            .map_err(|error| format!("cannot make the folder {}: {error}", source::name(parent)))?;
    }
    fs::create_dir(&folder).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{shown} is there already; choose another --path, or take it away")
        }
        _ => format!("cannot make the folder {shown}: {error}"),
    })?;
    let files: &[(&str, &str)] = match args.lang {
        Language::Rust => &RUST,
        Language::C => &C,
    };
    for (file, template) in files {
        let path = folder.join(file.replace("NAME", &args.name));
        let text = if file.ends_with(".h") {
            (*template).to_owned()
        } else {
            filled(template, &args.name, &dependency)
        };
        write_new(&path, &text)
            .map_err(|error| format!("cannot write {}: {error}", source::name(&path)))?;
    }
    let library = match args.lang {
        Language::Rust => format!("target/release/lib{}.so", args.name.replace('-', "_")),
        Language::C => format!("{}.so", args.name),
    };
    let build = match args.lang {
        Language::Rust => "cargo test && cargo build --release",
        Language::C => "make test && make",
    };
    Ok(format!(
        "{shown} is written. Now:\n\n  cd {shown}\n  {build}\n  keylane plugin inspect {library}\n  keylane plugin validate {library}\n  \
         keylane run --plugin {library} --config '{{\"bytes\": 100}}' events.ndjson\n"
    ))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

/// A template with the names in it.
fn filled(template: &str, name: &str, dependency: &str) -> String {
    let upper = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| {
            first.to_ascii_uppercase().to_string() + letters.as_str()
        })
    };
    let kind: String = name.split(['-', '_']).map(upper).collect();
    template
        .replace("{{name}}", name)
        .replace("{{snake}}", &name.replace('-', "_"))
        .replace("{{Type}}", &kind)
        .replace("{{dependency}}", dependency)
}

/// How the project finds the crate `keylane-plugin`: where its source lies, or by its version.
fn dependency(wanted: Option<&Path>, folder: &Path) -> Result<String, String> {
    let found = match wanted {
        Some(sdk) if is_sdk(sdk) => Some(sdk.to_owned()),
        Some(sdk) => {
            return Err(format!(
                "{} is not the folder of the crate keylane-plugin; in keylane's source it is plugins/sdk",
                source::name(sdk)
            ));
        }
        None => near(std::env::current_exe().ok()).or_else(|| near(folder_above(folder))),
    };
    let Some(found) = found else {
        return Ok(format!("\"{}\"", env!("CARGO_PKG_VERSION")));
    };
    let path = found
        .canonicalize()
        .map_err(|error| format!("cannot find {}: {error}", source::name(&found)))?;
    match path.to_str() {
        // A literal string of TOML has no escapes, so it holds everything but its own quote and control characters.
        Some(path) if !path.contains('\'') && !path.chars().any(char::is_control) => {
            Ok(format!("{{ path = '{path}' }}"))
        }
        _ => Err(format!(
            "the path {} cannot be written into Cargo.toml; choose another with --sdk",
            plain(&path.to_string_lossy(), 200)
        )),
    }
}

fn folder_above(folder: &Path) -> Option<PathBuf> {
    std::path::absolute(folder).ok()
}

/// The crate's source in a folder above this place, as it lies in keylane's own.
fn near(place: Option<PathBuf>) -> Option<PathBuf> {
    let place = place?;
    place.ancestors().skip(1).map(|above| above.join("plugins/sdk")).find(|sdk| is_sdk(sdk))
}

fn is_sdk(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    manifest.lines().any(|line| line.trim() == "name = \"keylane-plugin\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_types_and_identifiers() {
        let text = filled("{{name}} {{snake}} {{Type}} {{dependency}}", "big-words_2", "\"1\"");
        assert_eq!(text, "big-words_2 big_words_2 BigWords2 \"1\"");
        for wrong in ["", "Big", "2big", "a b", "../a", "a.b", "ä", &"a".repeat(41)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
        assert!(name("big-words").is_ok());
    }

    #[test]
    fn the_guide_shows_what_is_written() {
        let guide = include_str!("../../../../../docs/plugins.md");
        let code = filled(include_str!("rust/lib.rs.template"), "big-words", "");
        assert!(
            guide.contains(&format!("```rust\n{code}```")),
            "docs/plugins.md shows another src/lib.rs than `plugin new` writes"
        );
    }
}
