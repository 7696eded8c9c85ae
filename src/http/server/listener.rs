//! Where connections come from.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// A source of connections.
pub trait Listener: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next connection. The address is that of the peer, if it has one.
    ///
    /// Dropping the future loses no connection.
    ///
    /// # Errors
    /// When there is none to be had now. The server emits `COMMON_ERROR`, waits a moment and tries again.
    fn accept(&mut self)
    -> impl Future<Output = io::Result<(Self::Io, Option<SocketAddr>)>> + Send;

    /// Where it listens, if that is an address.
    fn local_addr(&self) -> Option<SocketAddr>;
}

/// Small responses are sent at once (`TCP_NODELAY`).
impl Listener for TcpListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        // A client that has left in the meantime is noticed by the first read.
        let _ = stream.set_nodelay(true);
        Ok((stream, Some(peer)))
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        TcpListener::local_addr(self).ok()
    }
}

/// Peers have no address.
#[cfg(unix)]
impl Listener for tokio::net::UnixListener {
    type Io = tokio::net::UnixStream;

    async fn accept(&mut self) -> io::Result<(Self::Io, Option<SocketAddr>)> {
        tokio::net::UnixListener::accept(self).await.map(|(stream, _)| (stream, None))
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }
}
