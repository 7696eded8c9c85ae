//! A server that runs.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::phase::Phase;
use super::state::ServerState;
use crate::http::ShutdownMark;

/// How long connections that were cut off may take to be gone.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// A server that runs. Made by [`Server::serve`](crate::http::Server::serve) or [`serve`](crate::http::serve()).
///
/// Dropping it ends the server at once: it stops accepting and cuts its connections off.
#[must_use = "the server ends when this is dropped"]
pub struct Serving {
    pub(super) phase: watch::Sender<Phase>,
    pub(super) server: Arc<ServerState>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) local_addr: Option<SocketAddr>,
    pub(super) acceptor: JoinHandle<()>,
    pub(super) marks: Vec<ShutdownMark>,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServeReport {
    /// Connections that were accepted while it ran.
    pub accepted: u64,
    /// Connections that were open when the shutdown began and then ended by themselves, tunnels among them.
    pub finished: u64,
    /// Connections that were cut off, or ended by a panic, tunnels among them.
    pub aborted: u64,
    /// Tunnels that ended by themselves.
    pub finished_tunnels: u64,
    /// Tunnels that were cut off.
    pub aborted_tunnels: u64,
    /// Connections that were cut off and yet are not gone: their service blocks its thread, or keeps a tunnel that it does not read.
    pub left: u64,
    /// How long the shutdown took.
    pub took: Duration,
}

impl ServeReport {
    /// Whether everybody could finish.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.aborted == 0 && self.left == 0
    }
}

/// One line: `12 connections accepted, at the end 2 finished, 1 aborted (1 tunnel), 0 left, in 0.102 s`.
impl fmt::Display for ServeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, finished, aborted, aborted_tunnels, left, took, .. } = self;
        let tunnels = if *aborted_tunnels == 1 { "tunnel" } else { "tunnels" };
        write!(
            f,
            "{accepted} connections accepted, at the end {finished} finished, {aborted} aborted ({aborted_tunnels} {tunnels}), {left} \
             left, in {:.3} s",
            took.as_secs_f64()
        )
    }
}

impl Serving {
    /// Where the server listens, if that is an address.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// Connections that are open now, tunnels among them.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.server.open.load(Ordering::Relaxed)
    }

    /// Tunnels that are open now: connections that a WebSocket or CONNECT has taken over. Over HTTP/1 only, for over HTTP/2 such a tunnel
    /// is a stream, and its connection goes on.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.server.tunnels.load(Ordering::Relaxed)
    }

    /// Connections that were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.server.accepted.load(Ordering::Relaxed)
    }

    /// `COMMON_ERROR`s and `TRAFFIC`s of connections that found no room on the bus so far.
    #[must_use]
    pub fn losses(&self) -> u64 {
        self.server.lost.load(Ordering::Relaxed)
    }

    /// Stops accepting, lets requests and tunnels finish until the deadline, and then cuts off what is still open.
    ///
    /// Idle connections are closed at once. Clients are told: by `connection: close` over HTTP/1, by GOAWAY over HTTP/2. When it
    /// returns, all events about connections were emitted; shut the bus down after it.
    ///
    /// # Cancel safety
    /// When the future is dropped before it is ready, all connections are cut off at once.
    pub async fn shutdown(mut self, deadline: Duration) -> ServeReport {
        let begin = Instant::now();
        self.phase.send_replace(Phase::Draining);
        // The listener is closed when this returns.
        let _ = (&mut self.acceptor).await;
        let all = u32::try_from(self.server.limits.max_connections).unwrap_or(u32::MAX);
        let until = begin.checked_add(deadline);
        let everybody = self.permits.acquire_many(all);
        let finished = match until {
            Some(until) => timeout_at(until, everybody).await.is_ok(),
            None => everybody.await.is_ok(),
        };
        if !finished {
            self.marks.iter().for_each(ShutdownMark::set);
            self.phase.send_replace(Phase::Cut);
            let _ = timeout(CUT_GRACE, self.permits.acquire_many(all)).await;
        }
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let server = &*self.server;
        ServeReport {
            accepted: count(&server.accepted),
            finished: count(&server.finished),
            aborted: count(&server.aborted),
            finished_tunnels: count(&server.finished_tunnels),
            aborted_tunnels: count(&server.aborted_tunnels),
            left: self.connections() as u64,
            took: begin.elapsed(),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Behind a shutdown it has ended, and this does nothing.
        self.acceptor.abort();
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving")
            .field("local_addr", &self.local_addr)
            .field("connections", &self.connections())
            .field("tunnels", &self.tunnels())
            .finish_non_exhaustive()
    }
}
