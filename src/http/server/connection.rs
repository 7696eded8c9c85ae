//! What is known of one connection, from its accept to its last byte.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ::http::{Method, Request, Uri, Version};
use tokio::sync::OwnedSemaphorePermit;

use super::Limits;
use super::error::ServeError;
use super::phase::Phases;
use super::state::ServerState;
use crate::event::{CommonErrorMeta, EventError, EventType};
use crate::http::layer::asks_for_upgrade;
use crate::http::{RequestId, Traffic, TrafficScope};

/// One connection. Shared by its task, its bytes, the tasks of its HTTP/2 streams and its tunnel; with the last of them it is over, and
/// its `TRAFFIC` is emitted.
#[derive(Debug)]
pub(super) struct Connection {
    server: Arc<ServerState>,
    id: RequestId,
    peer: Option<SocketAddr>,
    begin: Instant,
    read: AtomicU64,
    written: AtomicU64,
    requests: AtomicU64,
    /// Bytes of HTTP have come since the last request began. Between requests: a part of the next one.
    unread: AtomicBool,
    /// How often the HTTP implementation was polled.
    polls: AtomicU64,
    /// A request has asked to leave HTTP. Set before the service sees it.
    may_become_tunnel: AtomicBool,
    /// The connection was handed over to the service.
    tunnel: AtomicBool,
    /// The server has cut it off.
    cut: AtomicBool,
    /// The last request over HTTP/1, which is the one that a failing connection was busy with.
    last: Mutex<Option<(Method, Uri)>>,
    /// Given back behind everything that the destructor does: a server that has all of them back is at its end.
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn new(
        server: Arc<ServerState>,
        peer: Option<SocketAddr>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        server.connection_accepted();
        Self {
            server,
            id: RequestId::next(),
            peer,
            begin: Instant::now(),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            polls: AtomicU64::new(0),
            unread: AtomicBool::new(false),
            may_become_tunnel: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            last: Mutex::new(None),
            _permit: permit,
        }
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.server.limits
    }

    pub(super) fn phases(&self) -> &Phases {
        &self.server.phases
    }

    pub(super) fn add_read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn add_written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether the client has sent anything.
    #[cfg(feature = "tls")]
    pub(super) fn has_read(&self) -> bool {
        self.read.load(Ordering::Relaxed) > 0
    }

    /// Bytes of HTTP have come.
    pub(super) fn received(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// The HTTP implementation is going to be polled. Only the connection's task does that.
    pub(super) fn begin_poll(&self) {
        self.polls.store(self.polls() + 1, Ordering::Relaxed);
    }

    pub(super) fn polls(&self) -> u64 {
        self.polls.load(Ordering::Relaxed)
    }

    pub(super) fn begin_request<B>(&self, request: &Request<B>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.unread.store(false, Ordering::Relaxed);
        if asks_for_upgrade(request) {
            self.may_become_tunnel.store(true, Ordering::Release);
        }
        if request.version() < Version::HTTP_2 {
            let last = Some((request.method().clone(), request.uri().clone()));
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
        }
    }

    /// Whether a request has begun.
    pub(super) fn has_requests(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    pub(super) fn has_unread_bytes(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    pub(super) fn may_become_tunnel(&self) -> bool {
        self.may_become_tunnel.load(Ordering::Acquire)
    }

    /// The service has the connection now.
    pub(super) fn has_become_tunnel(&self) {
        self.server.tunnels.fetch_add(1, Ordering::Relaxed);
        self.tunnel.store(true, Ordering::Relaxed);
    }

    pub(super) fn cut_off(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Emits `COMMON_ERROR`. Method and URI are those of the last request, unless the error is about the head of another one.
    pub(super) fn report(&self, error: EventError) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        let about_last = match error.as_error().downcast_ref() {
            Some(ServeError::WriteTimeout { .. } | ServeError::Response(_)) => true,
            Some(ServeError::Broken(_) | ServeError::Incomplete) => !self.has_unread_bytes(),
            _ => false,
        };
        let (method, uri) = last.filter(|_| about_last).unzip();
        let meta = CommonErrorMeta { uri, method, addr: self.peer, err: error };
        self.server.emit(EventType::COMMON_ERROR, meta, self.id.key());
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let (read_bytes, written_bytes) = (*self.read.get_mut(), *self.written.get_mut());
        if self.server.traffic && read_bytes + written_bytes > 0 {
            let traffic = Traffic {
                scope: TrafficScope::Connection,
                id: self.id,
                addr: self.peer,
                read_bytes,
                written_bytes,
                duration: self.begin.elapsed(),
            };
            self.server.emit(EventType::TRAFFIC, traffic, self.id.key());
        }
        let was_cut = *self.cut.get_mut() || std::thread::panicking();
        self.server.connection_ended(*self.tunnel.get_mut(), was_cut);
    }
}
