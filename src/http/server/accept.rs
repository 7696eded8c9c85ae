//! Accepts connections, as long as there is room for them.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::Listener;
use super::connection::Connection;
use super::error::ServeError;
use super::phase::Phase;
use super::state::ServerState;
use crate::event::{CommonErrorMeta, EventType};
use crate::key::Key;

/// The first wait after an accept that failed. Each further failure doubles it.
const FIRST_RETRY: Duration = Duration::from_millis(5);

/// The longest wait.
const LAST_RETRY: Duration = Duration::from_secs(1);

/// At its limit, a busy server is there again after each accept. It says so once in a while.
const SATURATED_EVERY: Duration = Duration::from_secs(10);

/// Accepts until the server drains. `serve` gets each connection.
pub(super) async fn accept<L: Listener>(
    mut listener: L,
    server: Arc<ServerState>,
    permits: Arc<Semaphore>,
    serve: impl Fn(L::Io, Arc<Connection>),
) {
    let mut drained = std::pin::pin!(server.phases.reached(Phase::Draining));
    let mut retry = FIRST_RETRY;
    let mut saturated = None;
    loop {
        let permit = match permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let max_connections = server.limits.max_connections;
                if saturated.is_none_or(|at: Instant| at.elapsed() > SATURATED_EVERY) {
                    saturated = Some(Instant::now());
                    report(&server, ServeError::Saturated { max_connections });
                }
                tokio::select! {
                    _ = &mut drained => return,
                    permit = permits.clone().acquire_owned() => {
                        permit.expect("the semaphore is never closed")
                    }
                }
            }
        };
        let accepted = tokio::select! {
            _ = &mut drained => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((io, peer)) => {
                retry = FIRST_RETRY;
                serve(io, Arc::new(Connection::new(server.clone(), peer, permit)));
            }
            // The client left before it was accepted: its affair alone, and the next one may be there already.
            Err(error) if is_of_one_connection(&error) => {
                report(&server, ServeError::Accept { error, retry: Duration::ZERO });
            }
            // NB: while there is no file descriptor, the listener stays readable, and a loop without a pause would spin.
            Err(error) => {
                report(&server, ServeError::Accept { error, retry });
                tokio::select! {
                    _ = &mut drained => return,
                    () = tokio::time::sleep(retry) => {}
                }
                retry = (retry * 2).min(LAST_RETRY);
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn report(server: &ServerState, error: ServeError) {
    let meta = CommonErrorMeta { uri: None, method: None, addr: None, err: error.into() };
    server.emit(EventType::COMMON_ERROR, meta, Key::NONE);
}
