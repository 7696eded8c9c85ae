//! The configuration: from a file, from the command line, checked before anything begins.

use std::fs;
use std::net::TcpListener;

use crate::client::*;
use crate::server::*;

#[test]
fn mistakes_are_told_all_at_once_with_their_lines() {
    let folder = folder("mistakes");
    let config = folder.join("keylane.toml");
    fs::write(&config, "[bus]\nshard = 2\ncapacity = 1000\n[serve]\nlisten = \"localhost\"\n")
        .expect("a folder");
    for extra in [&[][..], &["--check"]] {
        let ended = refused(&[&["--config", text(&config)][..], extra].concat()).expect(2);
        let name = text(&config);
        let expected = format!(
            "keylane: {name}:2:1: bus.shard: there is no such key; did you mean shards?\n\
             {name}:3:12: bus.capacity = 1000: not a power of two; write 1024\n\
             {name}:5:10: serve.listen = \"localhost\": not an address; write it as 127.0.0.1:8080, [::1]:8080 or, \
             for everybody, 0.0.0.0:8080\n"
        );
        assert_eq!(ended.stderr, expected);
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn a_check_tells_what_a_configuration_comes_to_and_starts_nothing() {
    let folder = folder("check");
    let config = folder.join("keylane.toml");
    let out = folder.join("out.ndjson");
    fs::write(&config, format!("[bus]\nshards = 3\nprocessors = [\"ndjson={}\"]\n", text(&out)))
        .expect("a folder");
    let ended = refused(&["--config", text(&config), "--check", "--capacity", "64"]).expect(0);
    assert!(ended.stdout.contains("keylane.toml is right\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("3 shards, rings of 64 events"), "{}", ended.stdout);
    assert!(!out.exists());
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/keylane.example.toml");
    refused(&["--config", example, "--check"]).expect(0);
}

#[test]
fn the_file_in_the_folder_is_read_and_the_command_line_goes_before_it() {
    let folder = folder("both");
    fs::write(
        folder.join("keylane.toml"),
        "[bus]\nshards = 3\n[serve]\nlisten = \"192.0.2.1:80\"\n",
    )
    .expect("a folder");
    let mut command = command(&["--listen", "127.0.0.1:0"]);
    let server = Server::spawn(command.current_dir(&folder));
    let stats = get(server.address, "/stats.json").expect(200).json();
    assert_eq!(stats["bus"]["shards"].as_array().map(Vec::len), Some(3));
    let ended = server.stop().expect(0);
    assert!(ended.stderr.starts_with("keylane: configuration keylane.toml\n"), "{}", ended.stderr);
}

#[test]
fn run_reads_the_same_file() {
    let folder = folder("run");
    let config = folder.join("keylane.toml");
    fs::write(
        &config,
        "[bus]\nshards = 3\nprocessors = [\"noop\"]\n[events]\nmax_event = \"50 B\"\n",
    )
    .expect("a folder");
    let input = folder.join("in.ndjson");
    let long = format!("{{\"type\":\"t\",\"key\":\"k\",\"data\":\"{}\"}}\n", "x".repeat(50));
    fs::write(&input, event("t", "k", 0) + &long).expect("a folder");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_keylane"))
        .args(["run", text(&input), "--config", text(&config), "--json"])
        .output()
        .expect("the command starts");
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["shards"].as_array().map(Vec::len), Some(3));
    assert_eq!(report["types"], serde_json::Value::Null);
    assert_eq!(report["input"]["bad"], 1);
}

#[test]
fn a_port_that_is_taken_is_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it has one").to_string();
    let ended = refused(&["--listen", &address]).expect(2);
    let expected = format!(
        "keylane: cannot listen on {address}: Address already in use (os error 98); another program has this port: end it, or \
         choose one with --listen, 127.0.0.1:0 for any free one\n"
    );
    assert_eq!(ended.stderr, expected);
}

#[test]
fn what_cannot_be_is_refused_before_anything_begins() {
    let folder = folder("cannot");
    let log = folder.join("log");
    for (args, said) in [
        (
            &["--access-log", "/nonexistent/log"][..],
            "cannot write the access log /nonexistent/log: No such file",
        ),
        (&["-p", "ndjson=-"], "the access log and ndjson=- would both write to standard output"),
        (
            &["-p", &format!("ndjson={}", text(&log)), "--access-log", text(&log)],
            "it is the access log; choose another file",
        ),
        (&["-p", "count", "-p", "count"], "the processor count is asked for twice"),
        (&["-c", "1000"], "capacity 1000 is not a power of two; use 1024"),
        (&["--shards", "5000"], "5000 shards are out of range; use 1 to 1024"),
        (
            &["--config", "/nonexistent.toml"],
            "cannot read the configuration /nonexistent.toml: No such file",
        ),
        (&["--config", "/dev/zero"], "it is longer than 1048576 bytes; name another file"),
        (&["--log-format", "comon"], "no preset and without a directive; write gohm, common"),
        (&["--log-mask", "6xx"], "no class of statuses; write all, errors, none, or 1xx to 5xx"),
        (&["--patience", "1x"], "no such unit; there are us, ms, s, m and h"),
    ] {
        let ended = refused(&[&["--listen", "127.0.0.1:0"], args].concat());
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(said), "{args:?}: {}", ended.stderr);
    }
}
