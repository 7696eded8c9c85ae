//! No test may hang: a hang is a failure with a name.

use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Runs `body` on a thread and fails when it has not come back in `seconds` seconds.
///
/// A thread that hangs is left behind; the process ends with the test run.
#[track_caller]
pub(crate) fn within<R: Send + 'static>(
    seconds: u64,
    body: impl FnOnce() -> R + Send + 'static,
) -> R {
    let patience = Duration::from_secs(seconds * super::stress());
    let (done, finished) = mpsc::channel();
    let name = thread::current().name().unwrap_or("test").to_owned();
    let body = move || {
        let result = body();
        // The receiver is gone when the watchdog has given up.
        let _ = done.send(());
        result
    };
    let thread = thread::Builder::new().name(name).spawn(body).expect("a thread for the test");
    match finished.recv_timeout(patience) {
        // A panic drops the sender, which ends the wait as well.
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Ok(result) => result,
            Err(payload) => resume_unwind(payload),
        },
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("hangs: not finished after {patience:?}"),
    }
}
