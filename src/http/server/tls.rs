//! TLS below HTTP.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use super::connection::Connection;
use super::error::ServeError;
use super::phase::Phase;

/// The configuration for a server, which offers HTTP/2 and HTTP/1.1 unless it already offers something.
pub(super) fn with_protocols(mut config: Arc<ServerConfig>) -> Arc<ServerConfig> {
    if config.alpn_protocols.is_empty() {
        Arc::make_mut(&mut config).alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    config
}

/// The server's side of the handshake. `None` when it failed, which then was reported, or when the server drains.
pub(super) async fn handshake<I>(
    io: I,
    config: Arc<ServerConfig>,
    connection: &Connection,
) -> Option<TlsStream<I>>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let after = connection.limits().handshake_timeout;
    let handshake = tokio::time::timeout(after, TlsAcceptor::from(config).accept(io));
    let error = tokio::select! {
        biased;
        done = handshake => match done {
            Ok(Ok(stream)) => return Some(stream),
            // A client that says nothing at all has merely opened and closed a connection.
            Ok(Err(_)) if !connection.has_read() => return None,
            Ok(Err(error)) => ServeError::Handshake(error),
            Err(_) => ServeError::HandshakeTimeout { after },
        },
        _ = connection.phases().reached(Phase::Draining) => return None,
    };
    connection.report(error.into());
    None
}
