//! The whole program, small: it runs, and its report has the form that its readers rely on.

use std::process::Command;

use serde_json::Value;

fn bench(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_keylane-benches"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

#[test]
fn a_quick_run_writes_a_well_formed_report() {
    let path = std::env::temp_dir().join(format!("keylane-benches-{}.json", std::process::id()));
    let path_text = path.to_str().expect("the temporary folder has a readable name");
    let output = bench(&[
        "--quick",
        "--rounds",
        "2",
        "--cells",
        "1x1,3x2",
        "--all-modes",
        "--out",
        path_text,
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).expect("the table is text");
    for word in ["== floor ==", "== dispatch ==", "== batch ==", "== ring ==", "crossbeam", "3x2"] {
        assert!(table.contains(word), "`{word}` is missing in:\n{table}");
    }
    let report: Value =
        serde_json::from_slice(&std::fs::read(&path).expect("the report exists")).expect("JSON");
    std::fs::remove_file(&path).expect("the report can be removed");
    assert!(report["machine"]["cores"].as_u64() > Some(0));
    assert!(report["machine"]["rustc"].as_str().is_some_and(|text| text.starts_with("rustc")));
    let scenarios = report["scenarios"].as_array().expect("scenarios");
    assert_eq!(scenarios.len(), 4);
    for scenario in scenarios {
        let name = scenario["name"].as_str().expect("a name");
        let contenders = scenario["contenders"].as_array().expect("contenders").len();
        let cells = scenario["cells"].as_array().expect("cells");
        if name == "floor" {
            assert_eq!(scenario["figures"].as_array().map(Vec::len), Some(6));
            continue;
        }
        assert_eq!(cells.len(), 2, "{name}");
        for cell in cells {
            let rows = cell["rows"].as_array().expect("rows");
            assert_eq!(rows.len(), contenders, "{name}");
            for row in rows {
                assert_eq!(row["laps"].as_array().map(Vec::len), Some(2), "{row}");
                assert!(row["million_per_second"]["median"].as_f64() > Some(0.0), "{row}");
            }
        }
    }
}

#[test]
fn mistakes_are_named() {
    for (arguments, expected) in [
        (&["--only", "nobody"][..], "no contender `nobody`"),
        (&["--capacity", "1000"], "capacity 1000 is not a power of two"),
        (&["--cells", "two"], "`two` is not a cell"),
        (&["nothing"], "invalid value 'nothing'"),
    ] {
        let output = bench(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}
