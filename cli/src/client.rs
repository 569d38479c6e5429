//! The connection to the control plane.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rutter_api::pb::rutter::admin::v1::admin_client::AdminClient;
use rutter_api::{ADMIN_SOCKET, MEMORY_ADMIN_SOCKET, TOKENS_FILE};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// How long a control plane may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The length of the largest answer that is taken, in bytes. It has room for every resource of one sidecar in a large
/// mesh. tonic's own limit of 4 MiB would refuse the config of a sidecar that sees 10,000 services.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The admin API of a control plane.
pub(crate) type Admin = AdminClient<InterceptedService<Channel, Bearer>>;

/// Where the admin API is.
#[derive(Debug, Clone)]
pub(crate) enum ServerAddress {
    /// A Unix socket.
    Socket(PathBuf),
    /// An address as `HOST:PORT`.
    Tcp(String),
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

impl FromStr for ServerAddress {
    type Err = String;

    /// Reads an address. A URL of the scheme `http` without a path means the same, and a path with a slash, or one behind
    /// `unix:`, is a socket or the data folder in which it is.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::at_path(Path::new(path.strip_prefix("//").unwrap_or(path))));
        }
        if text.starts_with(['/', '.']) {
            return Ok(Self::at_path(Path::new(text)));
        }
        if text.starts_with("https://") {
            return Err("want HOST:PORT or the path of a socket, got a URL of https (TLS is not built yet)".into());
        }
        let address = text.strip_prefix("http://").unwrap_or(text);
        let address = address.strip_suffix('/').unwrap_or(address);
        let is_host = |host: &str| match host.strip_prefix('[') {
            Some(rest) => rest.ends_with(']'),
            None => !host.is_empty() && !host.contains([':', '/', ' ']),
        };
        let Some((host, port)) = address.rsplit_once(':').filter(|(host, _)| is_host(host)) else {
            return Err(
                "want the path of a socket or of a data folder, or HOST:PORT (the address of `rutter serve --admin`)"
                    .into(),
            );
        };
        match port.parse() {
            Ok(1..=u16::MAX) => {}
            Ok(0) | Err(_) => return Err(format!("want a port of 1..=65535, got {port}")),
        }
        tcp_endpoint(address).map_err(|error| format!("want HOST:PORT: {host}: {error}"))?;
        Ok(Self::Tcp(address.to_owned()))
    }
}

impl ServerAddress {
    /// Returns the socket at a path, or in the data folder at a path.
    fn at_path(path: &Path) -> Self {
        Self::Socket(if path.is_dir() { path.join(ADMIN_SOCKET) } else { path.to_owned() })
    }

    async fn connect(&self) -> Result<Channel, String> {
        let endpoint = match self {
            Self::Socket(path) => Endpoint::from_shared(format!("unix://{}", path.display())),
            Self::Tcp(address) => tcp_endpoint(address),
        };
        let endpoint = endpoint.map_err(|error| error.to_string())?;
        let channel = endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await;
        // The errors around it only say again that it is one of the connection.
        channel.map_err(|error| anyhow::Error::from(error).root_cause().to_string())
    }
}

fn tcp_endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{address}"))
}

/// What is known of where a control plane is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// The address that was given. `None` means that the usual data folders are tried.
    pub(crate) server: Option<ServerAddress>,
    /// The file with tokens that was given. `None` means that those of the usual data folders are tried.
    pub(crate) token_file: Option<PathBuf>,
}

/// Returns the data folders in which a control plane usually is: the one that the environment names, that of a service, and
/// that of a user.
fn usual_folders() -> Vec<PathBuf> {
    let named = std::env::var_os("RUTTER_DATA_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let of_user = std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share/rutter"));
    named.into_iter().chain([PathBuf::from("/var/lib/rutter")]).chain(of_user).collect()
}

/// Returns whether a socket is missing, or belongs to the user who runs the command or to root. Anybody may make one in the
/// folder for temporary files, and pose as a control plane there.
fn is_of_us(socket: &Path) -> bool {
    let owner = std::fs::symlink_metadata(socket).map(|metadata| metadata.uid());
    owner.is_err() || owner.is_ok_and(|owner| owner == 0 || owner == rustix::process::geteuid().as_raw())
}

/// Connects to a control plane: to the address that was given, or else to the first admin socket of the usual data folders
/// that answers. The error names each address that was tried, with its reason.
pub(crate) async fn connect(wanted: &Wanted) -> Result<Admin> {
    let addresses = match &wanted.server {
        Some(server) => vec![server.clone()],
        None => {
            let sockets = usual_folders().into_iter().map(|folder| folder.join(ADMIN_SOCKET));
            let in_memory = Some(std::env::temp_dir().join(MEMORY_ADMIN_SOCKET)).filter(|path| is_of_us(path));
            sockets.chain(in_memory).map(ServerAddress::Socket).collect()
        }
    };
    let mut tried = Vec::new();
    for address in &addresses {
        match address.connect().await {
            Ok(channel) => {
                let token = match address {
                    ServerAddress::Socket(_) => None,
                    ServerAddress::Tcp(_) => token(wanted.token_file.as_deref())?,
                };
                let client = AdminClient::with_interceptor(channel, Bearer(token));
                return Ok(client.max_decoding_message_size(ANSWER_BYTES_MAX));
            }
            Err(cause) => tried.push(format!("{address}: {cause}")),
        }
    }
    let tried = tried.join("\n  ");
    bail!("no control plane answers (is `rutter serve` running? another address: --server); tried\n  {tried}")
}

/// The token that every call carries.
#[derive(Debug, Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Returns the token of a file: the first that may write, or else the first. Without a file, those of the usual data folders
/// are tried that can be read. `None` means that there is none.
fn token(file: Option<&Path>) -> Result<Option<MetadataValue<Ascii>>> {
    let text = match file {
        Some(file) => std::fs::read_to_string(file).with_context(|| file.display().to_string())?,
        None => {
            let texts = usual_folders().into_iter().map(|folder| std::fs::read_to_string(folder.join(TOKENS_FILE)));
            let Some(text) = texts.flatten().next() else { return Ok(None) };
            text
        }
    };
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let to_write = lines().find_map(|line| line.strip_prefix("write "));
    // A file with a token alone is taken as well, as of a secret that is mounted.
    let any = || lines().next().map(|line| line.strip_prefix("read ").unwrap_or(line));
    let token = to_write.or_else(any).context("want a token in the file, got none")?;
    Ok(Some(format!("Bearer {}", token.trim()).parse().context("want a token of ASCII characters")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_and_may_be_written_as_a_url() {
        let read = |text: &str| text.parse::<ServerAddress>().map(|address| address.to_string());
        for text in ["127.0.0.1:15013", "http://127.0.0.1:15013", "http://127.0.0.1:15013/"] {
            assert_eq!(read(text), Ok("127.0.0.1:15013".to_owned()));
        }
        assert_eq!(read("[::1]:80"), Ok("[::1]:80".to_owned()));
        assert_eq!(read("rutter.mesh-system.svc:15013"), Ok("rutter.mesh-system.svc:15013".to_owned()));
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_is_wanted() {
        let refused = |text: &str| text.parse::<ServerAddress>().unwrap_err();
        let want =
            "want the path of a socket or of a data folder, or HOST:PORT (the address of `rutter serve --admin`)";
        for text in ["", "localhost", ":15013", "::1", "a b:1", "http://"] {
            assert_eq!(refused(text), want, "{text}");
        }
        assert_eq!(refused("a:99999"), "want a port of 1..=65535, got 99999");
        assert_eq!(refused("a:0"), "want a port of 1..=65535, got 0");
        assert_eq!(refused("http://a:1/path"), "want a port of 1..=65535, got 1/path");
        assert_eq!(refused("a:http"), "want a port of 1..=65535, got http");
        assert_eq!(
            refused("https://a:1"),
            "want HOST:PORT or the path of a socket, got a URL of https (TLS is not built yet)"
        );
        assert!(refused("a\u{7f}:1").starts_with("want HOST:PORT: a"), "{}", refused("a\u{7f}:1"));
    }

    #[test]
    fn a_path_is_a_socket_or_the_data_folder_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().display().to_string();
        let read = |text: &str| text.parse::<ServerAddress>().unwrap().to_string();
        assert_eq!(read(&folder), format!("{folder}/admin.sock"));
        assert_eq!(read("unix:/run/a.sock"), "/run/a.sock");
        assert_eq!(read("unix:///run/a.sock"), "/run/a.sock");
        assert_eq!(read("./a.sock"), "./a.sock");
    }

    #[test]
    fn the_token_that_may_write_is_taken_and_a_file_of_one_token_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            token(Some(&path)).map(|token| token.unwrap().to_str().unwrap().to_owned())
        };
        assert_eq!(of("# x\nread abc\nwrite def\n").unwrap(), "Bearer def");
        assert_eq!(of("read abc\n").unwrap(), "Bearer abc");
        assert_eq!(of("abc\n").unwrap(), "Bearer abc");
        assert_eq!(of("# x\n").unwrap_err().to_string(), "want a token in the file, got none");
        let error = format!("{:#}", token(Some(&dir.path().join("none"))).unwrap_err());
        assert!(error.contains("none: No such file"), "{error}");
    }
}
