//! A service on axum with an access log, counters and everything that gohm would do for it.
//!
//! ```text
//! cargo run --features http --example axum_service
//! curl -i localhost:8080/orders/17
//! curl -i localhost:8080/panic
//! curl -i localhost:8080/slow        # 503 after two seconds
//! curl -s localhost:8080/stats
//! ```
//!
//! The log goes to the standard output, or to the file that the first argument names; SIGHUP opens that file again. Ctrl-C
//! stops the service and prints what became of its events.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Path};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use keylane::Bus;
use keylane::http::{
    AccessLog, CatchPanicLayer, EventLayer, LogFormat, LogSink, StatusCounters, TimeoutLayer,
    text_error,
};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sink = std::env::args().nth(1).map_or_else(LogSink::stdout, LogSink::file);
    let log = AccessLog::new(LogFormat::apache_combined(), sink);
    let counters = StatusCounters::new();
    let bus = Bus::builder()
        .processor_for("access-log", AccessLog::EVENTS, log.clone())
        .processor_for("counters", StatusCounters::EVENTS, counters.clone())
        .build()?;

    let events = EventLayer::new(&bus)
        .capture(log.headers())
        .peer_with(|extensions| extensions.get().map(|&ConnectInfo::<SocketAddr>(peer)| peer))
        .route_with(|extensions| extensions.get().map(|path: &MatchedPath| path.as_str().into()));
    // From the outside in: first the events, which see what the others do.
    let layers = ServiceBuilder::new()
        .layer(events.clone())
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::head(Duration::from_secs(2), tokio::time::sleep));

    let app = Router::new()
        .route("/orders/{id}", get(order))
        .route("/panic", get(async || -> &str { panic!("out of beer") }))
        .route("/slow", get(async || std::future::pending::<&str>().await))
        .route("/stats", get(async move || format!("{:#?}\n", counters.snapshot())))
        .fallback(async || text_error::<Body>(StatusCode::NOT_FOUND, "no such page"))
        .layer(layers)
        .into_make_service_with_connect_info::<SocketAddr>();

    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            log.reopen();
        }
    });

    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            // Without a signal handler the service runs until it is killed.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending().await
            }
        })
        .await?;

    let report = bus.shutdown_async(Duration::from_secs(5)).await;
    eprintln!("lost on the way to the bus: {:?}", events.losses());
    println!("{report}");
    Ok(())
}

async fn order(Path(id): Path<String>) -> Result<String, Response> {
    let id: u64 = id.parse().map_err(|_| text_error(StatusCode::BAD_REQUEST, "not a number"))?;
    Ok(format!("order {id}\n"))
}
