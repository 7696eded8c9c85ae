//! Calls in every order that a host may make them, a host that is short of everything, and what the plugin does to its surroundings.

use keylane_plugin_abi::{flush_reason, log, shutdown_reason};

use super::delivery::{Fate, end, flush, give, usual};
use super::{Subject, Talk};
use crate::plugin::raw::{Desk, Instance, Library};

pub(super) fn run(subject: &Subject, talk: &Talk) {
    let before = Surroundings::now();
    let Some(library) = subject.library(talk) else { return };
    let desk = Desk::new(log::TRACE);
    let create = |what: &str| new(&library, &desk, subject, what, talk);
    let Some(instance) = create("create") else { return };
    talk.step("destroy, without any other call");
    drop(instance);

    let Some(mut instance) = create("create") else { return };
    talk.step("get_extension with an id that nobody knows");
    if instance.has_extension(c"org.example.no-such-extension/1") {
        talk.fail("get_extension gives something for an id that it cannot know");
    }
    for (reason, name) in [
        (flush_reason::IDLE, "IDLE"),
        (flush_reason::REQUESTED, "REQUESTED"),
        (flush_reason::SWAP, "SWAP"),
        (flush_reason::SHUTDOWN, "SHUTDOWN"),
        (99, "unknown"),
    ] {
        talk.step(format!("flush before any event, reason {name}"));
        flush(&mut instance, reason, talk);
    }
    talk.step("process behind a flush for a swap that was undone");
    if give(&mut instance, &desk, &usual(8), talk) == Fate::Stays {
        end(instance, talk);
    }

    for reason in [shutdown_reason::SWAP, shutdown_reason::REMOVED, shutdown_reason::FAULT, 99] {
        let Some(mut instance) = create("create") else { return };
        talk.step("process");
        if give(&mut instance, &desk, &usual(8), talk) == Fate::Gone {
            return;
        }
        talk.step(format!("shutdown without a flush, reason {reason}"));
        instance.shutdown(reason);
        talk.step("destroy");
        drop(instance);
    }

    let scarce = Desk::new(log::OFF);
    scarce.set_scarce(true);
    if let Some(mut instance) = new(
        &library,
        &scarce,
        subject,
        "create with a host that gives no cells (NULL) and has no room",
        talk,
    ) {
        talk.step(
            "process with a host that gives no cells (NULL) and has no room for derived events",
        );
        let events = instance.fit(&usual(64));
        let mut lent = instance.lend(&events);
        let answer = instance.process(&mut lent, 0);
        if answer.processed > events.len() {
            talk.fail(format!(
                "process says that it has processed {} of {} events",
                answer.processed,
                events.len()
            ));
        }
        Instance::take_back(lent);
        scarce.set_scarce(false);
        end(instance, talk);
    }
    talk.step("looking at the surroundings");
    before.compare(&Surroundings::now(), talk);
}

fn new<'a>(
    library: &'a Library,
    desk: &'a Desk,
    subject: &Subject,
    what: &str,
    talk: &Talk,
) -> Option<Instance<'a>> {
    talk.step(what);
    match library.create(desk, &subject.config, (0, 1)) {
        Ok(instance) => Some(instance),
        Err(answer) => {
            subject.not_created(talk, &answer);
            None
        }
    }
}

/// What belongs to the program.
#[derive(PartialEq)]
struct Surroundings {
    folder: Option<std::path::PathBuf>,
    environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    mask: libc::mode_t,
    locale: Vec<u8>,
    /// What handles each signal.
    handlers: Vec<usize>,
}

impl Surroundings {
    fn now() -> Self {
        // SAFETY: this process has no other thread that makes files now; the mask is put back at once.
        let mask = unsafe {
            let mask = libc::umask(0o077);
            libc::umask(mask);
            mask
        };
        // SAFETY: a null locale only asks; what comes is a text until the next call.
        let locale = unsafe {
            let locale = libc::setlocale(libc::LC_ALL, std::ptr::null());
            if locale.is_null() {
                Vec::new()
            } else {
                std::ffi::CStr::from_ptr(locale).to_bytes().to_vec()
            }
        };
        let handler = |signal: libc::c_int| {
            // SAFETY: all zero is a valid action, and without a new one the old one is only told.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, std::ptr::null(), &mut action);
                action.sa_sigaction
            }
        };
        let mut environment: Vec<_> = std::env::vars_os().collect();
        environment.sort();
        Self {
            folder: std::env::current_dir().ok(),
            environment,
            mask,
            locale,
            handlers: (1..32).map(handler).collect(),
        }
    }

    fn compare(&self, after: &Self, talk: &Talk) {
        for (changed, what) in [
            (self.folder != after.folder, "the working folder"),
            (self.environment != after.environment, "the environment"),
            (self.mask != after.mask, "the mask for new files (umask)"),
            (self.locale != after.locale, "the locale"),
        ] {
            if changed {
                talk.fail(format!("it has changed {what}, which is the program's"));
            }
        }
        for (signal, (before, after)) in (1..).zip(self.handlers.iter().zip(&after.handlers)) {
            if before != after {
                talk.fail(format!(
                    "it has changed what handles signal {signal}, which is the program's to do"
                ));
            }
        }
    }
}
