//! `keylane plugin new`: what it writes builds, passes its own test, and loads.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command::{ended, keylane, keylane_in, text};
use crate::libraries::{cargo, folder};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/git-events-sample.ndjson");

/// What the guide does with a new library: looks at it, checks it, runs it.
fn use_it(library: &Path, name: &str) {
    keylane(&["plugin", "inspect", text(library)]).expect(0);
    let output = keylane(&["plugin", "validate", "--timeout", "60s", text(library)]).expect(0);
    assert!(output.stdout.contains("10 checks, 0 failed, 0 with warnings"), "{}", output.stdout);
    let report = keylane(&[
        "run",
        "--json",
        "--plugin",
        text(library),
        "--config",
        r#"{"bytes": 210}"#,
        SAMPLE,
    ])
    .expect(0)
    .json();
    let metrics = report["plugins"]["metrics"].as_array().expect("metrics");
    let big: u64 = metrics
        .iter()
        .filter(|metric| metric["name"] == "big")
        .map(|metric| metric["value"]["counter"].as_u64().expect("a counter"))
        .sum();
    let lines = fs::read_to_string(SAMPLE).unwrap();
    assert_eq!(big, lines.lines().filter(|line| line.len() > 210).count() as u64, "{name}");
    let output =
        keylane(&["plugin", "bench", "--json", "--events", "2048", text(library)]).expect(0).json();
    let rows = output["rows"].as_array().expect("rows");
    assert_eq!(
        rows.iter().map(|row| row["batch"].as_u64().unwrap()).collect::<Vec<_>>(),
        [1, 4, 16, 64, 256]
    );
    assert!(
        rows.iter().all(|row| row["plugin_ns"].as_f64().is_some_and(|ns| ns > 0.0)),
        "{output}"
    );
}

#[test]
fn a_plugin_in_c_builds_passes_its_test_and_loads() {
    let folder = folder("new_c");
    let said = keylane_in(&folder, &["plugin", "new", "big-words", "--lang", "c"]).expect(0).stdout;
    assert!(said.contains("cd big-words\n  make test && make\n"), "{said}");
    let project = folder.join("big-words");
    let make = ended(
        Command::new("make")
            .args(["test", "big-words.so", "CFLAGS=-O1 -Werror"])
            .current_dir(&project),
    );
    assert_eq!(make.code, Some(0), "{make:?}");
    assert!(make.stdout.contains("big-words: the test has passed"), "{make:?}");
    use_it(&project.join("big-words.so"), "C");
}

#[test]
fn a_plugin_in_rust_builds_passes_its_test_and_loads() {
    let folder = folder("new_rust");
    let sdk = Path::new(ROOT).join("plugins/sdk");
    keylane_in(&folder, &["plugin", "new", "big-words", "--path", "deep/er", "--sdk", text(&sdk)])
        .expect(0);
    let project = folder.join("deep/er");
    // The versions that this build has: nothing has to be fetched.
    fs::copy(Path::new(ROOT).join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let test = ended(&mut cargo(&project, &["test"]));
    assert_eq!(test.code, Some(0), "{test:?}");
    assert!(test.stdout.contains("test tests::big_events_are_counted ... ok"), "{test:?}");
    let build = ended(&mut cargo(&project, &["build"]));
    assert_eq!(build.code, Some(0), "{build:?}");
    let library =
        Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("debug").join("libbig_words.so");
    use_it(&library, "Rust");
}

#[test]
fn nothing_is_overwritten_and_names_are_checked() {
    let folder = folder("new_refused");
    keylane_in(&folder, &["plugin", "new", "twice", "--lang", "c"]).expect(0);
    fs::write(folder.join("twice/twice.c"), "mine").unwrap();
    keylane_in(&folder, &["plugin", "new", "twice", "--lang", "c"])
        .expect(2)
        .complains("twice is there already");
    assert_eq!(fs::read_to_string(folder.join("twice/twice.c")).unwrap(), "mine");
    keylane_in(&folder, &["plugin", "new", "../x"]).expect(2).complains("with a letter first");
    keylane_in(&folder, &["plugin", "new", "x", "--sdk", "."])
        .expect(2)
        .complains("is not the folder of the crate keylane-plugin");
    assert!(!folder.join("x").exists());
}
