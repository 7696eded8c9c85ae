//! Promises 3 and 7: an accepted event is processed exactly once even when a shutdown races with it, a refused one comes
//! back, and `Processor::shutdown` runs exactly once per instance, on its own thread, after its last event.

#[path = "../support/mod.rs"]
mod support;

mod afterwards;
mod calls;
mod deadline;
mod last_handle;
mod storm;
mod stuck;
mod thread_end;
mod waiting;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use keylane::EventType;

const OUTSIDE: EventType = EventType::user(0);
const DERIVED: EventType = EventType::user(1);

/// Polls a future once, with a waker that does nothing.
fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime")
}
