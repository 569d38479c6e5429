//! The processes of a test: the control plane, Envoys and rutterctl.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rutter_core::Variant;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::{http, root};

/// How long anything may take to become ready.
const READY: Duration = Duration::from_secs(20);
/// The time between two looks at something that is not ready.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Returns a binary of this workspace, which cargo has just built beside the running one.
///
/// # Errors
/// Fails if it is not there.
pub fn binary(name: &str) -> Result<PathBuf> {
    let me = std::env::current_exe()?;
    let dirs = me.ancestors().skip(1).take(2);
    let found = dirs.map(|dir| dir.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is not built: run `make build`"))
}

/// Returns the real Envoy of the virtual environment that `make venv` fills.
///
/// # Errors
/// Fails if it is not there.
pub fn envoy_binary(release: Release) -> Result<PathBuf> {
    let path = root().join(release.folder()).join("bin/envoy");
    if !path.is_file() {
        bail!("{} is missing: run `make venv`", path.display());
    }
    Ok(path)
}

/// Returns a port of loopback that is free now. It is below those that the system gives to outgoing connections, so
/// that a server which is killed and started again finds it free.
///
/// # Errors
/// Fails if there is none.
pub fn free_port() -> Result<u16> {
    const FIRST: u32 = 18_000;
    const COUNT: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let number = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + number)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free")
}

fn spawn(binary: &Path, args: &[&str], log: &Path) -> Result<Child> {
    spawn_in(binary, args, &[], log)
}

/// Starts a process with some variables of its environment.
fn spawn_in(binary: &Path, args: &[&str], environment: &[(&str, &str)], log: &Path) -> Result<Child> {
    let log = std::fs::File::create(log)?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(binary).args(args);
    command.envs(environment.iter().copied());
    command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    command.spawn().with_context(|| binary.display().to_string())
}

/// A control plane in a process of its own.
pub struct ControlPlane {
    child: Child,
    /// The address at which sidecars connect.
    pub xds: SocketAddr,
    /// The address of metrics and health checks.
    pub monitoring: SocketAddr,
    admin_socket: PathBuf,
    dir: PathBuf,
}

impl ControlPlane {
    /// Starts `rutter serve` with its data in `dir`, and waits until it is ready.
    ///
    /// # Errors
    /// Fails if it does not become ready.
    pub async fn start(dir: &Path, more: &[&str]) -> Result<Self> {
        let [xds, monitoring] = [free_port()?, free_port()?].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        Self::start_at(dir, (xds, monitoring), more).await
    }

    /// Starts `rutter serve` with some variables of its environment, and waits until it is ready.
    ///
    /// # Errors
    /// Fails if it does not become ready.
    pub async fn start_in(dir: &Path, environment: &[(&str, &str)]) -> Result<Self> {
        let [xds, monitoring] = [free_port()?, free_port()?].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        Self::spawn_at(dir, (xds, monitoring), &[], environment)?.wait_ready().await
    }

    /// Starts `rutter serve` at given addresses, and waits until it is ready.
    ///
    /// # Errors
    /// Fails if it does not become ready.
    pub async fn start_at(dir: &Path, (xds, monitoring): (SocketAddr, SocketAddr), more: &[&str]) -> Result<Self> {
        Self::spawn_at(dir, (xds, monitoring), more, &[])?.wait_ready().await
    }

    fn spawn_at(
        dir: &Path,
        (xds, monitoring): (SocketAddr, SocketAddr),
        more: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let data = dir.join("data").display().to_string();
        let (xds_text, monitoring_text) = (xds.to_string(), monitoring.to_string());
        let mut args = vec!["serve", "--data-dir", &data, "--xds", &xds_text, "--monitoring", &monitoring_text];
        args.extend(more);
        let child = spawn_in(&binary("rutter")?, &args, environment, &dir.join("rutter.log"))?;
        let named = more.windows(2).find(|words| words[0] == "--admin-socket").map(|words| PathBuf::from(words[1]));
        let admin_socket = named.unwrap_or_else(|| dir.join("data/admin.sock"));
        Ok(Self { child, xds, monitoring, admin_socket, dir: dir.to_owned() })
    }

    async fn wait_ready(mut self) -> Result<Self> {
        let end = Instant::now() + READY;
        while http::get(self.monitoring, "/readyz", &[]).await.map(|answer| answer.status).ok() != Some(200) {
            if let Some(status) = self.child.try_wait()? {
                bail!("rutter ended with {status}: {}", self.log());
            }
            if Instant::now() > end {
                bail!("rutter is not ready: {}", self.log());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(self)
    }

    /// Returns what the control plane has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("rutter.log")).unwrap_or_default()
    }

    /// Returns the id of the process while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns the path of the socket at which rutterctl connects.
    pub fn admin_socket(&self) -> &Path {
        &self.admin_socket
    }

    /// Returns the folder with its data.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Kills the process as `kill -9` does.
    ///
    /// # Errors
    /// Fails if the system refuses.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Sends a signal to the process, by its name without `SIG`.
    ///
    /// # Errors
    /// Fails if the process has ended.
    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid().context("it has ended")?.to_string();
        let status = std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status()?;
        if !status.success() {
            bail!("kill -{name} {pid}: {status}");
        }
        Ok(())
    }

    /// Ends the process by a signal, such as `TERM`, and returns its exit status.
    ///
    /// # Errors
    /// Fails if it cannot be signalled or does not end.
    pub async fn end_by(mut self, signal: &str) -> Result<std::process::ExitStatus> {
        let pid = self.child.id().context("rutter has ended already")?.to_string();
        Command::new("kill").args(["-s", signal, &pid]).status().await?;
        Ok(tokio::time::timeout(READY, self.child.wait()).await??)
    }

    /// Returns the memory that belongs to the process alone, in kilobytes.
    ///
    /// # Errors
    /// Fails if the system does not say.
    pub fn rss_kb(&self) -> Result<u64> {
        let pid = self.child.id().context("rutter has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Returns a metric by its whole name, labels included.
    ///
    /// # Errors
    /// Fails if it does not answer or has no such metric.
    pub async fn metric(&self, name: &str) -> Result<u64> {
        let text = http::get(self.monitoring, "/metrics", &[]).await?.body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("{name} in {text}"))?.parse()?)
    }

    /// Runs rutterctl against this control plane, and returns its standard output.
    ///
    /// # Errors
    /// Fails with the standard error of rutterctl if it fails.
    pub async fn ctl(&self, args: &[&str]) -> Result<String> {
        let output =
            Command::new(binary("rutterctl")?).arg("--server").arg(self.admin_socket()).args(args).output().await?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    }

    /// Runs rutterctl against this control plane, and returns everything that it says, whether it fails or not.
    ///
    /// # Errors
    /// Fails if it cannot be run.
    pub async fn said(&self, args: &[&str]) -> Result<String> {
        let output =
            Command::new(binary("rutterctl")?).arg("--server").arg(self.admin_socket()).args(args).output().await?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    }

    /// Applies a YAML text by `rutterctl apply`.
    ///
    /// # Errors
    /// Fails with the standard error of rutterctl if it refuses.
    pub async fn apply(&self, yaml: &str, more: &[&str]) -> Result<String> {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
        std::fs::write(file.path(), yaml)?;
        let path = file.path().display().to_string();
        self.ctl(&[&["apply", "-f", &path], more].concat()).await
    }
}

/// A release of Envoy: the latest of its minor version that PyPI has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// 1.36, the last that does not take virtual hosts as resources of their own.
    V1_36,
    /// 1.38, which lies between.
    V1_38,
    /// 1.40, the latest.
    V1_40,
}

impl Release {
    /// All releases.
    pub const ALL: [Self; 3] = [Self::V1_36, Self::V1_38, Self::V1_40];

    fn folder(self) -> &'static str {
        match self {
            Self::V1_36 => ".venv-envoy-1.36",
            Self::V1_38 => ".venv-envoy-1.38",
            Self::V1_40 => ".venv",
        }
    }
}

/// The proxy of a sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// A real Envoy, and the protocol variant that it uses.
    Envoy(Release, Variant),
    /// `rutter-proxy`.
    Rutter,
}

impl Proxy {
    /// The latest Envoy with the delta variant.
    pub const ENVOY: Self = Self::Envoy(Release::V1_40, Variant::Delta);
    /// The latest Envoy with the state-of-the-world variant.
    pub const SOTW_ENVOY: Self = Self::Envoy(Release::V1_40, Variant::Sotw);
    /// An Envoy that does not take virtual hosts as resources of their own.
    pub const OLD_ENVOY: Self = Self::Envoy(Release::V1_36, Variant::Delta);

    /// Every Envoy with either variant.
    pub fn envoys() -> impl Iterator<Item = Self> {
        let both = |release| [Variant::Delta, Variant::Sotw].map(|variant| Self::Envoy(release, variant));
        Release::ALL.into_iter().flat_map(both)
    }
}

/// A running sidecar: a real Envoy, or `rutter-proxy`.
pub struct Sidecar {
    _child: Child,
    /// The address of its admin page.
    pub admin: SocketAddr,
}

/// The identity of a sidecar.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The name of the pod.
    pub pod: String,
    /// The namespace of the pod.
    pub namespace: String,
    /// The address of the pod.
    pub ip: IpAddr,
    /// The labels of the pod, each as `key=value`.
    pub labels: Vec<String>,
    /// Whether it is a gateway, and no sidecar.
    pub is_gateway: bool,
    /// Whether its traffic is captured. Otherwise its listeners are bound.
    pub captured: bool,
    /// The proxy that runs.
    pub proxy: Proxy,
}

impl Workload {
    /// Returns the identity of a sidecar whose listeners are bound.
    pub fn new(pod: &str, namespace: &str, ip: IpAddr) -> Self {
        Self {
            pod: pod.into(),
            namespace: namespace.into(),
            ip,
            labels: Vec::new(),
            is_gateway: false,
            captured: false,
            proxy: Proxy::ENVOY,
        }
    }
}

impl Sidecar {
    /// Starts a sidecar with the bootstrap that rutterctl prints, and waits until it serves.
    ///
    /// # Errors
    /// Fails if it does not come to serve.
    pub async fn start(dir: &Path, plane: &ControlPlane, workload: &Workload) -> Result<Self> {
        let envoy = Self::spawn(dir, plane, workload).await?;
        envoy.wait_ready().await.with_context(|| {
            format!(
                "{}: {}",
                workload.pod,
                std::fs::read_to_string(dir.join(format!("{}.log", workload.pod))).unwrap_or_default()
            )
        })?;
        Ok(envoy)
    }

    /// Starts a sidecar without waiting until it serves.
    ///
    /// # Errors
    /// Fails if it cannot be started.
    pub async fn spawn(dir: &Path, plane: &ControlPlane, workload: &Workload) -> Result<Self> {
        let port = free_port()?;
        let mode = if workload.captured { "redirect" } else { "none" };
        let (ip, xds) = (workload.ip.to_string(), plane.xds.to_string());
        let admin = format!("127.0.0.1:{port}");
        let proxy = if workload.proxy == Proxy::Rutter { "rutter" } else { "envoy" };
        let mut args = vec!["-n", &workload.namespace, "bootstrap", "--proxy", proxy, "--pod", &workload.pod];
        if workload.is_gateway {
            args.extend(["--role", "gateway"]);
        }
        args.extend(["--ip", &ip, "--interception", mode, "--xds", &xds, "--admin", &admin]);
        args.extend(workload.labels.iter().flat_map(|label| ["--label", label.as_str()]));
        let bootstrap = plane.ctl(&args).await?;
        let bootstrap = match workload.proxy {
            Proxy::Envoy(_, Variant::Sotw) => bootstrap.replace("\"DELTA_GRPC\"", "\"GRPC\""),
            Proxy::Envoy(_, Variant::Delta) | Proxy::Rutter => bootstrap,
        };
        Self::spawn_with(dir, (&workload.pod, workload.proxy), &bootstrap, port)
    }

    /// Starts a sidecar with a bootstrap whose admin page is at `port`, without waiting until it serves.
    ///
    /// # Errors
    /// Fails if it cannot be started.
    pub fn spawn_with(dir: &Path, (name, proxy): (&str, Proxy), bootstrap: &str, port: u16) -> Result<Self> {
        let path = dir.join(format!("{name}.json"));
        std::fs::write(&path, bootstrap)?;
        let path = path.display().to_string();
        let args =
            ["-c", &path, "--concurrency", "1", "--use-dynamic-base-id", "--disable-hot-restart", "-l", "warning"];
        let log = dir.join(format!("{name}.log"));
        let child = match proxy {
            Proxy::Envoy(release, _) => spawn(&envoy_binary(release)?, &args, &log)?,
            Proxy::Rutter => spawn(&binary("rutter-proxy")?, &args[..2], &log)?,
        };
        Ok(Self { _child: child, admin: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    /// Waits until the sidecar serves.
    ///
    /// # Errors
    /// Fails if it takes too long.
    pub async fn wait_ready(&self) -> Result<()> {
        let end = Instant::now() + READY;
        loop {
            let answer = http::get(self.admin, "/ready", &[]).await;
            if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("the sidecar is not ready: {answer:?}");
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Returns what the admin port of the sidecar says at a path.
    ///
    /// # Errors
    /// Fails if it does not answer.
    pub async fn admin(&self, path: &str) -> Result<String> {
        Ok(http::get(self.admin, path, &[]).await?.body)
    }

    /// Returns a statistic of the sidecar, summed over the names that contain `part`.
    ///
    /// # Errors
    /// Fails if it does not answer.
    pub async fn stat(&self, part: &str) -> Result<u64> {
        let answer = http::get(self.admin, &format!("/stats?usedonly&filter={part}"), &[]).await?;
        let values = answer.body.lines().filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok());
        Ok(values.sum())
    }
}

/// Waits until `is_so` returns true.
///
/// # Errors
/// Fails if that is not so within 20 seconds. `what` says what was awaited.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) -> Result<()> {
    let end = Instant::now() + READY;
    while !is_so().await {
        if Instant::now() > end {
            bail!("waited in vain: {what}");
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}
