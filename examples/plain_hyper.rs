//! The layers around a plain hyper service: no framework, HTTP/1.1 and HTTP/2 on one port, and a loop of one's own. Ctrl-C ends it. With
//! the feature `serve`, `keylane::http::serve` is such a loop, which also sees what goes wrong outside of requests.
//!
//! ```text
//! cargo run --features http --example plain_hyper
//! curl -i localhost:8081/hello
//! curl -i --http2-prior-knowledge localhost:8081/hello
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use keylane::Bus;
use keylane::http::{AccessLog, CatchPanicLayer, EventLayer, LogFormat, LogSink, Peer, text_error};
use tokio::net::TcpListener;
use tokio::signal::ctrl_c;
use tower::{ServiceBuilder, ServiceExt, service_fn};

/// The type of the request's body is left open: the layers wrap it.
async fn hello<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::GET {
        return Ok(text_error(StatusCode::METHOD_NOT_ALLOWED, request.method().as_str()));
    }
    Ok(Response::new("hello\n".into()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let log = AccessLog::new(LogFormat::logfmt(), LogSink::stdout());
    let bus = Bus::builder()
        .shards(1)
        .processor_for("access-log", AccessLog::EVENTS, log.clone())
        .build()?;
    let service = ServiceBuilder::new()
        .layer(EventLayer::new(&bus).capture(log.headers()))
        .layer(CatchPanicLayer::new())
        .service(service_fn(hello));

    let listener = TcpListener::bind("127.0.0.1:8081").await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted?,
            interrupted = ctrl_c() => break interrupted?,
        };
        // hyper does not tell a service who the peer is; the layer finds it among the extensions.
        let service = service.clone().map_request(move |mut request: Request<_>| {
            request.extensions_mut().insert(Peer(peer));
            request
        });
        tokio::spawn(async move {
            let connection = auto::Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(service);
            if let Err(error) = connection.serve_connection(TokioIo::new(stream), service).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
    println!("{}", bus.shutdown_async(Duration::from_secs(5)).await);
    Ok(())
}
