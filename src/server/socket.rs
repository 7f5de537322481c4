//! The socket of a connection, shared with the handler of its request: hyper does not read while a handler works, and
//! the end of what a client sends may be the end of its requests only, so that only a look at the socket tells whether
//! the client is still there.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::sleep;

/// How long a query goes on for a client that has ended its side, and may still read.
const GRACE: Duration = Duration::from_secs(1);

/// Between two looks at a socket that has something to read.
const INTERVAL: Duration = Duration::from_millis(100);

/// A socket as hyper uses it.
pub(super) struct SharedSocket {
    read: Arc<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

/// The same socket, to be looked at.
#[derive(Clone, Debug)]
pub(super) struct ClientSocket(Arc<OwnedReadHalf>);

impl SharedSocket {
    pub(super) fn new(stream: TcpStream) -> (Self, ClientSocket) {
        let (read, write) = stream.into_split();
        let read = Arc::new(read);
        (Self { read: Arc::clone(&read), write }, ClientSocket(read))
    }
}

impl ClientSocket {
    /// Completes some time after the client has ended its side.
    pub(super) async fn left(&self) {
        // An error is an end as well.
        while self.0.ready(Interest::READABLE).await.is_ok_and(|ready| !ready.is_read_closed()) {
            sleep(INTERVAL).await;
        }
        sleep(GRACE).await;
    }
}

impl AsyncRead for SharedSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream: &TcpStream = (*self.read).as_ref();
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read_buf(into) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for SharedSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.write.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}
