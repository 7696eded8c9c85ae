//! Model checks of keylane with loom: every model runs under every interleaving, and every value
//! that the memory model lets a load return, up to a bound on preemptions.
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test -p keylane-loom-tests --release
//! ```
//!
//! Without `--cfg loom` the crate is empty. The models live in `tests/`, a file per subject, and each file says at its head
//! what its models prove and within which bounds.
//!
//! # Settings
//!
//! | variable | meaning |
//! |---|---|
//! | `LOOM_MAX_PREEMPTIONS=n` | another bound for all models than their own |
//! | `KEYLANE_LOOM_EXHAUSTIVE=1` | no bound; some models then take hours |
//! | `LOOM_MAX_DURATION=s` | gives each model up after so many seconds |
//! | `KEYLANE_LOOM_TRACE=n` | prints everything that happens in the `n`th execution, the number that a failure names |
//!
//! # What a model may say
//!
//! A model fails on a failed assertion, on a deadlock, on an access to a slot's body that nothing orders, on a
//! `Payload` or a ring that is leaked or dropped twice, and on any panic that the bus has swallowed. Processors that
//! are meant to panic use `fail`, which the last rule does not see.
#![cfg(loom)]

mod bus;
mod payload;
mod task;

use std::cell::{Cell, RefCell};
use std::env;
use std::process::Command;
use std::sync::Once;
use std::time::{Duration, Instant};

pub use bus::{Log, Record, finish, start};
pub use payload::Payload;
pub use task::{Alarm, block_on};

/// No bound on preemptions: every interleaving there is.
pub const UNBOUNDED: Option<usize> = None;

/// Explores a model, with at most `preemptions` preemptions in one execution.
///
/// # Panics
/// When an execution breaks a promise.
#[track_caller]
pub fn check(preemptions: impl Into<Option<usize>>, model: impl Fn() + Send + Sync + 'static) {
    watch_panics();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound(preemptions.into());
    if env::var_os("LOOM_MAX_BRANCHES").is_none() {
        builder.max_branches = 20_000;
    }
    // How often loom looks at the clock.
    builder.checkpoint_interval = 1_000;
    let traced: Option<u64> =
        env::var("KEYLANE_LOOM_TRACE").ok().map(|n| n.parse().expect("the number of an execution"));
    builder.location = traced.is_some() || env::var_os("STATS").is_some();
    if env::var_os(CHILD).is_some() {
        builder.max_duration = Some(CHILD_DURATION);
    }
    let (limit, explored) = (builder.max_duration, builder.preemption_bound);
    EXECUTION.set(0);
    PANIC.take();
    let began = Instant::now();
    builder.check(move || {
        EXECUTION.set(EXECUTION.get() + 1);
        if Some(EXECUTION.get()) == traced {
            trace();
        }
        model();
        rethrow();
    });
    rethrow();
    let cut_short =
        if limit.is_some_and(|limit| began.elapsed() >= limit) { ", cut short" } else { "" };
    println!(
        "{}: {} executions, {} preemptions, {:.1?}{cut_short}",
        std::panic::Location::caller(),
        EXECUTION.get(),
        explored.map_or("unbounded".to_owned(), |bound| bound.to_string()),
        began.elapsed(),
    );
}

/// Explores a model that is broken on purpose, and fails when loom does not notice.
///
/// `test` is the name of the calling test: the model runs in a process of its own, because a deadlock that loom finds ends in
/// an abort, when destructors meet a scheduler with nothing left to run. `evidence` is a part of what the failure prints, so that a
/// model which fails for another reason does not pass.
///
/// # Panics
/// When the model holds, or fails with another message.
#[track_caller]
pub fn violates(
    test: &str,
    preemptions: impl Into<Option<usize>>,
    evidence: &str,
    model: impl Fn() + Send + Sync + 'static,
) {
    if env::var_os(CHILD).is_some() {
        return check(preemptions, model);
    }
    let began = Instant::now();
    let output = Command::new(env::current_exe().expect("a running test has a file"))
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("a test can be started again");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("running 1 test"), "{test} is not the name of the test:\n{said}");
    assert!(!output.status.success(), "the broken model was found to hold:\n{said}");
    assert!(said.contains(evidence), "the broken model failed, but not with {evidence:?}:\n{said}");
    println!("{}: violated, {:.1?}", std::panic::Location::caller(), began.elapsed());
}

/// Panics as a processor's own fault, which the model expects.
pub fn fail() -> ! {
    // The panic hook does not hear of it, so it does not count as a panic that somebody has swallowed.
    std::panic::resume_unwind(Box::new("a fault on purpose"))
}

/// Tells a test that it runs as a broken model.
const CHILD: &str = "KEYLANE_LOOM_CHILD";

/// Broken models fail within a second; this is for the day when one does not.
const CHILD_DURATION: Duration = Duration::from_secs(60);

thread_local! {
    /// The number of the execution.
    static EXECUTION: Cell<u64> = const { Cell::new(0) };
    /// The first panic of the model. All threads of a model are coroutines of one thread.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn bound(preemptions: Option<usize>) -> Option<usize> {
    if env::var("KEYLANE_LOOM_EXHAUSTIVE").is_ok_and(|value| value == "1") {
        return None;
    }
    let set = env::var("LOOM_MAX_PREEMPTIONS").ok();
    set.map(|bound| bound.parse().expect("a number of preemptions")).or(preemptions)
}

/// Notes panics: a worker catches those of processors, and with them an assertion that failed inside one.
fn watch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANIC.with_borrow_mut(|panic| {
                if panic.is_none() && EXECUTION.get() > 0 {
                    eprintln!("in execution {}:", EXECUTION.get());
                    *panic = Some(info.to_string());
                }
            });
            print(info);
        }));
    });
}

fn rethrow() {
    if let Some(panic) = PANIC.with_borrow(Clone::clone) {
        panic!("the bus has swallowed a panic: {panic}");
    }
}

/// Prints loom's own account of the rest of this execution.
fn trace() {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .without_time()
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .finish();
    // Until the next execution, which is one too many to care about.
    std::mem::forget(tracing::subscriber::set_default(subscriber));
}
