//! Many requests at once, with everything that can happen to one, in random order: every start has exactly one end.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Request, Response};
use http_body_util::Full;
use keylane::http::{
    CatchPanicLayer, EventLayer, FailReason, Failed, Finished, RequestId, Started, TimeoutLayer,
};
use keylane::{Bus, Event, Processor, ShardContext};
use tokio::sync::mpsc;
use tower::{ServiceBuilder, service_fn};

use crate::http_support::{
    BoxError, Client, PROTOCOLS, Random, Script, TestBody, fixed, get, mute_deliberate_panics,
    serve, soon,
};

const REQUESTS: usize = 2_000;
const CLIENTS: usize = 8;

/// What a request asks its handler to do, by the first part of its path.
const FATES: [&str; 9] =
    ["fixed", "stream", "declared", "short", "error", "body-error", "panic", "body-panic", "hang"];

async fn handler<B>(request: Request<B>) -> Result<Response<TestBody>, BoxError> {
    let fate = request.uri().path().split('/').nth(1).unwrap_or_default();
    let data = || Script::Data("0123456789".into());
    let declared = |length: u64, body| {
        Response::builder().header(CONTENT_LENGTH, length).body(body).map_err(BoxError::from)
    };
    match fate {
        "fixed" => Ok(Response::new(fixed("hello"))),
        "stream" => Ok(Response::new(TestBody::scripted([data(), data()]))),
        "declared" => declared(20, TestBody::scripted([data(), data()])),
        "short" => declared(99, TestBody::scripted([data()])),
        "error" => Err("deliberate".into()),
        "body-error" => {
            Ok(Response::new(TestBody::scripted([data(), Script::Error("deliberate")])))
        }
        "panic" => panic!("deliberate"),
        "body-panic" => {
            Ok(Response::new(TestBody::scripted([data(), Script::Panic("deliberate")])))
        }
        _ => std::future::pending().await,
    }
}

#[derive(Debug, Default)]
struct Count {
    starts: u32,
    ends: u32,
    path: String,
    reason: Option<FailReason>,
}

struct Ends(mpsc::UnboundedSender<(RequestId, Option<String>, Option<FailReason>)>);

impl Processor for Ends {
    fn process(&mut self, event: &Event) {
        let sent = if let Some(Started { request }) = event.get() {
            self.0.send((request.id(), Some(request.uri().path().to_owned()), None))
        } else if let Some(Finished { request, .. }) = event.get() {
            self.0.send((request.id(), None, None))
        } else if let Some(Failed { request, reason, .. }) = event.get() {
            self.0.send((request.id(), None, Some(*reason)))
        } else {
            return;
        };
        sent.expect("the test waits for all of them");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_start_has_exactly_one_end() {
    mute_deliberate_panics();
    let (sender, mut ended) = mpsc::unbounded_channel();
    let bus = Bus::builder()
        .shards(2)
        .capacity(1 << 14)
        .processor("ends", move |_: &ShardContext| Ends(sender.clone()))
        .build()
        .expect("valid");
    let events = EventLayer::new(&bus);
    let stack = ServiceBuilder::new()
        .layer(events.clone())
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::head(Duration::from_secs(600), tokio::time::sleep));
    let addr = serve(stack.service(service_fn(handler))).await;

    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            tokio::spawn(async move {
                let mut random = Random::new(number as u64);
                for _ in 0..REQUESTS / CLIENTS {
                    let fate = *random.pick(&FATES);
                    let protocol = *random.pick(&PROTOCOLS);
                    let mut client = Client::connect(protocol, addr).await;
                    let request: Request<Full<Bytes>> = get(&format!("/{fate}/{number}"));
                    let ask = client.ask(request);
                    if fate == "hang" || random.below(4) == 0 {
                        // Leaves at some point: after so many turns of the runtime.
                        let turns = random.below(60);
                        let leave = async {
                            for _ in 0..turns {
                                tokio::task::yield_now().await;
                            }
                        };
                        tokio::select! { _ = ask => {}, () = leave => {} }
                    } else {
                        let _ = soon(ask).await;
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("no client panics");
    }

    // Requests whose clients left early may never have been read; all others are here, and come to their end.
    let mut counts: HashMap<RequestId, Count> = HashMap::new();
    let mut open = 0;
    let mut seen = 0;
    loop {
        let next = if open > 0 || seen < REQUESTS / 2 {
            Some(soon(ended.recv()).await.expect("the bus is there"))
        } else {
            ended.try_recv().ok()
        };
        let Some((id, path, reason)) = next else { break };
        let count = counts.entry(id).or_default();
        match path {
            Some(path) => {
                (count.starts, count.path) = (count.starts + 1, path);
                (open, seen) = (open + 1, seen + 1);
            }
            None => {
                (count.ends, count.reason) = (count.ends + 1, reason);
                open -= 1;
            }
        }
    }
    assert_eq!(events.losses(), Default::default());
    let mut met: HashMap<Option<FailReason>, u32> = HashMap::new();
    for count in counts.values() {
        assert_eq!((count.starts, count.ends), (1, 1), "{count:?}");
        *met.entry(count.reason).or_default() += 1;
        let fate = count.path.split('/').nth(1).expect("a fate");
        let possible = match fate {
            "fixed" | "stream" | "declared" => [None, Some(FailReason::ClientGone)],
            "short" => [Some(FailReason::ShortBody), Some(FailReason::ClientGone)],
            "error" => [Some(FailReason::ServiceError), Some(FailReason::ClientGone)],
            "body-error" => [Some(FailReason::BodyError), Some(FailReason::ClientGone)],
            "panic" => [Some(FailReason::Panic); 2],
            "body-panic" => [Some(FailReason::Panic), Some(FailReason::ClientGone)],
            _ => [Some(FailReason::ClientGone); 2],
        };
        assert!(possible.contains(&count.reason), "{count:?}");
    }
    assert!(met.len() >= 6, "not everything has happened: {met:?}");
}
