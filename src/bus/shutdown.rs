//! Shutting down without blocking.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::life::Life;
use crate::report::ShutdownReport;
use crate::sync::{Arc, Mutex, lock, thread};

/// The future of [`Bus::shutdown_async`](super::Bus::shutdown_async).
#[must_use = "the shutdown has begun, but only the awaited future tells when it is done"]
pub struct Shutdown {
    outcome: Arc<Mutex<Outcome>>,
}

#[derive(Default)]
struct Outcome {
    report: Option<ShutdownReport>,
    waker: Option<Waker>,
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown").field("done", &lock(&self.outcome).report.is_some()).finish()
    }
}

impl Shutdown {
    pub(super) fn start(life: Arc<Life>, deadline: Duration) -> Self {
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        // Here and not on the other thread: whoever has this future may rely on the bus being closed.
        life.close();
        let finish = {
            let (life, outcome) = (life.clone(), outcome.clone());
            move || {
                let report = life.shut_down(deadline);
                let mut outcome = lock(&outcome);
                outcome.report = Some(report);
                let waker = outcome.waker.take();
                drop(outcome);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        };
        let thread = thread::Builder::new().name("keylane-shutdown".to_owned());
        if let Err(error) = thread.spawn(finish) {
            tracing::warn!(%error, "no thread to wait for the shutdown, so this one blocks");
            lock(&outcome).report = Some(life.shut_down(deadline));
        }
        Self { outcome }
    }
}

impl Future for Shutdown {
    type Output = ShutdownReport;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ShutdownReport> {
        let mut outcome = lock(&self.outcome);
        match &outcome.report {
            Some(report) => Poll::Ready(report.clone()),
            None => {
                outcome.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
