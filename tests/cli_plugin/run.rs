//! `keylane run` with plugins: by flags, by the file, and what is refused.

use std::fs;

use crate::command::{Ended, keylane, keylane_in, text};
use crate::libraries::{build, bundled, folder, native};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/git-events-sample.ndjson");

fn counter(output: &Ended, processor: &str, name: &str) -> u64 {
    let report = output.json();
    let metrics = report["plugins"]["metrics"].as_array().expect("metrics");
    let wanted = metrics
        .iter()
        .filter(|metric| metric["processor"] == *processor && metric["name"] == *name);
    wanted.map(|metric| metric["value"]["counter"].as_u64().expect("a counter")).sum()
}

#[test]
fn plugins_get_the_events_and_derive_others() {
    let folder = folder("run_flags");
    let library = folder.join("libcounting.so");
    build(&library, &[]);
    let (dedup, alarm) = (native("dedup-c"), bundled("rate-alarm"));
    let output = keylane(&[
        "run",
        "--json",
        "--plugin",
        text(&library),
        "--plugin-events",
        "file.added,file.deleted",
        "--plugin",
        text(&dedup),
        "--plugin-name",
        "first",
        "--plugin",
        text(&alarm),
        "--config",
        r#"{"limit": 20, "emit": "alarm.raised"}"#,
        SAMPLE,
    ])
    .expect(0);
    let report = output.json();
    let of_type = |name: &str| {
        let types = report["types"].as_array().expect("types");
        types
            .iter()
            .find(|of| of["type"] == *name)
            .and_then(|of| of["events"].as_u64())
            .unwrap_or(0)
    };
    assert_eq!(
        counter(&output, "counting", "events"),
        of_type("file.added") + of_type("file.deleted")
    );
    assert_eq!(counter(&output, "first", "firsts"), 44);
    let alarms =
        counter(&output, "rate-alarm", "alarms") + counter(&output, "rate_alarm", "alarms");
    assert_eq!(
        (alarms, alarms > 0),
        (of_type("alarm.raised"), true),
        "the name of the configuration is the name in the report"
    );
    assert_eq!(report["plugins"]["emitted"], alarms);
    let (accepted, processed) = (&report["shutdown"]["accepted"], &report["shutdown"]["processed"]);
    assert_eq!((accepted, processed), (&(848 + alarms).into(), &(848 + alarms).into()));
    assert_eq!(report["plugins"]["created"], report["plugins"]["destroyed"]);
}

#[test]
fn the_file_names_plugins_and_the_command_line_goes_before_it() {
    let folder = folder("run_file");
    build(&folder.join("counting.so"), &[]);
    fs::write(
        folder.join("keylane.toml"),
        "[plugins]\nlog = \"off\"\n[[plugin]]\npath = \"counting.so\"\nname = \"mine\"\nconfig = { known = 1 }\nevents = [\"file.added\"]\n",
    )
    .unwrap();
    let output = keylane_in(&folder, &["run", "--json", SAMPLE]).expect(0);
    assert_eq!(counter(&output, "mine", "events"), 46);
    assert!(!output.stderr.contains("here is version"), "{}", output.stderr);
    let output = keylane_in(
        &folder,
        &["run", "--json", "--plugin", "counting.so", "--config", "{}", SAMPLE],
    )
    .expect(0);
    assert_eq!(
        (counter(&output, "mine", "events"), counter(&output, "counting", "events")),
        (0, 848)
    );
}

#[test]
fn logs_and_counters_reach_the_terminal() {
    let folder = folder("run_log");
    build(&folder.join("talking.so"), &[]);
    let output =
        keylane_in(&folder, &["run", "--shards", "1", "--plugin", "talking.so", SAMPLE]).expect(0);
    output.complains("keylane: info: plugin talking, shard 0: here is version 1.0.0\\n\\u{1b}[31m");
    let row = output
        .stdout
        .lines()
        .find(|line| line.contains("talking: events"))
        .expect("a row for the counter");
    assert!(row.ends_with(" 848"), "{row}");
    let output =
        keylane_in(&folder, &["run", "--plugin", "talking.so", "--plugin-log", "warn", SAMPLE])
            .expect(0);
    assert!(!output.stderr.contains("here is version"), "{}", output.stderr);
}

#[test]
fn what_cannot_be_used_is_said_before_anything_is_begun() {
    let folder = folder("run_refused");
    build(&folder.join("good.so"), &[]);
    build(&folder.join("not-today.so"), &["REFUSES_TO_BEGIN"]);
    fs::write(folder.join("words.so"), "no library").unwrap();
    let other = "0".repeat(64);
    for (args, said) in [
        (
            &["--plugin", "missing.so"][..],
            "\"missing.so\" is not loaded: it cannot be opened: No such file or directory (os error 2) (open)",
        ),
        (
            &["--plugin", "words.so"],
            "it is no ELF file: it begins with \"no l\", not with \"\\x7fELF\" (not_elf)",
        ),
        (
            &["--plugin", "good.so", "--config", "{\"bad\": 1}"],
            "refuses its configuration: there is only the member known",
        ),
        (
            &["--plugin", "good.so", "--plugin-id", "org.example.other"],
            "makes no processor \"org.example.other\"; it makes \"org.example.faulty\"",
        ),
        (
            &["--plugin", "good.so", "--plugin", "good.so"],
            "another processor is called good; choose a name with --plugin-name",
        ),
        (
            &["--plugin", "good.so", "--plugin-sha256", &other],
            "is none of the 1 that are allowed; add it if you trust the file (digest_not_allowed)",
        ),
        (&["--plugin", "not-today.so"], "create returned E_FATAL: not today"),
        (&["--config", "{}"], "--config belongs to a --plugin: say it behind one"),
    ] {
        let args = [&["run", SAMPLE], args].concat();
        let output = keylane_in(&folder, &args).expect(2);
        output.complains(said);
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}

#[test]
fn events_that_a_plugin_missed_are_in_the_exit_code() {
    let folder = folder("run_given_up");
    let plugin = native("tally-cpp");
    let good = keylane(&["run", "--json", "--plugin", text(&plugin), SAMPLE]).expect(0).json();
    assert_eq!((&good["lost"]["skipped"], &good["lost"]["faulted"]), (&0.into(), &0.into()));
    build(&folder.join("over.so"), &["FAULT_OVER"]);
    let output =
        keylane_in(&folder, &["run", "--json", "--shards", "1", "--plugin", "over.so", SAMPLE]);
    let report = output.expect(1).json();
    assert!(report["plugins"]["fatal"].as_u64() > Some(0), "{report}");
    let lost = ["skipped", "faulted"].map(|how| report["lost"][how].as_u64().expect("a number"));
    assert!(lost[0] + lost[1] > 0, "{report}");
}
