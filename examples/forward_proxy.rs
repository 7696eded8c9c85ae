//! A forward proxy that looks into TLS: CONNECT with certificates made on the way, plain HTTP, and passwords. It emits every predefined
//! event.
//!
//! ```text
//! cargo run --features serve,tls,certificates --example forward_proxy -- --listen 127.0.0.1:3128
//! curl -H 'proxy-authorization: Basic YWxpY2U6c2VzYW1l' localhost:3128/ca.pem -o ca.pem
//! curl -x alice:sesame@localhost:3128 --cacert ca.pem https://example.com/
//! ```
//!
//! The events go to the standard output, one a line; Ctrl-C ends the proxy with a report. Servers are checked against the certificates
//! in `--upstream-ca FILE`, or those of the system. Without arguments it serves itself a few requests over loopback, and ends.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderName, PROXY_AUTHENTICATE, TE, TRAILER, UPGRADE};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use keylane::http::{
    AuthLayer, Basic, CatchPanicLayer, CertificateAuthority, CertificateStore, CountedBody,
    CurrentRequest, EventLayer, FailReason, Peer, Secrets, Server, Serving, text_error,
};
use keylane::{
    Bus, CommonErrorMeta, Emitter, Event, EventError, EventType, Processor, RequestType,
    ShardContext,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tower::{ServiceBuilder, service_fn};

type BoxError = Box<dyn Error + Send + Sync>;
type ProxyRequest = Request<CountedBody<Incoming>>;
type ProxyResponse = Response<UnsyncBoxBody<Bytes, hyper::Error>>;

/// Headers that concern one connection, and are not passed on.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    TE,
    TRAILER,
    HeaderName::from_static("transfer-encoding"),
    UPGRADE,
];

/// What the proxy needs for a request.
#[derive(Clone)]
struct Proxy {
    store: CertificateStore,
    upstream: Arc<ClientConfig>,
    emitter: Emitter,
    /// For the requests inside of tunnels.
    tunneled: EventLayer,
}

/// A proxy that runs.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    serving: Serving,
    store: CertificateStore,
}

impl Running {
    /// Lets requests finish and lets go of the certificates. What is left is the shutdown of the bus.
    pub(crate) async fn end(self, deadline: Duration) {
        println!("{}", self.serving.shutdown(deadline).await);
        self.store.close();
    }
}

/// Starts a proxy that trusts servers with these certificates.
pub(crate) fn start(
    listener: TcpListener,
    bus: &Bus,
    users: Secrets,
    authority: CertificateAuthority,
    upstream: RootCertStore,
) -> Result<Running, BoxError> {
    let addr = listener.local_addr()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let upstream = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(upstream)
        .with_no_client_auth();
    let store = CertificateStore::new(bus, authority);
    let events = EventLayer::new(bus).traffic(true);
    let proxy = Proxy {
        store: store.clone(),
        upstream: Arc::new(upstream),
        emitter: bus.emitter(),
        tunneled: events.clone().request_type(RequestType::TUNNELED | RequestType::TLS),
    };
    let basic = Basic::new("proxy", move |user, password| users.allow(user, password));
    let service = ServiceBuilder::new()
        // Outside of the events, as in httransform: a request begins when its client is known.
        .layer(AuthLayer::proxy(bus.emitter(), basic))
        .layer(events.clone())
        .layer(CatchPanicLayer::new())
        .service(service_fn(move |request| proxy.clone().serve(request)));
    let serving = Server::new(bus).shutdown_mark(events.shutdown_mark()).serve(listener, service);
    Ok(Running { addr, serving, store })
}

impl Proxy {
    async fn serve(self, request: ProxyRequest) -> Result<ProxyResponse, Infallible> {
        if request.method() == Method::CONNECT {
            return Ok(self.connect(request));
        }
        match (request.uri().scheme_str(), request.uri().path()) {
            (Some("http"), _) => Ok(self.forward(request, None).await),
            (Some(_), _) => Ok(refuse(StatusCode::BAD_REQUEST, "use CONNECT for https")),
            (None, "/ca.pem") => {
                let pem = self.store.authority().certificate_pem().to_owned();
                Ok(Response::new(whole(Bytes::from(pem))))
            }
            (None, _) => {
                Ok(refuse(StatusCode::BAD_REQUEST, "this is a proxy; set it as such in the client"))
            }
        }
    }

    /// Agrees to a tunnel, and answers in it with a certificate for the host that the client wants.
    fn connect(self, mut request: ProxyRequest) -> ProxyResponse {
        let Some(target) = request.uri().authority().cloned() else {
            return refuse(StatusCode::BAD_REQUEST, "CONNECT needs host:port");
        };
        let peer = request.extensions().get().map(|&Peer(peer)| peer);
        tokio::spawn(async move {
            let uri = request.uri().clone();
            let tunnel = match hyper::upgrade::on(&mut request).await {
                Ok(tunnel) => TokioIo::new(tunnel),
                Err(_) => return, // The client has gone; its connection tells.
            };
            if let Err(error) = self.clone().intercept(tunnel, target, peer).await {
                let meta = CommonErrorMeta {
                    uri: Some(uri),
                    method: Some(Method::CONNECT),
                    addr: peer,
                    err: error,
                };
                let key = peer.map_or_else(String::new, |peer| peer.ip().to_string());
                if let Err(lost) = self.emitter.try_emit(EventType::COMMON_ERROR, meta, key) {
                    eprintln!("{lost}");
                }
            }
        });
        Response::new(whole(Bytes::new()))
    }

    /// Speaks TLS with the client in place of the server, and forwards what it asks.
    async fn intercept<T>(
        self,
        tunnel: T,
        target: Authority,
        peer: Option<SocketAddr>,
    ) -> Result<(), EventError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = Arc::new(self.store.server_config(target.host()));
        let secured = TlsAcceptor::from(config).accept(tunnel).await?;
        let events = self.tunneled.clone();
        let inner = ServiceBuilder::new()
            .map_request(move |mut request: Request<Incoming>| {
                if let Some(peer) = peer {
                    request.extensions_mut().insert(Peer(peer));
                }
                request
            })
            .layer(events)
            .layer(CatchPanicLayer::new())
            .service(service_fn(move |request| {
                let (proxy, target) = (self.clone(), target.clone());
                async move { Ok::<_, Infallible>(proxy.forward(request, Some(target)).await) }
            }));
        let connection = server::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(secured), TowerToHyperService::new(inner));
        match connection.await {
            // How requests ended, their own events tell.
            Err(error) if error.is_parse() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Asks the server, over TLS when the client came through a tunnel to it.
    async fn forward(&self, request: ProxyRequest, tunnel: Option<Authority>) -> ProxyResponse {
        let current = request.extensions().get::<CurrentRequest>().cloned();
        match self.ask(request, tunnel).await {
            Ok(response) => response.map(|body| body.boxed_unsync()),
            Err(error) => {
                if let Some(current) = current {
                    current.fail(FailReason::ServiceError, error.to_string());
                }
                refuse(
                    StatusCode::BAD_GATEWAY,
                    "the server cannot be reached; check its name and port",
                )
            }
        }
    }

    async fn ask(
        &self,
        request: ProxyRequest,
        tunnel: Option<Authority>,
    ) -> Result<Response<Incoming>, BoxError> {
        let (mut head, body) = request.into_parts();
        let secured = tunnel.is_some();
        let target = tunnel.or_else(|| head.uri.authority().cloned()).ok_or("no host")?;
        let port = target.port_u16().unwrap_or(if secured { 443 } else { 80 });
        let host = target.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = TcpStream::connect((&*host, port)).await?;

        remove_hop_by_hop(&mut head.headers);
        head.headers.insert(HOST, target.as_str().parse()?);
        let path = head.uri.path_and_query().cloned();
        head.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        head.version = http::Version::HTTP_11;
        let request = Request::from_parts(head, body);
        let mut response = if secured {
            let connector = TlsConnector::from(self.upstream.clone());
            let stream = connector.connect(ServerName::try_from(host)?, stream).await?;
            send(TokioIo::new(stream), request).await?
        } else {
            send(TokioIo::new(stream), request).await?
        };
        remove_hop_by_hop(response.headers_mut());
        Ok(response)
    }
}

async fn send<T>(io: TokioIo<T>, request: ProxyRequest) -> Result<Response<Incoming>, BoxError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = client::handshake(io).await?;
    // How it ends, the body of the response tells.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn whole(bytes: Bytes) -> UnsyncBoxBody<Bytes, hyper::Error> {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn refuse(status: StatusCode, text: &str) -> ProxyResponse {
    text_error::<Full<Bytes>>(status, text)
        .map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

/// Prints each event in a line, and counts them by type.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    counts: Arc<Mutex<BTreeMap<EventType, u64>>>,
}

impl Tally {
    pub(crate) fn counts(&self) -> BTreeMap<EventType, u64> {
        self.counts.lock().expect("nobody panics while counting").clone()
    }

    pub(crate) fn factory(&self) -> impl Fn(&ShardContext) -> Tally + Send + Sync + 'static {
        let tally = self.clone();
        move |_: &ShardContext| tally.clone()
    }
}

impl Processor for Tally {
    fn process(&mut self, event: &Event) {
        *self
            .counts
            .lock()
            .expect("nobody panics while counting")
            .entry(event.kind())
            .or_default() += 1;
        match event.value().to_json() {
            Ok(json) => println!("{} {json}", event.kind()),
            Err(error) => println!("{} {error}", event.kind()),
        }
    }
}

/// All predefined types of events.
pub(crate) const PREDEFINED: [EventType; 8] = [
    EventType::COMMON_ERROR,
    EventType::NEW_CERTIFICATE,
    EventType::DROP_CERTIFICATE,
    EventType::FAILED_AUTH,
    EventType::START_REQUEST,
    EventType::FAILED_REQUEST,
    EventType::FINISH_REQUEST,
    EventType::TRAFFIC,
];

pub(crate) fn trusted(pem: &str) -> Result<RootCertStore, BoxError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    Ok(roots)
}

/// A server over plain HTTP, or over TLS with certificates of this store, for the demonstration and for tests.
pub(crate) async fn upstream(
    bus: &Bus,
    tls: Option<&CertificateStore>,
) -> Result<(SocketAddr, Serving), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let service = service_fn(async |request: Request<Incoming>| {
        let head = format!("{} {}\n", request.method(), request.uri().path());
        let body = request.into_body().collect().await?.to_bytes();
        let text = Bytes::from([head.as_bytes(), &body].concat());
        Ok::<_, hyper::Error>(Response::new(Full::new(text)))
    });
    let mut server = Server::new(bus);
    if let Some(store) = tls {
        server = server.tls(Arc::new(store.server_config("127.0.0.1")));
    }
    Ok((addr, server.serve(listener, service)))
}

/// Everything once, over loopback.
async fn demonstrate(bus: &Bus) -> Result<(), BoxError> {
    // The servers are somebody else's: their events go elsewhere.
    let elsewhere =
        Bus::builder().shards(1).processor("noop", keylane::NoopProcessorFactory).build()?;
    let server_store =
        CertificateStore::new(&elsewhere, CertificateAuthority::generate("servers")?);
    let roots = trusted(server_store.authority().certificate_pem())?;
    let (plain, plain_server) = upstream(&elsewhere, None).await?;
    let (secure, secure_server) = upstream(&elsewhere, Some(&server_store)).await?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let users = Secrets::new([("alice", "sesame")]);
    let authority = CertificateAuthority::generate("keylane forward proxy")?;
    let proxy_roots = trusted(authority.certificate_pem())?;
    let proxy = start(listener, bus, users, authority, roots)?;
    let credentials = "proxy-authorization: Basic YWxpY2U6c2VzYW1l\r\nconnection: close\r\n";

    let ask = async |head: String| -> Result<String, BoxError> {
        let mut stream = TcpStream::connect(proxy.addr).await?;
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.lines().next().unwrap_or("nothing").to_owned())
    };
    let url = format!("http://{plain}/hello");
    println!(
        "-- no password: {}",
        ask(format!("GET {url} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await?
    );
    println!(
        "-- http: {}",
        ask(format!("GET {url} HTTP/1.1\r\nhost: x\r\n{credentials}\r\n")).await?
    );
    let nobody = "http://127.0.0.1:1/";
    println!(
        "-- no server: {}",
        ask(format!("GET {nobody} HTTP/1.1\r\nhost: x\r\n{credentials}\r\n")).await?
    );
    println!("-- no HTTP: {}", ask("this is not HTTP\r\n\r\n".into()).await?);

    let mut tunnel = TcpStream::connect(proxy.addr).await?;
    let head = "proxy-authorization: Basic YWxpY2U6c2VzYW1l\r\n";
    tunnel
        .write_all(format!("CONNECT {secure} HTTP/1.1\r\nhost: {secure}\r\n{head}\r\n").as_bytes())
        .await?;
    let mut agreed = Vec::new();
    while !agreed.ends_with(b"\r\n\r\n") {
        agreed.push(tunnel.read_u8().await?);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(proxy_roots)
        .with_no_client_auth();
    let name = ServerName::IpAddress(secure.ip().into());
    let mut secured = TlsConnector::from(Arc::new(config)).connect(name, tunnel).await?;
    secured.write_all(b"GET /secret HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    secured.read_to_string(&mut answer).await?;
    println!(
        "-- https, with a certificate of the proxy: {}",
        answer.lines().next().unwrap_or("nothing")
    );
    drop(secured);

    proxy.end(Duration::from_secs(10)).await;
    for server in [plain_server, secure_server] {
        let _ = server.shutdown(Duration::from_secs(10)).await;
    }
    server_store.close();
    elsewhere.shutdown_async(Duration::from_secs(10)).await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let tally = Tally::default();
    let bus = Bus::builder().shards(1).processor("tally", tally.factory()).build()?;
    let mut arguments = std::env::args().skip(1);
    let (mut listen, mut ca) = (None, String::from("/etc/ssl/certs/ca-certificates.crt"));
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--listen", Some(addr)) => listen = Some(addr),
            ("--upstream-ca", Some(file)) => ca = file,
            _ => {
                return Err("usage: forward_proxy [--listen HOST:PORT [--upstream-ca FILE]]".into());
            }
        }
    }
    match listen {
        None => demonstrate(&bus).await?,
        Some(addr) => {
            let pem = std::fs::read_to_string(&ca).map_err(|error| format!("{ca}: {error}"))?;
            let authority = CertificateAuthority::generate("keylane forward proxy")?;
            let users = Secrets::new([("alice", "sesame")]);
            let listener =
                TcpListener::bind(&addr).await.map_err(|error| format!("{addr}: {error}"))?;
            let proxy = start(listener, &bus, users, authority, trusted(&pem)?)?;
            eprintln!("listening on {}, for alice with the password sesame", proxy.addr);
            tokio::signal::ctrl_c().await?;
            proxy.end(Duration::from_secs(10)).await;
        }
    }
    let report = bus.shutdown_async(Duration::from_secs(10)).await;
    for kind in PREDEFINED {
        println!("{kind}: {}", tally.counts().get(&kind).copied().unwrap_or(0));
    }
    println!("{report}");
    Ok(())
}
