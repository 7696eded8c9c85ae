//! Diagnostics written from places that must not panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Writes through `tracing`. The subscriber is foreign code: a panic in it ends here, or it would take a shard's thread with it.
pub(crate) fn write(event: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(event)) {
        // Nobody is left to tell, and the payload's destructor is as foreign as the subscriber.
        std::mem::forget(payload);
    }
}
