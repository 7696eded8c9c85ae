//! The same services called in a loop, on one thread and without a network: what observing costs where the request is served, undisturbed.
//!
//! Over sockets a client, a server and a shard share the cores, and what a switch between them costs is charged to whoever runs next. Here the
//! caller has a core, and the threads of an observer, if it has any, have the others.
//!
//! A loop is faster than any server, and an observer that does not wait would in the end lose something. So requests come in bursts, and
//! between two of them, outside of what is measured, the caller waits until what was observed has been worked off.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use tower::ServiceExt;
use tracing::dispatcher::{DefaultGuard, Dispatch, set_default};

use super::client::{ANSWER, REQUEST};
use super::observed::{Observed, Place, Served};
use super::{CONNECTIONS, added, admitted, each, loses};
use crate::cpu::{process_cpu, thread_cpu};
use crate::report::Table;
use crate::scenario::Plan;

const REQUESTS: u64 = 40_000;
const WARM_UP: u64 = 1_000;
/// Who asks.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 49_152);
/// Requests between two pauses: as many as the client of the sockets has under way.
const BURST: u64 = CONNECTIONS as u64;
/// The same for a caller that leaves no observer the time to keep up.
const LONG_BURST: u64 = 4_096;

/// One round of a way to observe; nanoseconds per request.
#[derive(Debug, Clone, Copy)]
struct Called {
    /// Of wall time.
    wall: f64,
    /// Of the caller's CPU.
    on_path: f64,
    /// Of the CPU of all threads.
    in_all: f64,
    lost: f64,
}

/// What the scenario says of this part.
pub(super) fn note() -> String {
    format!(
        "in process: the services of the table before, called in a loop on one thread without a network, in bursts of {BURST}, and once more \
         in bursts of {LONG_BURST}; between two, outside of what is measured, the caller waits until keylane's shard has worked off the last"
    )
}

/// The table of bursts that the observers keep up with, and that of long ones.
pub(super) fn tables(plan: &Plan) -> Result<[Table; 2], String> {
    Ok([requests(plan, "in process", BURST)?, requests(plan, "in process, long", LONG_BURST)?])
}

fn requests(plan: &Plan, name: &str, burst: u64) -> Result<Table, String> {
    let ways = admitted(plan);
    eprintln!("http, {name}: {} contenders, {} rounds and one more", ways.len(), plan.rounds.count);
    let asked = plan.events(REQUESTS);
    let rounds = plan.rounds.interleave(ways.len(), |index| {
        let (card, way) = &ways[index];
        call(way.start()?, asked, burst)
            .map_err(|error| format!("http, {name}, {}: {error}", card.name))
    })?;
    let columns = [
        ("wall", "ns"),
        ("on path", "ns CPU"),
        ("in all", "ns CPU"),
        ("added wall", "ns"),
        ("added on path", "ns CPU"),
        ("added in all", "ns CPU"),
        ("lost", "events"),
    ];
    let mut table =
        Table::new(name, &columns).with_ranges(&["wall", "on path", "added wall", "added on path"]);
    let bare = &rounds[0];
    for ((card, _), called) in ways.iter().zip(&rounds) {
        let of = |figure: fn(&Called) -> f64| each(called, figure);
        let added = |figure: fn(&Called) -> f64| added(card, called, bare, figure);
        table.row(
            card.name,
            card.role,
            [
                of(|called| called.wall),
                of(|called| called.on_path),
                of(|called| called.in_all),
                added(|called| called.wall),
                added(|called| called.on_path),
                added(|called| called.in_all),
                if loses(card) { of(|called| called.lost) } else { Vec::new() },
            ],
        );
    }
    Ok(table)
}

fn call(observed: Observed<Loop>, requests: u64, burst: u64) -> Result<Called, String> {
    let Observed { place, observer } = observed;
    (place.ask)(WARM_UP)?;
    observer.catch_up(WARM_UP)?;
    let others = || process_cpu().saturating_sub(thread_cpu());
    let others_before = others();
    let (mut wall, mut path, mut asked) = (Duration::ZERO, Duration::ZERO, 0);
    while asked < requests {
        let burst = burst.min(requests - asked);
        let (cpu, start) = (thread_cpu(), Instant::now());
        (place.ask)(burst)?;
        wall += start.elapsed();
        path += thread_cpu().saturating_sub(cpu);
        asked += burst;
        observer.catch_up(WARM_UP + asked)?;
    }
    // The check of the log reads it, which is nobody's cost: it happens on this thread.
    drop(place);
    let outcome = observer.finish(WARM_UP + asked)?;
    let others = others().saturating_sub(others_before);
    let each = |time: Duration| time.as_nanos() as f64 / asked as f64;
    Ok(Called {
        wall: each(wall),
        on_path: each(path),
        in_all: each(path + others),
        lost: outcome.lost as f64,
    })
}

/// A service in a loop, on the thread that has put it there.
struct Loop {
    /// Asks so many times.
    ask: Box<dyn Fn(u64) -> Result<(), String>>,
    /// For this round only: the next contender must not be traced.
    _traced: Option<DefaultGuard>,
}

impl Place for Loop {
    fn put<S: Served>(service: S, subscriber: Option<Dispatch>) -> Result<Self, String> {
        let ask = move |requests| (0..requests).try_for_each(|_| ask(&service));
        Ok(Self { ask: Box::new(ask), _traced: subscriber.as_ref().map(set_default) })
    }
}

/// One request, to the end of the response's body, as a server does it: on a clone of the service.
fn ask(service: &impl Served) -> Result<(), String> {
    let Ok::<_, Infallible>(response) = at_once(service.clone().oneshot(request()?))?;
    if response.status() != StatusCode::OK {
        return Err(format!("the service answered {}", response.status()));
    }
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(frame) = at_once(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)))? {
        let frame = frame.map_err(|error| error.to_string())?;
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    if length != ANSWER.len() {
        return Err(format!("the answer has {length} bytes instead of {}", ANSWER.len()));
    }
    Ok(())
}

/// What a future is ready with that has nothing to wait for.
fn at_once<F: Future>(future: F) -> Result<F::Output, String> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err("the service waits, and there is nothing to wait for".to_owned()),
    }
}

/// The client's request as a server hands it over: what came from outside lies in one buffer, which is the request's own.
fn request() -> Result<Request, String> {
    let buffer = Bytes::copy_from_slice(REQUEST);
    let text = str::from_utf8(&buffer).map_err(|error| error.to_string())?;
    let part = |text: &str| buffer.slice_ref(text.as_bytes());
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method.parse().map_err(invalid)?;
    *request.uri_mut() = Uri::from_maybe_shared(part(target)).map_err(invalid)?;
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let name: HeaderName = name.parse().map_err(invalid)?;
        let value = HeaderValue::from_maybe_shared(part(value)).map_err(invalid)?;
        request.headers_mut().append(name, value);
    }
    request.extensions_mut().insert(ConnectInfo(PEER));
    Ok(request)
}

fn invalid(error: impl Into<axum::http::Error>) -> String {
    error.into().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::http::observed::ways;

    #[test]
    fn the_request_is_the_one_of_the_sockets() {
        let request = request().unwrap();
        assert_eq!(request.method(), "GET");
        assert_eq!(request.uri(), "/orders/17?full=true");
        let names: Vec<_> = request.headers().keys().collect();
        assert_eq!(names, ["host", "user-agent", "accept", "referer"]);
        assert_eq!(request.headers()["user-agent"], "keylane-benches");
    }

    #[test]
    fn every_way_observes_every_request_and_loses_none() {
        for (card, way) in ways() {
            let called = call(way.start().unwrap(), 100, 33).unwrap();
            assert_eq!(called.lost, 0.0, "{}", card.name);
            assert!(called.wall > 0.0 && called.on_path > 0.0, "{}: {called:?}", card.name);
        }
    }

    #[test]
    fn a_service_that_waits_or_answers_something_else_is_noticed() {
        use axum::Router;
        use axum::routing::get;

        let service = |answer| Router::new().route("/orders/{id}", get(async move || answer));
        assert!(ask(&service(ANSWER)).is_ok());
        assert!(ask(&service("hello")).is_err());
        assert!(ask(&Router::new()).is_err());
        let stuck = get(async || std::future::pending::<()>().await);
        assert!(ask(&Router::new().route("/orders/{id}", stuck)).is_err());
    }
}
