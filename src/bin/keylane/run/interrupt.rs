//! Ctrl-C and SIGTERM: the first asks the run to end, the second ends the process.

use std::io;
use std::sync::mpsc::Sender;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Notice;
use crate::exit::Exit;

/// Sends the first signal on as a notice; a second one ends the process where it stands.
///
/// # Errors
///
/// What the operating system says to the handlers.
pub(crate) fn listen(notices: Sender<Notice>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let body = move || {
        let mut signals = signals.forever();
        if let Some(first) = signals.next() {
            let _ = notices.send(Notice::Signal(first));
        }
        if let Some(second) = signals.next() {
            // Whatever is stuck must not be waited for: no destructors, and not a word on a standard error that may be
            // what is stuck.
            signal_hook::low_level::exit(Exit::Signal(second).code().into());
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(body).map(drop)
}

/// The name of a signal that [`listen`] sends.
pub(crate) fn name(signal: i32) -> &'static str {
    if signal == SIGTERM { "SIGTERM" } else { "SIGINT" }
}
