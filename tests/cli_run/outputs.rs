//! `ndjson=` when the file does not take what is written, and when it must not be touched.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::command::*;

#[test]
fn a_full_disk_is_reported_once_and_every_event_counted() {
    let input = events(20_000, 20);
    let ended =
        run_with(&["-", "-p", "ndjson=/dev/full", "-p", "count", "--json"], input).expect(1);
    let said = "keylane: cannot write to /dev/full: No space left on device (os error 28); later events are counted as unwritten\n";
    assert_eq!(ended.stderr, said);
    let report = ended.report();
    assert_eq!(report["outputs"][0]["written"], 0);
    assert_eq!(report["outputs"][0]["unwritten"], 20_000);
    assert_eq!(report["lost"]["unwritten"], 20_000);
    // A fault stays where it is: the other processor has seen everything.
    assert_eq!(report["events"]["processed"], 20_000);
    assert_eq!(report["keys"]["exact"], true);
    let counted: u64 =
        report["types"].as_array().unwrap().iter().map(|of| of["events"].as_u64().unwrap()).sum();
    assert_eq!(counted, 20_000);
}

#[test]
fn strict_ends_with_a_failed_output() {
    let mut child = keylane(&["-", "-p", "ndjson=/dev/full", "--strict", "--json"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::Write;
    // Standard input stays open: only the failure can end the run.
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(event("t", "k", 0).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["input"]["ended_by"], "output");
}

#[test]
fn a_file_that_filled_up_ends_with_a_whole_line() {
    let folder = folder("filled");
    let (input, out) = (folder.join("in.ndjson"), folder.join("out.ndjson"));
    fs::write(&input, events(20_000, 20)).unwrap();
    // The limit is in blocks of 512 or 1024 bytes, as the shell likes; either is far less than the input.
    let script = r#"trap "" XFSZ; ulimit -f 200; exec "$0" run "$1" -p "ndjson=$2" --json"#;
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_keylane"), text(&input), text(&out)])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let written = fs::read_to_string(&out).unwrap();
    assert!(written.ends_with("}\n"), "torn: {:?}", &written[written.len().saturating_sub(80)..]);
    let lines = written.lines().count() as u64;
    assert!(lines > 0);
    assert_eq!(report["outputs"][0]["written"], lines);
    assert_eq!(report["outputs"][0]["unwritten"], 20_000 - lines);
    written.lines().for_each(|line| drop(serde_json::from_str::<Value>(line).unwrap()));
}

#[test]
fn a_closed_standard_output_ends_the_run() {
    let mut child =
        keylane(&["-", "-p", "ndjson=-", "--json"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    use std::io::Write;
    stdin.write_all(event("t", "k", 0).as_bytes()).unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, event("t", "k", 0));
    // Its standard output is closed now, its standard input is not, and never will be.
    stdin.write_all(event("t", "k", 1).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let (said, report) = stderr.split_once('\n').unwrap();
    assert_eq!(
        said,
        "keylane: cannot write to standard output: Broken pipe (os error 32); reading ends"
    );
    let report: Value = serde_json::from_str(report).unwrap();
    assert_eq!(
        (&report["outputs"][0]["written"], &report["outputs"][0]["unwritten"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn an_output_must_not_be_the_input() {
    let folder = folder("same");
    let input = folder.join("in.ndjson");
    let content = events(10, 2);
    fs::write(&input, &content).unwrap();
    let (link, hard) = (folder.join("link"), folder.join("hard"));
    symlink(&input, &link).unwrap();
    fs::hard_link(&input, &hard).unwrap();
    for path in [&input, &link, &hard] {
        let to = format!("ndjson={}", text(path));
        let ended = run(&[text(&input), "-p", &to]).expect(2);
        assert!(ended.stderr.contains("it is the input; choose another file"), "{}", ended.stderr);
        let stdin = fs::File::open(&input).unwrap();
        let output = keylane(&["-", "-p", &to]).stdin(stdin).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
    }
    let appending = fs::File::options().append(true).open(&input).unwrap();
    let output = keylane(&[text(&input), "-p", "ndjson=-"]).stdout(appending).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(fs::read_to_string(&input).unwrap(), content);
}

#[test]
fn two_outputs_must_not_be_one_file() {
    let folder = folder("two");
    let out = folder.join("out.ndjson");
    let to = format!("ndjson={}", text(&out));
    let again = format!("ndjson={}/../two/out.ndjson", text(&folder));
    let ended = run(&[SAMPLE, "-p", &to, "-p", &again]).expect(2);
    assert!(ended.stderr.contains("another output of this run"), "{}", ended.stderr);
    let stdout = fs::File::create(&out).unwrap();
    let output = keylane(&[SAMPLE, "-p", &to]).stdout(stdout).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("say ndjson=- to write there"));
}

#[test]
fn an_old_file_is_replaced_and_an_appended_one_is_kept() {
    let folder = folder("replaced");
    let out = folder.join("out.ndjson");
    fs::write(&out, "old\n".repeat(100_000)).unwrap();
    run(&[SAMPLE, "-p", &format!("ndjson={}", text(&out))]).expect(0);
    assert_eq!(fs::read(&out).unwrap().len(), fs::read(SAMPLE).unwrap().len());
    fs::write(&out, "old\n").unwrap();
    let appending = fs::File::options().append(true).open(&out).unwrap();
    let output = keylane(&[SAMPLE, "-p", "ndjson=-"]).stdout(appending).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(fs::read(&out).unwrap().len(), 4 + fs::read(SAMPLE).unwrap().len());
}

#[test]
fn an_output_that_cannot_be_opened_is_named() {
    let folder = folder("unopened");
    let ended = run(&[SAMPLE, "-p", &format!("ndjson={}/no/out", text(&folder))]).expect(2);
    assert!(ended.stderr.contains("/no/out: No such file or directory"), "{}", ended.stderr);
    let ended = run(&[SAMPLE, "-p", &format!("ndjson={}", text(&folder))]).expect(2);
    assert!(ended.stderr.contains("Is a directory"), "{}", ended.stderr);
}
