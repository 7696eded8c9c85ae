//! Bytes that were moved for a request, a tunnel or a connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_core::ser::SerializeStruct;
use serde_core::{Serialize, Serializer};

use super::layer::Shared;
use super::{RequestHead, RequestId};
use crate::event::meta::render::AsText;
use crate::event::{EventType, TrafficMeta};

/// The value of `TRAFFIC`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// What is counted.
    pub scope: TrafficScope,
    /// The id of the request, or of the connection, which has one of the same kind.
    pub id: RequestId,
    /// The peer.
    pub addr: Option<SocketAddr>,
    /// Bytes read from the peer.
    pub read_bytes: u64,
    /// Bytes written to the peer.
    pub written_bytes: u64,
    /// How long it took.
    pub duration: Duration,
}

/// What a [`Traffic`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrafficScope {
    /// The bodies of a request and its response, without heads, framing and encryption.
    Request,
    /// What went through the tunnel that a request has opened, as its [`TunnelMeter`] was told.
    Tunnel,
    /// A connection on the wire, with heads, framing and TLS, tunnel or not. Only a [`serve`](crate::http::serve()) loop can count it.
    #[cfg(feature = "serve")]
    #[cfg_attr(docsrs, doc(cfg(feature = "serve")))]
    Connection,
}

impl fmt::Display for TrafficScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Tunnel => "tunnel",
            #[cfg(feature = "serve")]
            Self::Connection => "connection",
        })
    }
}

impl Traffic {
    /// The meta that says the same in fewer words.
    #[must_use]
    pub fn meta(&self) -> TrafficMeta {
        TrafficMeta {
            id: self.id.to_string(),
            addr: self.addr,
            read_bytes: self.read_bytes,
            written_bytes: self.written_bytes,
        }
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scope={} {}", self.scope, self.meta())
    }
}

/// An object; the duration is in seconds.
impl Serialize for Traffic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Traffic", 6)?;
        out.serialize_field("scope", &format_args!("{}", self.scope))?;
        out.serialize_field("id", &self.id)?;
        out.serialize_field("addr", &self.addr.as_ref().map(AsText))?;
        out.serialize_field("read_bytes", &self.read_bytes)?;
        out.serialize_field("written_bytes", &self.written_bytes)?;
        out.serialize_field("duration", &self.duration.as_secs_f64())?;
        out.end()
    }
}

/// The way to a [`TunnelMeter`], in the extensions of each request that asks to leave HTTP: with `upgrade`, or by CONNECT.
///
/// After such a response the connection belongs to the handler, and no layer sees what goes over it. A handler that wants it
/// counted takes a meter along.
///
/// ```
/// use keylane::http::Tunnel;
///
/// fn upgrade(request: &http::Request<()>) {
///     let meter = request.extensions().get::<Tunnel>().map(Tunnel::meter);
///     // In the task that owns the upgraded connection:
///     if let Some(meter) = &meter {
///         meter.add_read(512);
///         meter.add_written(2048);
///     }
///     drop(meter); // The tunnel is closed: TRAFFIC, if the response agreed to the upgrade.
/// }
/// # upgrade(&http::Request::new(()));
/// ```
#[derive(Debug, Clone)]
pub struct Tunnel {
    state: Arc<TunnelState>,
}

/// Counts the bytes of a tunnel. When it is dropped, and the response agreed to the upgrade, `TRAFFIC` is emitted.
#[derive(Debug)]
pub struct TunnelMeter {
    state: Arc<TunnelState>,
    start: Instant,
    read: AtomicU64,
    written: AtomicU64,
}

#[derive(Debug)]
struct TunnelState {
    shared: Arc<Shared>,
    head: Arc<RequestHead>,
    /// The response agreed to the upgrade. Set once.
    open: AtomicBool,
}

impl Tunnel {
    pub(crate) fn new(shared: Arc<Shared>, head: Arc<RequestHead>) -> Self {
        Self { state: Arc::new(TunnelState { shared, head, open: AtomicBool::new(false) }) }
    }

    pub(crate) fn open(&self) {
        self.state.open.store(true, Ordering::Release);
    }

    /// A meter for the tunnel. There should be one; each emits its own `TRAFFIC`.
    #[must_use]
    pub fn meter(&self) -> TunnelMeter {
        TunnelMeter {
            state: self.state.clone(),
            start: Instant::now(),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }
}

impl TunnelMeter {
    /// Counts bytes that were read from the client.
    pub fn add_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that were written to the client.
    pub fn add_written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for TunnelMeter {
    fn drop(&mut self) {
        let TunnelState { shared, head, open } = &*self.state;
        if open.load(Ordering::Acquire) {
            let traffic = Traffic {
                scope: TrafficScope::Tunnel,
                id: head.id,
                addr: head.peer,
                read_bytes: *self.read.get_mut(),
                written_bytes: *self.written.get_mut(),
                duration: self.start.elapsed(),
            };
            shared.emit_sparing(EventType::TRAFFIC, traffic, head.id);
        }
    }
}
