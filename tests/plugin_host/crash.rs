//! When the process dies in a plugin, a line says in which. Each death is a process of its own.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use keylane::{Bus, Key};

use crate::plugin_support::{Folder, KIND, compile, good_library, here, host};
use crate::support::{command, in_child_process};

/// Runs the test `name` in a child, which is to die of `signal`; what it wrote to standard error.
#[track_caller]
fn dies(name: &str, signal: i32) -> String {
    let binary = std::env::current_exe().expect("the path of the test binary");
    let mut child = Command::new(binary);
    child.stderr(Stdio::piped());
    let output = command(&mut child, &format!("crash::{name}"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.signal(), Some(signal), "{}: {text}", output.status);
    text
}

/// In the child: a plugin on shard 1 of 2 is told a word.
fn die_of(word: &'static str) {
    keylane::plugin::install_crash_note().expect("handlers");
    let host = host();
    let plugin = host.load(good_library()).expect("it loads");
    let bus = Bus::builder()
        .shards(2)
        .processor("the one", plugin.processor("{}").expect("a factory"))
        .build()
        .expect("a bus");
    let key = (0..).find(|&key: &u64| Key::from(key).shard(2) == Some(1)).expect("half of them");
    bus.emitter().emit_blocking(KIND, word, key).expect("open");
    bus.shutdown(Duration::from_secs(10));
}

const NOTE: &str =
    " in plugin org.example.fixture 1.0.0, processor \"the one\", shard 1, generation 1\n";

#[test]
fn a_wild_pointer_is_named() {
    if in_child_process() {
        return die_of("segv");
    }
    let text = dies("a_wild_pointer_is_named", libc::SIGSEGV);
    assert!(text.contains(&format!("keylane: SIGSEGV{NOTE}")), "{text}");
}

#[test]
fn an_abort_is_named() {
    if in_child_process() {
        return die_of("abort");
    }
    let text = dies("an_abort_is_named", libc::SIGABRT);
    assert!(text.contains(&format!("keylane: SIGABRT{NOTE}")), "{text}");
}

#[test]
fn what_is_no_plugins_fault_is_not_put_on_one() {
    if in_child_process() {
        die_of("nothing");
        std::process::abort();
    }
    let text = dies("what_is_no_plugins_fault_is_not_put_on_one", libc::SIGABRT);
    assert!(!text.contains("keylane: SIG"), "{text}");
}

#[test]
fn a_cplusplus_exception_that_leaves_a_plugin_ends_the_process_with_its_name() {
    if in_child_process() {
        keylane::plugin::install_crash_note().expect("handlers");
        let folder = Folder::new();
        let path = folder.path("throws.so");
        compile(Command::new("c++").arg("-std=c++17").arg(here("throws.cpp")), &path);
        let plugin = host().load(&path).expect("it loads");
        let bus = Bus::builder()
            .shards(1)
            .processor("throws", plugin.processor("{}").expect("a factory"))
            .build()
            .expect("a bus");
        bus.emitter().emit_blocking(KIND, 1_u64, "key").expect("open");
        bus.shutdown(Duration::from_secs(10));
        return;
    }
    let text = dies(
        "a_cplusplus_exception_that_leaves_a_plugin_ends_the_process_with_its_name",
        libc::SIGABRT,
    );
    let note = "keylane: SIGABRT in plugin org.example.throws 1.0.0, processor \"throws\", shard 0, generation 1\n";
    assert!(text.contains(note), "{text}");
}
