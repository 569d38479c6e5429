//! What can be set: by flag, else by environment variable, else in a TOML file, else the default.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

#[derive(Parser)]
#[command(
    name = "rutter",
    version,
    about = "A service-mesh control plane that gives each sidecar only its own page of the mesh"
)]
struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Subcommand)]
enum CliCommand {
    /// Serves xDS to sidecars and the admin API to operators, until SIGTERM or SIGINT
    Serve(Given),
}

/// What the process is to do.
pub enum Command {
    /// Serve.
    Serve(Settings),
}

/// As given, in one place or another. Each has a flag, a variable `RUTTER_…` and a key in the file.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Given {
    /// TOML file with any of these settings, by their long names
    #[arg(long, env = "RUTTER_SETTINGS", value_name = "FILE")]
    #[serde(skip)]
    settings: Option<PathBuf>,
    /// Where config is kept; made where it is missing. Required, unless --memory
    #[arg(long, env = "RUTTER_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Keep config in memory only: it is lost when the process ends
    #[arg(long, env = "RUTTER_MEMORY", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    memory: Option<bool>,
    /// Folder of YAML files that is config too, watched for changes. What is in it is changed only there
    #[arg(long, env = "RUTTER_CONFIG_DIR", value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// Where sidecars connect [default: 127.0.0.1:15010]
    #[arg(long, env = "RUTTER_XDS", value_name = "ADDR")]
    xds: Option<SocketAddr>,
    /// Where rutterctl, Prometheus and health checks connect [default: 127.0.0.1:15014]
    #[arg(long, env = "RUTTER_ADMIN", value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// Serve without TLS on addresses that others can reach. TLS is not built yet, so they need this
    #[arg(long, env = "RUTTER_INSECURE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    insecure: Option<bool>,
    /// Namespace whose Sidecar and DestinationRule objects are defaults for all [default: istio-system]
    #[arg(long, env = "RUTTER_ROOT_NAMESPACE", value_name = "NAME")]
    root_namespace: Option<String>,
    /// Suffix of Kubernetes service names [default: cluster.local]
    #[arg(long, env = "RUTTER_DOMAIN", value_name = "NAME")]
    domain: Option<String>,
    /// Time between the first batches of a burst of config changes, in milliseconds; the first change never waits, nor does the removal of an endpoint [default: 20]
    #[arg(long, env = "RUTTER_DEBOUNCE_MS", value_name = "MS")]
    debounce_ms: Option<u64>,
    /// Time between the batches of a burst that goes on, in milliseconds [default: 100]
    #[arg(long, env = "RUTTER_DEBOUNCE_MAX_MS", value_name = "MS")]
    debounce_max_ms: Option<u64>,
    /// Compute everything a second time from nothing after each change and compare: for tests and for doubts
    #[arg(long, env = "RUTTER_VERIFY", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    verify: Option<bool>,
    /// Close a sidecar that takes nothing of a response for so long, in seconds [default: 60]
    #[arg(long, env = "RUTTER_STUCK_AFTER_S", value_name = "S")]
    stuck_after_s: Option<u64>,
    /// Bytes of unfinished requests and responses, of all sidecars together; beyond, those that take nothing for a second are closed, in MB [default: 256]
    #[arg(long, env = "RUTTER_IN_FLIGHT_MB", value_name = "MB")]
    in_flight_mb: Option<usize>,
    /// Refuse a request that is larger, in MB [default: 16]
    #[arg(long, env = "RUTTER_REQUEST_MB", value_name = "MB")]
    request_mb: Option<usize>,
    /// Close a stream that subscribes to more names, all types together [default: 100000]
    #[arg(long, env = "RUTTER_NAMES_MAX", value_name = "N")]
    names_max: Option<usize>,
    /// Refuse more streams of one sidecar at the same time; a gRPC client has one for each target [default: 100]
    #[arg(long, env = "RUTTER_STREAMS_PER_SIDECAR", value_name = "N")]
    streams_per_sidecar: Option<usize>,
    /// Begin no more streams in a second, of all sidecars together; the others wait for their turn [default: 10000]
    #[arg(long, env = "RUTTER_STREAMS_PER_SECOND", value_name = "N")]
    streams_per_second: Option<u32>,
    /// Ask a connection that says nothing for so long whether it is there, in seconds [default: 30]
    #[arg(long, env = "RUTTER_KEEPALIVE_S", value_name = "S")]
    keepalive_s: Option<u64>,
    /// Close it if it does not answer in this time, in seconds [default: 10]
    #[arg(long, env = "RUTTER_KEEPALIVE_TIMEOUT_S", value_name = "S")]
    keepalive_timeout_s: Option<u64>,
    /// Close a connection of this age, a tenth more or less by chance, so that sidecars spread over replicas; it costs a sidecar that comes back nothing. In seconds; 0: never [default: 1800]
    #[arg(long, env = "RUTTER_CONNECTION_AGE_S", value_name = "S")]
    connection_age_s: Option<u64>,
    /// Close a connection on which so many streams were begun and reset before they were served [default: 20]
    #[arg(long, env = "RUTTER_RESETS_MAX", value_name = "N")]
    resets_max: Option<usize>,
    /// Send every sidecar whole route tables, even where it takes virtual hosts one by one (Envoy from 1.37)
    #[arg(long, env = "RUTTER_WHOLE_ROUTE_TABLES", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    whole_route_tables: Option<bool>,
    /// How log lines look [default: text]
    #[arg(long, env = "RUTTER_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Settled settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where config is kept. None: in memory.
    pub data_dir: Option<PathBuf>,
    /// The watched folder.
    pub config_dir: Option<PathBuf>,
    /// Where sidecars connect.
    pub xds: SocketAddr,
    /// Where operators connect.
    pub admin: SocketAddr,
    /// The namespace of defaults.
    pub root_namespace: String,
    /// The suffix of service names.
    pub domain: String,
    /// The shortest and the longest time between two batches of a burst.
    pub debounce: (Duration, Duration),
    /// Whether everything is computed a second time from nothing.
    pub verify: bool,
    /// How long a sidecar may take nothing of a response.
    pub stuck_after: Duration,
    /// Unfinished requests and responses of all sidecars together, in bytes.
    pub in_flight_bytes: usize,
    /// What clients may cost.
    pub bounds: Bounds,
    /// Whether every sidecar is sent whole route tables.
    pub whole_route_tables: bool,
    /// How log lines look.
    pub log_format: LogFormat,
}

/// Ten years: more than this is never.
const AGE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What clients may cost, one by one and together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The largest request, in bytes.
    pub request_bytes: usize,
    /// Names on one stream, of all types.
    pub names: usize,
    /// Streams of one sidecar at the same time.
    pub streams_per_sidecar: usize,
    /// Streams that begin in a second.
    pub streams_per_second: u32,
    /// When a silent connection is asked whether it is there, and how long it has to answer.
    pub keepalive: (Duration, Duration),
    /// The age at which a connection is closed, a tenth more or less by chance. None: never.
    pub connection_age: Option<Duration>,
    /// Streams of a connection that were reset before they were served.
    pub resets: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            request_bytes: 16 << 20,
            names: rutter_core::delta_stream::Limits::NAMES_MAX,
            streams_per_sidecar: 100,
            streams_per_second: 10_000,
            keepalive: (Duration::from_secs(30), Duration::from_secs(10)),
            connection_age: Some(Duration::from_secs(1800)),
            resets: 20,
        }
    }
}

impl Command {
    /// Reads the command line, the environment and the settings file. Prints help and exits where asked.
    ///
    /// # Errors
    /// When a setting is missing, unreadable or refused.
    pub fn read() -> anyhow::Result<Self> {
        let CliCommand::Serve(given) = Cli::parse().command;
        let file = match &given.settings {
            Some(path) => read_file(path)?,
            None => Given::default(),
        };
        Ok(Self::Serve(given.or(file).settle()?))
    }
}

fn read_file(path: &Path) -> anyhow::Result<Given> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

impl Given {
    fn or(self, file: Self) -> Self {
        Self {
            settings: None,
            data_dir: self.data_dir.or(file.data_dir),
            memory: self.memory.or(file.memory),
            config_dir: self.config_dir.or(file.config_dir),
            xds: self.xds.or(file.xds),
            admin: self.admin.or(file.admin),
            insecure: self.insecure.or(file.insecure),
            root_namespace: self.root_namespace.or(file.root_namespace),
            domain: self.domain.or(file.domain),
            debounce_ms: self.debounce_ms.or(file.debounce_ms),
            debounce_max_ms: self.debounce_max_ms.or(file.debounce_max_ms),
            verify: self.verify.or(file.verify),
            stuck_after_s: self.stuck_after_s.or(file.stuck_after_s),
            in_flight_mb: self.in_flight_mb.or(file.in_flight_mb),
            request_mb: self.request_mb.or(file.request_mb),
            names_max: self.names_max.or(file.names_max),
            streams_per_sidecar: self.streams_per_sidecar.or(file.streams_per_sidecar),
            streams_per_second: self.streams_per_second.or(file.streams_per_second),
            keepalive_s: self.keepalive_s.or(file.keepalive_s),
            keepalive_timeout_s: self.keepalive_timeout_s.or(file.keepalive_timeout_s),
            connection_age_s: self.connection_age_s.or(file.connection_age_s),
            resets_max: self.resets_max.or(file.resets_max),
            whole_route_tables: self.whole_route_tables.or(file.whole_route_tables),
            log_format: self.log_format.or(file.log_format),
        }
    }

    fn settle(self) -> anyhow::Result<Settings> {
        let in_memory = self.memory.unwrap_or(false);
        match (&self.data_dir, in_memory) {
            (None, false) => bail!("want --data-dir DIR (or --memory, which keeps nothing), got neither"),
            (Some(dir), true) => bail!("want one of --data-dir and --memory, got both ({})", dir.display()),
            (Some(_), false) | (None, true) => {}
        }
        let xds = self.xds.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 15010)));
        let admin = self.admin.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 15014)));
        for (name, addr) in [("--xds", xds), ("--admin", admin)] {
            if !addr.ip().is_loopback() && !self.insecure.unwrap_or(false) {
                bail!(
                    "{name}: want a loopback address, got {addr}: others could reach it and TLS is not built yet (--insecure serves it in the clear)"
                );
            }
        }
        let bounds = self.bounds()?;
        Ok(Settings {
            data_dir: self.data_dir,
            config_dir: self.config_dir,
            xds,
            admin,
            root_namespace: self.root_namespace.unwrap_or_else(|| "istio-system".into()),
            domain: self.domain.unwrap_or_else(|| "cluster.local".into()),
            debounce: (
                Duration::from_millis(self.debounce_ms.unwrap_or(20)),
                Duration::from_millis(self.debounce_max_ms.unwrap_or(100)),
            ),
            verify: self.verify.unwrap_or(false),
            stuck_after: Duration::from_secs(self.stuck_after_s.unwrap_or(60)),
            in_flight_bytes: self.in_flight_mb.unwrap_or(256) << 20,
            bounds,
            whole_route_tables: self.whole_route_tables.unwrap_or(false),
            log_format: self.log_format.unwrap_or_default(),
        })
    }

    fn bounds(&self) -> anyhow::Result<Bounds> {
        let usual = Bounds::default();
        let seconds = |given: Option<u64>, usual| given.map_or(usual, Duration::from_secs);
        let age = seconds(self.connection_age_s, usual.connection_age.unwrap_or_default());
        let bounds = Bounds {
            request_bytes: self.request_mb.map_or(usual.request_bytes, |mb| mb.saturating_mul(1 << 20)),
            names: self.names_max.unwrap_or(usual.names),
            streams_per_sidecar: self.streams_per_sidecar.unwrap_or(usual.streams_per_sidecar),
            streams_per_second: self.streams_per_second.unwrap_or(usual.streams_per_second),
            keepalive: (
                seconds(self.keepalive_s, usual.keepalive.0),
                seconds(self.keepalive_timeout_s, usual.keepalive.1),
            ),
            connection_age: (age > Duration::ZERO).then_some(age),
            resets: self.resets_max.unwrap_or(usual.resets),
        };
        let least = [
            ("--request-mb", bounds.request_bytes as u64),
            ("--names-max", bounds.names as u64),
            ("--streams-per-sidecar", bounds.streams_per_sidecar as u64),
            ("--streams-per-second", bounds.streams_per_second.into()),
            ("--keepalive-s", bounds.keepalive.0.as_secs()),
            ("--keepalive-timeout-s", bounds.keepalive.1.as_secs()),
        ];
        if age > AGE_MAX {
            bail!("--connection-age-s: want at most {}, got {}", AGE_MAX.as_secs(), age.as_secs());
        }
        if let Some((name, _)) = least.into_iter().find(|(_, value)| *value == 0) {
            bail!("{name}: want at least 1, got 0");
        }
        Ok(bounds)
    }
}

impl Settings {
    /// For tests: ports that the system picks, config in `data_dir`.
    pub fn for_tests(data_dir: &Path) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            data_dir: Some(data_dir.to_owned()),
            config_dir: None,
            xds: any,
            admin: any,
            root_namespace: "istio-system".into(),
            domain: "cluster.local".into(),
            debounce: (Duration::from_millis(20), Duration::from_millis(100)),
            verify: false,
            stuck_after: Duration::from_secs(60),
            in_flight_bytes: 256 << 20,
            bounds: Bounds::default(),
            whole_route_tables: false,
            log_format: LogFormat::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(toml: &str) -> Result<Settings, String> {
        let given: Given = toml::from_str(toml).map_err(|error| error.to_string())?;
        given.settle().map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_that_others_reach_want_insecure() {
        let error = settle("data-dir = 'd'\nxds = '0.0.0.0:15010'").unwrap_err();
        assert!(error.starts_with("--xds: want a loopback address, got 0.0.0.0:15010"), "{error}");
        assert!(settle("data-dir = 'd'\nxds = '0.0.0.0:15010'\ninsecure = true").is_ok());
        assert_eq!(settle("memory = true").unwrap().xds.to_string(), "127.0.0.1:15010");
    }

    #[test]
    fn a_place_for_config_is_required() {
        assert!(settle("").unwrap_err().contains("--data-dir"));
        assert!(settle("data-dir = 'd'\nmemory = true").unwrap_err().contains("got both"));
        assert!(settle("dta-dir = 'd'").unwrap_err().contains("unknown field"));
    }

    #[test]
    fn bounds_have_defaults_and_none_may_be_nothing_but_the_age() {
        assert_eq!(settle("memory = true").unwrap().bounds, Bounds::default());
        assert_eq!(settle("memory = true\nconnection-age-s = 0").unwrap().bounds.connection_age, None);
        assert!(settle("memory = true\nconnection-age-s = 9223372036854775807").unwrap_err().contains("want at most"));
        let error = settle("memory = true\nnames-max = 0").unwrap_err();
        assert_eq!(error, "--names-max: want at least 1, got 0");
    }

    #[test]
    fn flags_win_over_the_file() {
        let flag = Given { root_namespace: Some("a".into()), ..Given::default() };
        let file = Given { root_namespace: Some("b".into()), memory: Some(true), ..Given::default() };
        assert_eq!(flag.or(file).settle().unwrap().root_namespace, "a");
    }
}
