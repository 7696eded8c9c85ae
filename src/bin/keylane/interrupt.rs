//! Ctrl-C, SIGTERM and SIGHUP: the first that asks for an end is heard, the second ends the process.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::Exit;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// To end, as this signal says.
    End(i32),
    /// To open files again.
    Reopen,
}

/// Tells `hear` about SIGHUP, if it is `heard`, and about the first Ctrl-C or SIGTERM; a second one of these ends the process where it
/// stands. `hear` runs on a thread of its own and must not wait for anything that may be stuck.
///
/// # Errors
///
/// What the operating system says to the handlers.
pub(crate) fn listen(
    hang_up: bool,
    mut hear: impl FnMut(Request) + Send + 'static,
) -> io::Result<()> {
    let mut wanted = vec![SIGINT, SIGTERM];
    wanted.extend(hang_up.then_some(SIGHUP));
    let mut signals = Signals::new(wanted)?;
    let body = move || {
        let mut ending = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                hear(Request::Reopen);
            } else if ending {
                // Whatever is stuck must not be waited for: no destructors, and not a word on a standard error that may be
                // what is stuck.
                signal_hook::low_level::exit(Exit::Signal(signal).code().into());
            } else {
                ending = true;
                hear(Request::End(signal));
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(body).map(drop)
}

/// The name of a signal that asks to end.
pub(crate) fn name(signal: i32) -> &'static str {
    if signal == SIGTERM { "SIGTERM" } else { "SIGINT" }
}
