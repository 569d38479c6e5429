//! The applications of the bookinfo sample, as small as they can be. Each answers with its own name, and productpage
//! and reviews add what the services answered that they asked through their sidecar.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::http;

/// The address at which sidecars bind the port of a service.
pub const SERVICE_PORT: u16 = 9080;
/// The port at which sidecars take requests for their application.
pub const SIDECAR_PORT: u16 = 9081;
/// The port at which applications listen.
pub const APP_PORT: u16 = 9082;

/// An application of the sample.
#[derive(Debug, Clone, Copy)]
pub struct App {
    /// The name of its service.
    pub name: &'static str,
    /// The value of its label `version`.
    pub version: &'static str,
    /// The address of its pod.
    pub ip: [u8; 4],
    /// The services that it asks for each request.
    pub asks: &'static [&'static str],
}

/// The applications of the sample, as `examples/bookinfo/bookinfo.yaml` describes them.
pub const BOOKINFO: [App; 6] = [
    App { name: "productpage", version: "v1", ip: [127, 0, 11, 1], asks: &["details", "reviews"] },
    App { name: "details", version: "v1", ip: [127, 0, 12, 1], asks: &[] },
    App { name: "reviews", version: "v1", ip: [127, 0, 13, 1], asks: &[] },
    App { name: "reviews", version: "v2", ip: [127, 0, 13, 2], asks: &["ratings"] },
    App { name: "reviews", version: "v3", ip: [127, 0, 13, 3], asks: &["ratings"] },
    App { name: "ratings", version: "v1", ip: [127, 0, 14, 1], asks: &[] },
];

impl App {
    /// Returns the name of its pod.
    pub fn pod(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// Returns the address at which its sidecar takes the requests that it sends.
    pub fn outbound(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::from(self.ip), SERVICE_PORT)
    }

    async fn answer(self, user: Option<String>) -> Response<Full<Bytes>> {
        let mut text = format!("{}-{}", self.name, self.version);
        for service in self.asks {
            let host = format!("{service}:{SERVICE_PORT}");
            let mut headers = vec![("host", host.as_str())];
            headers.extend(user.as_deref().map(|user| ("end-user", user)));
            let said = match http::get(self.outbound(), "/", &headers).await {
                Ok(answer) if answer.status == 200 => answer.body,
                Ok(answer) => format!("{service}: {} {}", answer.status, answer.body.trim_end()),
                Err(error) => format!("{service}: {error:#}"),
            };
            text.push_str(&format!(" [{said}]"));
        }
        Response::new(Full::new(text.into()))
    }
}

/// Starts an application as a task of `tasks`.
///
/// # Errors
/// Fails if its port is taken.
pub async fn start(app: App, tasks: &mut JoinSet<()>) -> Result<()> {
    let addr = SocketAddr::new(IpAddr::from(app.ip), APP_PORT);
    let socket = TcpListener::bind(addr).await.with_context(|| format!("{} at {addr}", app.pod()))?;
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = socket.accept().await {
            let service = service_fn(move |request: Request<hyper::body::Incoming>| async move {
                let user = request.headers().get("end-user").and_then(|value| value.to_str().ok()).map(str::to_owned);
                Ok::<_, Infallible>(app.answer(user).await)
            });
            connections.spawn(async move {
                // A caller that breaks off is the caller's affair.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(())
}
