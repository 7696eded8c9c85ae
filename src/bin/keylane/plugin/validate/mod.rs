//! `keylane plugin validate`: checks of a plugin, each in a process of its own, so that a crash or a hang is a line in a table.

mod checks;
mod report;
mod subject;
mod talk;

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use keylane::ingest::printable::plain;
use keylane::plugin::{PluginHost, install_crash_note};

use super::Library;
use crate::bus_flags::seconds_or_duration;
use crate::config::{Trust, json_object};
use crate::exit::Exit;
use crate::processors::plugins;
use checks::CHECKS;
use report::{Finding, Outcome, Report};
use subject::Subject;
use talk::{Talk, Word};

/// Check a library against odd input, each check in a process of its own
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    library: Library,

    /// A configuration that it takes
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json_object)]
    config: String,

    /// Which processor, if the library has several [default: its first]
    #[arg(long, value_name = "ID")]
    id: Option<String>,

    /// How long a check may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = seconds_or_duration)]
    timeout: Duration,

    /// Only this check; may be repeated
    #[arg(long, value_name = "NAME", value_parser = known)]
    check: Vec<String>,

    /// Answer as one JSON object, for programs
    #[arg(long)]
    json: bool,
}

/// What the process of one check is given.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    path: PathBuf,
    #[arg(long)]
    only: String,
    #[arg(long)]
    trust: Trust,
    #[arg(long)]
    config: String,
    #[arg(long)]
    id: Option<String>,
}

fn known(name: &str) -> Result<String, String> {
    match CHECKS.iter().find(|check| check.name == name) {
        Some(_) => Ok(name.to_owned()),
        None => {
            let names: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
            Err(format!("there are the checks {}", names.join(", ")))
        }
    }
}

/// Runs the command.
pub(super) fn validate(args: &Args) -> Exit {
    let host =
        PluginHost::builder().allow_loading(plugins::trust(&args.library.settings())).build();
    let inspection = match host {
        Ok(host) => host.inspect(&args.library.path),
        Err(error) => {
            eprintln!("keylane: cannot start a thread: {error}");
            return Exit::Usage;
        }
    };
    let mut findings = vec![Finding::of(&inspection)];
    if inspection.would_load() {
        let wanted = |name: &str| args.check.is_empty() || args.check.iter().any(|one| one == name);
        let mut hopeless = None;
        for check in CHECKS.iter().filter(|check| wanted(check.name)) {
            if let Some(before) = hopeless {
                let mut finding = Finding::new(check.name);
                finding.note(Outcome::Skipped, format!("it would end as the check {before} did"));
                findings.push(finding);
                continue;
            }
            match run(args, check.name) {
                Ok((finding, done)) => {
                    findings.push(finding);
                    hopeless = (!done && check.is_basic).then_some(check.name);
                }
                Err(error) => {
                    eprintln!(
                        "keylane: cannot start a process for the check {}: {error}",
                        check.name
                    );
                    return Exit::Usage;
                }
            }
        }
    }
    let report = Report::new(&inspection, findings);
    let text = if args.json { report.to_json() } else { report.to_string() };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) if report.passed() => Exit::Clean,
        Ok(()) => Exit::Lost,
        Err(error) => {
            eprintln!("keylane: cannot write the answer: {error}");
            Exit::NoReport
        }
    }
}

/// Runs one check in a process of its own; also whether that came to its end.
fn run(args: &Args, name: &'static str) -> std::io::Result<(Finding, bool)> {
    let began = Instant::now();
    let mut command = Command::new(std::env::current_exe()?);
    let trust = match args.library.trust {
        Trust::Owned => "owned",
        Trust::Any => "any",
    };
    command.args(["plugin", "check", "--only", name, "--trust", trust, "--config", &args.config]);
    if let Some(id) = &args.id {
        command.args(["--id", id]);
    }
    let mut child = command
        .arg("--")
        .arg(&args.library.path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let words =
        child.stdout.take().map(|out| std::thread::spawn(move || talk::words(out).collect()));
    let said = child.stderr.take().map(|err| std::thread::spawn(move || tail(err)));
    let status = wait(&mut child, began + args.timeout)?;
    let words: Vec<Word> = words.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let said = said.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let mut finding = Finding::new(name);
    let (mut step, mut done) = (String::from("the start of the process"), false);
    for word in words {
        match word {
            Word::Step(text) => step = text,
            Word::Warning(text) => finding.note(Outcome::Warning, text),
            Word::Failed(text) => finding.note(Outcome::Failed, text),
            Word::Skipped(text) => finding.note(Outcome::Skipped, text),
            Word::Done => done = true,
        }
    }
    if !done {
        let what = match status {
            None => format!("no answer within {:?}", args.timeout),
            Some(status) => died(status),
        };
        finding.note(Outcome::Failed, format!("{what}, in: {step}{}", last_words(&said)));
    }
    finding.seconds = began.elapsed().as_secs_f64();
    Ok((finding, done))
}

/// Waits for the end, and makes one at the deadline; `None` when it had to.
fn wait(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How the process of a check ended that did not come to its end.
fn died(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("killed by {}", signal_name(signal)),
        (None, Some(101)) => "the check could not go on".to_owned(),
        (None, code) => {
            format!(
                "it ended the process with exit code {}, which is the program's to do",
                code.unwrap_or(-1)
            )
        }
    }
}

fn signal_name(signal: i32) -> String {
    let known = [
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGTRAP, "SIGTRAP"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGALRM, "SIGALRM"),
    ];
    let name = known.iter().find(|(number, _)| *number == signal);
    name.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

/// The end of what the process wrote to standard error.
fn tail(mut from: impl Read) -> Vec<u8> {
    const KEPT: usize = 16 * 1024;
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = from.read(&mut piece) {
        all.extend_from_slice(&piece[..read]);
        let surplus = all.len().saturating_sub(2 * KEPT);
        if surplus > KEPT {
            all.drain(..surplus);
        }
    }
    all
}

/// The last lines of it that say something, on one line.
fn last_words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(3)..];
    if last.is_empty() {
        String::new()
    } else {
        format!("; it said: {}", plain(&last.join(" | "), 400))
    }
}

/// Runs one check, in the process that was started for it.
pub(super) fn check(args: &CheckArgs) -> Exit {
    let Some(check) = CHECKS.iter().find(|check| check.name == args.only) else {
        return Exit::Usage;
    };
    let talk = match Talk::start() {
        Ok(talk) => talk,
        Err(error) => {
            eprintln!("keylane: {error}");
            return Exit::Usage;
        }
    };
    // A crash is to be told, and not to be kept.
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit lives for the call.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
    // Without it a crash still has a signal and a step, and no shard.
    let _ = install_crash_note();
    let subject = Subject {
        path: args.path.clone(),
        trust: args.trust,
        id: args.id.clone(),
        config: args.config.clone(),
    };
    (check.run)(&subject, &talk);
    talk.done();
    Exit::Clean
}
