//! The server under test: a `rutter` that the bench starts, or any other that runs already.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::pb::rutter::admin::v1::admin_client::AdminClient;
use tonic::transport::Channel;

use crate::client::admin_channel;
use crate::http;
use crate::process::ControlPlane;

/// The way in which changes reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Via {
    /// Changes are applied by the admin API, as `rutterctl apply` does.
    Apply,
    /// Changes are files of the folder that the server watches.
    File,
}

/// The server under test.
pub struct Server {
    /// The `rutter` that the bench started, if it started one.
    pub own: Option<ControlPlane>,
    /// The address at which sidecars connect.
    pub target: SocketAddr,
    /// The address of its metrics, if it is a `rutter`.
    pub monitoring: Option<SocketAddr>,
    /// The socket of its admin API, if it is a `rutter`.
    pub admin_socket: Option<PathBuf>,
    /// The id of its process, if it is known.
    pub pid: Option<u32>,
    /// The folder that the server watches.
    pub config_dir: Option<PathBuf>,
    /// The way in which changes reach the server.
    pub via: Via,
    /// The arguments with which the bench started `rutter`.
    pub args: Vec<String>,
    client: Option<AdminClient<Channel>>,
}

impl Server {
    /// Returns a server that runs already. Its admin API is connected to when it is first needed.
    pub fn new(target: SocketAddr, monitoring: Option<SocketAddr>, via: Via) -> Self {
        let (own, pid, config_dir, admin_socket, client) = (None, None, None, None, None);
        Self { own, target, monitoring, admin_socket, pid, config_dir, via, args: Vec::new(), client }
    }

    /// Starts a `rutter` with its data in `dir`. It watches `folder` if changes come by files.
    ///
    /// # Errors
    /// Fails if it does not become ready.
    pub async fn start(dir: &Path, folder: PathBuf, via: Via, mut args: Vec<String>) -> Result<Self> {
        if via == Via::File {
            args.extend(["--config-dir".to_owned(), folder.display().to_string()]);
        }
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let own = ControlPlane::start(dir, &words).await?;
        let mut server = Self::new(own.xds, Some(own.monitoring), via);
        server.admin_socket = Some(own.admin_socket().to_owned());
        (server.pid, server.config_dir, server.args) = (own.pid(), Some(folder), args);
        server.own = Some(own);
        Ok(server)
    }

    /// Makes changes known to the server. Each is a path in the watched folder and the text of the file.
    ///
    /// # Errors
    /// Fails if the server refuses them.
    pub async fn change(&mut self, files: &[(String, String)]) -> Result<()> {
        match self.via {
            Via::File => self.write(files),
            Via::Apply => {
                let source =
                    |(name, text): &(String, String)| pb::Source { name: name.clone(), text: text.clone().into() };
                let sources = files.iter().map(source).collect();
                let request = pb::ApplyRequest { sources, ..Default::default() };
                self.client().await?.apply(request).await.map_err(|status| anyhow::anyhow!("{}", status.message()))?;
                Ok(())
            }
        }
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// Fails if the server refuses.
    pub async fn remove(&mut self, path: &str, (kind, namespace, name): (&str, &str, &str)) -> Result<()> {
        match self.via {
            Via::File => {
                let dir = self.config_dir.as_ref().context("want --config-dir")?;
                Ok(std::fs::remove_file(dir.join(path))?)
            }
            Via::Apply => {
                let key = pb::ObjectKey { kind: kind.into(), namespace: namespace.into(), name: name.into() };
                self.client().await?.delete(pb::DeleteRequest { keys: vec![key], ..Default::default() }).await?;
                Ok(())
            }
        }
    }

    fn write(&self, files: &[(String, String)]) -> Result<()> {
        let dir = self.config_dir.as_ref().context("want --config-dir")?;
        for (path, text) in files {
            // A file that is moved into place is never seen half written.
            let path = dir.join(path);
            let new = path.with_extension("new");
            std::fs::write(&new, text)?;
            std::fs::rename(new, path)?;
        }
        Ok(())
    }

    async fn client(&mut self) -> Result<&mut AdminClient<Channel>> {
        if self.client.is_none() {
            let socket = self.admin_socket.as_ref().context("want --admin-socket")?;
            self.client = Some(AdminClient::new(admin_channel(socket).await?));
        }
        self.client.as_mut().context("connected")
    }

    /// Returns the CPU time of all threads of the server so far.
    ///
    /// # Errors
    /// Fails if the system does not say.
    pub fn cpu(&self) -> Result<Duration> {
        let pid = self.pid.context("want --pid")?;
        let mut sum = 0;
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end meanwhile.
            let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            sum += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(Duration::from_nanos(sum))
    }

    /// Returns the resident memory of the server, in kilobytes.
    ///
    /// # Errors
    /// Fails if the system does not say.
    pub fn rss_kb(&self) -> Result<u64> {
        let pid = self.pid.context("want --pid")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Returns a metric of a `rutter`. `None` means that the server is none.
    pub async fn metric(&self, name: &str) -> Option<u64> {
        let answer = http::get(self.monitoring?, "/metrics", &[]).await.ok()?;
        answer.body.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Kills the server as `kill -9` does, and starts it again.
    ///
    /// # Errors
    /// Fails if the bench did not start the server, or if it does not come back.
    pub async fn restart(&mut self) -> Result<()> {
        let Some(own) = self.own.take() else { bail!("S7: want a server that the bench started") };
        let (dir, addresses) = (own.dir().to_owned(), (own.xds, own.monitoring));
        own.kill().await?;
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let own = ControlPlane::start_at(&dir, addresses, &args).await?;
        (self.pid, self.client) = (own.pid(), None);
        self.own = Some(own);
        Ok(())
    }
}
