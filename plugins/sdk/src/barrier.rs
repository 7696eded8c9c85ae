//! The barrier that no panic passes. A host cannot catch what a plugin throws: the two have a standard library each, and to the host's
//! a plugin's panic is a foreign exception. So each function of the ABI is one `catch_unwind`, here.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// Where the last panic of this thread happened; written by the hook that a loaded plugin installs.
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `f`; what it panics with becomes a text.
pub(crate) fn guard<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    // What `f` leaves in disorder is the instance, which is not used again after a panic.
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let text = payload_text(&*payload);
        let location = LOCATION.try_with(|location| location.take()).ok().flatten();
        let text = match location {
            Some(location) => format!("panicked at {location}: {text}"),
            None => format!("panicked: {text}"),
        };
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            // A payload whose destructor panics with another one could go on for ever; it is leaked.
            std::mem::forget(second);
        }
        text
    })
}

fn payload_text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "without a message"
    }
}

/// Keeps the place of a panic for the error's text, in place of printing it: the host does that. Only for a plugin that was loaded,
/// whose standard library, with this hook in it, is its own.
pub(crate) fn install_hook() {
    std::panic::set_hook(Box::new(|info| {
        let location = info.location().map(ToString::to_string);
        // Panics of threads that are ending, or of the plugin's own, have nobody to ask.
        let _ = LOCATION.try_with(|place| place.replace(location));
    }));
}
