//! The command line.

mod insight;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use rutter_api::ResourceType;

use crate::client::ServerAddress;
use crate::jsonpath::Template;
pub(crate) use insight::{Analyze, Describe, Explain, Top, Trace, WantedImpact};

/// Applies config to a Rutter control plane, and shows what was sent to whom
#[derive(Parser)]
#[command(name = "rutterctl", version)]
pub(crate) struct Cli {
    /// Where the control plane is: the path of its admin socket or of its data folder, or HOST:PORT. Without it, the admin
    /// sockets of the usual data folders are tried: $RUTTER_DATA_DIR, /var/lib/rutter, ~/.local/share/rutter, and that of
    /// `rutter serve --memory` in the folder for temporary files
    #[arg(long, env = "RUTTER_SERVER", global = true, value_name = "ADDR")]
    pub(crate) server: Option<ServerAddress>,
    /// File with a token for HOST:PORT. Without it, the file tokens of the usual data folders is taken, if it can be read
    #[arg(long, env = "RUTTER_TOKEN_FILE", global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Namespace of objects and sidecars. Default: every namespace for what is shown, and "default" otherwise. An object of
    /// a file that names another one is refused
    #[arg(short, long, default_value = "", hide_default_value = true, global = true, value_name = "NAME")]
    pub(crate) namespace: String,
    /// How long the control plane may take to answer, and --wait for the sidecars: 30s, 5m, or a number of seconds. 0: for
    /// ever
    #[arg(long, default_value = "30s", global = true, value_name = "TIME", value_parser = time)]
    pub(crate) timeout: Duration,
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
    /// Change an object in an editor ($RUTTER_EDITOR, $KUBE_EDITOR, $EDITOR, or vi)
    Edit(Edit),
    /// Say what is wrong with the objects that are there, with those of files, or with both together, and what to do
    Analyze(Analyze),
    /// Say what of some files Rutter acts on, what it refuses, and what is no config of a mesh, without a control plane
    Check(Check),
    /// Show what files would change, or what changed between revisions. The exit code is 1 if there is a difference
    Diff(Diff),
    /// Show the latest commits: who changed what, and when
    History(History),
    /// Make every object again what it was at a revision, by a new revision
    Rollback(Rollback),
    /// Show each sidecar, and whether it has acknowledged its config
    #[command(visible_alias = "ps")]
    ProxyStatus(Status),
    /// Show what was sent to a sidecar, and whether it was acknowledged
    #[command(visible_alias = "pc")]
    ProxyConfig(Config),
    /// Show the latest responses: what was sent, how much, and how long the answer took
    Pushes(Pushes),
    /// Say what becomes of a request or a connection, step by step, and which objects make it so
    Explain(Explain),
    /// Say what touches a sidecar, a service or another object, what has no effect and why, and what it costs
    Describe(Describe),
    /// Show where the time of a change went: store, engine, and until sidecars had answered
    Trace(Trace),
    /// Show how the control plane and its sidecars are doing, until q is pressed
    Top(Top),
    /// Print the bootstrap of a proxy
    Bootstrap(Bootstrap),
    /// Show the watched folder of the control plane, or confirm that many objects may be deleted by it
    #[command(subcommand)]
    Folder(Folder),
    /// Write every object to a file, from which `rutter restore` makes a data folder again
    Backup(Backup),
    /// Show the versions of this program and of the control plane
    Version(Version),
    /// Print a script that completes command lines: source <(rutterctl completion bash)
    Completion(Completion),
}

#[derive(Subcommand)]
pub(crate) enum Folder {
    /// Show what is faulty in the folder, and which objects are held because many are missing at once
    Status,
    /// Let the objects that are held be deleted; if none is held, let the next deletion through, whatever it deletes
    Confirm,
}

#[derive(Args)]
pub(crate) struct Backup {
    /// File to write, or - for standard output. A file that is there is replaced when the new one is whole
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// The files of a command.
#[derive(Args)]
pub(crate) struct Files {
    /// File, folder (with its subfolders; only .yaml, .yml and .json files are read), or - for standard input. Can be
    /// repeated
    #[arg(short, long = "filename", value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Folder with a kustomization, which kubectl or kustomize has to be there for
    #[arg(short = 'k', long, value_name = "DIR")]
    pub(crate) kustomize: Option<PathBuf>,
}

/// Whether something is only tried. kubectl wants a word behind it, which may stand here too.
#[derive(Args)]
pub(crate) struct DryRun {
    /// Check everything and change nothing
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "server",
        hide_default_value = true, hide_possible_values = true, value_name = "server",
        value_parser = PossibleValuesParser::new(["none", "client", "server"]))]
    dry_run: String,
}

impl DryRun {
    pub(crate) fn is_asked_for(&self) -> bool {
        self.dry_run != "none"
    }
}

#[derive(Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    #[command(flatten)]
    pub(crate) impact: WantedImpact,
    /// Wait until every sidecar has answered, and show what was sent to each
    #[arg(long)]
    pub(crate) wait: bool,
    /// Refuse objects that are no config of a mesh, which are passed over otherwise
    #[arg(long)]
    pub(crate) strict: bool,
    /// Leave out objects in which something is not supported yet, each of them whole, and name them
    #[arg(long)]
    pub(crate) skip_unsupported: bool,
    /// Delete the objects that have the labels of --selector and are not in the files, in the namespaces of the files'
    /// objects
    #[arg(long, requires = "selector", conflicts_with = "skip_unsupported")]
    pub(crate) prune: bool,
    /// Labels of --prune, as app=web. The objects of the files must have them
    #[arg(short = 'l', long, requires = "prune", value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Get {
    /// Kinds (virtualservice, vs, vs,dr, all) and then names, or each object as KIND/NAME
    #[arg(required = true, value_name = "KIND [NAME]")]
    pub(crate) targets: Vec<String>,
    /// Show objects of every namespace, which is the default if no namespace is given
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Show only objects with these labels: app=web,version!=v1,tier in (a, b),!old
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Go on showing each change, until it is interrupted
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Show the labels as the last column
    #[arg(long)]
    pub(crate) show_labels: bool,
    /// Leave the heads of the columns out
    #[arg(long)]
    pub(crate) no_headers: bool,
    /// wide, name, json, yaml, hosts (lines of /etc/hosts), or jsonpath=TEMPLATE. Default: a table
    #[arg(short, long, default_value = "short", hide_default_value = true, value_name = "FORMAT")]
    pub(crate) output: ObjectOutput,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// Kinds and then names, or each object as KIND/NAME
    #[arg(value_name = "KIND [NAME]")]
    pub(crate) targets: Vec<String>,
    #[command(flatten)]
    pub(crate) files: Files,
    /// Delete all objects of the kinds
    #[arg(long, conflicts_with_all = ["filename", "kustomize"])]
    pub(crate) all: bool,
    /// Delete the objects of the kinds that have these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Delete in every namespace, with --all or --selector
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    #[command(flatten)]
    pub(crate) impact: WantedImpact,
    /// Pass objects over that are not there
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
    /// Wait until every sidecar has answered, and show what was sent to each
    #[arg(long)]
    pub(crate) wait: bool,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Edit {
    /// The object, as KIND NAME or KIND/NAME
    #[arg(required = true, value_name = "KIND NAME")]
    pub(crate) targets: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Name also what Istio acts on beside its own kinds: the mesh config, and annotations of pods and namespaces
    #[arg(long)]
    pub(crate) from_istio: bool,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Diff {
    /// Two revisions as FROM..TO, or one, which is compared with the latest
    #[arg(value_name = "FROM..TO", conflicts_with_all = ["filename", "kustomize", "impact"])]
    pub(crate) revisions: Option<String>,
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) impact: WantedImpact,
}

#[derive(Args)]
pub(crate) struct History {
    /// Only commits that changed an object, as KIND NAME or KIND/NAME, or an object of a kind
    #[arg(value_name = "KIND [NAME]")]
    pub(crate) targets: Vec<String>,
    /// The number of commits that are shown. 0: all that are kept
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) limit: u32,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Rollback {
    /// The revision
    pub(crate) revision: u64,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    /// Wait until every sidecar has answered, and show what was sent to each
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Args)]
pub(crate) struct Status {
    /// Name of one sidecar, POD.NAMESPACE, or a unique beginning of it, which is shown in detail
    pub(crate) sidecar: Option<String>,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Config {
    /// Name of the sidecar, POD.NAMESPACE, or a unique beginning of it, and a type of resources, in any order
    #[arg(required = true, num_args = 1..=2, value_name = "SIDECAR [TYPE]", help = config_help())]
    pub(crate) targets: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: Filter,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

/// Which resources of a sidecar are shown. Several conditions must all be true.
#[derive(Args, Default)]
pub(crate) struct Filter {
    /// Only resources of this host, or of hosts below it: reviews.default.svc.cluster.local
    #[arg(long, value_name = "HOST")]
    pub(crate) fqdn: Option<String>,
    /// Only resources of this port
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Only resources of this subset
    #[arg(long, value_name = "NAME")]
    pub(crate) subset: Option<String>,
    /// Only resources of this direction
    #[arg(long)]
    pub(crate) direction: Option<Direction>,
    /// Only resources in this state, or endpoints of this health
    #[arg(long)]
    pub(crate) status: Option<State>,
    /// Only the resource of this name
    #[arg(long)]
    pub(crate) name: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Direction {
    Inbound,
    Outbound,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    Acked,
    Sent,
    Due,
    Refused,
    Healthy,
    Unhealthy,
}

#[derive(Args)]
pub(crate) struct Pushes {
    /// Name of the sidecar, POD.NAMESPACE, or a unique beginning of it. Without it, every sidecar is shown
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) sidecar: String,
    /// Show only what this revision of the config or a later one caused
    #[arg(long, default_value_t = 0, value_name = "REVISION")]
    pub(crate) since: u64,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

/// What a proxy is for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    Sidecar,
    Gateway,
}

#[derive(Args)]
pub(crate) struct Bootstrap {
    /// Kind of the proxy
    #[arg(long)]
    pub(crate) proxy: Proxy,
    /// What the proxy is for: to stand beside an application, or to be a gateway, which Gateway objects select by its labels
    #[arg(long, default_value = "sidecar")]
    pub(crate) role: Role,
    /// Name of the pod
    #[arg(long)]
    pub(crate) pod: String,
    /// IP address of the pod
    #[arg(long)]
    pub(crate) ip: IpAddr,
    /// Label of the pod. Can be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// How traffic reaches the sidecar: redirected by iptables, or by listeners that are bound at --ip (none). It says nothing
    /// to a gateway
    #[arg(long, default_value = "redirect")]
    pub(crate) interception: Interception,
    /// Address of the control plane for sidecars
    #[arg(long, default_value = "127.0.0.1:15010", value_name = "ADDR")]
    pub(crate) xds: String,
    /// Where the admin page of the proxy is: IP:PORT, or for an Envoy the path of a Unix socket, which is made. Default:
    /// 127.0.0.1:15000 if traffic is redirected; otherwise port 15000 of --ip if that is in 127.0.0.0/8, and else the socket
    /// envoy-POD.NAMESPACE.sock in the folder for temporary files
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<String>,
    /// Where the proxy is, for rules that send requests to the nearest endpoints: REGION, REGION/ZONE or
    /// REGION/ZONE/SUB-ZONE
    #[arg(long, default_value = "", value_name = "LOCALITY", hide_default_value = true)]
    pub(crate) locality: String,
    /// File with Istio's mesh config, the ConfigMap or its text: the metadata of proxies that its defaultConfig has is in the
    /// bootstrap as well
    #[arg(long, value_name = "FILE")]
    pub(crate) mesh_config: Option<PathBuf>,
    /// File with the WorkloadGroup of the workload, whose namespace, labels, locality and service account the bootstrap has; options
    /// that say otherwise count more
    #[arg(long, value_name = "FILE")]
    pub(crate) workload_group: Option<PathBuf>,
    /// Print, instead of the bootstrap, the WorkloadEntry that makes the workload an endpoint: … --workload-entry | rutterctl
    /// apply -f -
    #[arg(long, requires = "workload_group")]
    pub(crate) workload_entry: bool,
    /// Name of the Kubernetes cluster
    #[arg(long, default_value = "Kubernetes")]
    pub(crate) cluster_id: String,
}

#[derive(Args)]
pub(crate) struct Version {
    /// Show only the version of this program
    #[arg(long)]
    pub(crate) client: bool,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Completion {
    pub(crate) shell: Shell,
}

/// Returns the help of the arguments of `proxy-config`.
fn config_help() -> String {
    let words: Vec<&str> = ResourceType::ALL.iter().map(|resource_type| resource_type.word()).collect();
    format!(
        "Name of the sidecar (POD.NAMESPACE, or a unique beginning of it) and the type of the resources, in any order: {}, \
         or all, or the beginning of a type",
        words.join(", ")
    )
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| format!("want key=value, got {text:?}"))
}

/// Reads a time: `500ms`, `30s`, `5m`, `1h`, or a number of seconds.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| format!("want a time such as 30s or 5m, got {text:?}"))?;
    let seconds = match &text[digits.len()..] {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        unit => return Err(format!("want ms, s, m or h behind the number, got {unit:?}")),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("want a time such as 30s or 5m, got {text:?}"))
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

/// How objects are shown.
#[derive(Clone)]
pub(crate) enum ObjectOutput {
    Short,
    Wide,
    Name,
    Json,
    Yaml,
    /// Lines of `/etc/hosts`.
    Hosts,
    Template(Template),
}

impl std::str::FromStr for ObjectOutput {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "short" => Self::Short,
            "wide" => Self::Wide,
            "name" => Self::Name,
            "json" => Self::Json,
            "yaml" => Self::Yaml,
            "hosts" => Self::Hosts,
            _ => match text.strip_prefix("jsonpath=") {
                Some(template) => Self::Template(template.parse()?),
                None => return Err("want wide, name, json, yaml, hosts or jsonpath=TEMPLATE".to_owned()),
            },
        })
    }
}

impl Cli {
    /// Returns whether what is printed is made for people, so that it may be coloured.
    pub(crate) fn is_for_people(&self) -> bool {
        let is_short = |output: Output| output == Output::Short;
        match &self.command {
            Command::Apply(apply) => is_short(apply.output),
            Command::Get(get) => matches!(get.output, ObjectOutput::Short | ObjectOutput::Wide),
            Command::ProxyStatus(status) => is_short(status.output),
            Command::ProxyConfig(config) => is_short(config.output),
            Command::Pushes(pushes) => is_short(pushes.output),
            Command::Check(check) => is_short(check.output),
            Command::Analyze(analyze) => is_short(analyze.output),
            Command::Delete(delete) => is_short(delete.output),
            Command::Trace(trace) => is_short(trace.output),
            Command::Explain(explain) => is_short(explain.output),
            Command::Top(top) => is_short(top.output),
            Command::Describe(describe) => is_short(describe.output),
            Command::Rollback(_) => true,
            Command::Edit(_)
            | Command::Diff(_)
            | Command::History(_)
            | Command::Bootstrap(_)
            | Command::Folder(_)
            | Command::Backup(_)
            | Command::Version(_)
            | Command::Completion(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use expect_test::{Expect, expect};

    use super::*;

    /// Compares the help of a command, or of `rutterctl` itself if the name is empty.
    fn check(name: &str, want: Expect) {
        let mut command = Cli::command().term_width(120).mut_args(|argument| argument.hide_env_values(true));
        command.build();
        let shown = if name.is_empty() { &mut command } else { command.find_subcommand_mut(name).unwrap() };
        let help = shown.clone().render_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        want.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn help_of_rutterctl() {
        check(
            "",
            expect![[r#"
                Applies config to a Rutter control plane, and shows what was sent to whom

                Usage: rutterctl [OPTIONS] <COMMAND>

                Commands:
                  apply         Create or change the objects of YAML files, all of them or none
                  get           Show objects
                  delete        Delete objects, all of them or none
                  edit          Change an object in an editor ($RUTTER_EDITOR, $KUBE_EDITOR, $EDITOR, or vi)
                  analyze       Say what is wrong with the objects that are there, with those of files, or with both together, and what
                                to do
                  check         Say what of some files Rutter acts on, what it refuses, and what is no config of a mesh, without a
                                control plane
                  diff          Show what files would change, or what changed between revisions. The exit code is 1 if there is a
                                difference
                  history       Show the latest commits: who changed what, and when
                  rollback      Make every object again what it was at a revision, by a new revision
                  proxy-status  Show each sidecar, and whether it has acknowledged its config [alias: ps]
                  proxy-config  Show what was sent to a sidecar, and whether it was acknowledged [alias: pc]
                  pushes        Show the latest responses: what was sent, how much, and how long the answer took
                  explain       Say what becomes of a request or a connection, step by step, and which objects make it so
                  describe      Say what touches a sidecar, a service or another object, what has no effect and why, and what it costs
                  trace         Show where the time of a change went: store, engine, and until sidecars had answered
                  top           Show how the control plane and its sidecars are doing, until q is pressed
                  bootstrap     Print the bootstrap of a proxy
                  folder        Show the watched folder of the control plane, or confirm that many objects may be deleted by it
                  backup        Write every object to a file, from which `rutter restore` makes a data folder again
                  version       Show the versions of this program and of the control plane
                  completion    Print a script that completes command lines: source <(rutterctl completion bash)
                  help          Print this message or the help of the given subcommand(s)

                Options:
                      --server <ADDR>      Where the control plane is: the path of its admin socket or of its data folder, or HOST:PORT.
                                           Without it, the admin sockets of the usual data folders are tried: $RUTTER_DATA_DIR,
                                           /var/lib/rutter, ~/.local/share/rutter, and that of `rutter serve --memory` in the folder for
                                           temporary files [env: RUTTER_SERVER]
                      --token-file <FILE>  File with a token for HOST:PORT. Without it, the file tokens of the usual data folders is
                                           taken, if it can be read [env: RUTTER_TOKEN_FILE]
                  -n, --namespace <NAME>   Namespace of objects and sidecars. Default: every namespace for what is shown, and "default"
                                           otherwise. An object of a file that names another one is refused
                      --timeout <TIME>     How long the control plane may take to answer, and --wait for the sidecars: 30s, 5m, or a
                                           number of seconds. 0: for ever [default: 30s]
                  -h, --help               Print help
                  -V, --version            Print version"#]],
        );
    }

    #[test]
    fn help_of_apply() {
        check(
            "apply",
            expect![[r#"
                Create or change the objects of YAML files, all of them or none

                Usage: rutterctl apply [OPTIONS]

                Options:
                  -f, --filename <FILE>       File, folder (with its subfolders; only .yaml, .yml and .json files are read), or - for
                                              standard input. Can be repeated
                      --server <ADDR>         Where the control plane is: the path of its admin socket or of its data folder, or
                                              HOST:PORT. Without it, the admin sockets of the usual data folders are tried:
                                              $RUTTER_DATA_DIR, /var/lib/rutter, ~/.local/share/rutter, and that of `rutter serve
                                              --memory` in the folder for temporary files [env: RUTTER_SERVER]
                  -k, --kustomize <DIR>       Folder with a kustomization, which kubectl or kustomize has to be there for
                      --token-file <FILE>     File with a token for HOST:PORT. Without it, the file tokens of the usual data folders is
                                              taken, if it can be read [env: RUTTER_TOKEN_FILE]
                      --dry-run[=<server>]    Check everything and change nothing
                  -n, --namespace <NAME>      Namespace of objects and sidecars. Default: every namespace for what is shown, and
                                              "default" otherwise. An object of a file that names another one is refused
                      --impact                Show which sidecars are sent what, how many bytes, and which routes lead elsewhere; with
                                              --dry-run before anything is changed
                      --timeout <TIME>        How long the control plane may take to answer, and --wait for the sidecars: 30s, 5m, or a
                                              number of seconds. 0: for ever [default: 30s]
                      --fail-over <SIDECARS>  Exit with 1 if more sidecars than this are affected. Nothing is changed then
                      --wait                  Wait until every sidecar has answered, and show what was sent to each
                      --strict                Refuse objects that are no config of a mesh, which are passed over otherwise
                      --skip-unsupported      Leave out objects in which something is not supported yet, each of them whole, and name
                                              them
                      --prune                 Delete the objects that have the labels of --selector and are not in the files, in the
                                              namespaces of the files' objects
                  -l, --selector <LABELS>     Labels of --prune, as app=web. The objects of the files must have them
                  -o, --output <OUTPUT>       [default: short] [possible values: short, json, yaml]
                  -h, --help                  Print help (see more with '--help')"#]],
        );
    }

    #[test]
    fn help_of_get() {
        check(
            "get",
            expect![[r#"
                Show objects

                Usage: rutterctl get [OPTIONS] <KIND [NAME]>...

                Arguments:
                  <KIND [NAME]>...  Kinds (virtualservice, vs, vs,dr, all) and then names, or each object as KIND/NAME

                Options:
                  -A, --all-namespaces     Show objects of every namespace, which is the default if no namespace is given
                      --server <ADDR>      Where the control plane is: the path of its admin socket or of its data folder, or HOST:PORT.
                                           Without it, the admin sockets of the usual data folders are tried: $RUTTER_DATA_DIR,
                                           /var/lib/rutter, ~/.local/share/rutter, and that of `rutter serve --memory` in the folder for
                                           temporary files [env: RUTTER_SERVER]
                  -l, --selector <LABELS>  Show only objects with these labels: app=web,version!=v1,tier in (a, b),!old
                      --token-file <FILE>  File with a token for HOST:PORT. Without it, the file tokens of the usual data folders is
                                           taken, if it can be read [env: RUTTER_TOKEN_FILE]
                  -n, --namespace <NAME>   Namespace of objects and sidecars. Default: every namespace for what is shown, and "default"
                                           otherwise. An object of a file that names another one is refused
                  -w, --watch              Go on showing each change, until it is interrupted
                      --show-labels        Show the labels as the last column
                      --timeout <TIME>     How long the control plane may take to answer, and --wait for the sidecars: 30s, 5m, or a
                                           number of seconds. 0: for ever [default: 30s]
                      --no-headers         Leave the heads of the columns out
                  -o, --output <FORMAT>    wide, name, json, yaml, hosts (lines of /etc/hosts), or jsonpath=TEMPLATE. Default: a table
                  -h, --help               Print help"#]],
        );
    }

    #[test]
    fn help_of_delete() {
        check(
            "delete",
            expect![[r#"
                Delete objects, all of them or none

                Usage: rutterctl delete [OPTIONS] [KIND [NAME]]...

                Arguments:
                  [KIND [NAME]]...  Kinds and then names, or each object as KIND/NAME

                Options:
                  -f, --filename <FILE>       File, folder (with its subfolders; only .yaml, .yml and .json files are read), or - for
                                              standard input. Can be repeated
                      --server <ADDR>         Where the control plane is: the path of its admin socket or of its data folder, or
                                              HOST:PORT. Without it, the admin sockets of the usual data folders are tried:
                                              $RUTTER_DATA_DIR, /var/lib/rutter, ~/.local/share/rutter, and that of `rutter serve
                                              --memory` in the folder for temporary files [env: RUTTER_SERVER]
                  -k, --kustomize <DIR>       Folder with a kustomization, which kubectl or kustomize has to be there for
                      --token-file <FILE>     File with a token for HOST:PORT. Without it, the file tokens of the usual data folders is
                                              taken, if it can be read [env: RUTTER_TOKEN_FILE]
                      --all                   Delete all objects of the kinds
                  -n, --namespace <NAME>      Namespace of objects and sidecars. Default: every namespace for what is shown, and
                                              "default" otherwise. An object of a file that names another one is refused
                  -l, --selector <LABELS>     Delete the objects of the kinds that have these labels
                      --timeout <TIME>        How long the control plane may take to answer, and --wait for the sidecars: 30s, 5m, or a
                                              number of seconds. 0: for ever [default: 30s]
                  -A, --all-namespaces        Delete in every namespace, with --all or --selector
                      --dry-run[=<server>]    Check everything and change nothing
                      --impact                Show which sidecars are sent what, how many bytes, and which routes lead elsewhere; with
                                              --dry-run before anything is changed
                      --fail-over <SIDECARS>  Exit with 1 if more sidecars than this are affected. Nothing is changed then
                      --ignore-not-found      Pass objects over that are not there
                      --wait                  Wait until every sidecar has answered, and show what was sent to each
                  -o, --output <OUTPUT>       [default: short] [possible values: short, json, yaml]
                  -h, --help                  Print help (see more with '--help')"#]],
        );
    }

    #[test]
    fn times_have_units() {
        let read = |text: &str| time(text).map(|time| time.as_millis());
        assert_eq!(
            [read("500ms"), read("30s"), read("5m"), read("1h")],
            [Ok(500), Ok(30_000), Ok(300_000), Ok(3_600_000)]
        );
        assert_eq!((read("7"), read("1.5s"), read("0")), (Ok(7_000), Ok(1_500), Ok(0)));
        assert_eq!(read("3d").unwrap_err(), "want ms, s, m or h behind the number, got \"d\"");
        for text in ["", "s", "-1s", "x", "inf"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn help_of_proxy_status() {
        check(
            "proxy-status",
            expect![[r#"
                Show each sidecar, and whether it has acknowledged its config

                Usage: rutterctl proxy-status [OPTIONS] [SIDECAR]

                Arguments:
                  [SIDECAR]  Name of one sidecar, POD.NAMESPACE, or a unique beginning of it, which is shown in detail

                Options:
                  -o, --output <OUTPUT>    [default: short] [possible values: short, json, yaml]
                      --server <ADDR>      Where the control plane is: the path of its admin socket or of its data folder, or HOST:PORT.
                                           Without it, the admin sockets of the usual data folders are tried: $RUTTER_DATA_DIR,
                                           /var/lib/rutter, ~/.local/share/rutter, and that of `rutter serve --memory` in the folder for
                                           temporary files [env: RUTTER_SERVER]
                      --token-file <FILE>  File with a token for HOST:PORT. Without it, the file tokens of the usual data folders is
                                           taken, if it can be read [env: RUTTER_TOKEN_FILE]
                  -n, --namespace <NAME>   Namespace of objects and sidecars. Default: every namespace for what is shown, and "default"
                                           otherwise. An object of a file that names another one is refused
                      --timeout <TIME>     How long the control plane may take to answer, and --wait for the sidecars: 30s, 5m, or a
                                           number of seconds. 0: for ever [default: 30s]
                  -h, --help               Print help (see more with '--help')"#]],
        );
    }

    #[test]
    fn help_of_proxy_config() {
        check(
            "proxy-config",
            expect![[r#"
                Show what was sent to a sidecar, and whether it was acknowledged

                Usage: rutterctl proxy-config [OPTIONS] <SIDECAR [TYPE]>...

                Arguments:
                  <SIDECAR [TYPE]>...  Name of the sidecar (POD.NAMESPACE, or a unique beginning of it) and the type of the resources,
                                       in any order: cluster, endpoint, listener, route, secret, virtualhost, or all, or the beginning
                                       of a type

                Options:
                      --fqdn <HOST>            Only resources of this host, or of hosts below it: reviews.default.svc.cluster.local
                      --server <ADDR>          Where the control plane is: the path of its admin socket or of its data folder, or
                                               HOST:PORT. Without it, the admin sockets of the usual data folders are tried:
                                               $RUTTER_DATA_DIR, /var/lib/rutter, ~/.local/share/rutter, and that of `rutter serve
                                               --memory` in the folder for temporary files [env: RUTTER_SERVER]
                      --port <PORT>            Only resources of this port
                      --token-file <FILE>      File with a token for HOST:PORT. Without it, the file tokens of the usual data folders is
                                               taken, if it can be read [env: RUTTER_TOKEN_FILE]
                  -n, --namespace <NAME>       Namespace of objects and sidecars. Default: every namespace for what is shown, and
                                               "default" otherwise. An object of a file that names another one is refused
                      --subset <NAME>          Only resources of this subset
                      --direction <DIRECTION>  Only resources of this direction [possible values: inbound, outbound]
                      --timeout <TIME>         How long the control plane may take to answer, and --wait for the sidecars: 30s, 5m, or a
                                               number of seconds. 0: for ever [default: 30s]
                      --status <STATUS>        Only resources in this state, or endpoints of this health [possible values: acked, sent,
                                               due, refused, healthy, unhealthy]
                      --name <NAME>            Only the resource of this name
                  -o, --output <OUTPUT>        [default: short] [possible values: short, json, yaml]
                  -h, --help                   Print help (see more with '--help')"#]],
        );
    }

    #[test]
    fn help_of_pushes() {
        check(
            "pushes",
            expect![[r#"
                Show the latest responses: what was sent, how much, and how long the answer took

                Usage: rutterctl pushes [OPTIONS] [SIDECAR]

                Arguments:
                  [SIDECAR]  Name of the sidecar, POD.NAMESPACE, or a unique beginning of it. Without it, every sidecar is shown

                Options:
                      --server <ADDR>      Where the control plane is: the path of its admin socket or of its data folder, or HOST:PORT.
                                           Without it, the admin sockets of the usual data folders are tried: $RUTTER_DATA_DIR,
                                           /var/lib/rutter, ~/.local/share/rutter, and that of `rutter serve --memory` in the folder for
                                           temporary files [env: RUTTER_SERVER]
                      --since <REVISION>   Show only what this revision of the config or a later one caused [default: 0]
                  -o, --output <OUTPUT>    [default: short] [possible values: short, json, yaml]
                      --token-file <FILE>  File with a token for HOST:PORT. Without it, the file tokens of the usual data folders is
                                           taken, if it can be read [env: RUTTER_TOKEN_FILE]
                  -n, --namespace <NAME>   Namespace of objects and sidecars. Default: every namespace for what is shown, and "default"
                                           otherwise. An object of a file that names another one is refused
                      --timeout <TIME>     How long the control plane may take to answer, and --wait for the sidecars: 30s, 5m, or a
                                           number of seconds. 0: for ever [default: 30s]
                  -h, --help               Print help (see more with '--help')"#]],
        );
    }

    #[test]
    fn help_of_bootstrap() {
        check(
            "bootstrap",
            expect![[r#"
                Print the bootstrap of a proxy

                Usage: rutterctl bootstrap [OPTIONS] --proxy <PROXY> --pod <POD> --ip <IP>

                Options:
                      --proxy <PROXY>                Kind of the proxy [possible values: envoy, rutter, grpc]
                      --server <ADDR>                Where the control plane is: the path of its admin socket or of its data folder, or
                                                     HOST:PORT. Without it, the admin sockets of the usual data folders are tried:
                                                     $RUTTER_DATA_DIR, /var/lib/rutter, ~/.local/share/rutter, and that of `rutter serve
                                                     --memory` in the folder for temporary files [env: RUTTER_SERVER]
                      --role <ROLE>                  What the proxy is for: to stand beside an application, or to be a gateway, which
                                                     Gateway objects select by its labels [default: sidecar] [possible values: sidecar,
                                                     gateway]
                      --token-file <FILE>            File with a token for HOST:PORT. Without it, the file tokens of the usual data
                                                     folders is taken, if it can be read [env: RUTTER_TOKEN_FILE]
                  -n, --namespace <NAME>             Namespace of objects and sidecars. Default: every namespace for what is shown, and
                                                     "default" otherwise. An object of a file that names another one is refused
                      --pod <POD>                    Name of the pod
                      --ip <IP>                      IP address of the pod
                      --timeout <TIME>               How long the control plane may take to answer, and --wait for the sidecars: 30s,
                                                     5m, or a number of seconds. 0: for ever [default: 30s]
                      --label <KEY=VALUE>            Label of the pod. Can be repeated
                      --interception <INTERCEPTION>  How traffic reaches the sidecar: redirected by iptables, or by listeners that are
                                                     bound at --ip (none). It says nothing to a gateway [default: redirect] [possible
                                                     values: redirect, none]
                      --xds <ADDR>                   Address of the control plane for sidecars [default: 127.0.0.1:15010]
                      --admin <ADDR>                 Where the admin page of the proxy is: IP:PORT, or for an Envoy the path of a Unix
                                                     socket, which is made. Default: 127.0.0.1:15000 if traffic is redirected; otherwise
                                                     port 15000 of --ip if that is in 127.0.0.0/8, and else the socket
                                                     envoy-POD.NAMESPACE.sock in the folder for temporary files
                      --locality <LOCALITY>          Where the proxy is, for rules that send requests to the nearest endpoints: REGION,
                                                     REGION/ZONE or REGION/ZONE/SUB-ZONE
                      --mesh-config <FILE>           File with Istio's mesh config, the ConfigMap or its text: the metadata of proxies
                                                     that its defaultConfig has is in the bootstrap as well
                      --workload-group <FILE>        File with the WorkloadGroup of the workload, whose namespace, labels, locality and
                                                     service account the bootstrap has; options that say otherwise count more
                      --workload-entry               Print, instead of the bootstrap, the WorkloadEntry that makes the workload an
                                                     endpoint: … --workload-entry | rutterctl apply -f -
                      --cluster-id <CLUSTER_ID>      Name of the Kubernetes cluster [default: Kubernetes]
                  -h, --help                         Print help (see more with '--help')"#]],
        );
    }

    #[test]
    fn labels_are_pairs() {
        assert_eq!(label("app=web"), Ok(("app".into(), "web".into())));
        assert_eq!(label("app="), Ok(("app".into(), String::new())));
        assert_eq!(label("a=b=c"), Ok(("a".into(), "b=c".into())), "the first sign divides");
        for text in ["app", "=web", ""] {
            assert_eq!(label(text), Err(format!("want key=value, got {text:?}")));
        }
    }

    /// Returns the error of a command line, without the usage that follows it.
    fn refused(line: &str) -> String {
        let error = Cli::try_parse_from(line.split(' ')).err().unwrap().to_string();
        error.lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_command_line_that_cannot_be_meant_is_refused() {
        assert_eq!(refused("rutterctl frobnicate"), "error: unrecognized subcommand 'frobnicate'");
        assert_eq!(refused("rutterctl get"), "error: the following required arguments were not provided:");
        assert_eq!(
            refused("rutterctl apply -f a --prune"),
            "error: the following required arguments were not provided:"
        );
        let all = "rutterctl delete svc --all -f a";
        assert_eq!(refused(all), "error: the argument '--all' cannot be used with '--filename <FILE>'");
        let dry = "rutterctl apply -f a --dry-run=maybe";
        assert_eq!(refused(dry), "error: invalid value 'maybe' for '--dry-run[=<server>]'");
        let address = "rutterctl --server localhost get svc";
        assert!(
            refused(address)
                .starts_with("error: invalid value 'localhost' for '--server <ADDR>': want the path of a socket")
        );
        assert_eq!(
            refused("rutterctl get svc -o xml"),
            "error: invalid value 'xml' for '--output <FORMAT>': want wide, name, json, yaml, hosts or jsonpath=TEMPLATE"
        );
        let address = "rutterctl bootstrap --proxy envoy --pod a --ip here";
        assert_eq!(refused(address), "error: invalid value 'here' for '--ip <IP>': invalid IP address syntax");
    }

    #[test]
    fn namespace_and_server_may_stand_before_and_after_the_command() {
        for line in ["rutterctl -n shop --server a:1 get vs", "rutterctl get vs -n shop --server a:1"] {
            let cli = Cli::parse_from(line.split(' '));
            assert_eq!((cli.namespace.as_str(), cli.server.unwrap().to_string().as_str()), ("shop", "a:1"));
        }
    }
}
