//! A connection below HTTP and above TLS, on loan to the HTTP implementation.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;

/// Replays the bytes that were read to find out the version of HTTP, and gives the connection back when it is dropped.
pub(super) struct HttpIo<I> {
    /// Taken by the destructor.
    io: Option<I>,
    /// What was read before, and how much of it has been replayed.
    first: Vec<u8>,
    replayed: usize,
    owner: Weak<Mutex<Option<I>>>,
    connection: Arc<Connection>,
}

/// Where a connection comes back to. One that does not was handed to the service, as a tunnel.
pub(super) struct Return<I> {
    slot: Arc<Mutex<Option<I>>>,
}

impl<I> Return<I> {
    pub(super) fn take(self) -> Option<I> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<I> HttpIo<I> {
    pub(super) fn new(io: I, first: Vec<u8>, connection: Arc<Connection>) -> (Self, Return<I>) {
        let slot = Arc::new(Mutex::new(None));
        let owner = Arc::downgrade(&slot);
        (Self { io: Some(io), first, replayed: 0, owner, connection }, Return { slot })
    }
}

impl<I: Unpin> HttpIo<I> {
    fn io(&mut self) -> Pin<&mut I> {
        Pin::new(self.io.as_mut().expect("only the destructor takes it"))
    }
}

impl<I> Drop for HttpIo<I> {
    fn drop(&mut self) {
        if let Some(slot) = self.owner.upgrade() {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = self.io.take();
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for HttpIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let waiting = &this.first[this.replayed..];
        if waiting.is_empty() {
            let before = buf.filled().len();
            let polled = this.io().poll_read(cx, buf);
            if buf.filled().len() > before {
                this.connection.received();
            }
            return polled;
        }
        let bytes = waiting.len().min(buf.remaining());
        buf.put_slice(&waiting[..bytes]);
        this.replayed += bytes;
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for HttpIo<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }
}
