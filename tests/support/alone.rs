//! Measuring a whole process: memory, allocations, system calls, processor time. The test starts its own binary
//! again, for itself only, so that no other test is measured along with it.

use std::process::{Command, Output};

const CHILD: &str = "KEYLANE_TEST_ALONE";

/// Whether this is the process that [`alone`] has started.
pub(crate) fn in_child_process() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs the test `name` of this binary in a process of its own, and `body` there. Prints what the child printed.
#[track_caller]
pub(crate) fn alone(name: &str, body: impl FnOnce()) {
    if in_child_process() {
        return body();
    }
    let binary = std::env::current_exe().expect("the path of the test binary");
    let output = command(&mut Command::new(binary), name);
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} failed in its own process: {}", output.status);
    assert!(text.contains("1 passed"), "there is no test named {name}");
}

/// Adds what makes a test binary run one test as the child of itself.
pub(crate) fn command(command: &mut Command, name: &str) -> Output {
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .expect("the test binary starts")
}

/// The resident memory of this process.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kib * 1024
}
