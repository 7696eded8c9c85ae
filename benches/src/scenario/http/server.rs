//! One server on one thread, so that what a request costs on its own path is that thread's CPU time.

use std::future::IntoFuture;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::ServiceExt;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tracing::dispatcher::{Dispatch, set_default};

use super::observed::{Place, Served};

/// A running server; ends when told to, once its clients have gone.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    clock: libc::clockid_t,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), String>>,
}

impl Place for Server {
    /// Starts a server, on a thread of its own.
    ///
    /// # Errors
    ///
    /// When the thread, its runtime or its socket cannot be had.
    fn put<S: Served>(service: S, subscriber: Option<Dispatch>) -> Result<Self, String> {
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = channel();
        let thread = thread::spawn(move || {
            // For this thread only: the next contender must not be traced.
            let _traced = subscriber.as_ref().map(set_default);
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            runtime.block_on(async {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await;
                let listener = listener.map_err(|error| error.to_string())?;
                let address = listener.local_addr().map_err(|error| error.to_string())?;
                // Whoever starts a server waits for this.
                let _ = ready.send((address, own_clock()?));
                serve(service, listener, stopped).await.map_err(|error| error.to_string())
            })
        });
        match started.recv() {
            Ok((address, clock)) => Ok(Self { address, clock, stop, thread }),
            Err(_) => Err(match thread.join() {
                Ok(Err(error)) => error,
                _ => "the server did not start".to_owned(),
            }),
        }
    }
}

impl Server {
    /// CPU time of the server's thread so far.
    pub(super) fn cpu(&self) -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is valid for writes of one `timespec`; a clock of a thread that has ended is refused.
        unsafe { libc::clock_gettime(self.clock, &raw mut time) };
        Duration::from_secs(time.tv_sec as u64) + Duration::from_nanos(time.tv_nsec as u64)
    }

    /// Ends the server and joins its thread.
    pub(super) fn stop(self) -> Result<(), String> {
        // A server that has ended by itself is joined all the same.
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| "the server panicked".to_owned())?
    }
}

/// The CPU clock of the calling thread, for others to read.
fn own_clock() -> Result<libc::clockid_t, String> {
    let mut clock = MaybeUninit::uninit();
    // SAFETY: the thread exists, since it is the calling one, and `clock` is valid for writes.
    let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), clock.as_mut_ptr()) };
    if failed != 0 {
        return Err(std::io::Error::from_raw_os_error(failed).to_string());
    }
    // SAFETY: the call has succeeded, and then it has written the clock.
    Ok(unsafe { clock.assume_init() })
}

/// Serves until told to stop. The service is told who the peer is.
async fn serve(
    service: impl Served,
    listener: TcpListener,
    stopped: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let service = ServiceExt::into_make_service_with_connect_info::<SocketAddr>(service);
    axum::serve(listener, service).with_graceful_shutdown(told(stopped)).into_future().await
}

async fn told(stopped: oneshot::Receiver<()>) {
    // A dropped sender means the same.
    let _ = stopped.await;
}
