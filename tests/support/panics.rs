//! Panics on purpose.

use std::panic;
use std::sync::Once;

/// What the message of a panic contains that a test causes on purpose.
pub(crate) const DELIBERATE: &str = "deliberate";

/// Keeps deliberate panics out of the output: their backtraces would bury the one that matters, and cost more than the test.
pub(crate) fn mute_deliberate_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.payload_as_str().unwrap_or(DELIBERATE);
            if !text.contains(DELIBERATE) {
                usual(info);
            }
        }));
    });
}
