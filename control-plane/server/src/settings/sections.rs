//! The settings, section by section. Each is written once: its flag, variable, help, type and default stand together.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use rutter_core::stream::Limits as StreamLimits;

use super::units::{Megabytes, Milliseconds, Seconds};

/// Where config comes from.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct StoreSettings {
    /// Folder in which config is kept; it is made if it is missing. Required unless --memory is given
    #[arg(long, env = "RUTTER_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Keep config in memory only, so that it is lost when the process ends
    #[arg(long, env = "RUTTER_MEMORY", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
        default_value_t = StoreSettings::default().memory, hide_default_value = true, action = ArgAction::Set)]
    pub memory: bool,
    /// File with the key with which Secrets are sealed, which is made for the first Secret. Default: the data folder with .key behind its name. Keep a copy, but not beside backups
    #[arg(long, env = "RUTTER_SECRET_KEY_FILE", value_name = "FILE")]
    pub secret_key_file: Option<PathBuf>,
    /// Folder of YAML files that is watched for changes. Objects in it can be changed only there
    #[arg(long, env = "RUTTER_CONFIG_DIR", value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// Leave a file of the watched folder alone until nobody has written to it for so long, in milliseconds, unless it was closed or renamed. An object that is in no file any more is deleted after this time
    #[arg(long, env = "RUTTER_CONFIG_SETTLE_MS", value_name = "MS", default_value_t = StoreSettings::default().config_settle_ms)]
    pub config_settle_ms: Milliseconds,
    /// Look the watched folder over so often, in seconds, for changes of which the file system tells nothing. By default every 2 seconds on network file systems, and every 30 on others
    #[arg(long, env = "RUTTER_CONFIG_POLL_S", value_name = "S")]
    pub config_poll_s: Option<Seconds>,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            data_dir: None,
            memory: false,
            secret_key_file: None,
            config_dir: None,
            config_settle_ms: Milliseconds::new(200),
            config_poll_s: None,
        }
    }
}

/// The addresses at which the process listens.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct AddressSettings {
    /// Address at which sidecars connect
    #[arg(long, env = "RUTTER_XDS", value_name = "ADDR", default_value_t = AddressSettings::default().xds)]
    pub xds: SocketAddr,
    /// Address at which Prometheus and health checks connect: /metrics, /healthz and /readyz, and nothing else
    #[arg(long, env = "RUTTER_MONITORING", value_name = "ADDR", default_value_t = AddressSettings::default().monitoring)]
    pub monitoring: SocketAddr,
    /// Unix socket at which rutterctl connects. Default: admin.sock in the data folder
    #[arg(long, env = "RUTTER_ADMIN_SOCKET", value_name = "PATH")]
    pub admin_socket: Option<PathBuf>,
    /// Group whose members may use that socket as well, by its name or number. By default only the owner may
    #[arg(long, env = "RUTTER_ADMIN_GROUP", value_name = "GROUP")]
    pub admin_group: Option<String>,
    /// TCP address at which rutterctl connects as well, with a token of --token-file. By default there is none
    #[arg(long, env = "RUTTER_ADMIN", value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// File with the tokens that are wanted at --admin, which is made if it is missing. Default: tokens in the data folder
    #[arg(long, env = "RUTTER_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Host names under which --admin may be asked for, beside localhost and the loopback addresses, with commas between them
    #[arg(long, env = "RUTTER_ADMIN_HOSTS", value_name = "HOSTS", value_delimiter = ',')]
    pub admin_hosts: Vec<String>,
    /// Origins of web pages from which --admin may be used, such as https://console.example.com, with commas between them
    #[arg(long, env = "RUTTER_ADMIN_ORIGINS", value_name = "ORIGINS", value_delimiter = ',')]
    pub admin_origins: Vec<String>,
    /// Serve without TLS at addresses that other machines can reach. TLS is not built yet, so such addresses need this
    #[arg(long, env = "RUTTER_INSECURE", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
        default_value_t = AddressSettings::default().insecure, hide_default_value = true, action = ArgAction::Set)]
    pub insecure: bool,
}

impl Default for AddressSettings {
    fn default() -> Self {
        Self {
            xds: local(15010),
            monitoring: local(15014),
            admin_socket: None,
            admin_group: None,
            admin: None,
            token_file: None,
            admin_hosts: Vec::new(),
            admin_origins: Vec::new(),
            insecure: false,
        }
    }
}

/// What is the same for the whole mesh, and how config becomes resources.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct MeshOptions {
    /// Namespace whose Sidecar and DestinationRule objects are defaults for every namespace
    #[arg(long, env = "RUTTER_ROOT_NAMESPACE", value_name = "NAME", default_value_t = MeshOptions::default().root_namespace)]
    pub root_namespace: String,
    /// Suffix of Kubernetes service names
    #[arg(long, env = "RUTTER_DOMAIN", value_name = "NAME", default_value_t = MeshOptions::default().domain)]
    pub domain: String,
    /// Send whole route tables to every sidecar, even to one that takes virtual hosts one by one (Envoy 1.37 and later)
    #[arg(long, env = "RUTTER_WHOLE_ROUTE_TABLES", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
        default_value_t = MeshOptions::default().whole_route_tables, hide_default_value = true, action = ArgAction::Set)]
    pub whole_route_tables: bool,
    /// Let a Sidecar object without egress show its workloads what that of the root namespace does, and not everything as in Istio
    #[arg(long, env = "RUTTER_INHERIT_EGRESS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
        default_value_t = MeshOptions::default().inherit_egress, hide_default_value = true, action = ArgAction::Set)]
    pub inherit_egress: bool,
    /// Keep up to date what rutterctl analyze finds: apply warns of it, and the log, a metric and the status of objects tell it. It costs memory, some 1.5 kB for an object
    #[arg(long, env = "RUTTER_ANALYSIS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
        default_value_t = MeshOptions::default().analysis, hide_default_value = true, action = ArgAction::Set)]
    pub analysis: bool,
    /// Compute everything a second time from nothing after each change and compare: for tests, and in doubt
    #[arg(long, env = "RUTTER_VERIFY", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
        default_value_t = MeshOptions::default().verify, hide_default_value = true, action = ArgAction::Set)]
    pub verify: bool,
    /// Time between the first batches of a burst of config changes, in milliseconds. The first change of a burst never waits, and neither does the removal of an endpoint
    #[arg(long, env = "RUTTER_DEBOUNCE_MS", value_name = "MS", default_value_t = MeshOptions::default().debounce_ms)]
    pub debounce_ms: Milliseconds,
    /// Time between the batches of a burst that goes on, in milliseconds
    #[arg(long, env = "RUTTER_DEBOUNCE_MAX_MS", value_name = "MS", default_value_t = MeshOptions::default().debounce_max_ms)]
    pub debounce_max_ms: Milliseconds,
}

impl Default for MeshOptions {
    fn default() -> Self {
        let mesh = rutter_core::MeshSettings::default();
        Self {
            root_namespace: mesh.root_namespace.to_string(),
            domain: mesh.domain.to_string(),
            whole_route_tables: mesh.whole_route_tables,
            inherit_egress: mesh.inherit_egress,
            analysis: true,
            verify: false,
            debounce_ms: Milliseconds::new(20),
            debounce_max_ms: Milliseconds::new(100),
        }
    }
}

/// What clients may cost, one by one and together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct LimitSettings {
    /// Close the stream of a sidecar that takes nothing of a response for so long, in seconds
    #[arg(long, env = "RUTTER_STUCK_AFTER_S", value_name = "S", default_value_t = LimitSettings::default().stuck_after_s)]
    pub stuck_after_s: Seconds,
    /// Memory for unfinished requests and responses of all sidecars together, in MB. Above it, streams of sidecars that take nothing for a second are closed
    #[arg(long, env = "RUTTER_IN_FLIGHT_MB", value_name = "MB", default_value_t = LimitSettings::default().in_flight_mb)]
    pub in_flight_mb: Megabytes,
    /// Refuse more connections than this. It is lowered to what the number of file descriptors allows
    #[arg(long, env = "RUTTER_CONNECTIONS_MAX", value_name = "N", default_value_t = LimitSettings::default().connections_max)]
    pub connections_max: usize,
    /// Refuse more connections than this from one address. 0 means half of --connections-max
    #[arg(long, env = "RUTTER_CONNECTIONS_PER_ADDRESS", value_name = "N", default_value_t = LimitSettings::default().connections_per_address)]
    pub connections_per_address: usize,
    /// Refuse a request that is larger than this, in MB
    #[arg(long, env = "RUTTER_REQUEST_MB", value_name = "MB", default_value_t = LimitSettings::default().request_mb)]
    pub request_mb: Megabytes,
    /// Close a stream that subscribes to more names than this, all types together
    #[arg(long, env = "RUTTER_NAMES_MAX", value_name = "N", default_value_t = LimitSettings::default().names_max)]
    pub names_max: usize,
    /// Refuse more streams of one sidecar from one address at the same time. A gRPC client has a stream for each target
    #[arg(long, env = "RUTTER_STREAMS_PER_SIDECAR", value_name = "N", default_value_t = LimitSettings::default().streams_per_sidecar)]
    pub streams_per_sidecar: usize,
    /// Begin no more streams than this in a second, of all sidecars together. The others wait for their turn
    #[arg(long, env = "RUTTER_STREAMS_PER_SECOND", value_name = "N", default_value_t = LimitSettings::default().streams_per_second)]
    pub streams_per_second: u32,
    /// Ping a connection on which nothing was received for so long, in seconds
    #[arg(long, env = "RUTTER_KEEPALIVE_S", value_name = "S", default_value_t = LimitSettings::default().keepalive_s)]
    pub keepalive_s: Seconds,
    /// Close a connection that does not answer a ping in this time, in seconds
    #[arg(long, env = "RUTTER_KEEPALIVE_TIMEOUT_S", value_name = "S", default_value_t = LimitSettings::default().keepalive_timeout_s)]
    pub keepalive_timeout_s: Seconds,
    /// Close a connection of this age, more or less a random tenth, so that sidecars spread over replicas; a sidecar that reconnects is sent nothing it has. In seconds; 0 means never
    #[arg(long, env = "RUTTER_CONNECTION_AGE_S", value_name = "S", default_value_t = LimitSettings::default().connection_age_s)]
    pub connection_age_s: Seconds,
    /// Close a connection on which so many streams were begun and reset before they were served
    #[arg(long, env = "RUTTER_RESETS_MAX", value_name = "N", default_value_t = LimitSettings::default().resets_max)]
    pub resets_max: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            stuck_after_s: Seconds::new(60),
            in_flight_mb: Megabytes::new(256),
            request_mb: Megabytes::new(16),
            names_max: StreamLimits::NAMES_MAX,
            streams_per_sidecar: 100,
            streams_per_second: 10_000,
            keepalive_s: Seconds::new(30),
            keepalive_timeout_s: Seconds::new(10),
            connection_age_s: Seconds::new(1800),
            resets_max: 20,
            connections_max: 65_536,
            connections_per_address: 0,
        }
    }
}

impl LimitSettings {
    /// Returns the age at which a connection is closed. `None` means that it is never closed for its age.
    pub fn connection_age(&self) -> Option<std::time::Duration> {
        Some(self.connection_age_s.0).filter(|age| !age.is_zero())
    }
}

/// Where the times of changes are sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct TraceSettings {
    /// Address of a collector that takes OTLP over gRPC, as http://HOST:4317, to which a trace of each change is sent: from the commit to the answer of the last sidecar. By default there is none
    #[arg(long, env = "RUTTER_OTLP_ENDPOINT", value_name = "URL", value_parser = otlp_endpoint)]
    pub otlp_endpoint: Option<String>,
}

fn otlp_endpoint(text: &str) -> Result<String, String> {
    let wrong = || format!("want http://HOST:PORT, got {text:?}");
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    match (uri.scheme_str(), uri.port_u16()) {
        (Some("http"), Some(1..)) => Ok(text.to_owned()),
        (Some("https"), _) => Err("want http://HOST:PORT, got a URL of https (TLS is not built yet)".to_owned()),
        (_, _) => Err(wrong()),
    }
}

/// The log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct LogSettings {
    /// Format of log lines
    #[arg(long, env = "RUTTER_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = LogSettings::default().log_format)]
    pub log_format: LogFormat,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object in each line
    Json,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
