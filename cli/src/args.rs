//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Applies config to a Rutter control plane, and shows what was sent to whom
#[derive(Parser)]
#[command(name = "rutterctl", version)]
pub(crate) struct Cli {
    /// Admin address of the control plane
    #[arg(long, env = "RUTTER_SERVER", default_value = "127.0.0.1:15014", global = true, value_name = "ADDR")]
    pub(crate) server: String,
    /// Namespace of objects that name no namespace
    #[arg(short, long, default_value = "", hide_default_value = true, global = true, value_name = "NAME")]
    pub(crate) namespace: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create or change the objects of YAML files, all of them or none
    Apply(Apply),
    /// Show objects
    Get(Get),
    /// Delete objects, all of them or none
    Delete(Delete),
    /// Show each sidecar, and whether it has acknowledged its config
    #[command(visible_alias = "ps")]
    ProxyStatus(Status),
    /// Show what was sent to a sidecar, and whether it was acknowledged
    #[command(visible_alias = "pc")]
    ProxyConfig(Config),
    /// Show the latest responses: what was sent, how much, and how long the answer took
    Pushes(Pushes),
    /// Print the bootstrap of a proxy
    Bootstrap(Bootstrap),
}

#[derive(Args)]
pub(crate) struct Apply {
    /// File, folder (with its subfolders; only .yaml, .yml and .json files are read), or - for standard input. Can be repeated
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Check everything and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Wait until every sidecar has answered, and show what was sent to each
    #[arg(long)]
    pub(crate) wait: bool,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Get {
    /// Kind of the objects (virtualservice, vs, …), or all
    pub(crate) kind: String,
    /// Name of one object
    pub(crate) name: Option<String>,
    /// Show objects of every namespace, which is the default if no namespace is given
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// Kind of the objects
    pub(crate) kind: String,
    /// Names of the objects
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
    /// Name of the sidecar, POD.NAMESPACE, or a unique beginning of it
    pub(crate) sidecar: String,
    /// Type of the resources: cluster, endpoint, listener, route, secret, virtualhost, or all
    #[arg(default_value = "all")]
    pub(crate) kind: String,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Pushes {
    /// Name of the sidecar, POD.NAMESPACE, or a unique beginning of it. Without it, every sidecar is shown
    #[arg(default_value = "")]
    pub(crate) sidecar: String,
    /// Show only what this revision of the config or a later one caused
    #[arg(long, default_value_t = 0, value_name = "REVISION")]
    pub(crate) since: u64,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Bootstrap {
    /// Kind of the proxy
    #[arg(long)]
    pub(crate) proxy: Proxy,
    /// Name of the pod
    #[arg(long)]
    pub(crate) pod: String,
    /// IP address of the pod
    #[arg(long)]
    pub(crate) ip: IpAddr,
    /// Label of the pod. Can be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// How traffic reaches the sidecar: redirected by iptables, or by listeners that are bound at --ip (none)
    #[arg(long, default_value = "redirect")]
    pub(crate) interception: Interception,
    /// Address of the control plane for sidecars
    #[arg(long, default_value = "127.0.0.1:15010", value_name = "ADDR")]
    pub(crate) xds: String,
    /// Port of the admin page of the proxy at 127.0.0.1
    #[arg(long, default_value_t = 15000, value_name = "PORT")]
    pub(crate) admin_port: u16,
    /// Name of the Kubernetes cluster
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
    /// The gRPC library in the application. GRPC_XDS_BOOTSTRAP has to name the file
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
