//! A proxy between clients and a server, which cuts connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A proxy to which clients connect instead of the server.
pub struct Cutter {
    /// The address at which clients connect.
    pub addr: SocketAddr,
    cuts: watch::Sender<u64>,
    connections: Arc<AtomicU64>,
    /// The number of bytes that the server may still send until one connection is cut.
    budget: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

/// The value which says that no cut is due.
const FOR_EVER: u64 = u64::MAX;

impl Cutter {
    /// Starts a proxy that passes everything on to `target`.
    ///
    /// # Errors
    /// Fails if there is no port.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let addr = socket.local_addr()?;
        let (cuts, connections, budget) =
            (watch::Sender::new(0), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(FOR_EVER)));
        let (subscriber, count, left) = (cuts.clone(), connections.clone(), budget.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = socket.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let (mut cut, left) = (subscriber.subscribe(), left.clone());
                open.spawn(async move {
                    let Ok(server) = TcpStream::connect(target).await else { return };
                    let ((mut from_client, to_client), (from_server, mut to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::select! {
                        // Either end may go at any time: that is what this is for.
                        _ = copy(&mut from_client, &mut to_server) => {}
                        () = pass(from_server, to_client, &left) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Ok(Self { addr, cuts, connections, budget, _tasks: tasks })
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts one connection, wherever it is in a message, when servers have sent so many more bytes.
    pub fn cut_after(&self, bytes: u64) {
        self.budget.store(bytes, Ordering::Relaxed);
    }

    /// Returns whether that cut is still to come.
    pub fn is_to_cut(&self) -> bool {
        self.budget.load(Ordering::Relaxed) != FOR_EVER
    }

    /// Returns the number of connections so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, budget: &AtomicU64) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let left = budget.load(Ordering::Relaxed);
        let is_last = left != FOR_EVER && left <= length as u64;
        let length = if is_last { left as usize } else { length };
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
        if is_last {
            budget.store(FOR_EVER, Ordering::Relaxed);
            return;
        }
        if left != FOR_EVER {
            budget.store(left - length as u64, Ordering::Relaxed);
        }
    }
}
