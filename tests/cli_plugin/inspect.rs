//! `keylane plugin inspect`: runs nothing, and says all that can be known.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::command::{keylane, text};
use crate::libraries::{build, folder};

#[test]
fn a_good_library_is_told_about() {
    let good = folder("inspect_good").join("good.so");
    build(&good, &[]);
    let table = keylane(&["plugin", "inspect", text(&good)]).expect(0).stdout;
    for part in [
        "org.example.faulty 1.0.0",
        "flags       STATEFUL",
        "keylane_plugin_entry_v1",
        "libc.so.6",
        "would load: yes",
    ] {
        assert!(table.contains(part), "no {part:?} in\n{table}");
    }
    let json = keylane(&["plugin", "inspect", "--json", text(&good)]).expect(0).json();
    assert_eq!((&json["would_load"], &json["reason"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(json["manifest"]["id"], "org.example.faulty");
    assert_eq!(json["manifest"]["flags"], serde_json::json!(["STATEFUL"]));
    assert_eq!(json["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(json["size"], fs::metadata(&good).unwrap().len());
}

#[test]
fn no_code_of_the_library_runs() {
    let trap = folder("inspect_trap").join("trap.so");
    build(&trap, &["FAULT_CONSTRUCTOR"]);
    keylane(&["plugin", "inspect", text(&trap)]).expect(0);
    // The same library does end a process that loads it.
    let output = keylane(&["plugin", "validate", "--check", "load", text(&trap)]).expect(1);
    assert!(output.stdout.contains("killed by SIGSEGV, in: loading the library"), "{output:?}");
}

#[test]
fn the_reason_is_told_with_its_kind() {
    let folder = folder("inspect_bad");
    let (good, empty, words, cut) = (
        folder.join("good.so"),
        folder.join("empty.so"),
        folder.join("words.so"),
        folder.join("cut.so"),
    );
    build(&good, &[]);
    fs::write(&empty, "").unwrap();
    fs::write(&words, "no library\u{1b}[31m").unwrap();
    let bytes = fs::read(&good).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let open = folder.join("open.so");
    fs::copy(&good, &open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
    for (path, reason) in [
        (&empty, "not_elf"),
        (&words, "not_elf"),
        (&cut, "truncated"),
        (&open, "untrusted"),
        (&folder, "not_regular"),
        (&folder.join("missing.so"), "open"),
    ] {
        let json = keylane(&["plugin", "inspect", "--json", text(path)]).expect(1).json();
        assert_eq!(json["reason"], *reason, "{json}");
        let table = keylane(&["plugin", "inspect", text(path)]).expect(1).stdout;
        assert!(
            table.contains("would load: no, because") && table.contains(&format!("({reason})")),
            "{table}"
        );
        assert!(!table.contains('\u{1b}'), "{table:?}");
    }
    // What only its place keeps from being loaded is told about all the same.
    let json = keylane(&["plugin", "inspect", "--json", text(&open)]).json();
    assert_eq!(json["manifest"]["id"], "org.example.faulty");
    keylane(&["plugin", "inspect", "--trust", "any", text(&open)]).expect(0);
}
