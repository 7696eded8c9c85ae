//! The certificate store: what it makes is accepted by a TLS client, and its events account for every certificate.

#[path = "support/random.rs"]
mod random;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use http::{Request, Response};
use keylane::http::{
    CertificateAuthority, CertificateError, CertificateStore, DropCause, DroppedCertificate,
    NewCertificate, ServeError, Server,
};
use keylane::{Bus, CommonErrorMeta, Event, EventType, Key, Processor, ShardContext};
use random::Random;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tower::service_fn;

#[derive(Debug, Clone, PartialEq)]
enum Seen {
    New(NewCertificate),
    Drop(DroppedCertificate),
    Error(String),
}

struct Forward(std::sync::mpsc::Sender<Seen>);

impl Processor for Forward {
    fn process(&mut self, event: &Event) {
        let (seen, kind, host) = if let Some(new) = event.get::<NewCertificate>() {
            (Seen::New(new.clone()), EventType::NEW_CERTIFICATE, Some(new.host.clone()))
        } else if let Some(dropped) = event.get::<DroppedCertificate>() {
            (Seen::Drop(dropped.clone()), EventType::DROP_CERTIFICATE, Some(dropped.host.clone()))
        } else if let Some(error) = event.get::<CommonErrorMeta>() {
            assert!(error.err.as_error().is::<ServeError>());
            (Seen::Error(error.to_string()), EventType::COMMON_ERROR, None)
        } else {
            return;
        };
        assert_eq!(event.kind(), kind);
        if let Some(host) = host {
            assert_eq!(event.key(), Key::from(&*host), "the events of a host share its key");
        }
        let _ = self.0.send(seen);
    }
}

fn bus() -> (Bus, Receiver<Seen>) {
    let (sender, seen) = channel();
    let factory = move |_: &ShardContext| Forward(sender.clone());
    let bus = Bus::builder().shards(2).capacity(1 << 14).processor("forward", factory).build();
    (bus.expect("valid"), seen)
}

fn store(bus: &Bus) -> CertificateStore {
    CertificateStore::new(bus, CertificateAuthority::generate("test").expect("an authority"))
}

/// Everything that was seen, in the order of each host.
fn rest(bus: Bus, seen: Receiver<Seen>) -> Vec<Seen> {
    assert!(bus.shutdown(Duration::from_secs(60)).is_clean());
    drop(bus);
    seen.into_iter().collect()
}

/// The hosts of the certificates that were dropped, with the cause.
fn drops(seen: &[Seen]) -> Vec<(&str, DropCause)> {
    let dropped = seen.iter().filter_map(|seen| match seen {
        Seen::Drop(dropped) => Some((&*dropped.host, dropped.cause)),
        _ => None,
    });
    dropped.collect()
}

fn trust(authority_pem: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let der = CertificateDer::from_pem_slice(authority_pem.as_bytes()).expect("a certificate");
    roots.add(der).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows them");
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// Asks for `/` over TLS as a client that wants to talk to `name`.
async fn ask(
    addr: std::net::SocketAddr,
    trust: Arc<ClientConfig>,
    name: &'static str,
) -> std::io::Result<String> {
    let stream = TcpStream::connect(addr).await?;
    let name = ServerName::try_from(name).expect("a name");
    let mut stream = TlsConnector::from(trust).connect(name, stream).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn clients_accept_names_and_addresses_and_nothing_else() {
    let (bus, seen) = bus();
    let authority = CertificateAuthority::generate("test").expect("an authority");
    // Through PEM, both in one text, as somebody would keep it in a file.
    let both = format!("{}{}", authority.key_pem(), authority.certificate_pem());
    let loaded = CertificateAuthority::from_pem(&both, &both).expect("an authority");
    assert_eq!(loaded.certificate_pem(), authority.certificate_pem());
    let store = CertificateStore::new(&bus, loaded);
    let service = service_fn(async |request: Request<hyper::body::Incoming>| {
        let kind = request.extensions().get::<keylane::RequestType>().expect("it came over TLS");
        Ok::<_, Infallible>(Response::new(kind.to_string()))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let serving =
        Server::new(&bus).tls(Arc::new(store.server_config("127.0.0.1"))).serve(listener, service);
    let addr = serving.local_addr().expect("TCP");

    let trusting = trust(authority.certificate_pem());
    for name in ["example.com", "127.0.0.1", "a.b.example.org"] {
        let answer = ask(addr, trusting.clone(), name).await.expect(name);
        assert!(answer.contains("200 OK") && answer.contains("tls:yes"), "{answer}");
    }
    // Without a name the certificate is for the fallback, which is not this address.
    ask(addr, trusting.clone(), "127.0.0.2").await.expect_err("another address");
    let stranger = CertificateAuthority::generate("stranger").expect("an authority");
    let error = ask(addr, trust(stranger.certificate_pem()), "example.com").await;
    error.expect_err("another authority");
    // Not TLS at all.
    let mut plain = TcpStream::connect(addr).await.expect("it listens");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;

    assert!(serving.shutdown(Duration::from_secs(60)).await.is_clean());
    drop(store);
    let seen = tokio::task::spawn_blocking(|| rest(bus, seen)).await.expect("no panic");
    let made = seen.iter().filter(|seen| matches!(seen, Seen::New(_))).count();
    assert_eq!(made, 3, "{seen:?}");
    let errors: Vec<_> = seen
        .iter()
        .filter(|seen| matches!(seen, Seen::Error(_)))
        .map(|e| format!("{e:?}"))
        .collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    let refused = errors.iter().filter(|error| error.contains("the TLS handshake failed")).count();
    assert_eq!(refused, 2, "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("use https://")), "{errors:?}");
}

#[test]
fn however_many_ask_one_certificate_is_made() {
    const THREADS: usize = 8;
    let (bus, seen) = bus();
    let store = store(&bus);
    let together = Barrier::new(THREADS);
    let got: Vec<_> = std::thread::scope(|scope| {
        let ask = || {
            together.wait();
            store.get("example.com").expect("a certificate")
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(got.iter().all(|one| Arc::ptr_eq(one, &got[0])));
    assert_eq!(store.len(), 1);
    drop(store);
    let seen = rest(bus, seen);
    assert!(matches!(&seen[..], [Seen::New(_), Seen::Drop(_)]), "{seen:?}");
    assert_eq!(drops(&seen), [("example.com", DropCause::Closed)]);
}

#[test]
fn every_way_to_go_has_its_cause() {
    let (bus, seen) = bus();
    let expiring = store(&bus).ttl(Duration::ZERO);
    expiring.get("expired.example").expect("a certificate");
    expiring.sweep();
    expiring.sweep();
    assert!(expiring.is_empty());

    let small = store(&bus).capacity(2);
    let first = small.get("first.example").expect("a certificate");
    small.get("second.example").expect("a certificate");
    let again = small.get("first.example").expect("a certificate");
    assert!(Arc::ptr_eq(&first, &again));
    small.get("third.example").expect("a certificate");
    assert_eq!(small.len(), 2);
    let replaced = small.replace("first.example").expect("a certificate");
    assert!(!Arc::ptr_eq(&first, &replaced));
    let now = small.get("first.example").expect("a certificate");
    assert!(Arc::ptr_eq(&replaced, &now));
    small.close();
    small.close();
    assert_eq!(small.get("first.example").err(), Some(CertificateError::Closed));
    assert_eq!(small.replace("first.example").err(), Some(CertificateError::Closed));
    assert_eq!((small.len(), small.losses()), (0, 0));
    drop(small);

    let seen = rest(bus, seen);
    let mut drops = drops(&seen);
    drops.sort_by_key(|(host, cause)| (host.to_string(), cause.to_string()));
    assert_eq!(
        drops,
        [
            ("expired.example", DropCause::Expired),
            ("first.example", DropCause::Closed),
            // Made for nothing, since the store had been closed.
            ("first.example", DropCause::Closed),
            ("first.example", DropCause::Replaced),
            ("second.example", DropCause::Evicted),
            ("third.example", DropCause::Closed),
        ]
    );
}

#[test]
fn under_load_each_certificate_is_new_once_and_dropped_once() {
    let (bus, seen) = bus();
    let store = store(&bus).capacity(4);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let store = &store;
            scope.spawn(move || {
                let mut random = Random::new(seed);
                let hosts: Vec<_> = (0..12).map(|host| format!("h{host}.example")).collect();
                for _ in 0..100 {
                    let host = random.pick(&hosts);
                    if random.below(8) == 0 {
                        store.replace(host).expect("a certificate");
                    } else {
                        store.get(host).expect("a certificate");
                    }
                }
            });
        }
    });
    assert!(store.len() <= 4);
    assert_eq!(store.losses(), 0);
    drop(store);
    let mut alive: HashMap<u128, bool> = HashMap::new();
    for seen in rest(bus, seen) {
        match seen {
            Seen::New(new) => assert_eq!(alive.insert(new.serial, true), None, "{new}"),
            Seen::Drop(old) => assert_eq!(alive.insert(old.serial, false), Some(true), "{old}"),
            Seen::Error(error) => panic!("{error}"),
        }
    }
    assert!(alive.len() > 20 && alive.values().all(|alive| !alive), "all are gone");
}

#[test]
fn an_authority_that_cannot_sign_is_refused_with_the_reason() {
    let one = CertificateAuthority::generate("one").expect("an authority");
    let other = CertificateAuthority::generate("other").expect("an authority");
    let leaf = {
        let (bus, _seen) = bus();
        let chain = CertificateStore::new(&bus, CertificateAuthority::generate("x").expect("ok"))
            .get("example.com")
            .expect("a certificate");
        pem::encode(&pem::Pem::new("CERTIFICATE", chain.cert[0].to_vec()))
    };
    for (certificate, key, reason) in [
        ("", one.key_pem(), "no certificate in the PEM"),
        (one.certificate_pem(), String::new(), "no private key in the PEM"),
        (one.certificate_pem(), other.key_pem(), "not that of the certificate"),
        (&leaf, one.key_pem(), "not that of the certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            one.key_pem(),
            "the certificate authority cannot be used",
        ),
    ] {
        let error = CertificateAuthority::from_pem(certificate, &key).expect_err(reason);
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.to_string().contains("give the PEM"), "{error}");
    }
}
