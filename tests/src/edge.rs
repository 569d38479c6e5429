//! A gateway with applications behind it: a real Envoy at the edge of a mesh.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use crate::echo;
use crate::http::{Answer, exchange, request};
use crate::process::{ControlPlane, Proxy, Release, Sidecar, Workload};
use crate::tls::Authority;
use crate::walks::{self, Sent};

const APP_PORT: u16 = 9201;

/// A gateway with two applications behind it, `a` and `b`.
pub struct Edge {
    /// The folder with the files of the test.
    pub dir: tempfile::TempDir,
    /// The control plane.
    pub plane: ControlPlane,
    /// The gateway.
    pub envoy: Sidecar,
    /// What issues certificates.
    pub authority: Authority,
    /// The address of the gateway.
    pub ip: IpAddr,
    _apps: JoinSet<()>,
}

impl Edge {
    /// Starts everything at addresses `127.0.NUMBER.x`.
    ///
    /// # Errors
    /// Fails if something does not start.
    pub async fn start(release: Release, number: u8) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let plane = ControlPlane::start(dir.path(), &[]).await?;
        let authority = Authority::new(dir.path())?;
        let mut apps = JoinSet::new();
        let ip = IpAddr::from([127, 0, number, 9]);
        for (last, name) in [(1, "a"), (2, "b")] {
            let app = IpAddr::from([127, 0, number, last]);
            echo::start(name, SocketAddr::new(app, APP_PORT), &mut apps).await?;
            plane.apply(&service(name, app), &[]).await?;
        }
        let proxy = Proxy::Envoy(release, rutter_core::Variant::Delta);
        let labels = vec!["istio=ingressgateway".to_owned()];
        let workload = Workload { proxy, labels, is_gateway: true, ..Workload::new("edge-1", "istio-system", ip) };
        let envoy = Sidecar::start(dir.path(), &plane, &workload).await?;
        Ok(Self { dir, plane, envoy, authority, ip, _apps: apps })
    }

    /// Applies objects waits until the gateway has them, and returns what was said. `BIND` stands for its address, and `DIR` for the folder.
    ///
    /// # Errors
    /// Fails if the gateway or the control plane does.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        let files = yaml.replace("BIND", &self.ip.to_string()).replace("DIR", &self.dir.path().display().to_string());
        self.plane.apply(&files, &["--wait"]).await
    }

    /// Asks the gateway in plain text.
    ///
    /// # Errors
    /// Fails if the gateway or the control plane does.
    pub async fn ask(&self, port: u16, host: &str, path: &str) -> Result<Answer> {
        request(SocketAddr::new(self.ip, port), ("GET", path), &[("host", host)]).await
    }

    /// Asks the gateway in TLS, perhaps with the certificate of a client.
    ///
    /// # Errors
    /// Fails if the gateway or the control plane does.
    pub async fn ask_encrypted(&self, port: u16, host: &str, client: Option<&str>) -> Result<Answer> {
        let stream = self.authority.connect(SocketAddr::new(self.ip, port), host, client).await?;
        exchange(stream, ("GET", "/"), host, &[]).await
    }

    /// Returns which application answers, or the status if none does.
    ///
    /// # Errors
    /// Fails if the gateway does not answer.
    pub async fn backend(&self, port: u16, host: &str, path: &str) -> Result<String> {
        let answer = self.ask(port, host, path).await?;
        Ok(answer.header("x-backend").map_or_else(|| answer.status.to_string(), str::to_owned))
    }

    /// Asks for some hosts and paths, each with what has to answer.
    ///
    /// # Errors
    /// Fails if the gateway or the control plane does.
    pub async fn expect(&self, port: u16, asks: &[(&str, &str)]) -> Result<()> {
        let sent = Sent::to(&self.plane, "edge-1.istio-system").await?;
        for (ask, want) in asks {
            let (host, path) = ask.split_at(ask.find('/').context("a path")?);
            let answer = self.ask(port, host, path).await?;
            let got = answer.header("x-backend").map_or_else(|| answer.status.to_string(), str::to_owned);
            ensure!(got == *want, "{ask} at {port}: want {want}, got {got}");
            let walk = sent.walk(SocketAddr::new(self.ip, port), host, &format!("GET {path}"))?;
            walks::compare(&walk, &answer, &self.applications())
                .with_context(|| format!("{ask} at {port}: the evaluator"))?;
        }
        Ok(())
    }

    /// Returns the addresses of the applications, with their names.
    pub fn applications(&self) -> [(SocketAddr, &'static str); 2] {
        let [first, second, third, _] = match self.ip {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(_) => [0; 4],
        };
        let address = |last: u8| SocketAddr::from(([first, second, third, last], APP_PORT));
        [(address(1), "a"), (address(2), "b")]
    }

    /// Fails if the Envoy refused anything.
    ///
    /// # Errors
    /// Names what it refused.
    pub async fn nothing_refused(&self) -> Result<()> {
        ensure!(self.envoy.stat("update_rejected").await? == 0, "{}", self.plane.ctl(&["proxy-status"]).await?);
        Ok(())
    }
}

fn service(name: &str, ip: IpAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{clusterIP: 10.77.0.{}, ports: [{{name: http, port: 80}}, {{name: tcp, port: 81}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: shop, \
         labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nendpoints: [{{addresses: ['{ip}']}}]\n\
         ports: [{{name: http, port: {APP_PORT}}}, {{name: tcp, port: {APP_PORT}}}]\n---\n",
        name.len(),
    )
}

/// Returns a Gateway object for the gateway.
pub fn gateway(name: &str, servers: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{selector: {{istio: ingressgateway}}, servers: [{servers}]}}\n---\n"
    )
}

/// Returns a VirtualService beside the applications.
pub fn virtual_service(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{{spec}}}\n---\n"
    )
}

/// A route to the application `a`.
pub const TO_A: &str = "route: [{destination: {host: a, port: {number: 80}}}]";
/// A route to the application `b`.
pub const TO_B: &str = "route: [{destination: {host: b, port: {number: 80}}}]";
