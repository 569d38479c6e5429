//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Applies config to a Rutter control plane, and shows what was sent to whom
#[derive(Parser)]
#[command(name = "rutterctl", version)]
pub(crate) struct Cli {
    /// The control plane's admin address
    #[arg(long, env = "RUTTER_SERVER", default_value = "127.0.0.1:15014", global = true, value_name = "ADDR")]
    pub(crate) server: String,
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "", hide_default_value = true, global = true, value_name = "NAME")]
    pub(crate) namespace: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create or change the objects of YAML files: all of them, or none
    Apply(Apply),
    /// Show objects
    Get(Get),
    /// Delete objects: all of them, or none
    Delete(Delete),
    /// Each sidecar and whether it has what it should
    #[command(visible_alias = "ps")]
    ProxyStatus(Status),
    /// What was really sent to a sidecar, and whether it was acknowledged
    #[command(visible_alias = "pc")]
    ProxyConfig(Config),
    /// The latest responses sent: what, how much, and how long until the answer
    Pushes(Pushes),
    /// Print a proxy's bootstrap
    Bootstrap(Bootstrap),
}

#[derive(Args)]
pub(crate) struct Apply {
    /// File, folder (its .yaml, .yml and .json files, deep), or - for standard input; may be repeated
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Check everything, change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Wait until every sidecar has answered, and show what each was sent
    #[arg(long)]
    pub(crate) wait: bool,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Get {
    /// A kind (virtualservice, vs, …) or all
    pub(crate) kind: String,
    /// Only this one
    pub(crate) name: Option<String>,
    /// Objects of every namespace (the default where no namespace is given)
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// A kind
    pub(crate) kind: String,
    /// Names
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Status {
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Config {
    /// POD.NAMESPACE, or a beginning that only one sidecar has
    pub(crate) sidecar: String,
    /// cluster, endpoint, listener, route, secret, virtualhost, or all
    #[arg(default_value = "all")]
    pub(crate) kind: String,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Pushes {
    /// POD.NAMESPACE, or a beginning that only one sidecar has. Without: every sidecar
    #[arg(default_value = "")]
    pub(crate) sidecar: String,
    /// Only what this revision of the config, or a later one, caused
    #[arg(long, default_value_t = 0, value_name = "REVISION")]
    pub(crate) since: u64,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Bootstrap {
    /// Which proxy
    #[arg(long)]
    pub(crate) proxy: Proxy,
    /// The pod's name
    #[arg(long)]
    pub(crate) pod: String,
    /// The address at which the application is reached
    #[arg(long)]
    pub(crate) ip: IpAddr,
    /// A pod label, key=value; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// How traffic reaches the sidecar: redirect (iptables, the default) or none (listeners are bound at --ip)
    #[arg(long, default_value = "redirect")]
    pub(crate) interception: Interception,
    /// The control plane's address for sidecars
    #[arg(long, default_value = "127.0.0.1:15010", value_name = "ADDR")]
    pub(crate) xds: String,
    /// Port of the proxy's own admin page, at 127.0.0.1
    #[arg(long, default_value_t = 15000, value_name = "PORT")]
    pub(crate) admin_port: u16,
    /// The cluster's name, where there are several
    #[arg(long, default_value = "Kubernetes")]
    pub(crate) cluster_id: String,
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| format!("want key=value, got {text:?}"))
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Proxy {
    Envoy,
    Rutter,
    /// None: the gRPC library in the application (GRPC_XDS_BOOTSTRAP names the file)
    Grpc,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Interception {
    Redirect,
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A table
    Short,
    Json,
    Yaml,
}
