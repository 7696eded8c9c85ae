//! What reaches a terminal: progress where there is one, and nothing of a stranger's that acts on it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::Stdio;

use crate::command::*;

/// A terminal: the end that a program writes to, and the end that shows what it wrote.
fn terminal() -> (OwnedFd, File) {
    let (mut shows, mut writes) = (0, 0);
    let (none, size) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: both descriptors have somewhere to go, and the optional arguments are absent.
    assert_eq!(unsafe { libc::openpty(&mut shows, &mut writes, none, none.cast(), size) }, 0);
    // SAFETY: `openpty` succeeded, so both are open, and nobody else has them.
    unsafe { (OwnedFd::from_raw_fd(writes), File::from_raw_fd(shows)) }
}

/// All that a terminal shows until nobody has it open for writing any more.
fn shown(mut terminal: File) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match terminal.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            // So the kernel says that the other end is closed.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// What a run shows on a terminal that is its standard error.
fn on_terminal(args: &[&str], input: &str) -> String {
    let (writes, shows) = terminal();
    let mut command = keylane(args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(writes).spawn().unwrap();
    // It holds another copy of the writing end.
    drop(command);
    let writer = write_all(child.stdin.take().unwrap(), input);
    let shown = shown(shows);
    writer.join().unwrap();
    assert!(child.wait().unwrap().code().is_some());
    shown
}

#[test]
fn progress_is_shown_and_erased() {
    // Long enough for some ticks: a debug build needs a second for it.
    let input = events(60_000, 50);
    let shown = on_terminal(&["-"], &input);
    assert!(shown.contains(" events  ") && shown.contains("/s  "), "{shown:?}");
    let last = shown.trim_end_matches(['\r', '\n']);
    assert!(last.ends_with("\x1b[2K"), "not erased: {:?}", &last[last.len().saturating_sub(200)..]);
    for quiet in ["--quiet", "--json"] {
        assert_eq!(on_terminal(&["-", quiet], &input), "", "{quiet}");
    }
}

#[test]
fn nothing_of_a_stranger_acts_on_the_terminal() {
    // Escape, the one-character form of its most dangerous sequence, an override of the direction, a bell.
    let hostile = "\u{9b}31m\u{202e}\u{7f}";
    let escaped = "\\u001b]0;title\\u0007";
    let input = [
        event("t", hostile, 0),
        event(hostile, "k", 0),
        event(escaped, escaped, 0),
        format!("\x1b[2J\x07{hostile}\n"),
        format!("{{\"type\":\"t\",\"key\":[\"{hostile}\"],\"{hostile}\":1}}\n"),
        format!("{{\"{hostile}\":1,\"{hostile}\":2}}\n"),
        format!("{{\"type\":\"{hostile}{}\",\"key\":\"k\"}}\n", "x".repeat(2000)),
        "\u{1b}".repeat(100),
    ]
    .concat();
    let harmless = |text: &str| {
        text.chars()
            .all(|c| c == '\n' || !c.is_control() && !('\u{202a}'..='\u{202e}').contains(&c))
    };
    for args in [&["-"][..], &["-", "--json"]] {
        let ended = run_with(args, &*input).expect(1);
        assert!(harmless(&ended.stdout), "{:?}", ended.stdout);
        assert!(harmless(&ended.stderr), "{:?}", ended.stderr);
        assert!(ended.stdout.contains("9b"), "{:?}", ended.stdout);
    }
    // Events that are passed on stay as they are, unless a terminal would obey them.
    let line = event("t", hostile, 0);
    assert_eq!(run_with(&["-", "-p", "ndjson=-"], &*line).expect(0).stdout, line);
    let (writes, shows) = terminal();
    let mut command = keylane(&["-", "-p", "ndjson=-", "-q"]);
    let mut child = command.stdin(Stdio::piped()).stdout(writes).spawn().unwrap();
    drop(command);
    let writer = write_all(child.stdin.take().unwrap(), line);
    let shown = shown(shows);
    writer.join().unwrap();
    child.wait().unwrap();
    assert_eq!(shown, event("t", "\\u009b31m\\u202e\\u007f", 0).replace('\n', "\r\n"));
}
