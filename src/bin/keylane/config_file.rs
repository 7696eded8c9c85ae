//! Finding and reading `keylane.toml`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use keylane::ingest::printable::plain;

use crate::config::{self, Config};

/// The file that is read when none is named.
const DEFAULT: &str = "keylane.toml";

/// The longest file that is read, in bytes: what is longer is not a configuration.
const MAX_BYTES: u64 = 1 << 20;

/// What the file says that `--config` names, or else `./keylane.toml` if there is one; and which it was.
///
/// # Errors
/// That it cannot be read, or everything that is wrong in it.
pub(crate) fn load(named: Option<&Path>) -> Result<(Config, Option<PathBuf>), String> {
    let path = named.unwrap_or(Path::new(DEFAULT));
    let name = plain(&path.to_string_lossy(), 200);
    let cannot =
        |why: &dyn std::fmt::Display| format!("cannot read the configuration {name}: {why}");
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
            return Ok((Config::default(), None));
        }
        Err(error) => return Err(cannot(&error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(cannot(&format_args!(
            "it is longer than {MAX_BYTES} bytes; name another file"
        )));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        cannot(&format_args!("line {line} is not UTF-8; save the file as UTF-8"))
    })?;
    let config = config::parse(&name, &text).map_err(|mistakes| mistakes.to_string())?;
    Ok((config, Some(path.to_owned())))
}
