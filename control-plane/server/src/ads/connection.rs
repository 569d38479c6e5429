//! Connections from sidecars: accepted whatever happens to a single one, and closed from inside where one is stuck.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::Stream;
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tonic::transport::server::Connected;
use tracing::warn;

/// Connections that wait to be accepted: a whole fleet may come back at the same moment, and a connection
/// that finds no place is tried again only after a second.
const BACKLOG: u32 = 16_384;
/// After a failure to accept, such as too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Listens for a fleet.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Every connection that comes.
pub(crate) fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Connection>> {
    futures::stream::unfold(listener, |listener| async {
        loop {
            match listener.accept().await {
                Ok((socket, _)) => {
                    // Small messages go at once; a socket that refuses is closed already.
                    let _ = socket.set_nodelay(true);
                    return Some((Ok(Connection { socket, switch: Switch::default() }), listener));
                }
                Err(error) => {
                    warn!(error = %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    })
}

/// Closes a connection, whatever state its streams are in, and says what has gone out on it.
#[derive(Debug, Clone)]
pub(crate) struct Switch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    opened: Instant,
    closed: AtomicBool,
    task: AtomicWaker,
    written: AtomicU64,
}

impl Default for Switch {
    fn default() -> Self {
        let (closed, task, written) = Default::default();
        Self(Arc::new(Inner { opened: Instant::now(), closed, task, written }))
    }
}

impl Switch {
    /// When the connection was accepted.
    pub(crate) fn opened(&self) -> Instant {
        self.0.opened
    }

    /// A number between 0.9 and 1.1, by chance, and the same for a connection's whole life.
    pub(crate) fn jitter(&self) -> f64 {
        static CHANCE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let hash = CHANCE.hash_one((self.0.opened, Arc::as_ptr(&self.0) as usize));
        0.9 + (hash % 1000) as f64 / 5000.0
    }

    /// Ends the connection at its next step, which is now.
    pub(crate) fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.task.wake();
    }

    /// Bytes that the system has taken, of all streams.
    pub(crate) fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.0.written.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        written
    }

    fn check(&self) -> io::Result<()> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "closed from inside"));
        }
        Ok(())
    }
}

/// A TCP connection with a switch.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    switch: Switch,
}

impl Connected for Connection {
    type ConnectInfo = Switch;

    fn connect_info(&self) -> Switch {
        self.switch.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // HTTP/2 always reads, so this one waker is the connection's task.
        self.switch.0.task.register(cx.waker());
        self.switch.check()?;
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.switch.check()?;
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.switch.count(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.switch.check()?;
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.switch.count(written)
    }
}
