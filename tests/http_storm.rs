//! Ten thousand requests over real sockets, with everything that can happen to one and a shutdown in the middle: each start has one
//! end, the books agree, and nothing is left.
//!
//! In a process of its own, because it counts tasks and open files.

mod http_support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{Request, Response};
use http_support::{
    BoxError, Client, PROTOCOLS, Random, Script, TestBody, fixed, get, mute_deliberate_panics, soon,
};
use keylane::http::{
    CatchPanicLayer, EventLayer, FailReason, Failed, Finished, Losses, RequestId, ServeReport,
    Server, Serving, Started, StatusCounters, TimeoutLayer, Traffic, TrafficScope,
};
use keylane::{Bus, Event, Processor, ShardContext};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::{ServiceBuilder, service_fn};

const REQUESTS: u64 = 10_000;
const CLIENTS: u64 = 12;
const LONG: Duration = Duration::from_secs(60);

/// What a request asks its handler to do. Most are good, as in life.
const FATES: [&str; 16] = [
    "fixed",
    "fixed",
    "fixed",
    "fixed",
    "fixed",
    "stream",
    "stream",
    "declared",
    "declared",
    "read",
    "short",
    "error",
    "body-error",
    "panic",
    "body-panic",
    "hang",
];

async fn handler<B>(request: Request<B>) -> Result<Response<TestBody>, BoxError>
where
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    let data = || Script::Data("0123456789".into());
    let declared = |length: u64, body| {
        Response::builder().header(CONTENT_LENGTH, length).body(body).map_err(BoxError::from)
    };
    match request.uri().path().trim_start_matches('/') {
        "fixed" => Ok(Response::new(fixed("hello"))),
        "stream" => Ok(Response::new(TestBody::scripted([data(), data()]))),
        "declared" => declared(20, TestBody::scripted([data(), data()])),
        "read" => {
            let body = http_body_util::BodyExt::collect(request.into_body());
            Ok(Response::new(fixed(body.await.map_err(Into::into)?.to_bytes())))
        }
        "short" => declared(99, TestBody::scripted([data()])),
        "error" => Err("deliberate".into()),
        "body-error" => {
            Ok(Response::new(TestBody::scripted([data(), Script::Error("deliberate")])))
        }
        "panic" => panic!("deliberate"),
        "body-panic" => {
            Ok(Response::new(TestBody::scripted([data(), Script::Panic("deliberate")])))
        }
        "endless" => {
            let (steps, body) = TestBody::channel();
            steps.send(data())?;
            std::mem::forget(steps);
            Ok(Response::new(body))
        }
        // The timeout answers.
        _ => std::future::pending().await,
    }
}

/// What has happened to a request.
#[derive(Debug, Default, Clone)]
struct Life {
    starts: u32,
    ends: u32,
    reason: Option<FailReason>,
}

/// What has come out of the bus.
#[derive(Default)]
struct Books {
    starts: AtomicU64,
    lives: Mutex<HashMap<RequestId, Life>>,
    connections: AtomicU64,
}

struct Keeper(Arc<Books>);

impl Processor for Keeper {
    fn process(&mut self, event: &Event) {
        let books = &self.0;
        let record = |id, write: &dyn Fn(&mut Life)| {
            write(books.lives.lock().expect("no panic").entry(id).or_default());
        };
        if let Some(Started { request }) = event.get() {
            record(request.id(), &|life| life.starts += 1);
            books.starts.fetch_add(1, Ordering::Relaxed);
        } else if let Some(Finished { request, .. }) = event.get() {
            record(request.id(), &|life| life.ends += 1);
        } else if let Some(Failed { request, reason, .. }) = event.get() {
            record(request.id(), &|life| (life.ends, life.reason) = (life.ends + 1, Some(*reason)));
        } else if let Some(traffic) = event.get::<Traffic>() {
            assert_eq!(traffic.scope, TrafficScope::Connection);
            books.connections.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn start(bus: &Bus, events: &EventLayer, half_close: bool) -> Serving {
    let service = ServiceBuilder::new()
        .layer(events.clone())
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::head(Duration::from_millis(20), tokio::time::sleep))
        .service(service_fn(handler));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    Server::new(bus)
        .half_close(half_close)
        .shutdown_mark(events.shutdown_mark())
        .serve(listener, service)
}

/// Asks until enough requests have begun, and is as unreliable as clients are.
async fn client(seed: u64, books: Arc<Books>, addr: watch::Receiver<SocketAddr>) {
    let mut random = Random::new(seed);
    while books.starts.load(Ordering::Relaxed) < REQUESTS {
        let addr = *addr.borrow();
        match random.below(16) {
            0 => {
                let fate = *random.pick(&FATES);
                half_closed(addr, fate).await;
            }
            1 => drop(TcpStream::connect(addr).await),
            _ => {
                let protocol = *random.pick(&PROTOCOLS);
                let Some(mut client) = Client::try_connect(protocol, addr).await else {
                    // Between two servers.
                    tokio::task::yield_now().await;
                    continue;
                };
                for _ in 0..random.below(12) {
                    let fate = *random.pick(&FATES);
                    let mut request = get(&format!("/{fate}"));
                    *request.body_mut() = "some text for those that read".into();
                    let ask = client.ask(request);
                    if random.below(8) > 0 {
                        if soon(ask).await.is_err() {
                            break;
                        }
                        continue;
                    }
                    // Leaves at some point: after so many turns of the runtime.
                    let turns = random.below(60);
                    let leave = async {
                        for _ in 0..turns {
                            tokio::task::yield_now().await;
                        }
                    };
                    tokio::select! { _ = ask => {}, () = leave => {} }
                    break;
                }
            }
        }
    }
}

/// Asks, closes its sending half, and reads what comes.
async fn half_closed(addr: SocketAddr, fate: &str) {
    let Ok(mut stream) = TcpStream::connect(addr).await else { return };
    let request = format!("GET /{fate} HTTP/1.1\r\nhost: x\r\n\r\n");
    if stream.write_all(request.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
        // With an answer or without one, the server closes.
        let _ = soon(stream.read_to_end(&mut Vec::new())).await;
    }
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_and_nothing_is_left() {
    mute_deliberate_panics();
    let metrics = tokio::runtime::Handle::current().metrics();
    let (tasks, files) = (metrics.num_alive_tasks(), open_files());
    let books = Arc::new(Books::default());
    let counters = StatusCounters::new();
    let keeper = books.clone();
    let bus = Bus::builder()
        .shards(2)
        .capacity(1 << 15)
        .processor_for("counters", StatusCounters::EVENTS, counters.clone())
        .processor("books", move |_: &ShardContext| Keeper(keeper.clone()))
        .build()
        .expect("valid");
    let first_events = EventLayer::new(&bus);
    let first = start(&bus, &first_events, false).await;
    let (move_on, addr) = watch::channel(first.local_addr().expect("TCP"));
    // One that would never end, so that the shutdown in the middle has somebody to cut off.
    let mut endless = Client::connect(PROTOCOLS[0], *addr.borrow()).await;
    let endless = endless.send(get("/endless")).await.expect("an answer").into_body();

    let clients: Vec<_> =
        (0..CLIENTS).map(|seed| tokio::spawn(client(seed, books.clone(), addr.clone()))).collect();
    soon(async {
        while books.starts.load(Ordering::Relaxed) < REQUESTS / 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    // In the middle, while the clients go on.
    let second_events = EventLayer::new(&bus);
    let second = start(&bus, &second_events, true).await;
    let first_report = soon(first.shutdown(Duration::from_millis(1))).await;
    move_on.send_replace(second.local_addr().expect("TCP"));
    for client in clients {
        soon(client).await.expect("no client panics");
    }
    drop(endless);
    let second_report = soon(second.shutdown(LONG)).await;
    let lost = (first_events.losses(), second_events.losses());
    let bus_report = bus.shutdown_async(LONG).await;
    assert!(bus_report.is_clean() && bus_report.faulted == 0, "{bus_report}");

    // Each start has exactly one end, and nothing was lost.
    assert_eq!(lost, (Losses::default(), Losses::default()));
    let lives = books.lives.lock().expect("no panic").clone();
    let mut met: HashMap<Option<FailReason>, u64> = HashMap::new();
    for (id, life) in &lives {
        assert_eq!((life.starts, life.ends), (1, 1), "{id}: {life:?}");
        *met.entry(life.reason).or_default() += 1;
    }
    assert!(lives.len() as u64 >= REQUESTS, "{}", lives.len());
    for reason in [
        None,
        Some(FailReason::ServiceError),
        Some(FailReason::BodyError),
        Some(FailReason::ClientGone),
        Some(FailReason::Panic),
        Some(FailReason::Timeout),
        Some(FailReason::ShortBody),
        Some(FailReason::Shutdown),
    ] {
        assert!(met.contains_key(&reason), "{reason:?} never happened: {met:?}");
    }

    // The counters add up.
    let counts = counters.snapshot();
    assert_eq!(counts.all, lives.len() as u64, "{counts:?}");
    let ServeReport { aborted, left, .. } = first_report;
    assert!(aborted >= 1 && left == 0, "{first_report}");
    assert!(second_report.is_clean(), "{second_report}");
    let accepted = first_report.accepted + second_report.accepted;
    let counted = books.connections.load(Ordering::Relaxed);
    assert!(counted > 0 && counted <= accepted, "{counted} of {accepted}");

    // No task, no connection and no file is left.
    drop(lives);
    soon(async {
        while metrics.num_alive_tasks() > tasks || open_files() > files {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
