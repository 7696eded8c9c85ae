//! The files that are logged to, and the check that nothing is missing in them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// A name for a log that nobody else uses.
pub(super) fn path() -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("keylane-benches-{}-{number}.log", std::process::id()))
}

/// Checks that the log has a line for each request, and removes it.
pub(super) fn check(path: &Path, requests: u64) -> Result<(), String> {
    let name = path.display();
    let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
    let lines = BufReader::new(file).split(b'\n').filter(|line| {
        // Whatever the format, a line that is complete tells the path and the status.
        let line = line.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        line.contains("/orders/17?full=true") && line.contains("200")
    });
    let lines = lines.count() as u64;
    fs::remove_file(path).map_err(|error| format!("{name}: {error}"))?;
    if lines != requests {
        return Err(format!("the log has {lines} lines instead of {requests}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_missing_or_cut_off_is_noticed() {
        let line = "GET /orders/17?full=true 200\n";
        for (text, requests, complete) in [
            (line.repeat(3), 3, true),
            (line.repeat(2), 3, false),
            (line.repeat(4), 3, false),
            (format!("{line}{line}GET /orders/17?full"), 3, false),
        ] {
            let path = path();
            fs::write(&path, &text).unwrap();
            assert_eq!(check(&path, requests).is_ok(), complete, "{text}");
            assert!(!path.exists());
        }
    }
}
