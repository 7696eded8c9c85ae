//! A server that runs: requests, bytes on the wire, limits.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use keylane::http::{Peer, ServeError, Server, TrafficScope, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, service_fn};

use crate::alone::alone;
use crate::http_support::{Client, Incoming, PROTOCOLS, Protocol, Seen, Watched, get, soon};

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let peer = request.extensions().get::<Peer>().expect("the server knows the peer").0;
    let body = request.into_body().collect().await?.to_bytes();
    let response = Response::builder().header("peer", peer.to_string());
    Ok(response.body(Full::new(body)).expect("valid"))
}

pub(crate) async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

#[tokio::test]
async fn both_versions_on_one_port_and_every_byte_is_counted() {
    let mut watched = Watched::new();
    let serving = serve(listener().await, service_fn(echo), &watched.bus);
    let addr = serving.local_addr().expect("TCP");
    for protocol in PROTOCOLS {
        let mut client = Client::connect(protocol, addr).await;
        let request = Request::post("/").header("host", "x").body("hello".into()).expect("valid");
        let answer = client.ask(request).await.expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "hello"));
        let peer = answer.headers["peer"].to_str().expect("ASCII").to_owned();
        drop(client);

        let traffic = watched.traffic().await;
        assert_eq!(traffic.scope, TrafficScope::Connection);
        assert_eq!(traffic.addr.map(|addr| addr.to_string()), Some(peer), "{protocol:?}");
    }
    // What the client wrote and read, byte by byte.
    let mut stream = TcpStream::connect(addr).await.expect("it listens");
    let request =
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
    stream.write_all(request).await.expect("written");
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.expect("read");
    let traffic = watched.traffic().await;
    assert_eq!(traffic.read_bytes, request.len() as u64);
    assert_eq!(traffic.written_bytes, answer.len() as u64);

    let report = serving.shutdown(Duration::from_secs(60)).await;
    assert!(report.is_clean() && report.accepted == 3, "{report}");
    watched.nothing_more().await;
}

#[tokio::test]
async fn requests_have_their_events_beside_those_of_the_connection() {
    let mut watched = Watched::new();
    let service = watched.layer().layer(service_fn(async |_: Request<_>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
    }));
    let serving = serve(listener().await, service, &watched.bus);
    let mut client = Client::connect(Protocol::Http1, serving.local_addr().expect("TCP")).await;
    client.ask(get("/")).await.expect("an answer");
    let finished = watched.finish().await;
    assert!(finished.request.peer().is_some());
    drop(client);
    assert_eq!(watched.traffic().await.addr, finished.request.peer());
    assert!(serving.shutdown(Duration::from_secs(60)).await.is_clean());
    watched.nothing_more().await;
}

#[tokio::test]
async fn at_the_limit_connections_wait() {
    let mut watched = Watched::new();
    let serving = Server::new(&watched.bus)
        .max_connections(1)
        .traffic(false)
        .serve(listener().await, service_fn(echo));
    let addr = serving.local_addr().expect("TCP");
    let mut first = Client::connect(Protocol::Http1, addr).await;
    first.ask(get("/")).await.expect("an answer");
    let error = watched.error().await;
    let error: &ServeError = error.err.as_error().downcast_ref().expect("its type");
    assert!(matches!(error, ServeError::Saturated { max_connections: 1 }), "{error}");

    let mut second = Client::connect(Protocol::Http1, addr).await;
    {
        let request = get("/");
        let answer = second.ask(request);
        tokio::pin!(answer);
        first.ask(get("/")).await.expect("the first one goes on");
        assert_eq!((serving.accepted(), serving.connections()), (1, 1));
        drop(first);
        soon(answer).await.expect("an answer");
    }
    drop(second);
    assert!(serving.shutdown(Duration::from_secs(60)).await.is_clean());
    watched.nothing_more().await;
}

/// How many file descriptors this process may have. Returns how many it might have before.
fn limit_files(files: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a live and initialised `rlimit`.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        let before = std::mem::replace(&mut limit.rlim_cur, files);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
        before
    }
}

/// The number that the next file descriptor gets.
fn next_file() -> u64 {
    let file = std::fs::File::open("/dev/null").expect("it is there");
    u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&file)).expect("positive")
}

#[test]
fn the_system_runs_out_of_files_and_recovers() {
    // In a process of its own, for the limit is that of a process.
    alone("serving::the_system_runs_out_of_files_and_recovers", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(runs_out_of_files());
    });
}

async fn runs_out_of_files() {
    let mut watched = Watched::new();
    let serving = serve(listener().await, service_fn(echo), &watched.bus);
    let addr = serving.local_addr().expect("TCP");
    // First everything has to be as it stays: threads that begin open files, too.
    for _ in 0..8 {
        Client::connect(Protocol::Http1, addr).await.ask(get("/")).await.expect("an answer");
        watched.traffic().await;
    }
    // Room for the client's end of a connection, and not for the server's.
    let before = limit_files(next_file() + 1);
    let mut client = Client::connect(Protocol::Http1, addr).await;
    let mut last = Duration::ZERO;
    for _ in 0..3 {
        let error = watched.error().await;
        match error.err.as_error().downcast_ref() {
            Some(ServeError::Accept { retry, error }) => {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                assert!(*retry > last, "it waits longer each time");
                last = *retry;
            }
            other => panic!("expected an accept error, not {other:?}"),
        }
        assert!(error.to_string().contains("ulimit -n"), "{error}");
    }
    limit_files(before);
    soon(client.ask(get("/"))).await.expect("an answer after all");
    drop(client);
    assert!(serving.shutdown(Duration::from_secs(60)).await.is_clean());
}

#[tokio::test]
async fn a_unix_socket_has_no_peer_address() {
    let watched = Watched::new();
    let path = std::env::temp_dir().join(format!("keylane-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = tokio::net::UnixListener::bind(&path).expect("a free path");
    let service = watched.layer().layer(service_fn(async |request: Request<_>| {
        assert!(request.extensions().get::<Peer>().is_none());
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
    }));
    let serving = serve(listener, service, &watched.bus);
    assert_eq!(serving.local_addr(), None);
    let mut stream = tokio::net::UnixStream::connect(&path).await.expect("it listens");
    std::fs::remove_file(&path).expect("it is there");
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .expect("written");
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.expect("an answer");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert!(serving.shutdown(Duration::from_secs(60)).await.is_clean());
    // Request and connection have keys of their own, and may meet in either order.
    let rest = watched.rest().await;
    assert_eq!(rest.len(), 3, "{rest:?}");
    for seen in rest {
        match seen {
            Seen::Start(started) => assert_eq!(started.request.peer(), None),
            Seen::Finish(finished) => assert_eq!(finished.request.peer(), None),
            Seen::Traffic(traffic) => assert_eq!(traffic.addr, None),
            other => panic!("{other:?}"),
        }
    }
}
