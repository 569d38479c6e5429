//! The arguments of the commands that say what is wrong, what a change would do, and why something is as it is.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rutter_core::analysis::Level;

use super::{Files, Output};

/// Whether it is told what a change sends to whom.
#[derive(Args)]
pub(crate) struct WantedImpact {
    /// Show which sidecars are sent what, how many bytes, and which routes lead elsewhere; with --dry-run before anything is
    /// changed
    #[arg(long)]
    pub(crate) impact: bool,
    /// Exit with 1 if more sidecars than this are affected. Nothing is changed then
    #[arg(long, requires = "impact", value_name = "SIDECARS")]
    pub(crate) fail_over: Option<u32>,
}

#[derive(Args)]
pub(crate) struct Analyze {
    /// Files and folders, whose objects take the place of those that are there
    #[arg(value_name = "FILE")]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) files: Files,
    /// Look at the files alone, without a control plane. --use-kube=false is the same
    #[arg(long)]
    pub(crate) offline: bool,
    /// For those who know istioctl
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true",
        action = clap::ArgAction::Set)]
    pub(crate) use_kube: bool,
    /// The suffix of Kubernetes' service names, with --offline
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    pub(crate) domain: String,
    /// The namespace of what holds for the whole mesh, with --offline
    #[arg(long, default_value = "istio-system", value_name = "NAME")]
    pub(crate) root_namespace: String,
    /// Whether a Sidecar without egress keeps to that of the root namespace, with --offline
    #[arg(long)]
    pub(crate) inherit_egress: bool,
    /// Show what is wrong in every namespace, which is the default
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Leave out a code for an object, as CODE=Kind NAME.NAMESPACE, where * stands for any text: IST0101=VirtualService *.test
    #[arg(short = 'S', long, value_name = "CODE=OBJECT")]
    pub(crate) suppress: Vec<String>,
    /// The level from which the exit code is 1: info, warning or error
    #[arg(long, default_value = "error", value_name = "LEVEL", value_parser = level)]
    pub(crate) failure_threshold: Level,
    /// The level from which something is shown: info, warning or error
    #[arg(long, default_value = "info", value_name = "LEVEL", value_parser = level)]
    pub(crate) output_threshold: Level,
    /// Pass over documents that are refused, instead of telling them
    #[arg(long)]
    pub(crate) ignore_unknown: bool,
    /// The number of findings of one code that are shown. 0: all
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) limit: usize,
    /// Show every code, its level, and when it is told
    #[arg(short = 'L', long, visible_alias = "list-analyzers")]
    pub(crate) list_codes: bool,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

/// Reads the level of a finding.
fn level(text: &str) -> Result<Level, String> {
    Level::from_word(text).ok_or_else(|| "want info, warning or error".to_owned())
}

#[derive(Args)]
pub(crate) struct Trace {
    /// The revision, as apply and history tell it. Default: the latest
    pub(crate) revision: Option<u64>,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Explain {
    /// The method, which may be left out for GET, and the URL as the client asks for it: GET http://reviews:9080/reviews/1
    #[arg(num_args = 0..=2, value_name = "METHOD URL", required_unless_present = "tcp", conflicts_with = "tcp")]
    pub(crate) request: Vec<String>,
    /// Sidecar of the application that asks, POD.NAMESPACE, or a unique beginning of it
    #[arg(long, value_name = "POD")]
    pub(crate) from: Option<String>,
    /// Sidecar of the application that is asked, to see what it does with what arrives
    #[arg(long, value_name = "POD")]
    pub(crate) to: Option<String>,
    /// Gateway by which the request comes in
    #[arg(long, value_name = "POD", conflicts_with = "from")]
    pub(crate) via: Option<String>,
    /// Header of the request, as NAME: VALUE. Can be repeated
    #[arg(short = 'H', long, value_name = "NAME: VALUE", conflicts_with = "tcp")]
    pub(crate) header: Vec<String>,
    /// Destination of a connection that is no HTTP, as IP:PORT or HOST:PORT
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) tcp: Option<String>,
    /// Host that the client names in TLS. Default: that of a https URL
    #[arg(long, value_name = "HOST")]
    pub(crate) sni: Option<String>,
    #[command(flatten)]
    pub(crate) files: Files,
    /// Output of /config_dump?include_eds of the admin port of an Envoy, to see what the proxy really does with what it has. It
    /// is taken for that of --from or --via, or else of --to
    #[arg(long, value_name = "FILE")]
    pub(crate) config_dump: Option<PathBuf>,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Describe {
    /// A service or a sidecar by its name, or a Service, ServiceEntry, VirtualService, DestinationRule, Gateway or Sidecar as KIND NAME
    /// or KIND/NAME. pod/NAME is a sidecar even if a service is called so
    #[arg(required = true, num_args = 1..=2, value_name = "NAME|KIND/NAME")]
    pub(crate) targets: Vec<String>,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Top {
    /// Print it once, for scripts and where there is no terminal
    #[arg(long)]
    pub(crate) once: bool,
    /// The time between two looks: 2s, or a number of seconds
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = super::time)]
    pub(crate) interval: Duration,
    /// A table, or json or yaml, which are printed once
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}
