//! How far a server is on its way to the end.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::watch;

/// What a server does with its connections. Goes forward only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It accepts new ones.
    Running,
    /// It accepts none, and waits for those that are open.
    Draining,
    /// It cuts them off.
    Cut,
}

/// Tells the phase to everybody. A server that was dropped has cut its connections off.
#[derive(Debug, Clone)]
pub(super) struct Phases {
    receiver: watch::Receiver<Phase>,
}

/// Ready when connections are cut off.
pub(super) type Cut = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl Phases {
    pub(super) fn new() -> (watch::Sender<Phase>, Self) {
        let (sender, receiver) = watch::channel(Phase::Running);
        (sender, Self { receiver })
    }

    /// Waits until at least this phase has come, and returns the one that has.
    pub(super) async fn reached(&self, phase: Phase) -> Phase {
        let mut receiver = self.receiver.clone();
        let reached = receiver.wait_for(|&now| now >= phase).await.map(|now| *now);
        reached.unwrap_or(Phase::Cut)
    }

    /// The same for [`Phase::Cut`], on the heap.
    pub(super) fn cut(&self) -> Cut {
        let phases = self.clone();
        Box::pin(async move {
            phases.reached(Phase::Cut).await;
        })
    }

    pub(super) fn is_running(&self) -> bool {
        self.receiver.has_changed().is_ok() && *self.receiver.borrow() == Phase::Running
    }
}
