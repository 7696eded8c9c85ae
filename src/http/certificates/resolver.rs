//! The store as rustls sees it.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::CertificateStore;

/// Makes certificates for the names that clients ask for.
impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // The client is told that the handshake failed; the reason is in the server's error.
        self.get(hello.server_name()?).ok()
    }
}

/// The same, with a host for clients that do not say which one they want.
#[derive(Debug)]
pub(super) struct WithFallback {
    pub(super) store: CertificateStore,
    pub(super) fallback: String,
}

impl ResolvesServerCert for WithFallback {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.store.get(hello.server_name().unwrap_or(&self.fallback)).ok()
    }
}
