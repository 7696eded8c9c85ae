//! `keylane serve` with plugins: their files are replaced in every way while requests flow, and nothing is lost.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::client::{get, post};
use crate::command::text;
use crate::libraries::{build, folder};
use crate::server::{Server, event};

/// The sum over the shards of a metric in `/metrics` with this text among its labels.
fn sum(metrics: &str, name: &str, label: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines
        .map(|line| {
            line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect("a number")
        })
        .sum()
}

fn version(folder: &Path, number: u32) -> std::path::PathBuf {
    let path = folder.join(format!("version-{number}"));
    build(&path, &[&format!("VERSION=\"{number}.0.0\"")]);
    path
}

#[test]
fn files_are_replaced_in_every_way_while_requests_flow() {
    let folder = folder("reload");
    let versions: Vec<_> = (1..=4).map(|number| version(&folder, number)).collect();
    let refuses = folder.join("refuses");
    build(&refuses, &["FAULT_REFUSES", "VERSION=\"9.0.0\""]);
    let link = folder.join("libit.so");
    let first = folder.join("first.so");
    fs::copy(&versions[0], &first).unwrap();
    symlink(&first, &link).unwrap();
    let mut server = Server::start(&[
        "--shards",
        "2",
        "--access-log",
        "none",
        "--plugin",
        text(&link),
        "--config",
        r#"{"known": 1}"#,
        "--plugin-events",
        "order.paid",
    ]);
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let address = server.address;
    std::thread::scope(|scope| {
        for client in 0..2 {
            let (stop, sent) = (&stop, &sent);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let body: String = (0..20)
                        .map(|n| event("order.paid", &format!("{client}-{}", n % 5), n))
                        .collect();
                    post(address, &body).expect(202);
                    sent.fetch_add(20, Ordering::Relaxed);
                }
            });
        }
        // By rename.
        fs::copy(&versions[1], folder.join("next")).unwrap();
        fs::rename(folder.join("next"), &first).unwrap();
        server.wait_for("plugin it is replaced: org.example.faulty 2.0.0");
        // In place: the same file gets other bytes.
        fs::write(&first, fs::read(&versions[2]).unwrap()).unwrap();
        server.wait_for("plugin it is replaced: org.example.faulty 3.0.0");
        // By the flip of a link.
        symlink(&versions[3], folder.join("other")).unwrap();
        fs::rename(folder.join("other"), &link).unwrap();
        server.wait_for("plugin it is replaced: org.example.faulty 4.0.0");
        // What is no plugin leaves the one that runs.
        fs::write(folder.join("words"), "half a library").unwrap();
        fs::rename(folder.join("words"), &link).unwrap();
        let line = server.wait_for("plugin it is not replaced");
        assert!(line.contains("goes on: ") && line.contains("(not_elf)"), "{line}");
        // So does one that refuses the state.
        fs::rename(&refuses, &link).unwrap();
        let line = server.wait_for("plugin it is not replaced");
        assert!(line.contains("load_state returned E_STATE: not mine"), "{line}");
        // SIGHUP looks at it again, and says what is still wrong; then at what runs.
        server.signal(libc::SIGHUP);
        server.wait_for("load_state returned E_STATE: not mine");
        symlink(&versions[3], folder.join("back")).unwrap();
        fs::rename(folder.join("back"), &link).unwrap();
        server.signal(libc::SIGHUP);
        server.wait_for("plugin it is as it was");
        stop.store(true, Ordering::Relaxed);
    });
    let metrics = loop {
        let metrics = get(address, "/metrics").expect(200).body;
        if sum(&metrics, "keylane_bus_depth{", "shard") <= 2 {
            break metrics;
        }
    };
    let sent = sent.load(Ordering::Relaxed);
    assert_eq!(
        sum(&metrics, "keylane_plugin_counter_total", "name=\"events\""),
        sent,
        "each event once, over all generations"
    );
    assert_eq!(
        sum(&metrics, "keylane_plugin_gauge", "name=\"version\""),
        8,
        "both shards run version 4"
    );
    assert!(metrics.contains("name=\"bytes\",unit=\"B\"}"), "{metrics}");
    assert!(
        sum(&metrics, "keylane_plugin_load_refused_total", "reason=\"not_elf\"") >= 1,
        "{metrics}"
    );
    assert_eq!(
        sum(&metrics, "keylane_plugin_libraries ", ""),
        5,
        "four versions and the one that refuses"
    );
    let stats = get(address, "/stats.json").expect(200).json();
    assert_eq!(stats["plugins"]["resident_libraries"], 5);
    let ended = server.stop().expect(0);
    ended.says("lost nothing").says(&format!("events {}", with_commas(sent)));
}

fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let places = (1..=digits.len()).rev();
    digits
        .chars()
        .zip(places)
        .map(
            |(digit, place)| {
                if place > 1 && place % 3 == 1 { format!("{digit},") } else { digit.to_string() }
            },
        )
        .collect()
}

#[test]
fn a_file_that_is_left_alone_is_looked_at_only_when_asked() {
    let folder = folder("reload_asked");
    let (path, config) = (folder.join("it.so"), folder.join("keylane.toml"));
    build(&path, &[]);
    fs::write(
        &config,
        format!("[plugins]\nreload = false\n[[plugin]]\npath = {:?}\n", text(&path)),
    )
    .unwrap();
    let mut server = Server::start(&["--access-log", "none", "--config", text(&config)]);
    let next = version(&folder, 2);
    fs::rename(next, &path).unwrap();
    server.signal(libc::SIGHUP);
    server.wait_for("plugin it is replaced: org.example.faulty 2.0.0");
    server.stop().expect(0);
}

#[test]
fn a_check_of_the_configuration_looks_at_plugins() {
    let folder = folder("check");
    let (path, config) = (folder.join("it.so"), folder.join("keylane.toml"));
    fs::write(&config, format!("[[plugin]]\npath = {:?}\n", text(&path))).unwrap();
    let refused = crate::server::refused(&["--config", text(&config), "--check"]).expect(2);
    assert!(refused.stdout.contains("would load: no, because it cannot be opened"), "{refused:?}");
    build(&path, &["FAULT_CONSTRUCTOR"]);
    let good = crate::server::refused(&["--config", text(&config), "--check"]).expect(0);
    assert!(
        good.stdout.contains("plugins     it: ") && good.stdout.contains("would load: yes"),
        "{good:?}"
    );
}
