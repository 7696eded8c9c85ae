//! The binary under test, and its input.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;

/// A real sample: 848 events of 44 keys, `data.n` counting within each key.
pub(crate) const SAMPLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/git-events-sample.ndjson");

/// `keylane run` with these arguments.
pub(crate) fn keylane(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keylane"));
    command
        .arg("run")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the command writes UTF-8");
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// The `--json` report.
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {:?}, {:?}", self.stdout, self.stderr))
    }

    /// Asserts the exit code, and shows what was said if it is another.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
}

/// Runs without input.
pub(crate) fn run(args: &[&str]) -> Ended {
    Ended::of(keylane(args).output().expect("the command starts"))
}

/// Runs with `input` on standard input.
pub(crate) fn run_with(args: &[&str], input: impl Into<Vec<u8>>) -> Ended {
    let mut child = keylane(args).stdin(Stdio::piped()).spawn().expect("the command starts");
    let writer = write_all(child.stdin.take().expect("piped"), input);
    let ended = Ended::of(child.wait_with_output().expect("the command ends"));
    writer.join().expect("the writer does not panic");
    ended
}

/// Writes to a child from a thread of its own, and closes. A child that reads no further is no fault.
pub(crate) fn write_all(mut stdin: ChildStdin, input: impl Into<Vec<u8>>) -> JoinHandle<()> {
    let input = input.into();
    std::thread::spawn(move || drop(stdin.write_all(&input)))
}

/// An empty folder for one test.
pub(crate) fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli_run").join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the target folder can be written to");
    folder
}

/// The path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the target folder has a UTF-8 path")
}

/// An event in the simple form.
pub(crate) fn event(kind: &str, key: &str, n: u64) -> String {
    format!("{{\"type\":\"{kind}\",\"key\":\"{key}\",\"data\":{{\"n\":{n}}}}}\n")
}

/// `count` events of `keys` keys in a mixed order, `data.n` counting within each key.
pub(crate) fn events(count: usize, keys: usize) -> String {
    let mut next = vec![0; keys];
    let mut random = 1u64;
    let mut lines = String::new();
    for _ in 0..count {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        // The product of two draws makes some keys much hotter than others, as they are in life.
        let (a, b) = ((random >> 40) as usize % 1000, (random >> 20) as usize % 1000);
        let key = a * b * keys / 1_000_000;
        lines.push_str(&event(
            ["order.placed", "order.paid"][key % 2],
            &format!("order-{key}"),
            next[key],
        ));
        next[key] += 1;
    }
    lines
}

/// The most memory that a child has held so far, in MiB.
pub(crate) fn peak_memory(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux has it");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kib / 1024
}
