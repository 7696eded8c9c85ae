//! A bus whose events the test receives, and a guard against tests that hang.

use std::future::Future;
use std::time::Duration;

use keylane::http::{AuthFailed, EventLayer, Failed, Finished, Started, Traffic};
use keylane::{Bus, CommonErrorMeta, Event, EventType, Processor, ShardContext};
use tokio::sync::mpsc;

/// An event, as a processor saw it.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    Start(Started),
    Finish(Finished),
    Fail(Failed),
    Traffic(Traffic),
    Auth(AuthFailed),
    Error(CommonErrorMeta),
}

/// A bus and the events that come out of it.
pub(crate) struct Watched {
    pub(crate) bus: Bus,
    events: mpsc::UnboundedReceiver<Seen>,
}

struct Forward(mpsc::UnboundedSender<Seen>);

impl Processor for Forward {
    fn process(&mut self, event: &Event) {
        let (seen, kind, key) = if let Some(started) = event.get::<Started>() {
            (Seen::Start(started.clone()), EventType::START_REQUEST, Some(started.request.id()))
        } else if let Some(finished) = event.get::<Finished>() {
            (Seen::Finish(finished.clone()), EventType::FINISH_REQUEST, Some(finished.request.id()))
        } else if let Some(failed) = event.get::<Failed>() {
            (Seen::Fail(failed.clone()), EventType::FAILED_REQUEST, Some(failed.request.id()))
        } else if let Some(traffic) = event.get::<Traffic>() {
            (Seen::Traffic(traffic.clone()), EventType::TRAFFIC, Some(traffic.id))
        } else if let Some(failed) = event.get::<AuthFailed>() {
            (Seen::Auth(failed.clone()), EventType::FAILED_AUTH, failed.request_id)
        } else if let Some(error) = event.get::<CommonErrorMeta>() {
            (Seen::Error(error.clone()), EventType::COMMON_ERROR, None)
        } else {
            return;
        };
        assert_eq!(event.kind(), kind);
        if let Some(id) = key {
            assert_eq!(event.key(), id.key(), "the events of a request share its key");
        }
        // The test may have seen enough.
        let _ = self.0.send(seen);
    }
}

impl Watched {
    pub(crate) fn new() -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let factory = move |_: &ShardContext| Forward(sender.clone());
        let bus = Bus::builder().shards(2).processor("forward", factory).build().expect("valid");
        Self { bus, events }
    }

    pub(crate) fn layer(&self) -> EventLayer {
        EventLayer::new(&self.bus)
    }

    pub(crate) async fn next(&mut self) -> Seen {
        soon(self.events.recv()).await.expect("the bus is there")
    }

    /// The next one, once the bus is shut down; `None` when there is none.
    pub(crate) async fn poll_next(&mut self) -> Option<Seen> {
        self.bus.shutdown_async(Duration::from_secs(60)).await;
        self.events.try_recv().ok()
    }

    pub(crate) async fn start(&mut self) -> Started {
        match self.next().await {
            Seen::Start(started) => started,
            other => panic!("expected a start, not {other:?}"),
        }
    }

    /// The end of a request, which must be a good one; its start has not been received yet.
    pub(crate) async fn finish(&mut self) -> Finished {
        let started = self.start().await;
        match self.next().await {
            Seen::Finish(finished) => {
                assert_eq!(finished.request.id(), started.request.id());
                assert!(finished.ttfb <= finished.total, "{finished:?}");
                finished
            }
            other => panic!("expected a finish, not {other:?}"),
        }
    }

    /// The end of a request, which must be a bad one; its start has not been received yet.
    pub(crate) async fn failure(&mut self) -> Failed {
        let started = self.start().await;
        match self.next().await {
            Seen::Fail(failed) => {
                assert_eq!(failed.request.id(), started.request.id());
                failed
            }
            other => panic!("expected a failure, not {other:?}"),
        }
    }

    pub(crate) async fn traffic(&mut self) -> Traffic {
        match self.next().await {
            Seen::Traffic(traffic) => traffic,
            other => panic!("expected traffic, not {other:?}"),
        }
    }

    pub(crate) async fn error(&mut self) -> CommonErrorMeta {
        match self.next().await {
            Seen::Error(error) => error,
            other => panic!("expected an error, not {other:?}"),
        }
    }

    /// Shuts the bus down and returns what has not been received; nothing comes after that.
    pub(crate) async fn rest(mut self) -> Vec<Seen> {
        let report = self.bus.shutdown_async(Duration::from_secs(60)).await;
        assert!(report.is_clean(), "{report:?}");
        let mut rest = Vec::new();
        while let Ok(seen) = self.events.try_recv() {
            rest.push(seen);
        }
        rest
    }

    /// Fails when there was an event that the test has not received.
    pub(crate) async fn nothing_more(self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "there was more: {rest:?}");
    }
}

/// Waits for something that happens at once on a healthy machine; fails when it never does.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it never happened")
}
