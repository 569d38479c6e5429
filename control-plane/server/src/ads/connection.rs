//! Connections from sidecars. They are accepted whatever happens to a single one, and closed from inside if one is stuck.

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
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

use super::gate::{Gate, Place};
use crate::identity::Peer;

/// The number of connections that may wait to be accepted. A whole fleet may come back at the same moment, and a client
/// that finds no place tries again only after a second.
const BACKLOG: u32 = 16_384;
/// The pause after a failure to accept, such as too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// The time in which a client has to send its first byte.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// The time in which a client has to send its first whole request.
const FIRST_REQUEST: Duration = Duration::from_secs(30);

/// Listens at an address, with room for a whole fleet that connects at once.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Returns every connection that is made and finds a place, for ever.
pub(crate) fn incoming(listener: TcpListener, gate: Arc<Gate>) -> impl Stream<Item = io::Result<Connection>> {
    futures::stream::unfold((listener, gate), |(listener, gate)| async {
        loop {
            match listener.accept().await {
                Ok((socket, address)) => {
                    let Some(place) = gate.enter(address.ip()) else { continue };
                    // Small messages go at once. A socket that refuses this is closed already.
                    let _ = socket.set_nodelay(true);
                    let switch = Switch::new(Peer { address: Some(address), certificate: None });
                    let deadline = Some(Box::pin(sleep(FIRST_BYTE)));
                    let connection = Connection { socket, switch, place, deadline, has_read: false };
                    return Some((Ok(connection), (listener, gate)));
                }
                Err(error) => {
                    gate.tell_failure(&error);
                    sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    })
}

/// Closes a connection whatever state its streams are in, and knows its other end and what has gone out on it.
#[derive(Debug, Clone)]
pub(crate) struct Switch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    peer: Peer,
    opened: Instant,
    closed: AtomicBool,
    /// Whether a whole request has come.
    is_used: AtomicBool,
    task: AtomicWaker,
    written: AtomicU64,
}

impl Default for Switch {
    fn default() -> Self {
        Self::new(Peer::default())
    }
}

impl Switch {
    /// Returns the switch of a connection that was accepted just now.
    pub(crate) fn new(peer: Peer) -> Self {
        let (closed, is_used, task, written) = Default::default();
        Self(Arc::new(Inner { peer, opened: Instant::now(), closed, is_used, task, written }))
    }

    /// Takes in that the client has sent a whole request, so that the connection is no longer one that says nothing.
    pub(crate) fn use_it(&self) {
        self.0.is_used.store(true, Ordering::Release);
    }

    /// Returns the other end of the connection.
    pub(crate) fn peer(&self) -> &Peer {
        &self.0.peer
    }

    /// Returns when the connection was accepted.
    pub(crate) fn opened(&self) -> Instant {
        self.0.opened
    }

    /// Returns a random number between 0.9 and 1.1, which is the same for the whole life of the connection.
    pub(crate) fn jitter(&self) -> f64 {
        static CHANCE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let hash = CHANCE.hash_one((self.0.opened, Arc::as_ptr(&self.0) as usize));
        0.9 + (hash % 1000) as f64 / 5000.0
    }

    /// Ends the connection at once.
    pub(crate) fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.task.wake();
    }

    /// Returns the number of bytes of all streams that the operating system has taken.
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

/// A TCP connection, and the switch that closes it.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    switch: Switch,
    place: Place,
    /// When the connection is closed if nothing more has come by then. `None` means that a whole request has come.
    deadline: Option<Pin<Box<Sleep>>>,
    has_read: bool,
}

impl Connection {
    /// Fails if the client has not said in time what it wants.
    fn check_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.switch.0.is_used.load(Ordering::Acquire) {
            self.deadline = None;
        }
        let Some(deadline) = &mut self.deadline else { return Ok(()) };
        if deadline.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        self.place.gate().count_silent();
        Err(io::Error::new(io::ErrorKind::TimedOut, "no request in time"))
    }

    /// Takes in that the client has sent its first byte.
    fn has_begun(&mut self, cx: &mut Context<'_>) {
        self.has_read = true;
        if let Some(deadline) = &mut self.deadline {
            deadline.as_mut().reset((self.switch.opened() + FIRST_REQUEST).into());
            // The task has to be woken at the new time.
            let _ = deadline.as_mut().poll(cx);
        }
    }
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
        self.check_deadline(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buffer);
        if !self.has_read && buffer.filled().len() > before {
            self.has_begun(cx);
        }
        read
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

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Returns both ends of a connection: the accepted one, and that of the client.
    async fn pair() -> (Connection, TcpStream) {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let gate = Gate::new(10, 10, Arc::default());
        let accepted = Box::pin(incoming(listener, gate)).next().await.unwrap().unwrap();
        (accepted, client)
    }

    /// Reads until the connection ends, and returns the kind of the error and how long that took.
    async fn ended(connection: &mut Connection) -> (io::ErrorKind, Duration) {
        let start = tokio::time::Instant::now();
        let error = connection.read_to_end(&mut Vec::new()).await.unwrap_err();
        (error.kind(), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_nothing_or_no_whole_request_is_closed_in_time() {
        let (mut silent, _client) = pair().await;
        let (kind, after) = ended(&mut silent).await;
        assert_eq!((kind, after.as_secs()), (io::ErrorKind::TimedOut, FIRST_BYTE.as_secs()));
        let (mut slow, mut client) = pair().await;
        client.write_all(b"PRI * HTTP/2.0").await.unwrap();
        slow.read_exact(&mut [0; 14]).await.unwrap();
        let (kind, after) = ended(&mut slow).await;
        assert_eq!(kind, io::ErrorKind::TimedOut);
        assert!(after > FIRST_BYTE && after <= FIRST_REQUEST, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_a_request_came_may_be_silent() {
        let (mut connection, mut client) = pair().await;
        client.write_all(b"x").await.unwrap();
        connection.read_exact(&mut [0; 1]).await.unwrap();
        connection.connect_info().use_it();
        let mut byte = [0; 1];
        let read = tokio::time::timeout(10 * FIRST_REQUEST, connection.read_exact(&mut byte));
        assert!(read.await.is_err(), "it is still open");
    }

    #[tokio::test]
    async fn a_connection_knows_its_other_end_and_what_has_gone_out() {
        let (mut connection, mut client) = pair().await;
        let switch = connection.connect_info();
        assert_eq!(switch.peer().address, Some(client.local_addr().unwrap()));
        assert_eq!((switch.peer().certificate.clone(), switch.written()), (None, 0));
        connection.write_all(b"hello").await.unwrap();
        assert_eq!(switch.written(), 5);
        let mut read = [0; 5];
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
    }

    #[tokio::test]
    async fn writes_of_several_parts_are_counted_together() {
        let (mut connection, _client) = pair().await;
        let parts = [io::IoSlice::new(b"one"), io::IoSlice::new(b"three")];
        assert!(connection.is_write_vectored());
        assert_eq!(connection.write_vectored(&parts).await.unwrap(), 8);
        assert_eq!(connection.switch.written(), 8);
    }

    #[tokio::test]
    async fn a_switch_ends_a_connection_that_waits_for_its_client() {
        let (mut connection, mut client) = pair().await;
        let switch = connection.connect_info();
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 1];
            let error = connection.read_exact(&mut buffer).await.unwrap_err();
            (error.kind(), connection.write_all(b"late").await.unwrap_err().kind())
        });
        tokio::task::yield_now().await;
        switch.close();
        assert_eq!(reader.await.unwrap(), (io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionAborted));
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0, "the client sees the end");
    }

    #[test]
    fn the_jitter_of_a_connection_stays_the_same_and_near_one() {
        let switches: Vec<Switch> = (0..100).map(|_| Switch::default()).collect();
        for switch in &switches {
            assert!((0.9..=1.1).contains(&switch.jitter()));
            assert_eq!(switch.jitter().to_bits(), switch.clone().jitter().to_bits());
        }
        let different: std::collections::BTreeSet<u64> =
            switches.iter().map(|switch| switch.jitter().to_bits()).collect();
        assert!(different.len() > 50, "a fleet does not come back at one moment");
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_an_error() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = listen(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
