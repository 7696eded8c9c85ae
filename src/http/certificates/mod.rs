//! Certificates that are made when they are needed, signed by an authority of one's own: for proxies that look into TLS, and for tests.
//!
//! Invariants: one certificate is made per host at a time, however many ask. `NEW_CERTIFICATE` is emitted before anybody gets the
//! certificate, `DROP_CERTIFICATE` once for each when the store lets go of it. Both have the host as key, so that they meet in one shard,
//! in order.

mod authority;
mod error;
mod event;
mod flight;
mod host;
mod resolver;
mod table;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;

use self::authority::Made;
use self::host::Host;
use self::resolver::WithFallback;
use self::table::{Found, Held, Table};
use crate::bus::Bus;
use crate::emit::Emitter;
use crate::event::{EventType, Value};
use crate::key::Key;

pub use authority::CertificateAuthority;
pub use error::CertificateError;
pub use event::{DropCause, DroppedCertificate, NewCertificate};

/// A store of certificates, each made when its host is asked for the first time. A handle: clones share one store.
///
/// The name of a host comes from the client. What is no host name is refused, and [`capacity`](Self::capacity) bounds what clients can make
/// the store keep: the certificate that was unused for longest has to go.
///
/// ```
/// use keylane::http::{CertificateAuthority, CertificateStore};
/// use keylane::{Bus, NoopProcessorFactory};
/// use std::time::Duration;
///
/// let bus = Bus::builder().shards(1).processor("noop", NoopProcessorFactory).build()?;
/// let authority = CertificateAuthority::generate("a test")?;
/// // For clients to trust: authority.certificate_pem()
/// let store = CertificateStore::new(&bus, authority).ttl(Duration::from_secs(3600)).capacity(100);
/// let first = store.get("example.com")?;
/// let second = store.get("EXAMPLE.com.")?;
/// assert!(std::sync::Arc::ptr_eq(&first, &second));
/// assert!(store.get("not a host").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct CertificateStore {
    store: Arc<Store>,
}

struct Store {
    authority: Arc<CertificateAuthority>,
    emitter: Emitter,
    ttl: Duration,
    capacity: usize,
    table: Mutex<Table>,
    /// Events that found no room.
    lost: AtomicU64,
}

impl CertificateStore {
    /// A store whose certificates live for a day, and which keeps 1,000.
    pub fn new(bus: &Bus, authority: CertificateAuthority) -> Self {
        Self::with_emitter(bus.emitter(), authority)
    }

    /// The same from an emitter, which keeps its bus alive as long as the store is.
    pub fn with_emitter(emitter: Emitter, authority: CertificateAuthority) -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self::with_settings(emitter, Arc::new(authority), day, 1_000)
    }

    fn with_settings(
        emitter: Emitter,
        authority: Arc<CertificateAuthority>,
        ttl: Duration,
        capacity: usize,
    ) -> Self {
        let (table, lost) = (Mutex::default(), AtomicU64::new(0));
        Self { store: Arc::new(Store { authority, emitter, ttl, capacity, table, lost }) }
    }

    fn with(&self, ttl: Duration, capacity: usize) -> Self {
        let Store { emitter, authority, .. } = &*self.store;
        Self::with_settings(emitter.clone(), authority.clone(), ttl, capacity)
    }

    /// How long a certificate is used. It is valid for a little longer than that. Default: a day.
    ///
    /// The result is a new, empty store.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        self.with(ttl, self.store.capacity)
    }

    /// How many certificates are kept, at least 1. Default: 1,000.
    ///
    /// The result is a new, empty store.
    #[must_use]
    pub fn capacity(self, certificates: usize) -> Self {
        self.with(self.store.ttl, certificates.max(1))
    }

    /// The certificate for a host name or an IP address, with its key. It is made now if there is none; whoever asks for the same host
    /// meanwhile waits for it.
    ///
    /// # Blocking
    /// Making a certificate takes some ten microseconds of computing in a release build.
    ///
    /// # Errors
    /// [`CertificateError::InvalidHost`], [`CertificateError::Closed`], and [`CertificateError::Make`] when the authority cannot sign.
    pub fn get(&self, host: &str) -> Result<Arc<CertifiedKey>, CertificateError> {
        let host = Host::parse(host)?;
        let flight = {
            let mut table = self.store.table();
            self.store.drop_expired(&mut table);
            match table.find(&host)? {
                Found::Held(certificate) => return Ok(certificate),
                Found::InFlight(flight) => {
                    drop(table);
                    return flight.wait();
                }
                Found::Nothing(flight) => flight,
            }
        };
        let result = self.store.make(&host, Table::hold_landed);
        if result.is_err() {
            self.store.table().forget_flight(&host);
        }
        // Not before: who waits gets what the table already has.
        flight.land(result.clone());
        result
    }

    /// Makes a new certificate for a host in place of the one that is held, if any.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn replace(&self, host: &str) -> Result<Arc<CertifiedKey>, CertificateError> {
        self.store.make(&Host::parse(host)?, Table::hold)
    }

    /// Lets go of the certificates whose time is over. Every [`get`](Self::get) does it, too.
    pub fn sweep(&self) {
        let mut table = self.store.table();
        self.store.drop_expired(&mut table);
    }

    /// Lets go of all certificates. From now on, [`get`](Self::get) returns an error.
    ///
    /// Dropping the last handle does the same. Call it before the bus is shut down, so that the bus takes the events.
    pub fn close(&self) {
        self.store.close();
    }

    /// How many certificates are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.table().held()
    }

    /// Whether no certificate is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many events found no room on the bus so far.
    #[must_use]
    pub fn losses(&self) -> u64 {
        self.store.lost.load(Ordering::Relaxed)
    }

    /// The authority that signs.
    #[must_use]
    pub fn authority(&self) -> &CertificateAuthority {
        &self.store.authority
    }

    /// Chooses by the name that the client asks for, and `fallback` for a client that does not say, as one that connects to an IP
    /// address. The store itself, taken for a [`ResolvesServerCert`], refuses such clients.
    #[must_use]
    pub fn resolver(&self, fallback: impl Into<String>) -> Arc<dyn ResolvesServerCert> {
        Arc::new(WithFallback { store: self.clone(), fallback: fallback.into() })
    }

    /// A configuration for servers with this [`resolver`](Self::resolver): TLS 1.2 and 1.3, no client certificates, no ALPN.
    ///
    /// # Panics
    /// Never: the versions are those that the implementation has.
    #[must_use]
    pub fn server_config(&self, fallback: impl Into<String>) -> ServerConfig {
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(self.resolver(fallback))
    }
}

impl Store {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Whatever panicked, it was not in the middle of a change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a certificate and holds it, in place of one that was held.
    fn make(
        &self,
        host: &Host,
        hold: impl FnOnce(&mut Table, &Host, Held) -> Result<Option<Held>, Held>,
    ) -> Result<Arc<CertifiedKey>, CertificateError> {
        let begin = Instant::now();
        let Made { certificate, serial, not_after } = self.authority.make(host, self.ttl)?;
        let name = host.name();
        let new = NewCertificate { host: name.clone(), serial, not_after, took: begin.elapsed() };
        self.emit(EventType::NEW_CERTIFICATE, new, name);

        let held = Held::new(certificate.clone(), serial, begin, self.ttl);
        let mut table = self.table();
        match hold(&mut table, host, held) {
            Ok(None) => {}
            Ok(Some(old)) => self.dropped(name, &old, DropCause::Replaced),
            Err(unwanted) => {
                self.dropped(name, &unwanted, DropCause::Closed);
                return Err(CertificateError::Closed);
            }
        }
        while table.held() > self.capacity {
            let Some((name, old)) = table.take_least_used() else { break };
            self.dropped(&name, &old, DropCause::Evicted);
        }
        Ok(certificate)
    }

    fn drop_expired(&self, table: &mut Table) {
        let now = Instant::now();
        while let Some((name, old)) = table.take_expired(now) {
            self.dropped(&name, &old, DropCause::Expired);
        }
    }

    fn close(&self) {
        for (name, old) in self.table().close() {
            self.dropped(&name, &old, DropCause::Closed);
        }
    }

    fn dropped(&self, host: &Arc<str>, old: &Held, cause: DropCause) {
        let dropped =
            DroppedCertificate { host: host.clone(), serial: old.serial(), cause, age: old.age() };
        self.emit(EventType::DROP_CERTIFICATE, dropped, host);
    }

    fn emit(&self, kind: EventType, value: impl Into<Value>, host: &str) {
        if self.emitter.try_emit(kind, value, Key::from(host)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateStore")
            .field("held", &self.len())
            .field("ttl", &self.store.ttl)
            .field("capacity", &self.store.capacity)
            .finish_non_exhaustive()
    }
}
