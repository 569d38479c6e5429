//! Applications that speak something else than plain requests: bytes, a WebSocket, and the method CONNECT.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The longest head of a request that is read.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Starts an application as a task of `tasks` that sends back every byte, with its name before the first one.
///
/// # Errors
/// Fails if its port is taken.
pub async fn start_echo(name: &'static str, addr: SocketAddr, tasks: &mut JoinSet<()>) -> Result<()> {
    serve(addr, tasks, move |mut stream| async move {
        let mut bytes = [0; 4096];
        let length = stream.read(&mut bytes).await?;
        stream.write_all(format!("{name} ").as_bytes()).await?;
        stream.write_all(&bytes[..length]).await?;
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await?;
        Ok(())
    })
    .await
}

/// Starts an application as a task of `tasks` that takes WebSockets, and sends back what comes on them as it came.
///
/// # Errors
/// Fails if its port is taken.
pub async fn start_websocket(addr: SocketAddr, tasks: &mut JoinSet<()>) -> Result<()> {
    serve(addr, tasks, |mut stream| async move {
        let head = read_head(&mut stream).await?;
        if !head.to_ascii_lowercase().contains("upgrade: websocket") {
            stream.write_all(b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n").await?;
            return Ok(());
        }
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
            .await?;
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await?;
        Ok(())
    })
    .await
}

/// Starts an HTTP proxy as a task of `tasks`, which connects to where CONNECT says.
///
/// # Errors
/// Fails if its port is taken.
pub async fn start_connect_proxy(addr: SocketAddr, tasks: &mut JoinSet<()>) -> Result<()> {
    serve(addr, tasks, |mut stream| async move {
        let head = read_head(&mut stream).await?;
        let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).context("CONNECT")?;
        let mut upstream = TcpStream::connect(target).await?;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        copy_bidirectional(&mut stream, &mut upstream).await?;
        Ok(())
    })
    .await
}

/// Sends some bytes on a connection of their own, and returns what comes back until these bytes come, or the end.
///
/// # Errors
/// Fails if the connection breaks off.
pub async fn exchange_bytes(addr: SocketAddr, bytes: &str) -> Result<String> {
    let mut stream = TcpStream::connect(addr).await.with_context(|| addr.to_string())?;
    stream.write_all(bytes.as_bytes()).await?;
    let mut back = Vec::new();
    while !back.ends_with(bytes.as_bytes()) && stream.read_buf(&mut back).await? > 0 {}
    Ok(String::from_utf8_lossy(&back).into_owned())
}

/// Opens a WebSocket, sends some bytes on it, and returns what comes back.
///
/// # Errors
/// Fails if the server takes none.
pub async fn exchange_on_websocket(addr: SocketAddr, path: &str, bytes: &str) -> Result<String> {
    let mut stream = TcpStream::connect(addr).await?;
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: ws\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let head = read_head(&mut stream).await?;
    if !head.starts_with("HTTP/1.1 101 ") {
        bail!("want 101, got {head}");
    }
    stream.write_all(bytes.as_bytes()).await?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).await?;
    Ok(String::from_utf8_lossy(&back).into_owned())
}

async fn serve<F: Future<Output = Result<()>> + Send + 'static>(
    addr: SocketAddr,
    tasks: &mut JoinSet<()>,
    connection: impl Fn(TcpStream) -> F + Send + 'static,
) -> Result<()> {
    let socket = TcpListener::bind(addr).await.with_context(|| addr.to_string())?;
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = socket.accept().await {
            // A caller that breaks off is the caller's affair.
            connections.spawn(connection(stream));
        }
    });
    Ok(())
}

/// Reads until the empty line that ends the head of a request or of an answer, byte by byte, so that nothing of what follows is
/// lost.
async fn read_head(stream: &mut TcpStream) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
