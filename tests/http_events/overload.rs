//! A bus that cannot keep up.

use std::convert::Infallible;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use http::Response;
use keylane::http::EventLayer;
use keylane::{Bus, Event, EventType, Processor, ShardContext};
use tower::{Layer, service_fn};

use crate::http_support::{Client, Protocol, fixed, get, serve};

/// Holds its shard up until the gate is opened, and counts.
struct Stuck {
    gate: Arc<(Mutex<bool>, Condvar)>,
    seen: Arc<Mutex<Vec<EventType>>>,
}

impl Processor for Stuck {
    fn process(&mut self, event: &Event) {
        let (open, opened) = &*self.gate;
        let open = open.lock().expect("no panic under this lock");
        drop(opened.wait_while(open, |open| !*open).expect("no panic under this lock"));
        self.seen.lock().expect("no panic under this lock").push(event.kind());
    }
}

/// Everything is emitted by one thread into one ring of 8. Starts and traffic leave a quarter of it free: two requests fit with all
/// of their events, and the last two slots are for the ends of two more.
#[tokio::test]
async fn requests_do_not_wait_and_starts_are_lost_before_ends() {
    const REQUESTS: u64 = 20;
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let factory = {
        let (gate, seen) = (gate.clone(), seen.clone());
        move |_: &ShardContext| Stuck { gate: gate.clone(), seen: seen.clone() }
    };
    let bus = Bus::builder().shards(1).capacity(8).processor("stuck", factory).build();
    let bus = bus.expect("valid");
    let events = EventLayer::new(&bus).traffic(true);
    let handler = service_fn(async |_| Ok::<_, Infallible>(Response::new(fixed("hello"))));
    let addr = serve(events.layer(handler)).await;

    let mut client = Client::connect(Protocol::Http1, addr).await;
    for _ in 0..REQUESTS {
        // With the shard stuck for good, every answer shows that nobody waits for it.
        assert_eq!(client.ask(get("/")).await.expect("answer").text(), "hello");
    }
    let losses = events.losses();
    assert_eq!(
        (losses.starts, losses.traffic, losses.ends),
        (REQUESTS - 2, REQUESTS - 2, REQUESTS - 4)
    );
    assert_eq!(bus.stats().refused, losses.starts + losses.traffic + losses.ends);

    *gate.0.lock().expect("no panic under this lock") = true;
    gate.1.notify_all();
    assert!(bus.shutdown_async(Duration::from_secs(60)).await.is_clean());
    let seen = seen.lock().expect("no panic under this lock");
    let whole = [EventType::START_REQUEST, EventType::FINISH_REQUEST, EventType::TRAFFIC];
    assert_eq!(seen[..6], [whole, whole].concat());
    assert_eq!(seen[6..], [EventType::FINISH_REQUEST; 2]);
}

#[tokio::test]
async fn after_the_bus_has_been_shut_down_requests_are_served_and_losses_counted() {
    let bus = Bus::builder()
        .shards(1)
        .processor("noop", keylane::NoopProcessorFactory)
        .build()
        .expect("valid");
    let events = EventLayer::new(&bus);
    let handler = service_fn(async |_| Ok::<_, Infallible>(Response::new(fixed("hello"))));
    let addr = serve(events.layer(handler)).await;
    bus.shutdown_async(Duration::from_secs(60)).await;
    let answer = Client::connect(Protocol::Http1, addr).await.ask(get("/")).await.expect("answer");
    assert_eq!(answer.text(), "hello");
    assert_eq!((events.losses().starts, events.losses().ends), (1, 1));
}
