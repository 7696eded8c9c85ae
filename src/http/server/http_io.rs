//! A connection below HTTP and above TLS, on loan to the HTTP implementation.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use super::farewell::own_refusal;

/// Replays the bytes that were read to find out the version of HTTP, holds a refusal of the HTTP implementation back, and gives the
/// connection back when it is dropped.
pub(super) struct HttpIo<I> {
    /// Taken by the destructor.
    io: Option<I>,
    /// What was read before, and how much of it has been replayed.
    first: Vec<u8>,
    replayed: usize,
    /// Only HTTP/1 has such refusals.
    http1: bool,
    /// A [refusal](own_refusal) that is not sent yet.
    held: Vec<u8>,
    /// The poll of the connection in which that was written. A connection that ends does so in the same one.
    held_in: u64,
    owner: Weak<Mutex<Option<Returned<I>>>>,
    connection: Arc<Connection>,
}

/// A connection that has come back.
pub(super) struct Returned<I> {
    pub(super) io: I,
    /// What was held back; empty if nothing.
    pub(super) held: Vec<u8>,
}

/// Where a connection comes back to. One that does not was handed to the service, as a tunnel.
pub(super) struct Return<I> {
    slot: Arc<Mutex<Option<Returned<I>>>>,
}

impl<I> Return<I> {
    pub(super) fn take(self) -> Option<Returned<I>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<I> HttpIo<I> {
    pub(super) fn new(
        io: I,
        first: Vec<u8>,
        http1: bool,
        connection: Arc<Connection>,
    ) -> (Self, Return<I>) {
        let slot = Arc::new(Mutex::new(None));
        let this = Self {
            io: Some(io),
            first,
            replayed: 0,
            http1,
            held: Vec::new(),
            held_in: 0,
            owner: Arc::downgrade(&slot),
            connection,
        };
        (this, Return { slot })
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
            let held = std::mem::take(&mut self.held);
            let returned = self.io.take().map(|io| Returned { io, held });
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = returned;
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for HttpIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.goes_on()
            && let Poll::Ready(released) = this.poll_release(cx)
        {
            released?;
        }
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

impl<I: AsyncWrite + Unpin> HttpIo<I> {
    /// Whether something was held back, and the connection did not end with it.
    fn goes_on(&self) -> bool {
        !self.held.is_empty() && self.held_in != self.connection.polls()
    }

    /// Sends what was held back after all.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            let polled = self.io().poll_write(cx, &held);
            self.held = held;
            match ready!(polled)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => drop(self.held.drain(..bytes)),
            }
        }
        self.io().poll_flush(cx)
    }

    /// How much of this may be written now; 0 for what is to be held back.
    fn writable(&self, buf: &[u8]) -> usize {
        // A tunnel is the service's, whatever is in it.
        if !self.http1 || self.connection.may_become_tunnel() {
            return buf.len();
        }
        own_refusal(buf).unwrap_or(buf.len())
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for HttpIo<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_release(cx))?;
        let writable = self.writable(buf);
        if writable > 0 || buf.is_empty() {
            return self.io().poll_write(cx, &buf[..writable]);
        }
        (self.held, self.held_in) = (buf.to_vec(), self.connection.polls());
        // If the connection does not end now, it comes back and is seen to go on.
        cx.waker().wake_by_ref();
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // hyper writes heads into the first buffer, and a refusal has no body.
        match bufs {
            [] => Poll::Ready(Ok(0)),
            [only] => self.poll_write(cx, only),
            _ => {
                ready!(self.poll_release(cx))?;
                self.io().poll_write_vectored(cx, bufs)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.goes_on() {
            ready!(self.poll_release(cx))?;
        }
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever gets the connection back has something to send.
        if self.held.is_empty() { self.io().poll_shutdown(cx) } else { Poll::Ready(Ok(())) }
    }
}
