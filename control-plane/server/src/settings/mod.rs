//! The settings of the process: each is given by a flag, by an environment variable, in a TOML file, or is the default.

mod sections;
mod units;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use rutter_api::{ADMIN_SOCKET, MEMORY_ADMIN_SOCKET, TOKENS_FILE};

pub use sections::{AddressSettings, LimitSettings, LogFormat, LogSettings, MeshOptions, StoreSettings, TraceSettings};
pub use units::{Megabytes, Milliseconds, Seconds};

#[derive(Parser)]
#[command(
    name = "rutter",
    version,
    about = "A service-mesh control plane that gives each sidecar only its own page of the mesh"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What the process is to do.
#[derive(Subcommand)]
pub enum Command {
    /// Serve xDS to sidecars and the admin API to operators, until SIGTERM, SIGINT or SIGHUP
    Serve(Box<Settings>),
    /// Make a damaged data folder again from what is left in it, or from a backup, while nothing serves from it
    Restore(Restore),
}

/// What a data folder is to be made again from.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Restore {
    /// The data folder. The files that are in it before are kept in a folder of their own in it
    #[arg(long, env = "RUTTER_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// A file of `rutterctl backup`, or a snapshot of the folder's journal. Without it, everything is restored that can be found in the folder
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Say what would be restored, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// The settings of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Settings {
    /// TOML file with any of these settings under their long names
    #[arg(long, env = "RUTTER_SETTINGS", value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Where config comes from.
    #[command(flatten)]
    pub store: StoreSettings,
    /// The addresses at which the process listens.
    #[command(flatten)]
    pub addresses: AddressSettings,
    /// What is the same for the whole mesh.
    #[command(flatten)]
    pub mesh: MeshOptions,
    /// What clients may cost.
    #[command(flatten)]
    pub limits: LimitSettings,
    /// Where the times of changes are sent.
    #[command(flatten)]
    pub traces: TraceSettings,
    /// The log.
    #[command(flatten)]
    pub log: LogSettings,
}

/// The longest age of a connection that can be given: ten years.
const AGE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The name of the subcommand that takes settings.
const SERVE: &str = "serve";

impl Command {
    /// Reads the command line, the environment and the settings file. It prints help and exits if that is asked for.
    ///
    /// # Errors
    /// Fails if a setting is missing, unreadable or refused.
    pub fn read() -> anyhow::Result<Self> {
        let args: Vec<OsString> = std::env::args_os().collect();
        let matches = Cli::command().get_matches_from(&args);
        let file = matches.subcommand_matches(SERVE).and_then(|serve| serve.get_one::<PathBuf>("settings"));
        let Some(path) = file else {
            return Self::from_matches(&matches)?.check();
        };
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::with_file(args, &matches, &text).with_context(|| path.display().to_string())
    }

    fn from_matches(matches: &ArgMatches) -> anyhow::Result<Self> {
        Ok(Cli::from_arg_matches(matches)?.command)
    }

    /// Adds the settings of a file that are given neither by a flag nor by a variable.
    fn with_file(mut args: Vec<OsString>, matches: &ArgMatches, text: &str) -> anyhow::Result<Self> {
        let file: toml::Table = toml::from_str(text)?;
        let serve = matches.subcommand_matches(SERVE).context("want the subcommand serve")?;
        for (key, value) in &file {
            if !is_given(serve, key)? {
                args.push(format!("--{key}={}", argument(key, value)?).into());
            }
        }
        let matches = Cli::command().try_get_matches_from(args).map_err(|error| anyhow!(first_line(&error)))?;
        Self::from_matches(&matches)?.check()
    }

    fn check(self) -> anyhow::Result<Self> {
        match &self {
            Self::Serve(settings) => settings.check()?,
            Self::Restore(_) => {}
        }
        Ok(self)
    }
}

/// Returns whether a setting is given by a flag or a variable, which count more than the file.
fn is_given(serve: &ArgMatches, key: &str) -> anyhow::Result<bool> {
    let id = key.replace('-', "_");
    let command = Cli::command();
    let arguments = command.find_subcommand(SERVE).map(clap::Command::get_arguments).into_iter().flatten();
    let known: Vec<String> = arguments.filter_map(|argument| argument.get_long()).map(str::to_owned).collect();
    if !known.iter().any(|name| name == key && name != "settings" && name != "help") {
        let known: Vec<&str> = known.iter().map(String::as_str).filter(|name| *name != "settings").collect();
        bail!("unknown field `{key}`, want one of {}", known.join(", "));
    }
    let source = serve.value_source(&id);
    Ok(matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable)))
}

/// Returns a value of the file as it would be written on the command line.
fn argument(key: &str, value: &toml::Value) -> anyhow::Result<String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(value) => Ok(value.to_string()),
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => {
            bail!("{key}: want a string, a whole number or a boolean, got {}", value.type_str())
        }
    }
}

/// Returns the message of an error of the command line without the usage that follows it.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

impl Settings {
    /// Returns settings for tests: ports that the system chooses, and config in a folder.
    pub fn for_tests(data_dir: &Path) -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            store: StoreSettings { data_dir: Some(data_dir.to_owned()), ..StoreSettings::default() },
            addresses: AddressSettings { xds: any_port, monitoring: any_port, ..AddressSettings::default() },
            ..Self::default()
        }
    }

    /// Returns the path of the socket of the admin API. Without a data folder it is in a folder for temporary files.
    pub fn admin_socket(&self) -> PathBuf {
        let named = self.addresses.admin_socket.clone();
        let in_data_folder = || self.store.data_dir.as_ref().map(|dir| dir.join(ADMIN_SOCKET));
        named.or_else(in_data_folder).unwrap_or_else(|| std::env::temp_dir().join(MEMORY_ADMIN_SOCKET))
    }

    /// Returns the path of the key with which Secrets are sealed: beside the data folder, so that a copy of that is of no
    /// use alone. `None` means that the key is kept in memory, as the objects are.
    ///
    /// # Errors
    /// Fails if the file is in the data folder.
    pub(crate) fn secret_key_file(&self) -> anyhow::Result<Option<PathBuf>> {
        let Some(dir) = &self.store.data_dir else { return Ok(self.store.secret_key_file.clone()) };
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.clone());
        let Some(file) = &self.store.secret_key_file else {
            let mut path = dir.into_os_string();
            path.push(".key");
            return Ok(Some(path.into()));
        };
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if folder.canonicalize().is_ok_and(|folder| folder.starts_with(&dir)) {
            bail!("--secret-key-file: want a file outside the data folder, got {}", file.display());
        }
        Ok(Some(file.clone()))
    }

    /// Returns the path of the file with tokens.
    pub(crate) fn token_file(&self) -> PathBuf {
        let named = self.addresses.token_file.clone();
        let in_data_folder = || self.store.data_dir.as_ref().map(|dir| dir.join(TOKENS_FILE));
        named.or_else(in_data_folder).unwrap_or_else(|| TOKENS_FILE.into())
    }

    /// Refuses settings that do not fit together.
    fn check(&self) -> anyhow::Result<()> {
        match (&self.store.data_dir, self.store.memory) {
            (None, false) => bail!("want --data-dir DIR (or --memory, which keeps nothing), got neither"),
            (Some(dir), true) => bail!("want one of --data-dir and --memory, got both ({})", dir.display()),
            (Some(_), false) | (None, true) => {}
        }
        let addresses = &self.addresses;
        if addresses.admin.is_some() && addresses.token_file.is_none() && self.store.memory {
            bail!("want --token-file FILE with --admin and --memory, because there is no data folder for it, got none");
        }
        let monitoring = ("--monitoring", addresses.monitoring);
        let admin = addresses.admin.map(|address| ("--admin", address));
        for (name, address) in [("--xds", addresses.xds), monitoring].into_iter().chain(admin) {
            if !address.ip().is_loopback() && !addresses.insecure {
                bail!(
                    "{name}: want a loopback address, got {address}: others could reach it and TLS is not built yet (--insecure serves it in the clear)"
                );
            }
        }
        self.limits.check()
    }
}

impl LimitSettings {
    fn check(&self) -> anyhow::Result<()> {
        let age = self.connection_age_s.0;
        if age > AGE_MAX {
            bail!("--connection-age-s: want at most {}, got {}", AGE_MAX.as_secs(), age.as_secs());
        }
        let at_least_one = [
            ("--request-mb", self.request_mb.0 as u64),
            ("--names-max", self.names_max as u64),
            ("--connections-max", self.connections_max as u64),
            ("--streams-per-sidecar", self.streams_per_sidecar as u64),
            ("--streams-per-second", self.streams_per_second.into()),
            ("--keepalive-s", self.keepalive_s.0.as_secs()),
            ("--keepalive-timeout-s", self.keepalive_timeout_s.0.as_secs()),
        ];
        if let Some((name, _)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
            bail!("{name}: want at least 1, got 0");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// Reads the settings of a command line and of a file. The error is that which the user sees.
    fn read(args: &[&str], toml: &str) -> Result<Settings, String> {
        let args: Vec<OsString> = ["rutter", "serve"].iter().chain(args).map(OsString::from).collect();
        let matches = Cli::command().try_get_matches_from(&args).map_err(|error| first_line(&error))?;
        match Command::with_file(args, &matches, toml).map_err(|error| format!("{error:#}"))? {
            Command::Serve(settings) => Ok(*settings),
            Command::Restore(_) => Err("want serve, got restore".into()),
        }
    }

    #[test]
    fn addresses_that_others_reach_want_insecure() {
        let error = read(&[], "data-dir = 'd'\nxds = '0.0.0.0:15010'").unwrap_err();
        assert!(error.starts_with("--xds: want a loopback address, got 0.0.0.0:15010"), "{error}");
        assert!(read(&[], "data-dir = 'd'\nxds = '0.0.0.0:15010'\ninsecure = true").is_ok());
        assert_eq!(read(&[], "memory = true").unwrap().addresses.xds.to_string(), "127.0.0.1:15010");
    }

    #[test]
    fn a_place_for_config_is_required() {
        assert!(read(&[], "").unwrap_err().contains("--data-dir"));
        assert!(read(&[], "data-dir = 'd'\nmemory = true").unwrap_err().contains("got both"));
        assert!(read(&[], "dta-dir = 'd'").unwrap_err().starts_with("unknown field `dta-dir`, want one of data-dir"));
    }

    #[test]
    fn limits_have_defaults_and_none_may_be_zero_but_the_age() {
        assert_eq!(read(&[], "memory = true").unwrap().limits, LimitSettings::default());
        assert_eq!(read(&[], "memory = true\nconnection-age-s = 0").unwrap().limits.connection_age(), None);
        let age = "memory = true\nconnection-age-s = 9223372036854775807";
        assert!(read(&[], age).unwrap_err().contains("want at most"));
        let error = read(&[], "memory = true\nnames-max = 0").unwrap_err();
        assert_eq!(error, "--names-max: want at least 1, got 0");
    }

    #[test]
    fn flags_come_before_the_file() {
        let settings = read(&["--root-namespace", "a", "--memory"], "root-namespace = 'b'\ndomain = 'c'").unwrap();
        assert_eq!((settings.mesh.root_namespace.as_str(), settings.mesh.domain.as_str()), ("a", "c"));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_by_its_name() {
        let error = read(&[], "memory = true\nnames-max = 'many'").unwrap_err();
        assert!(error.starts_with("invalid value 'many' for '--names-max <N>'"), "{error}");
        let error = read(&[], "memory = true\nnames-max = [1]").unwrap_err();
        assert_eq!(error, "names-max: want a string, a whole number or a boolean, got array");
    }

    #[test]
    fn every_setting_has_a_flag_a_variable_and_a_help() {
        let command = Cli::command();
        let serve = command.find_subcommand(SERVE).unwrap();
        for argument in serve.get_arguments().filter(|argument| argument.get_long() != Some("help")) {
            let long = argument.get_long().unwrap();
            let variable = format!("RUTTER_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(argument.get_env().unwrap().to_str(), Some(variable.as_str()));
            assert!(argument.get_help().is_some(), "{long}");
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "most of it is expected output")]
    fn the_help_is_what_operators_read() {
        let mut command = Cli::command();
        let serve = command.find_subcommand_mut(SERVE).unwrap();
        // What stands in the environment of the test is none of its business.
        let serve = std::mem::take(serve).mut_args(|argument| argument.hide_env_values(true)).term_width(120);
        let help = serve.clone().render_long_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        expect![[r#"
            Serve xDS to sidecars and the admin API to operators, until SIGTERM, SIGINT or SIGHUP

            Usage: serve [OPTIONS]

            Options:
                  --settings <FILE>
                      TOML file with any of these settings under their long names

                      [env: RUTTER_SETTINGS]

                  --data-dir <DIR>
                      Folder in which config is kept; it is made if it is missing. Required unless --memory is given

                      [env: RUTTER_DATA_DIR]

                  --memory [<BOOL>]
                      Keep config in memory only, so that it is lost when the process ends

                      [env: RUTTER_MEMORY]
                      [possible values: true, false]

                  --secret-key-file <FILE>
                      File with the key with which Secrets are sealed, which is made for the first Secret. Default: the data folder
                      with .key behind its name. Keep a copy, but not beside backups

                      [env: RUTTER_SECRET_KEY_FILE]

                  --config-dir <DIR>
                      Folder of YAML files that is watched for changes. Objects in it can be changed only there

                      [env: RUTTER_CONFIG_DIR]

                  --config-settle-ms <MS>
                      Leave a file of the watched folder alone until nobody has written to it for so long, in milliseconds, unless
                      it was closed or renamed. An object that is in no file any more is deleted after this time

                      [env: RUTTER_CONFIG_SETTLE_MS]
                      [default: 200]

                  --config-poll-s <S>
                      Look the watched folder over so often, in seconds, for changes of which the file system tells nothing. By
                      default every 2 seconds on network file systems, and every 30 on others

                      [env: RUTTER_CONFIG_POLL_S]

                  --xds <ADDR>
                      Address at which sidecars connect

                      [env: RUTTER_XDS]
                      [default: 127.0.0.1:15010]

                  --monitoring <ADDR>
                      Address at which Prometheus and health checks connect: /metrics, /healthz and /readyz, and nothing else

                      [env: RUTTER_MONITORING]
                      [default: 127.0.0.1:15014]

                  --admin-socket <PATH>
                      Unix socket at which rutterctl connects. Default: admin.sock in the data folder

                      [env: RUTTER_ADMIN_SOCKET]

                  --admin-group <GROUP>
                      Group whose members may use that socket as well, by its name or number. By default only the owner may

                      [env: RUTTER_ADMIN_GROUP]

                  --admin <ADDR>
                      TCP address at which rutterctl connects as well, with a token of --token-file. By default there is none

                      [env: RUTTER_ADMIN]

                  --token-file <FILE>
                      File with the tokens that are wanted at --admin, which is made if it is missing. Default: tokens in the data
                      folder

                      [env: RUTTER_TOKEN_FILE]

                  --admin-hosts <HOSTS>
                      Host names under which --admin may be asked for, beside localhost and the loopback addresses, with commas
                      between them

                      [env: RUTTER_ADMIN_HOSTS]

                  --admin-origins <ORIGINS>
                      Origins of web pages from which --admin may be used, such as https://console.example.com, with commas between
                      them

                      [env: RUTTER_ADMIN_ORIGINS]

                  --insecure [<BOOL>]
                      Serve without TLS at addresses that other machines can reach. TLS is not built yet, so such addresses need
                      this

                      [env: RUTTER_INSECURE]
                      [possible values: true, false]

                  --root-namespace <NAME>
                      Namespace whose Sidecar and DestinationRule objects are defaults for every namespace

                      [env: RUTTER_ROOT_NAMESPACE]
                      [default: istio-system]

                  --domain <NAME>
                      Suffix of Kubernetes service names

                      [env: RUTTER_DOMAIN]
                      [default: cluster.local]

                  --whole-route-tables [<BOOL>]
                      Send whole route tables to every sidecar, even to one that takes virtual hosts one by one (Envoy 1.37 and
                      later)

                      [env: RUTTER_WHOLE_ROUTE_TABLES]
                      [possible values: true, false]

                  --inherit-egress [<BOOL>]
                      Let a Sidecar object without egress show its workloads what that of the root namespace does, and not
                      everything as in Istio

                      [env: RUTTER_INHERIT_EGRESS]
                      [possible values: true, false]

                  --analysis [<BOOL>]
                      Keep up to date what rutterctl analyze finds: apply warns of it, and the log, a metric and the status of
                      objects tell it. It costs memory, some 1.5 kB for an object

                      [env: RUTTER_ANALYSIS]
                      [possible values: true, false]

                  --verify [<BOOL>]
                      Compute everything a second time from nothing after each change and compare: for tests, and in doubt

                      [env: RUTTER_VERIFY]
                      [possible values: true, false]

                  --debounce-ms <MS>
                      Time between the first batches of a burst of config changes, in milliseconds. The first change of a burst
                      never waits, and neither does the removal of an endpoint

                      [env: RUTTER_DEBOUNCE_MS]
                      [default: 20]

                  --debounce-max-ms <MS>
                      Time between the batches of a burst that goes on, in milliseconds

                      [env: RUTTER_DEBOUNCE_MAX_MS]
                      [default: 100]

                  --stuck-after-s <S>
                      Close the stream of a sidecar that takes nothing of a response for so long, in seconds

                      [env: RUTTER_STUCK_AFTER_S]
                      [default: 60]

                  --in-flight-mb <MB>
                      Memory for unfinished requests and responses of all sidecars together, in MB. Above it, streams of sidecars
                      that take nothing for a second are closed

                      [env: RUTTER_IN_FLIGHT_MB]
                      [default: 256]

                  --connections-max <N>
                      Refuse more connections than this. It is lowered to what the number of file descriptors allows

                      [env: RUTTER_CONNECTIONS_MAX]
                      [default: 65536]

                  --connections-per-address <N>
                      Refuse more connections than this from one address. 0 means half of --connections-max

                      [env: RUTTER_CONNECTIONS_PER_ADDRESS]
                      [default: 0]

                  --request-mb <MB>
                      Refuse a request that is larger than this, in MB

                      [env: RUTTER_REQUEST_MB]
                      [default: 16]

                  --names-max <N>
                      Close a stream that subscribes to more names than this, all types together

                      [env: RUTTER_NAMES_MAX]
                      [default: 100000]

                  --streams-per-sidecar <N>
                      Refuse more streams of one sidecar from one address at the same time. A gRPC client has a stream for each
                      target

                      [env: RUTTER_STREAMS_PER_SIDECAR]
                      [default: 100]

                  --streams-per-second <N>
                      Begin no more streams than this in a second, of all sidecars together. The others wait for their turn

                      [env: RUTTER_STREAMS_PER_SECOND]
                      [default: 10000]

                  --keepalive-s <S>
                      Ping a connection on which nothing was received for so long, in seconds

                      [env: RUTTER_KEEPALIVE_S]
                      [default: 30]

                  --keepalive-timeout-s <S>
                      Close a connection that does not answer a ping in this time, in seconds

                      [env: RUTTER_KEEPALIVE_TIMEOUT_S]
                      [default: 10]

                  --connection-age-s <S>
                      Close a connection of this age, more or less a random tenth, so that sidecars spread over replicas; a sidecar
                      that reconnects is sent nothing it has. In seconds; 0 means never

                      [env: RUTTER_CONNECTION_AGE_S]
                      [default: 1800]

                  --resets-max <N>
                      Close a connection on which so many streams were begun and reset before they were served

                      [env: RUTTER_RESETS_MAX]
                      [default: 20]

                  --otlp-endpoint <URL>
                      Address of a collector that takes OTLP over gRPC, as http://HOST:4317, to which a trace of each change is
                      sent: from the commit to the answer of the last sidecar. By default there is none

                      [env: RUTTER_OTLP_ENDPOINT]

                  --log-format <FORMAT>
                      Format of log lines

                      Possible values:
                      - text: Lines for people
                      - json: One JSON object in each line

                      [env: RUTTER_LOG_FORMAT]
                      [default: text]

              -h, --help
                      Print help (see a summary with '-h')"#]].assert_eq(&lines.join("\n"));
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a list of all settings")]
    fn defaults_are_those_of_the_documents() {
        expect![[r#"
            Settings {
                settings: None,
                store: StoreSettings {
                    data_dir: None,
                    memory: true,
                    secret_key_file: None,
                    config_dir: None,
                    config_settle_ms: Milliseconds(
                        200ms,
                    ),
                    config_poll_s: None,
                },
                addresses: AddressSettings {
                    xds: 127.0.0.1:15010,
                    monitoring: 127.0.0.1:15014,
                    admin_socket: None,
                    admin_group: None,
                    admin: None,
                    token_file: None,
                    admin_hosts: [],
                    admin_origins: [],
                    insecure: false,
                },
                mesh: MeshOptions {
                    root_namespace: "istio-system",
                    domain: "cluster.local",
                    whole_route_tables: false,
                    inherit_egress: false,
                    analysis: true,
                    verify: false,
                    debounce_ms: Milliseconds(
                        20ms,
                    ),
                    debounce_max_ms: Milliseconds(
                        100ms,
                    ),
                },
                limits: LimitSettings {
                    stuck_after_s: Seconds(
                        60s,
                    ),
                    in_flight_mb: Megabytes(
                        268435456,
                    ),
                    connections_max: 65536,
                    connections_per_address: 0,
                    request_mb: Megabytes(
                        16777216,
                    ),
                    names_max: 100000,
                    streams_per_sidecar: 100,
                    streams_per_second: 10000,
                    keepalive_s: Seconds(
                        30s,
                    ),
                    keepalive_timeout_s: Seconds(
                        10s,
                    ),
                    connection_age_s: Seconds(
                        1800s,
                    ),
                    resets_max: 20,
                },
                traces: TraceSettings {
                    otlp_endpoint: None,
                },
                log: LogSettings {
                    log_format: Text,
                },
            }"#]]
        .assert_eq(&format!("{:#?}", read(&[], "memory = true").unwrap()));
    }

    #[test]
    fn every_setting_can_be_given_in_the_file() {
        let file = "data-dir = '/d'\nsecret-key-file = '/k'\nconfig-dir = '/c'\nxds = '127.0.0.1:1'\nadmin = '127.0.0.1:2'\nmonitoring = '127.0.0.1:3'\n\
                    admin-socket = '/s'\nadmin-group = 'g'\ntoken-file = '/t'\nadmin-hosts = 'a,b'\n\
                    admin-origins = 'https://c'\ninsecure = false\n\
                    root-namespace = 'r'\ndomain = 'm'\nwhole-route-tables = true\ninherit-egress = true\nanalysis = false\nverify = true\ndebounce-ms = 1\n\
                    debounce-max-ms = 2\nstuck-after-s = 3\nin-flight-mb = 4\nrequest-mb = 5\nnames-max = 6\n\
                    streams-per-sidecar = 7\nstreams-per-second = 8\nkeepalive-s = 9\nkeepalive-timeout-s = 10\n\
                    connection-age-s = 11\nresets-max = 12\notlp-endpoint = 'http://c:1'\nconnections-max = 15\nconnections-per-address = 16\nlog-format = 'json'\nconfig-settle-ms = 13\nconfig-poll-s = 14\n";
        let settings = read(&[], file).unwrap();
        let command = Cli::command();
        let arguments = command.find_subcommand(SERVE).unwrap().get_arguments();
        for name in arguments.filter_map(|argument| argument.get_long()) {
            let is_in_file = file.lines().any(|line| line.starts_with(&format!("{name} = ")));
            assert!(is_in_file || matches!(name, "settings" | "help" | "memory"), "{name}");
        }
        let defaults = read(&[], "memory = true").unwrap();
        assert!(settings.mesh != defaults.mesh && settings.log != defaults.log && settings.store != defaults.store);
        assert_eq!(settings.addresses.admin_hosts, ["a", "b"]);
        assert_ne!(settings.addresses, defaults.addresses);
        let store = &settings.store;
        assert_eq!(store.config_settle_ms.0, Duration::from_millis(13));
        assert_eq!(store.config_poll_s, Some(Seconds::new(14)));
        assert_eq!(settings.traces.otlp_endpoint.as_deref(), Some("http://c:1"));
        for wrong in ["c:1", "http://c", "https://c:1", "ftp://c:1"] {
            let error = read(&[], &format!("memory = true\notlp-endpoint = '{wrong}'")).unwrap_err();
            assert!(error.contains("want http://HOST:PORT, got"), "{error}");
        }
        let limits = settings.limits;
        assert_eq!((limits.stuck_after_s.0, limits.in_flight_mb.0), (Duration::from_secs(3), 4 << 20));
        assert_eq!((limits.request_mb.0, limits.names_max, limits.streams_per_sidecar), (5 << 20, 6, 7));
        assert_eq!((limits.streams_per_second, limits.resets_max), (8, 12));
        assert_eq!((limits.connections_max, limits.connections_per_address), (15, 16));
        assert_eq!(
            (limits.keepalive_s.0, limits.keepalive_timeout_s.0),
            (Duration::from_secs(9), Duration::from_secs(10))
        );
    }

    #[test]
    fn a_file_that_is_no_toml_is_refused() {
        let error = read(&[], "memory").unwrap_err();
        assert!(error.contains("line 1"), "{error}");
        let error = read(&[], "settings = 'other.toml'").unwrap_err();
        assert!(error.starts_with("unknown field `settings`"), "a file names no other file: {error}");
    }
}
