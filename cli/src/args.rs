//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rutter_api::ResourceType;

use crate::client::ServerAddress;

/// Applies config to a Rutter control plane, and shows what was sent to whom
#[derive(Parser)]
#[command(name = "rutterctl", version)]
pub(crate) struct Cli {
    /// Where the control plane is: the path of its admin socket or of its data folder, or HOST:PORT. Without it, the admin
    /// sockets of the usual data folders are tried: $RUTTER_DATA_DIR, /var/lib/rutter, ~/.local/share/rutter
    #[arg(long, env = "RUTTER_SERVER", global = true, value_name = "ADDR")]
    pub(crate) server: Option<ServerAddress>,
    /// File with a token for HOST:PORT. Without it, the file tokens of the usual data folders is taken, if it can be read
    #[arg(long, env = "RUTTER_TOKEN_FILE", global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Namespace in which objects are looked up, and of applied objects that name none. Default: every namespace for get,
    /// and "default" otherwise
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
    /// Show the watched folder of the control plane, or confirm that many objects may be deleted by it
    #[command(subcommand)]
    Folder(Folder),
    /// Write every object to a file, from which `rutter restore` makes a data folder again
    Backup(Backup),
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
    #[arg(value_name = "TYPE", default_value = "all", help = types_help())]
    pub(crate) resource_type: String,
    #[arg(short, long, default_value = "short")]
    pub(crate) output: Output,
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

/// Returns the help of an argument that takes a resource type.
fn types_help() -> String {
    let words: Vec<&str> = ResourceType::ALL.iter().map(|resource_type| resource_type.word()).collect();
    format!("Type of the resources: {}, or all", words.join(", "))
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
                  proxy-status  Show each sidecar, and whether it has acknowledged its config [alias: ps]
                  proxy-config  Show what was sent to a sidecar, and whether it was acknowledged [alias: pc]
                  pushes        Show the latest responses: what was sent, how much, and how long the answer took
                  bootstrap     Print the bootstrap of a proxy
                  folder        Show the watched folder of the control plane, or confirm that many objects may be deleted by it
                  backup        Write every object to a file, from which `rutter restore` makes a data folder again
                  help          Print this message or the help of the given subcommand(s)

                Options:
                      --server <ADDR>      Where the control plane is: the path of its admin socket or of its data folder, or HOST:PORT.
                                           Without it, the admin sockets of the usual data folders are tried: $RUTTER_DATA_DIR,
                                           /var/lib/rutter, ~/.local/share/rutter [env: RUTTER_SERVER]
                      --token-file <FILE>  File with a token for HOST:PORT. Without it, the file tokens of the usual data folders is
                                           taken, if it can be read [env: RUTTER_TOKEN_FILE]
                  -n, --namespace <NAME>   Namespace in which objects are looked up, and of applied objects that name none. Default:
                                           every namespace for get, and "default" otherwise
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

                Usage: rutterctl apply [OPTIONS] --filename <FILE>

                Options:
                  -f, --filename <FILE>    File, folder (with its subfolders; only .yaml, .yml and .json files are read), or - for
                                           standard input. Can be repeated
                      --server <ADDR>      Where the control plane is: the path of its admin socket or of its data folder, or HOST:PORT.
                                           Without it, the admin sockets of the usual data folders are tried: $RUTTER_DATA_DIR,
                                           /var/lib/rutter, ~/.local/share/rutter [env: RUTTER_SERVER]
                      --dry-run            Check everything and change nothing
                      --token-file <FILE>  File with a token for HOST:PORT. Without it, the file tokens of the usual data folders is
                                           taken, if it can be read [env: RUTTER_TOKEN_FILE]
                  -n, --namespace <NAME>   Namespace in which objects are looked up, and of applied objects that name none. Default:
                                           every namespace for get, and "default" otherwise
                      --wait               Wait until every sidecar has answered, and show what was sent to each
                  -o, --output <OUTPUT>    [default: short] [possible values: short, json, yaml]
                  -h, --help               Print help (see more with '--help')"#]],
        );
    }

    #[test]
    fn help_of_get() {
        check(
            "get",
            expect![[r#"
                Show objects

                Usage: rutterctl get [OPTIONS] <KIND> [NAME]

                Arguments:
                  <KIND>  Kind of the objects (virtualservice, vs, …), or all
                  [NAME]  Name of one object

                Options:
                  -A, --all-namespaces     Show objects of every namespace, which is the default if no namespace is given
                      --server <ADDR>      Where the control plane is: the path of its admin socket or of its data folder, or HOST:PORT.
                                           Without it, the admin sockets of the usual data folders are tried: $RUTTER_DATA_DIR,
                                           /var/lib/rutter, ~/.local/share/rutter [env: RUTTER_SERVER]
                  -o, --output <OUTPUT>    [default: short] [possible values: short, json, yaml]
                      --token-file <FILE>  File with a token for HOST:PORT. Without it, the file tokens of the usual data folders is
                                           taken, if it can be read [env: RUTTER_TOKEN_FILE]
                  -n, --namespace <NAME>   Namespace in which objects are looked up, and of applied objects that name none. Default:
                                           every namespace for get, and "default" otherwise
                  -h, --help               Print help (see more with '--help')"#]],
        );
    }

    #[test]
    fn help_of_delete() {
        check(
            "delete",
            expect![[r#"
                Delete objects, all of them or none

                Usage: rutterctl delete [OPTIONS] <KIND> <NAMES>...

                Arguments:
                  <KIND>      Kind of the objects
                  <NAMES>...  Names of the objects

                Options:
                      --server <ADDR>      Where the control plane is: the path of its admin socket or of its data folder, or HOST:PORT.
                                           Without it, the admin sockets of the usual data folders are tried: $RUTTER_DATA_DIR,
                                           /var/lib/rutter, ~/.local/share/rutter [env: RUTTER_SERVER]
                      --token-file <FILE>  File with a token for HOST:PORT. Without it, the file tokens of the usual data folders is
                                           taken, if it can be read [env: RUTTER_TOKEN_FILE]
                  -n, --namespace <NAME>   Namespace in which objects are looked up, and of applied objects that name none. Default:
                                           every namespace for get, and "default" otherwise
                  -h, --help               Print help"#]],
        );
    }

    #[test]
    fn help_of_proxy_status() {
        check(
            "proxy-status",
            expect![[r#"
                Show each sidecar, and whether it has acknowledged its config

                Usage: rutterctl proxy-status [OPTIONS]

                Options:
                  -o, --output <OUTPUT>    [default: short] [possible values: short, json, yaml]
                      --server <ADDR>      Where the control plane is: the path of its admin socket or of its data folder, or HOST:PORT.
                                           Without it, the admin sockets of the usual data folders are tried: $RUTTER_DATA_DIR,
                                           /var/lib/rutter, ~/.local/share/rutter [env: RUTTER_SERVER]
                      --token-file <FILE>  File with a token for HOST:PORT. Without it, the file tokens of the usual data folders is
                                           taken, if it can be read [env: RUTTER_TOKEN_FILE]
                  -n, --namespace <NAME>   Namespace in which objects are looked up, and of applied objects that name none. Default:
                                           every namespace for get, and "default" otherwise
                  -h, --help               Print help (see more with '--help')"#]],
        );
    }

    #[test]
    fn help_of_proxy_config() {
        check(
            "proxy-config",
            expect![[r#"
                Show what was sent to a sidecar, and whether it was acknowledged

                Usage: rutterctl proxy-config [OPTIONS] <SIDECAR> [TYPE]

                Arguments:
                  <SIDECAR>  Name of the sidecar, POD.NAMESPACE, or a unique beginning of it
                  [TYPE]     Type of the resources: cluster, endpoint, listener, route, secret, virtualhost, or all [default: all]

                Options:
                  -o, --output <OUTPUT>    [default: short] [possible values: short, json, yaml]
                      --server <ADDR>      Where the control plane is: the path of its admin socket or of its data folder, or HOST:PORT.
                                           Without it, the admin sockets of the usual data folders are tried: $RUTTER_DATA_DIR,
                                           /var/lib/rutter, ~/.local/share/rutter [env: RUTTER_SERVER]
                      --token-file <FILE>  File with a token for HOST:PORT. Without it, the file tokens of the usual data folders is
                                           taken, if it can be read [env: RUTTER_TOKEN_FILE]
                  -n, --namespace <NAME>   Namespace in which objects are looked up, and of applied objects that name none. Default:
                                           every namespace for get, and "default" otherwise
                  -h, --help               Print help (see more with '--help')"#]],
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
                                           /var/lib/rutter, ~/.local/share/rutter [env: RUTTER_SERVER]
                      --since <REVISION>   Show only what this revision of the config or a later one caused [default: 0]
                  -o, --output <OUTPUT>    [default: short] [possible values: short, json, yaml]
                      --token-file <FILE>  File with a token for HOST:PORT. Without it, the file tokens of the usual data folders is
                                           taken, if it can be read [env: RUTTER_TOKEN_FILE]
                  -n, --namespace <NAME>   Namespace in which objects are looked up, and of applied objects that name none. Default:
                                           every namespace for get, and "default" otherwise
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
                                                     $RUTTER_DATA_DIR, /var/lib/rutter, ~/.local/share/rutter [env: RUTTER_SERVER]
                      --pod <POD>                    Name of the pod
                      --token-file <FILE>            File with a token for HOST:PORT. Without it, the file tokens of the usual data
                                                     folders is taken, if it can be read [env: RUTTER_TOKEN_FILE]
                      --ip <IP>                      IP address of the pod
                  -n, --namespace <NAME>             Namespace in which objects are looked up, and of applied objects that name none.
                                                     Default: every namespace for get, and "default" otherwise
                      --label <KEY=VALUE>            Label of the pod. Can be repeated
                      --interception <INTERCEPTION>  How traffic reaches the sidecar: redirected by iptables, or by listeners that are
                                                     bound at --ip (none) [default: redirect] [possible values: redirect, none]
                      --xds <ADDR>                   Address of the control plane for sidecars [default: 127.0.0.1:15010]
                      --admin-port <PORT>            Port of the admin page of the proxy at 127.0.0.1 [default: 15000]
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
        assert_eq!(refused("rutterctl delete svc"), "error: the following required arguments were not provided:");
        let address = "rutterctl --server localhost get svc";
        assert!(
            refused(address)
                .starts_with("error: invalid value 'localhost' for '--server <ADDR>': want the path of a socket")
        );
        assert_eq!(refused("rutterctl get svc -o xml"), "error: invalid value 'xml' for '--output <OUTPUT>'");
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
