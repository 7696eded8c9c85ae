//! Processors by name, as the command line and the file ask for them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use keylane::ingest::printable::plain;

/// A processor as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spec {
    /// `count`
    Count,
    /// `ndjson=PATH`
    Ndjson(PathBuf),
    /// `noop`
    Noop,
}

impl Spec {
    /// The name of the processor on the bus, fit to be printed.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Count => "count".to_owned(),
            Self::Ndjson(path) => format!("ndjson={}", plain(&path.to_string_lossy(), 200)),
            Self::Noop => "noop".to_owned(),
        }
    }

    /// Whether it writes to standard output.
    pub(crate) fn is_standard_output(&self) -> bool {
        matches!(self, Self::Ndjson(path) if path.as_os_str() == "-")
    }

    /// Reads it as it stands on the command line.
    pub(crate) fn parse(text: OsString) -> Result<Self, String> {
        if text == "count" {
            return Ok(Self::Count);
        }
        if text == "noop" {
            return Ok(Self::Noop);
        }
        // A path is bytes, not text, so the prefix is cut off as bytes.
        let bytes = text.into_vec();
        match bytes.strip_prefix(b"ndjson=") {
            Some([]) => {
                Err("ndjson= needs a path, for example ndjson=out.ndjson, or ndjson=-".into())
            }
            Some(path) => Ok(Self::Ndjson(OsString::from_vec(path.to_vec()).into())),
            None if bytes == b"ndjson" => {
                Err("ndjson needs a path, for example ndjson=out.ndjson, or ndjson=-".into())
            }
            None => Err("there are the processors count, ndjson=PATH and noop".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_read() {
        let spec = |text: &str| Spec::parse(text.into());
        assert_eq!(spec("count"), Ok(Spec::Count));
        assert_eq!(spec("noop"), Ok(Spec::Noop));
        assert_eq!(spec("ndjson=a=b"), Ok(Spec::Ndjson("a=b".into())));
        for wrong in ["", "Count", "ndjson", "ndjson=", "json=x"] {
            assert!(spec(wrong).is_err(), "{wrong}");
        }
        let latin1 = OsString::from_vec(b"ndjson=\xe9".to_vec());
        let Ok(Spec::Ndjson(path)) = Spec::parse(latin1) else {
            panic!("a path need not be UTF-8")
        };
        assert_eq!(path.into_os_string().into_vec(), b"\xe9");
    }
}
