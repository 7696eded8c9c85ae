//! The end of a server: what finishes, what is cut off, and what is counted.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use keylane::http::{FailReason, ServeReport, Server, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tower::{Layer, service_fn};

use crate::http_support::{
    Client, Incoming, PROTOCOLS, Protocol, Script, TestBody, Watched, get, mute_deliberate_panics,
    read_raw_head, soon,
};
use crate::serving::listener;

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_has_begun_is_finished_and_nothing_else_begins() {
    for protocol in PROTOCOLS {
        let watched = Watched::new();
        let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let service = {
            let (entered, go_on) = (entered.clone(), go_on.clone());
            service_fn(move |_: Request<Incoming>| {
                let (entered, go_on) = (entered.clone(), go_on.clone());
                async move {
                    entered.notify_one();
                    go_on.notified().await;
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("late"))))
                }
            })
        };
        let serving = serve(listener().await, service, &watched.bus);
        let addr = serving.local_addr().expect("TCP");
        // One connection is idle, and one does not even say what it speaks.
        let mut idle = Client::connect(protocol, addr).await;
        go_on.notify_one();
        soon(idle.ask(get("/"))).await.expect("an answer");
        entered.notified().await;
        let silent = TcpStream::connect(addr).await.expect("it listens");

        let mut client = Client::connect(protocol, addr).await;
        let asked = tokio::spawn(async move { client.ask(get("/")).await });
        soon(entered.notified()).await;
        let ending = tokio::spawn(serving.shutdown(LONG));
        // The listener is closed, while the request still runs.
        soon(async {
            while TcpStream::connect(addr).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        go_on.notify_one();
        let answer = soon(asked).await.expect("no panic").expect("an answer");
        assert_eq!(answer.text(), "late", "{protocol:?}");
        let report = soon(ending).await.expect("no panic");
        assert!(report.is_clean() && report.finished >= 1, "{protocol:?}: {report}");
        drop(silent);
    }
}

#[tokio::test]
async fn what_does_not_finish_is_cut_off_and_counted() {
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let events = watched.layer();
        let service = events.layer(service_fn(async |_: Request<_>| {
            // One step, and an end that never comes.
            let (steps, body) = TestBody::channel();
            steps.send(Script::Data("first".into())).expect("the body is there");
            std::mem::forget(steps);
            Ok::<_, Infallible>(Response::new(body))
        }));
        let serving = Server::new(&watched.bus)
            .shutdown_mark(events.shutdown_mark())
            .traffic(false)
            .serve(listener().await, service);
        let mut client = Client::connect(protocol, serving.local_addr().expect("TCP")).await;
        let response = soon(client.send(get("/"))).await.expect("an answer");
        let report = soon(serving.shutdown(Duration::from_millis(20))).await;
        assert_eq!((report.finished, report.aborted, report.left), (0, 1, 0), "{protocol:?}");
        assert!(response.into_body().collect().await.is_err(), "the client notices");
        assert_eq!(watched.failure().await.reason, FailReason::Shutdown);
        watched.nothing_more().await;
    }
}

/// Agrees to leave HTTP and sends back what it reads.
pub(crate) async fn echo_tunnel(
    mut request: Request<Incoming>,
) -> Result<Response<TestBody>, Infallible> {
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(&mut request).await.expect("the server agrees");
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    let response = Response::builder().status(101).header(CONNECTION, "upgrade");
    Ok(response.header(UPGRADE, "echo").body(TestBody::default()).expect("valid"))
}

/// Opens a tunnel, lets `end` end it, and returns what the server reports.
async fn with_tunnel(
    deadline: Duration,
    end: impl AsyncFnOnce(TcpStream),
) -> (ServeReport, Watched) {
    let watched = Watched::new();
    let serving = serve(listener().await, service_fn(echo_tunnel), &watched.bus);
    let mut stream =
        TcpStream::connect(serving.local_addr().expect("TCP")).await.expect("it listens");
    let head = "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    soon(read_raw_head(&mut stream)).await;
    stream.write_all(b"ping").await.expect("written");
    let mut ping = [0; 4];
    soon(stream.read_exact(&mut ping)).await.expect("an answer");
    assert_eq!((&ping, serving.tunnels(), serving.connections()), (b"ping", 1, 1));
    let (report, ()) = tokio::join!(serving.shutdown(deadline), end(stream));
    (report, watched)
}

#[tokio::test]
async fn tunnels_are_waited_for() {
    let (report, mut watched) = with_tunnel(LONG, async |mut stream| {
        stream.write_all(b"more").await.expect("the tunnel is still open");
        let mut more = [0; 4];
        soon(stream.read_exact(&mut more)).await.expect("an answer");
    })
    .await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.finished, report.finished_tunnels), (1, 1), "{report:?}");
    let traffic = watched.traffic().await;
    assert!(traffic.read_bytes > 8 && traffic.written_bytes > 8, "{traffic}");
    watched.nothing_more().await;
}

#[tokio::test]
async fn tunnels_are_cut_off_in_the_end() {
    let (report, mut watched) = with_tunnel(Duration::from_millis(20), async |mut stream| {
        assert_eq!(soon(stream.read(&mut [0; 1])).await.expect("the end"), 0);
    })
    .await;
    let ServeReport { finished, aborted, aborted_tunnels, left, .. } = report;
    assert_eq!((finished, aborted, aborted_tunnels, left), (0, 1, 1, 0), "{report}");
    watched.traffic().await;
    watched.nothing_more().await;
}

#[tokio::test]
async fn a_server_that_is_dropped_is_gone() {
    let mut watched = Watched::new();
    let entered = Arc::new(Notify::new());
    let enter = entered.clone();
    let service = service_fn(move |_: Request<Incoming>| {
        enter.notify_one();
        std::future::pending::<Result<Response<TestBody>, Infallible>>()
    });
    let serving = serve(listener().await, service, &watched.bus);
    let addr = serving.local_addr().expect("TCP");
    let mut client = Client::connect(Protocol::Http1, addr).await;
    let asked = tokio::spawn(async move { client.ask(get("/")).await });
    soon(entered.notified()).await;
    drop(serving);
    assert!(soon(asked).await.expect("no panic").is_err(), "it is cut off");
    soon(async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    watched.traffic().await;
}

/// Without a layer that catches it, a panic ends its connection, and no other.
#[tokio::test]
async fn a_panic_of_the_service_is_one_connection_aborted() {
    mute_deliberate_panics();
    for protocol in PROTOCOLS {
        let mut watched = Watched::new();
        let (enter, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (entered, release) = (enter.clone(), go_on.clone());
        let service = watched.layer().layer(service_fn(move |_: Request<_>| {
            let (enter, go_on) = (enter.clone(), go_on.clone());
            async move {
                enter.notify_one();
                go_on.notified().await;
                if true {
                    panic!("deliberate");
                }
                Ok::<_, Infallible>(Response::new(TestBody::default()))
            }
        }));
        let serving = Server::new(&watched.bus).traffic(false).serve(listener().await, service);
        let mut client = Client::connect(protocol, serving.local_addr().expect("TCP")).await;
        let asked = tokio::spawn(async move { client.ask(get("/")).await });
        soon(entered.notified()).await;
        let ending = tokio::spawn(serving.shutdown(LONG));
        release.notify_one();
        assert!(soon(asked).await.expect("no panic here").is_err());
        let report = soon(ending).await.expect("no panic here");
        // Over HTTP/2 it is the stream that ends.
        let aborted = u64::from(protocol == Protocol::Http1);
        assert_eq!((report.aborted, report.finished), (aborted, 1 - aborted), "{protocol:?}");
        assert_eq!(report.left, 0);
        assert_eq!(watched.failure().await.reason, FailReason::Panic);
        watched.nothing_more().await;
    }
}
