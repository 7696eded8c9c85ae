//! The crash note: a line that says which plugin a deadly signal came from.
//!
//! A plugin runs in the process of its host, so its wild pointer is the host's end. What can be done is to say whose it was: the
//! handler writes one line to standard error and leaves the rest to whoever handled the signal before, by default a core dump.

use std::io;
use std::mem::MaybeUninit;
use std::sync::Once;
use std::sync::OnceLock;

use super::call::crash_note;

const SIGNALS: [(libc::c_int, &str); 5] = [
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGABRT, "SIGABRT"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGFPE, "SIGFPE"),
];

/// What handled each signal before.
static FORMER: [OnceLock<libc::sigaction>; SIGNALS.len()] =
    [const { OnceLock::new() }; SIGNALS.len()];

/// From now on, when SIGSEGV, SIGBUS, SIGABRT, SIGILL or SIGFPE hits a thread that is inside of a call into a plugin, a line such as
///
/// ```text
/// keylane: SIGSEGV in plugin org.example.dedup 1.2.0, processor "dedup", shard 3, generation 2
/// ```
///
/// is written to standard error. Then the signal takes its former course; the process ends as it would have. Once per process, and
/// for all hosts; further calls do nothing. Not done unless asked for, because signal handlers belong to the program.
///
/// # Errors
/// When the system refuses a handler.
pub fn install_crash_note() -> io::Result<()> {
    static INSTALLED: Once = Once::new();
    let mut result = Ok(());
    INSTALLED.call_once(|| {
        for ((signal, _), former) in SIGNALS.iter().zip(&FORMER) {
            if let Err(error) = install(*signal, former) {
                result = Err(error);
            }
        }
    });
    result
}

fn install(signal: libc::c_int, former: &OnceLock<libc::sigaction>) -> io::Result<()> {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action, the old one is written and nothing else happens.
    if unsafe { libc::sigaction(signal, std::ptr::null(), old.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded, so the action is written. It is kept before the handler can need it.
    let _ = former.set(unsafe { old.assume_init() });
    // SAFETY: all zero is a valid action.
    let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    action.sa_sigaction = handle as *const () as usize;
    // On the alternate stack: the stack may be what ran out. Not blocked meanwhile: the signal is raised again in here.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    // SAFETY: the action is complete, and the handler only does what is allowed in one.
    if unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Only calls what is safe in a signal handler: `write`, `sigaction`, `raise`.
extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    let known = SIGNALS.iter().zip(&FORMER).find(|((number, _), _)| *number == signal);
    let Some(((_, name), former)) = known else { return };
    if let Some(note) = crash_note() {
        for piece in [b"keylane: ", name.as_bytes(), note] {
            // SAFETY: the piece is borrowed for the call.
            unsafe { libc::write(libc::STDERR_FILENO, piece.as_ptr().cast(), piece.len()) };
        }
    }
    let former = former.get().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the former action is one that the system gave; a null pointer would change nothing, and then the signal is raised in vain.
    unsafe { libc::sigaction(signal, former, std::ptr::null_mut()) };
    // A fault of the processor happens again when the handler returns; what somebody sent has to be sent again.
    // SAFETY: the kernel passes the information of this signal.
    let sent = unsafe { info.as_ref() }.is_none_or(|info| info.si_code <= 0);
    if sent {
        // SAFETY: raise has no preconditions.
        unsafe { libc::raise(signal) };
    }
}
