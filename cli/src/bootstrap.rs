//! Bootstraps, by which a proxy connects to Rutter as the sidecar of a workload.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use rutter_api::config::istio::{WorkloadGroup, WorkloadTemplate};
use rutter_api::config::kubernetes::{MeshConfig, ProxyDefaults, read_mesh_config};
use rutter_api::config::{Content, read_manifests};
use rutter_api::node::{RE2_PROGRAM_MAX_METADATA, locality_of_text};
use rutter_api::{Config, Kind, LABEL_MAX, NAME_MAX, check_dns_name, check_label_value};
use serde_json::{Map, Value, json};

use crate::args::{Bootstrap, Interception, Proxy, Role};
use crate::output::yaml;
use crate::targets::{DEFAULT_NAMESPACE, namespace_or_default};
use crate::usage::usage;

/// A bootstrap, and what has to be said beside it.
pub(crate) struct Printed {
    /// The bootstrap, as JSON, or the WorkloadEntry, as YAML.
    pub(crate) text: String,
    /// What it cannot say itself, one sentence each.
    pub(crate) notes: Vec<String>,
}

/// Returns the bootstrap of a proxy, or the WorkloadEntry of its workload. An empty namespace is that of the group, or else the
/// default one.
pub(crate) fn print(wanted: Bootstrap, namespace: &str) -> Result<Printed> {
    let group = wanted.workload_group.as_deref().map(read_group).transpose()?;
    let namespace = match (&group, namespace) {
        (Some(group), "") => &*group.key.namespace,
        (_, namespace) => namespace_or_default(namespace),
    };
    let group = group.as_ref().and_then(|group| group.spec.as_workload_group());
    let wanted = match group {
        Some(group) => with_group(wanted, group),
        None => wanted,
    };
    check(&wanted, namespace)?;
    match group.filter(|_| wanted.workload_entry) {
        Some(group) => Ok(Printed { text: workload_entry(&wanted, namespace, group), notes: Vec::new() }),
        None => print_bootstrap(&wanted, namespace, group),
    }
}

/// Reads the only WorkloadGroup of a file.
fn read_group(path: &Path) -> Result<Arc<Config>> {
    let place = path.display();
    let text = std::fs::read_to_string(path).with_context(|| place.to_string())?;
    let manifests = read_manifests(&text, DEFAULT_NAMESPACE).with_context(|| place.to_string())?;
    let mut groups = Vec::new();
    for manifest in manifests {
        match manifest.content {
            Content::Taken(object) if object.config.key.kind == Kind::WorkloadGroup => groups.push(object.config),
            Content::Taken(_) | Content::Foreign(_) => {}
            Content::Refused(refused) => {
                let faults: Vec<String> = refused.faults.iter().map(ToString::to_string).collect();
                bail!("{place}: line {}: {}", manifest.line, faults.join("\n"));
            }
        }
    }
    match <[Arc<Config>; 1]>::try_from(groups) {
        Ok([group]) => Ok(group),
        Err(groups) => Err(usage(format!("--workload-group {place}: want one WorkloadGroup, got {}", groups.len()))),
    }
}

/// Adds what a group says of its workloads. What the command line says counts more.
fn with_group(wanted: Bootstrap, group: &WorkloadGroup) -> Bootstrap {
    let mut labels = group.labels();
    labels.extend(wanted.labels.iter().cloned());
    let locality = if wanted.locality.is_empty() { group.template.locality.clone() } else { wanted.locality.clone() };
    Bootstrap { labels: labels.into_iter().collect(), locality, ..wanted }
}

/// Returns the WorkloadEntry of a workload of a group, as YAML.
fn workload_entry(wanted: &Bootstrap, namespace: &str, group: &WorkloadGroup) -> String {
    // Labels and locality are in what is wanted already.
    let WorkloadTemplate { ports, labels: _, locality: _, weight, service_account: _ } = &group.template;
    let labels: BTreeMap<&String, &String> = wanted.labels.iter().map(|(key, value)| (key, value)).collect();
    let mut spec = json!({"address": wanted.ip, "labels": labels});
    if !ports.is_empty() {
        spec["ports"] = json!(ports);
    }
    if !wanted.locality.is_empty() {
        spec["locality"] = wanted.locality.as_str().into();
    }
    if let Some(weight) = weight {
        spec["weight"] = (*weight).into();
    }
    let mut entry = json!({
        "apiVersion": Kind::WorkloadEntry.api_versions()[0],
        "kind": Kind::WorkloadEntry.name(),
        "metadata": {"name": wanted.pod, "namespace": namespace},
        "spec": spec,
    });
    if !group.metadata.annotations.is_empty() {
        entry["metadata"]["annotations"] = json!(group.metadata.annotations);
    }
    yaml(&entry).trim_end().to_owned()
}

fn print_bootstrap(wanted: &Bootstrap, namespace: &str, group: Option<&WorkloadGroup>) -> Result<Printed> {
    let mesh = mesh_config(wanted.mesh_config.as_deref())?;
    let notes = notes(&mesh, wanted.proxy);
    let defaults = mesh.default_config.unwrap_or_default();
    let no_address = || usage(format!("--xds {}: want HOST:PORT", wanted.xds));
    // A gRPC library takes targets of other forms, such as dns:///rutter.mesh:15010.
    let is_plain = |host: &str| wanted.proxy == Proxy::Grpc || !host.contains('/');
    let parts = wanted.xds.rsplit_once(':').filter(|(host, _)| is_plain(host));
    let (host, port) = parts.ok_or_else(no_address)?;
    let port: u16 = port.parse().map_err(|_| no_address())?;
    let page = AdminPage::of(wanted, namespace)?;
    let mut json = match (wanted.proxy, interception(wanted)) {
        (Proxy::Envoy, _) => {
            envoy(wanted, namespace, &page, ControlPlane { host: host.trim_matches(['[', ']']), port })
        }
        (Proxy::Grpc, _) => grpc(wanted, namespace),
        (Proxy::Rutter, Interception::None) => rutter(wanted, namespace, &page)?,
        (Proxy::Rutter, Interception::Redirect) => {
            return Err(usage("--proxy rutter: want --interception none: it does not take captured traffic yet"));
        }
    };
    add_defaults(&mut json["node"]["metadata"], &defaults);
    if let Some(account) = group.map(|group| &group.template.service_account).filter(|account| !account.is_empty()) {
        json["node"]["metadata"]["SERVICE_ACCOUNT"] = account.as_str().into();
    }
    Ok(Printed { text: serde_json::to_string_pretty(&json)?, notes })
}

/// What Istio puts before the names of variables that are metadata of a node.
const METADATA_PREFIX: &str = "ISTIO_META_";

/// Returns the mesh config in a file, or one that says nothing if there is no file.
fn mesh_config(path: Option<&Path>) -> Result<MeshConfig> {
    let Some(path) = path else { return Ok(MeshConfig::default()) };
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    read_mesh_config(&text).map_err(|invalid| anyhow!("{}: {invalid}", path.display()))
}

/// Adds to the metadata of a node what the mesh config says, as Istio's agent does: each variable for metadata by its name, and
/// all of it as `PROXY_CONFIG`.
fn add_defaults(metadata: &mut Value, defaults: &ProxyDefaults) {
    let ProxyDefaults { proxy_metadata, concurrency } = defaults;
    for (name, value) in proxy_metadata {
        if let Some(name) = name.strip_prefix(METADATA_PREFIX).filter(|name| metadata.get(name).is_none()) {
            metadata[name] = value.as_str().into();
        }
    }
    let mut proxy_config = Map::new();
    if !proxy_metadata.is_empty() {
        proxy_config.insert("proxyMetadata".into(), json!(proxy_metadata));
    }
    if let Some(concurrency) = concurrency {
        // Envoy takes the number of its threads from its command line only.
        proxy_config.insert("concurrency".into(), json!(concurrency));
    }
    if !proxy_config.is_empty() {
        metadata["PROXY_CONFIG"] = proxy_config.into();
    }
}

/// Returns what of a mesh config the bootstrap of a proxy cannot say itself.
fn notes(mesh: &MeshConfig, proxy: Proxy) -> Vec<String> {
    let defaults = mesh.default_config.as_ref();
    let concurrency = defaults.and_then(|defaults| defaults.concurrency).filter(|_| proxy == Proxy::Envoy);
    let how = concurrency.map(|number| match number {
        0 => "defaultConfig.concurrency is 0: start Envoy without --concurrency".to_owned(),
        number => format!("defaultConfig.concurrency is {number}: start Envoy with --concurrency {number}"),
    });
    let others = mesh.ignored.iter().filter(|field| field.starts_with("defaultConfig."));
    let others = others.map(|field| format!("{field} has no effect on the bootstrap"));
    how.into_iter().chain(others).collect()
}

/// Returns how traffic reaches the proxy. To a gateway nothing is redirected.
fn interception(wanted: &Bootstrap) -> Interception {
    match wanted.role {
        Role::Sidecar => wanted.interception,
        Role::Gateway => Interception::None,
    }
}

/// Fails if the control plane would refuse the sidecar, or a part of the command line would have no effect.
fn check(wanted: &Bootstrap, namespace: &str) -> Result<()> {
    let checked = check_dns_name("--pod", &wanted.pod, NAME_MAX);
    let checked = checked.and_then(|()| check_dns_name("--namespace", namespace, LABEL_MAX));
    let checked = checked.and_then(|()| {
        wanted.labels.iter().try_for_each(|(name, value)| check_label_value(&format!("--label {name}"), value))
    });
    checked.map_err(|invalid| usage(invalid.to_string()))?;
    if wanted.labels.iter().any(|(name, _)| name.contains(char::is_whitespace)) {
        return Err(usage("--label: want a name without blanks"));
    }
    if wanted.locality.split('/').count() > 3 {
        return Err(usage(format!("--locality: want REGION/ZONE/SUB-ZONE, got {:?}", wanted.locality)));
    }
    if wanted.ip.is_unspecified() {
        return Err(usage(format!("--ip {}: want the address of the pod", wanted.ip)));
    }
    if wanted.role == Role::Gateway && wanted.proxy != Proxy::Envoy {
        return Err(usage("--role gateway: want --proxy envoy"));
    }
    if wanted.proxy == Proxy::Grpc && wanted.admin.is_some() {
        return Err(usage("--admin: want none for a gRPC library, which has no admin page"));
    }
    Ok(())
}

/// The largest program of a regular expression that an Envoy takes.
const RE2_PROGRAM_MAX: u32 = 32_768;
/// The port of the admin page of a proxy.
const ADMIN_PORT: u16 = 15000;
/// The longest path of a Unix socket, in bytes.
const SOCKET_PATH_MAX: usize = 107;
/// The mode of the socket of an admin page: only its owner may ask.
const SOCKET_MODE: u32 = 0o600;

/// Where the admin page of a proxy is.
#[derive(Debug, PartialEq, Eq)]
enum AdminPage {
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Socket(String),
}

impl AdminPage {
    /// Returns where the page is by `--admin`, or else where it collides with that of no other proxy: a captured sidecar
    /// has a loopback of its own, and another one shares that of its machine.
    fn of(wanted: &Bootstrap, namespace: &str) -> Result<Self> {
        let is_loopback = wanted.ip.is_loopback() && wanted.ip.is_ipv4();
        let page = match (&wanted.admin, interception(wanted), wanted.proxy) {
            (Some(text), _, _) => Self::parse(text)?,
            (None, Interception::None, _) if is_loopback => Self::Tcp(SocketAddr::new(wanted.ip, ADMIN_PORT)),
            (None, Interception::None, Proxy::Envoy) => {
                let name = format!("envoy-{}.{namespace}.sock", wanted.pod);
                Self::Socket(std::env::temp_dir().join(name).display().to_string())
            }
            (None, Interception::Redirect | Interception::None, _) => {
                Self::Tcp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ADMIN_PORT))
            }
        };
        if let Self::Socket(path) = &page
            && path.len() > SOCKET_PATH_MAX
        {
            return Err(usage(format!(
                "--admin {path}: want a path of at most {SOCKET_PATH_MAX} bytes, got {}",
                path.len()
            )));
        }
        Ok(page)
    }

    fn parse(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(address) => Ok(Self::Tcp(address)),
            Err(_) if text.starts_with(['/', '.']) => Ok(Self::Socket(text.to_owned())),
            Err(_) => Err(usage(format!("--admin {text}: want IP:PORT or the path of a Unix socket"))),
        }
    }

    /// Returns the address as Envoy has it.
    fn address(&self) -> Value {
        match self {
            Self::Tcp(address) => {
                json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
            }
            Self::Socket(path) => json!({"pipe": {"path": path, "mode": SOCKET_MODE}}),
        }
    }
}

fn rutter(wanted: &Bootstrap, namespace: &str, page: &AdminPage) -> Result<Value> {
    let AdminPage::Tcp(address) = page else { return Err(usage("--admin: want IP:PORT for rutter-proxy, got a path")) };
    Ok(json!({"xds": wanted.xds, "admin": address.to_string(), "node": node(wanted, namespace)}))
}

/// Returns the bootstrap of a gRPC library. It has Istio's names, so a client that is set up for istiod has the same.
fn grpc(wanted: &Bootstrap, namespace: &str) -> Value {
    let mut node = node(wanted, namespace);
    node["metadata"]["GENERATOR"] = "grpc".into();
    if node.get("locality").is_none() {
        // grpc-js refuses a node without one.
        node["locality"] = json!({});
    }
    json!({
        "xds_servers": [{
            "server_uri": wanted.xds,
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }],
        "node": node,
        "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s",
    })
}

/// Returns the node with Istio's node id and metadata.
fn node(wanted: &Bootstrap, namespace: &str) -> Value {
    let labels: Map<String, Value> =
        wanted.labels.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    let mode = match interception(wanted) {
        Interception::Redirect => "REDIRECT",
        Interception::None => "NONE",
    };
    let role = match wanted.role {
        Role::Sidecar => "sidecar",
        // Istio's word for a gateway.
        Role::Gateway => "router",
    };
    let mut node = json!({
        "id": format!("{role}~{}~{}.{namespace}~{namespace}.svc.cluster.local", wanted.ip, wanted.pod),
        "cluster": format!("{}.{namespace}", wanted.pod),
        "metadata": {
            "NAMESPACE": namespace,
            "LABELS": labels,
            "CLUSTER_ID": wanted.cluster_id,
            "INSTANCE_IPS": wanted.ip.to_string(),
            "INTERCEPTION_MODE": mode,
        },
    });
    if !wanted.locality.is_empty() {
        let [region, zone, sub_zone] = locality_of_text(&wanted.locality);
        node["locality"] = json!({"region": region, "zone": zone, "sub_zone": sub_zone});
    }
    node
}

/// Where a proxy connects to.
struct ControlPlane<'a> {
    /// An IP address without brackets, or a DNS name.
    host: &'a str,
    port: u16,
}

/// Returns the bootstrap of an Envoy. It speaks delta ADS, and sends its node, which has 61 KB, in the first message
/// only. It keeps the connection alive with pings, so that a control plane that vanished is noticed within 40 s.
fn envoy(
    wanted: &Bootstrap,
    namespace: &str,
    page: &AdminPage,
    ControlPlane { host, port }: ControlPlane<'_>,
) -> Value {
    let ads = json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"});
    let mut node = node(wanted, namespace);
    node["metadata"][RE2_PROGRAM_MAX_METADATA] = json!(RE2_PROGRAM_MAX);
    json!({
        "node": node,
        "admin": {"address": page.address()},
        "layered_runtime": {"layers": [{
            "name": "static",
            // Istio's value. Envoy itself refuses regular expressions whose program is larger than 100.
            "static_layer": {"re2.max_program_size.error_level": RE2_PROGRAM_MAX},
        }]},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "rutter"}}],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {"clusters": [{
            "name": "rutter",
            "type": if host.parse::<std::net::IpAddr>().is_ok() { "STATIC" } else { "STRICT_DNS" },
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {
                        "connection_keepalive": {"interval": "30s", "timeout": "10s"},
                    }},
                },
            },
            "load_assignment": {"cluster_name": "rutter", "endpoints": [{"lb_endpoints": [{"endpoint": {
                "address": {"socket_address": {"address": host, "port_value": port}},
            }}]}]},
        }]},
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use expect_test::expect;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn envoy_bootstrap_names_the_workload_and_asks_for_deltas() {
        let line = "rutterctl bootstrap --proxy envoy --pod web-1 --ip 127.0.3.1 --label app=web --interception none --xds 127.0.0.1:9";
        let Command::Bootstrap(wanted) = Cli::parse_from(line.split(' ')).command else { panic!() };
        let json: Value = serde_json::from_str(&print(wanted, "shop").unwrap().text).unwrap();
        assert_eq!(json["node"]["id"], "sidecar~127.0.3.1~web-1.shop~shop.svc.cluster.local");
        assert_eq!(json["node"]["metadata"]["LABELS"], json!({"app": "web"}));
        assert_eq!(json["dynamic_resources"]["ads_config"]["api_type"], "DELTA_GRPC");
        assert_eq!(json["dynamic_resources"]["ads_config"]["set_node_on_first_message_only"], true);
    }

    /// Returns the bootstrap that a command line asks for.
    fn printed(options: &str) -> Result<String> {
        let ip = if options.contains("--ip") { "" } else { "--ip 10.0.0.1 " };
        let line = format!("rutterctl bootstrap --pod web-1 {ip}--label app=web {options}");
        let Command::Bootstrap(wanted) = Cli::parse_from(line.split(' ')).command else { panic!() };
        Ok(print(wanted, "shop")?.text)
    }

    #[test]
    fn the_mesh_config_adds_metadata() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mesh = "{defaultConfig: {concurrency: 2, proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true', ISTIO_META_NAMESPACE: x, \
                    EXIT_ON_ZERO_ACTIVE_CONNECTIONS: 'true'}}}";
        std::fs::write(file.path(), mesh).unwrap();
        let json = printed(&format!("--proxy envoy --mesh-config {}", file.path().display())).unwrap();
        let json: Value = serde_json::from_str(&json).unwrap();
        let metadata = &json["node"]["metadata"];
        assert_eq!(metadata["DNS_CAPTURE"], "true");
        assert_eq!(metadata["NAMESPACE"], "shop", "what names the workload is not replaced");
        assert_eq!(metadata["PROXY_CONFIG"]["concurrency"], 2);
        assert_eq!(metadata["PROXY_CONFIG"]["proxyMetadata"]["EXIT_ON_ZERO_ACTIVE_CONNECTIONS"], "true");
        std::fs::write(file.path(), "{connectTimeout: [1]}").unwrap();
        let error = printed(&format!("--proxy envoy --mesh-config {}", file.path().display())).unwrap_err();
        assert!(error.to_string().contains("connectTimeout: want"), "{error}");
    }

    #[test]
    fn a_group_says_what_its_workloads_have_in_common() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let group = "apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: g, namespace: vms}\nspec:\n  \
            metadata: {labels: {app: db, tier: a}, annotations: {team: x}}\n  template: {ports: {tcp: 5432}, locality: r/z, weight: 2, serviceAccount: db}\n";
        std::fs::write(file.path(), group).unwrap();
        let file_name = file.path().display().to_string();
        let line = |options: &str| {
            let line = format!(
                "rutterctl bootstrap --proxy envoy --pod vm-1 --ip 10.0.0.9 --label tier=b --workload-group {file_name}{options}"
            );
            let Command::Bootstrap(wanted) = Cli::parse_from(line.split(' ')).command else { panic!() };
            wanted
        };
        let json: Value = serde_json::from_str(&print(line(""), "").unwrap().text).unwrap();
        let node = &json["node"];
        assert_eq!(node["id"], "sidecar~10.0.0.9~vm-1.vms~vms.svc.cluster.local");
        assert_eq!(node["metadata"]["LABELS"], json!({"app": "db", "tier": "b"}), "the command line counts more");
        assert_eq!((&node["metadata"]["SERVICE_ACCOUNT"], &node["locality"]["zone"]), (&json!("db"), &json!("z")));
        expect![[r#"
            apiVersion: networking.istio.io/v1
            kind: WorkloadEntry
            metadata:
              annotations:
                team: x
              name: vm-1
              namespace: vms
            spec:
              address: "10.0.0.9"
              labels:
                app: db
                tier: b
              locality: r/z
              ports:
                tcp: 5432
              weight: 2"#]]
        .assert_eq(&print(line(" --workload-entry"), "").unwrap().text);
        let of_other = print(line(" --workload-entry"), "other").unwrap().text;
        assert!(of_other.contains("namespace: other"), "{of_other}");
        std::fs::write(file.path(), group.replace("weight: 2", "weight: 0")).unwrap();
        let error = print(line(""), "").err().unwrap().to_string();
        assert!(error.contains("line 1: workloadGroup vms/g: spec.template.weight: want at least 1, got 0"), "{error}");
        std::fs::write(file.path(), "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n").unwrap();
        let error = print(line(""), "").err().unwrap().to_string();
        assert!(error.ends_with("want one WorkloadGroup, got 0"), "{error}");
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "most of it is expected output")]
    fn bootstrap_of_a_captured_envoy() {
        expect![[r#"
            {
              "admin": {
                "address": {
                  "socket_address": {
                    "address": "127.0.0.1",
                    "port_value": 15000
                  }
                }
              },
              "dynamic_resources": {
                "ads_config": {
                  "api_type": "DELTA_GRPC",
                  "grpc_services": [
                    {
                      "envoy_grpc": {
                        "cluster_name": "rutter"
                      }
                    }
                  ],
                  "set_node_on_first_message_only": true,
                  "transport_api_version": "V3"
                },
                "cds_config": {
                  "ads": {},
                  "initial_fetch_timeout": "0s",
                  "resource_api_version": "V3"
                },
                "lds_config": {
                  "ads": {},
                  "initial_fetch_timeout": "0s",
                  "resource_api_version": "V3"
                }
              },
              "layered_runtime": {
                "layers": [
                  {
                    "name": "static",
                    "static_layer": {
                      "re2.max_program_size.error_level": 32768
                    }
                  }
                ]
              },
              "node": {
                "cluster": "web-1.shop",
                "id": "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local",
                "metadata": {
                  "CLUSTER_ID": "Kubernetes",
                  "INSTANCE_IPS": "10.0.0.1",
                  "INTERCEPTION_MODE": "REDIRECT",
                  "LABELS": {
                    "app": "web"
                  },
                  "NAMESPACE": "shop",
                  "RE2_PROGRAM_MAX": 32768
                }
              },
              "static_resources": {
                "clusters": [
                  {
                    "connect_timeout": "1s",
                    "load_assignment": {
                      "cluster_name": "rutter",
                      "endpoints": [
                        {
                          "lb_endpoints": [
                            {
                              "endpoint": {
                                "address": {
                                  "socket_address": {
                                    "address": "127.0.0.1",
                                    "port_value": 15010
                                  }
                                }
                              }
                            }
                          ]
                        }
                      ]
                    },
                    "name": "rutter",
                    "type": "STATIC",
                    "typed_extension_protocol_options": {
                      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {
                          "http2_protocol_options": {
                            "connection_keepalive": {
                              "interval": "30s",
                              "timeout": "10s"
                            }
                          }
                        }
                      }
                    }
                  }
                ]
              }
            }"#]]
        .assert_eq(&printed("--proxy envoy").unwrap());
    }

    #[test]
    fn the_admin_page_collides_with_that_of_no_other_proxy() {
        let page = |options: &str| {
            let json: Value = serde_json::from_str(&printed(options)?)?;
            Ok::<_, anyhow::Error>(json["admin"]["address"].clone())
        };
        let tcp = |ip: &str, port: u16| json!({"socket_address": {"address": ip, "port_value": port}});
        assert_eq!(page("--proxy envoy").unwrap(), tcp("127.0.0.1", 15000), "it has a loopback of its own");
        let socket = page("--proxy envoy --interception none").unwrap();
        assert!(socket["pipe"]["path"].as_str().unwrap().ends_with("/envoy-web-1.shop.sock"), "{socket}");
        assert_eq!(socket["pipe"]["mode"], 0o600);
        assert_eq!(page("--proxy envoy --interception none --ip 127.0.3.1").unwrap(), tcp("127.0.3.1", 15000));
        assert_eq!(page("--proxy envoy --admin 127.0.0.9:1").unwrap(), tcp("127.0.0.9", 1));
        assert_eq!(page("--proxy envoy --admin ./a.sock").unwrap()["pipe"]["path"], "./a.sock");
        let error = page("--proxy envoy --admin 15000").unwrap_err().to_string();
        assert_eq!(error, "--admin 15000: want IP:PORT or the path of a Unix socket");
        let error = page("--proxy rutter --interception none --admin /a.sock").unwrap_err().to_string();
        assert_eq!(error, "--admin: want IP:PORT for rutter-proxy, got a path");
        let error = page(&format!("--proxy envoy --admin /{}", "x".repeat(107))).unwrap_err().to_string();
        assert!(error.ends_with("want a path of at most 107 bytes, got 108"), "{error}");
    }

    #[test]
    fn bootstrap_of_a_grpc_client() {
        expect![[r#"
            {
              "node": {
                "cluster": "web-1.shop",
                "id": "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local",
                "locality": {},
                "metadata": {
                  "CLUSTER_ID": "Kubernetes",
                  "GENERATOR": "grpc",
                  "INSTANCE_IPS": "10.0.0.1",
                  "INTERCEPTION_MODE": "NONE",
                  "LABELS": {
                    "app": "web"
                  },
                  "NAMESPACE": "shop"
                }
              },
              "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s",
              "xds_servers": [
                {
                  "channel_creds": [
                    {
                      "type": "insecure"
                    }
                  ],
                  "server_features": [
                    "xds_v3"
                  ],
                  "server_uri": "rutter.mesh:15010"
                }
              ]
            }"#]]
        .assert_eq(&printed("--proxy grpc --interception none --xds rutter.mesh:15010").unwrap());
    }

    #[test]
    fn bootstrap_of_rutter_proxy() {
        expect![[r#"
            {
              "admin": "127.0.0.1:9901",
              "node": {
                "cluster": "web-1.shop",
                "id": "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local",
                "metadata": {
                  "CLUSTER_ID": "Kubernetes",
                  "INSTANCE_IPS": "10.0.0.1",
                  "INTERCEPTION_MODE": "NONE",
                  "LABELS": {
                    "app": "web"
                  },
                  "NAMESPACE": "shop"
                }
              },
              "xds": "127.0.0.1:15010"
            }"#]]
        .assert_eq(&printed("--proxy rutter --interception none --admin 127.0.0.1:9901").unwrap());
    }

    #[test]
    fn a_grpc_client_takes_other_forms_of_targets() {
        let json: Value =
            serde_json::from_str(&printed("--proxy grpc --xds dns:///rutter.mesh:15010").unwrap()).unwrap();
        assert_eq!(json["xds_servers"][0]["server_uri"], "dns:///rutter.mesh:15010");
    }

    #[test]
    fn an_envoy_asks_dns_for_a_control_plane_that_is_given_by_name() {
        let cluster = |xds: &str| {
            let json: Value = serde_json::from_str(&printed(&format!("--proxy envoy --xds {xds}")).unwrap()).unwrap();
            let cluster = &json["static_resources"]["clusters"][0];
            let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
            format!("{} {}", cluster["type"], endpoint["address"]["socket_address"])
        };
        assert_eq!(cluster("[fd00::1]:7"), r#""STATIC" {"address":"fd00::1","port_value":7}"#);
        assert_eq!(cluster("rutter.mesh:7"), r#""STRICT_DNS" {"address":"rutter.mesh","port_value":7}"#);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let refused = |options: &str| format!("{:#}", printed(options).unwrap_err());
        assert_eq!(refused("--proxy envoy --xds rutter"), "--xds rutter: want HOST:PORT");
        assert_eq!(refused("--proxy envoy --xds rutter:http"), "--xds rutter:http: want HOST:PORT");
        let url = "http://127.0.0.1:15010";
        assert_eq!(refused(&format!("--proxy envoy --xds {url}")), format!("--xds {url}: want HOST:PORT"));
        assert!(refused("--proxy envoy --ip 0.0.0.0").ends_with("want the address of the pod"));
        assert!(refused("--proxy grpc --admin 127.0.0.1:1").starts_with("--admin: want none for a gRPC library"));
        assert!(refused("--proxy envoy --label x=y,z").starts_with("--label x: want "));
        let want = "--proxy rutter: want --interception none: it does not take captured traffic yet";
        assert_eq!(refused("--proxy rutter"), want);
    }
}
