//! A connection below HTTP and TLS: counts its bytes, notices a peer that does not read, and can be cut off.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::connection::Connection;
use super::phase::Cut;

/// The bytes of a connection, as they are on the wire.
pub(super) struct Wire<S> {
    stream: S,
    connection: Arc<Connection>,
    write_timeout: Duration,
    /// Runs while the peer does not read.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Wake the two directions of a tunnel when the server cuts it off.
    cut_read: Option<Cut>,
    cut_write: Option<Cut>,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, connection: Arc<Connection>) -> Self {
        let write_timeout = connection.limits().write_timeout;
        Self { stream, connection, write_timeout, stalled: None, cut_read: None, cut_write: None }
    }

    /// What was written, or why it is still waiting.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let after = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
        if stalled.as_mut().poll(cx).is_ready() {
            let text = format!("the peer read nothing for {after:?}");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
        }
        Self::unless_cut(&mut self.cut_write, &self.connection, cx)
    }

    /// Waits for the server to cut the connection off. Over HTTP the connection's task does that; a tunnel belongs to the service.
    fn unless_cut<T>(
        cut: &mut Option<Cut>,
        connection: &Connection,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if connection.may_become_tunnel()
            && cut.get_or_insert_with(|| connection.phases().cut()).as_mut().poll(cx).is_ready()
        {
            connection.cut_off();
            let text = "the server shuts down and has cut the tunnel off";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, text)));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                this.connection.add_read(buf.filled().len() - before);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Self::unless_cut(&mut this.cut_read, &this.connection, cx),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = polled {
            self.connection.add_written(bytes);
        }
        self.written(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(bytes)) = polled {
            self.connection.add_written(bytes);
        }
        self.written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.written(cx, polled)
    }
}
