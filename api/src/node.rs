//! Who a client is: Istio's node id and metadata.

use std::net::IpAddr;
use std::sync::Arc;

use prost_types::value::Kind;

use crate::dns_name::{LABEL_MAX, NAME_MAX, check_dns_name, shown};
use crate::invalid::Invalid;
use crate::labels::Labels;
use crate::pb::envoy::config::core::v3 as core;

/// The number of characters that are kept of a version or the name of a cluster.
const TEXT_MAX: usize = 100;

/// The largest program of a regular expression, in instructions, that an Envoy takes whose bootstrap says nothing of it.
pub const DEFAULT_RE2_PROGRAM_MAX: usize = 100;
/// The metadata by which our bootstraps say that they allow more.
pub const RE2_PROGRAM_MAX_METADATA: &str = "RE2_PROGRAM_MAX";

/// How an application's traffic reaches its sidecar: Istio's `INTERCEPTION_MODE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interception {
    /// All traffic is redirected to ports 15001 and 15006 and keeps its original destination. This is the default.
    Redirect,
    /// Nothing is redirected: every listener is bound at the sidecar's own address.
    None,
}

/// What a client is for: the type in Istio's node id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Role {
    /// It stands beside an application, or in it.
    #[default]
    Sidecar,
    /// It stands at the edge of the mesh and takes what Gateway objects say. Istio calls it a router.
    Gateway,
}

/// Where something is: its region, zone and sub-zone. A part that is not known is empty.
pub type Locality = [Box<str>; 3];

/// Returns the locality of a text `region/zone/sub-zone`, the later parts of which may be missing.
pub fn locality_of_text(text: &str) -> Locality {
    let mut parts = text.splitn(3, '/');
    std::array::from_fn(|_| parts.next().unwrap_or_default().into())
}

/// A client of xDS as it describes itself: a sidecar, or the gRPC library in an application. These are claims, but for the last
/// field; what is proved about a client is in the server's `Peer`. A new field of the node that decides what a client is sent belongs
/// here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarNode {
    /// What the client is for.
    pub role: Role,
    /// The name of the pod.
    pub pod: Arc<str>,
    /// The namespace of the pod, from which the mesh is seen.
    pub namespace: Arc<str>,
    /// The addresses at which the application is reached. There is at least one, and the first is the sidecar's own.
    pub addresses: Vec<IpAddr>,
    /// The labels of the pod, by which Sidecar objects select workloads.
    pub labels: Labels,
    /// Where the client is: Envoy's `locality`, or else Istio's label `istio-locality`.
    pub locality: Locality,
    /// The name of the Kubernetes node of the pod: Istio's `NODE_NAME`. It is empty if the client does not say it.
    pub node_name: Box<str>,
    /// Istio's `CLUSTER_ID`. It is empty if the client does not say it.
    pub cluster_id: String,
    /// How traffic reaches the sidecar. It is `None` for the gRPC library, which cannot take captured traffic.
    pub interception: Interception,
    /// The name and version of the proxy or library: `envoy 1.40.0`.
    pub version: String,
    /// Whether the client is the gRPC library in the application itself (Istio's `GENERATOR: grpc`), and no sidecar.
    pub proxyless: bool,
    /// Whether the client takes the virtual hosts of a route table as resources of their own, by VHDS over ADS. It
    /// follows from the name and version of the client; decision 6 says what Envoys do.
    pub takes_virtual_hosts: bool,
    /// Whether the application learns the addresses of services from the mesh, so that it may be told some which no other DNS knows:
    /// Istio's `DNS_CAPTURE`.
    pub captures_dns: bool,
    /// Whether the client is an Envoy that is not known to take regular expressions of more than [`DEFAULT_RE2_PROGRAM_MAX`]
    /// instructions: its bootstrap is neither ours, which says that it allows more, nor Istio's.
    pub bounds_regexes: bool,
    /// Whether the client may be sent Secrets. It says nothing of it itself: the server sets it by what is proved of the
    /// client.
    pub may_be_sent_secrets: bool,
}

impl SidecarNode {
    /// Returns the name of the client for people: `POD.NAMESPACE`.
    pub fn id(&self) -> String {
        format!("{}.{}", self.pod, self.namespace)
    }

    /// Returns the address at which the listeners are bound when nothing is intercepted.
    pub fn ip(&self) -> IpAddr {
        self.addresses[0]
    }
}

impl TryFrom<&core::Node> for SidecarNode {
    type Error = Invalid;

    /// Reads the node id `sidecar~IP~POD.NAMESPACE~DOMAIN`, or that of a gateway, which begins with `router`, and Istio's metadata NAMESPACE, LABELS, CLUSTER_ID,
    /// INSTANCE_IPS, INTERCEPTION_MODE and GENERATOR. If NAMESPACE is given, it must be that of the id. Fails with the
    /// path of the field in the node if something is missing or contradicts itself.
    fn try_from(node: &core::Node) -> Result<Self, Invalid> {
        const FORM: &str = "sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local";
        let refuse = || Invalid::new("node.id", FORM, shown(&node.id));
        let parts: Vec<&str> = node.id.split('~').collect();
        let [role, ip, workload, _domain] = parts[..] else {
            return Err(refuse());
        };
        let role = match role {
            "sidecar" => Role::Sidecar,
            "router" => Role::Gateway,
            other => {
                let hint = format!("a node of type {}; want {FORM}", shown(other));
                return Err(Invalid::not_supported("node.id").hint(hint));
            }
        };
        let ip: IpAddr = ip.parse().map_err(|_| refuse())?;
        let (pod, namespace) = workload.rsplit_once('.').ok_or_else(refuse)?;
        if pod.is_empty() || namespace.is_empty() {
            return Err(refuse());
        }
        check_dns_name("node.id: the pod", pod, NAME_MAX)?;
        check_dns_name("node.id: the namespace", namespace, LABEL_MAX)?;
        let metadata = Metadata(node.metadata.as_ref());
        if let Some(claimed) = metadata.text("NAMESPACE").filter(|claimed| *claimed != namespace) {
            return Err(Invalid::new(
                "node.metadata.NAMESPACE",
                format!("{namespace:?}, as in node.id"),
                shown(claimed),
            ));
        }
        let proxyless = match metadata.text("GENERATOR") {
            None | Some("") => node.user_agent_name.starts_with("gRPC "),
            Some("grpc") => true,
            Some(generator) => return Err(Invalid::new("node.metadata.GENERATOR", "grpc, or none", generator)),
        };
        if role == Role::Gateway && proxyless {
            return Err(Invalid::new("node.id", "sidecar, for a gRPC library", "router"));
        }
        let labels = metadata.texts("LABELS");
        Ok(Self {
            role,
            pod: pod.into(),
            namespace: namespace.into(),
            addresses: addresses(ip, metadata.text("INSTANCE_IPS").unwrap_or_default())?,
            locality: locality(node, &labels),
            node_name: brief(metadata.text("NODE_NAME").unwrap_or_default()).into(),
            labels,
            cluster_id: brief(metadata.text("CLUSTER_ID").unwrap_or_default()),
            // A library has nothing that could take captured traffic.
            interception: if proxyless {
                Interception::None
            } else {
                interception(metadata.text("INTERCEPTION_MODE"))?
            },
            version: version(node),
            proxyless,
            takes_virtual_hosts: takes_virtual_hosts(node),
            captures_dns: metadata.text("DNS_CAPTURE") == Some("true"),
            bounds_regexes: node.user_agent_name == "envoy"
                && metadata.kind(RE2_PROGRAM_MAX_METADATA).is_none()
                && metadata.kind("ISTIO_VERSION").is_none(),
            may_be_sent_secrets: false,
        })
    }
}

/// Returns where a client is. In the label dots stand for the slashes that no label may have.
fn locality(node: &core::Node, labels: &Labels) -> Locality {
    const LABEL: &str = "istio-locality";
    let named = node.locality.as_ref().map(|core::Locality { region, zone, sub_zone }| [region, zone, sub_zone]);
    let named = named.filter(|parts| parts.iter().any(|part| !part.is_empty()));
    let named = named.map(|parts| parts.map(|part| brief(part).into()));
    named.unwrap_or_else(|| locality_of_text(&labels.get(LABEL).unwrap_or_default().replace('.', "/")))
}

fn addresses(first: IpAddr, instance_ips: &str) -> Result<Vec<IpAddr>, Invalid> {
    let mut addresses = vec![first];
    for text in instance_ips.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let path = "node.metadata.INSTANCE_IPS";
        let ip = text.parse().map_err(|_| Invalid::new(path, "addresses with commas between", text))?;
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    Ok(addresses)
}

fn interception(mode: Option<&str>) -> Result<Interception, Invalid> {
    match mode {
        None | Some("" | "REDIRECT") => Ok(Interception::Redirect),
        Some("NONE") => Ok(Interception::None),
        Some("TPROXY") => Err(Invalid::not_supported("node.metadata.INTERCEPTION_MODE").hint("TPROXY")),
        Some(mode) => Err(Invalid::new("node.metadata.INTERCEPTION_MODE", "REDIRECT or NONE", mode)),
    }
}

fn version(node: &core::Node) -> String {
    use core::node::UserAgentVersionType::{UserAgentBuildVersion, UserAgentVersion};
    let number = match &node.user_agent_version_type {
        Some(UserAgentVersion(text)) => text.clone(),
        Some(UserAgentBuildVersion(build)) => build
            .version
            .as_ref()
            .map(|v| format!("{}.{}.{}", v.major_number, v.minor_number, v.patch))
            .unwrap_or_default(),
        None => String::new(),
    };
    brief(format!("{} {number}", node.user_agent_name).trim())
}

/// Returns the beginning of a text that a client says of itself, because it is kept as long as the client is there.
fn brief(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

/// Returns whether a proxy takes a route table with VHDS over ADS. Envoy 1.36 refuses it; later versions and our own
/// proxy take it. Whoever does not say its version is sent whole tables, which every client takes.
fn takes_virtual_hosts(node: &core::Node) -> bool {
    use core::node::UserAgentVersionType::{UserAgentBuildVersion, UserAgentVersion};
    match (node.user_agent_name.as_str(), &node.user_agent_version_type) {
        ("envoy", Some(UserAgentBuildVersion(build))) => {
            build.version.as_ref().is_some_and(|version| (version.major_number, version.minor_number) >= (1, 37))
        }
        ("rutter-proxy", Some(UserAgentVersion(_))) => true,
        _ => false,
    }
}

struct Metadata<'a>(Option<&'a prost_types::Struct>);

impl<'a> Metadata<'a> {
    fn kind(&self, key: &str) -> Option<&'a Kind> {
        self.0?.fields.get(key)?.kind.as_ref()
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        match self.kind(key)? {
            Kind::StringValue(text) => Some(text),
            Kind::NullValue(_)
            | Kind::NumberValue(_)
            | Kind::BoolValue(_)
            | Kind::StructValue(_)
            | Kind::ListValue(_) => None,
        }
    }

    fn texts(&self, key: &str) -> Labels {
        let Some(Kind::StructValue(map)) = self.kind(key) else {
            return Labels::default();
        };
        let inner = Metadata(Some(map));
        map.fields.keys().filter_map(|name| Some((name.clone(), inner.text(name)?.to_owned()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> prost_types::Value {
        prost_types::Value { kind: Some(Kind::StringValue(value.into())) }
    }

    fn node(id: &str, metadata: &[(&str, &str)]) -> core::Node {
        let fields = metadata.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect();
        core::Node { id: id.into(), metadata: Some(prost_types::Struct { fields }), ..Default::default() }
    }

    #[test]
    fn istio_node_is_read() {
        let mut pb = node(
            "sidecar~10.1.1.1~web-1.shop~shop.svc.cluster.local",
            &[("NAMESPACE", "shop"), ("INSTANCE_IPS", "10.1.1.1,fe80::1"), ("INTERCEPTION_MODE", "NONE")],
        );
        let labels = prost_types::Struct { fields: [("app".to_owned(), text("web"))].into() };
        let labels = prost_types::Value { kind: Some(Kind::StructValue(labels)) };
        pb.metadata.as_mut().unwrap().fields.insert("LABELS".into(), labels);
        let sidecar = SidecarNode::try_from(&pb).unwrap();
        assert_eq!(sidecar.id(), "web-1.shop");
        assert_eq!(sidecar.addresses, ["10.1.1.1".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
        assert_eq!(sidecar.labels.get("app"), Some("web"));
        assert_eq!(sidecar.interception, Interception::None);
    }

    #[test]
    fn other_ids_are_refused_with_the_form() {
        for id in
            ["", "n1", "sidecar~x~a.b~c", "sidecar~1.2.3.4~ab~c", "sidecar~1.2.3.4~.b~c", "waypoint~1.2.3.4~a.b~c"]
        {
            let error = SidecarNode::try_from(&node(id, &[])).unwrap_err().to_string();
            assert!(error.contains("sidecar~IP~POD.NAMESPACE"), "{error}");
        }
    }

    #[test]
    fn envoys_bound_regular_expressions_unless_their_bootstrap_says_more() {
        let bounds = |agent: &str, metadata: &[(&str, &str)]| {
            let node = node("sidecar~10.1.1.1~web-1.shop~x", metadata);
            SidecarNode::try_from(&core::Node { user_agent_name: agent.into(), ..node }).unwrap().bounds_regexes
        };
        assert!(bounds("envoy", &[]));
        assert!(
            !bounds("envoy", &[(RE2_PROGRAM_MAX_METADATA, "32768")]) && !bounds("envoy", &[("ISTIO_VERSION", "1.30")])
        );
        assert!(!bounds("rutter-proxy", &[]) && !bounds("gRPC Go", &[]));
    }

    #[test]
    fn a_router_is_a_gateway() {
        let gateway = SidecarNode::try_from(&node("router~1.2.3.4~edge-1.istio-system~x", &[])).unwrap();
        assert_eq!((gateway.role, gateway.id().as_str()), (Role::Gateway, "edge-1.istio-system"));
        let error = SidecarNode::try_from(&node("router~1.2.3.4~a.b~x", &[("GENERATOR", "grpc")])).unwrap_err();
        assert_eq!(error.to_string(), "node.id: want sidecar, for a gRPC library, got router");
    }

    #[test]
    fn a_namespace_that_contradicts_the_id_is_refused() {
        let pb = node("sidecar~10.1.1.1~web-1.shop~x", &[("NAMESPACE", "bank")]);
        assert_eq!(
            SidecarNode::try_from(&pb).unwrap_err().to_string(),
            "node.metadata.NAMESPACE: want \"shop\", as in node.id, got \"bank\""
        );
    }

    #[test]
    fn virtual_hosts_are_for_envoys_from_1_37_and_our_own_proxy() {
        use super::core::node::UserAgentVersionType::{UserAgentBuildVersion, UserAgentVersion};
        let build = |major_number, minor_number| {
            let version = semantic_version(major_number, minor_number);
            UserAgentBuildVersion(super::core::BuildVersion { version: Some(version), ..Default::default() })
        };
        let takes = |name: &str, version| {
            let node = core::Node {
                user_agent_name: name.into(),
                user_agent_version_type: version,
                ..node("sidecar~10.1.1.1~web-1.shop~x", &[])
            };
            SidecarNode::try_from(&node).unwrap().takes_virtual_hosts
        };
        assert!(takes("envoy", Some(build(1, 37))) && takes("envoy", Some(build(2, 0))));
        assert!(!takes("envoy", Some(build(1, 36))) && !takes("envoy", None) && !takes("other", Some(build(1, 40))));
        assert!(takes("rutter-proxy", Some(UserAgentVersion("0.1.0".into()))));
    }

    fn semantic_version(major_number: u32, minor_number: u32) -> crate::pb::envoy::r#type::v3::SemanticVersion {
        crate::pb::envoy::r#type::v3::SemanticVersion { major_number, minor_number, patch: 0 }
    }

    #[test]
    fn grpc_clients_say_so_or_are_known_by_their_name() {
        let id = "sidecar~10.1.1.1~web-1.shop~x";
        let proxyless = |pb: core::Node| SidecarNode::try_from(&pb).map(|node| (node.proxyless, node.interception));
        assert_eq!(proxyless(node(id, &[("GENERATOR", "grpc")])), Ok((true, Interception::None)));
        let named = core::Node { user_agent_name: "gRPC C-core Linux".into(), ..node(id, &[]) };
        assert_eq!(proxyless(named), Ok((true, Interception::None)));
        assert_eq!(proxyless(node(id, &[])), Ok((false, Interception::Redirect)));
        assert!(proxyless(node(id, &[("GENERATOR", "api")])).unwrap_err().to_string().contains("want grpc, or none"));
    }

    #[test]
    fn names_that_are_none_in_kubernetes_are_refused_and_long_texts_are_cut() {
        let of = |pod: &str, namespace: &str| {
            SidecarNode::try_from(&node(&format!("sidecar~10.1.1.1~{pod}.{namespace}~x"), &[])).map(|node| node.id())
        };
        assert_eq!(of("web-1.a", "shop").unwrap(), "web-1.a.shop");
        for (pod, namespace) in
            [("\u{1b}[2J", "shop"), ("a\u{202e}", "shop"), ("Web", "shop"), ("web", "Shop"), ("web", "a\n")]
        {
            assert!(of(pod, namespace).unwrap_err().to_string().contains("want 1 to "), "{pod:?}.{namespace:?}");
        }
        let error = of(&"x".repeat(1 << 20), "shop").unwrap_err().to_string();
        assert!(error.len() < 300 && error.contains("(1048576 bytes)"), "{error}");
        let long = "v".repeat(1000);
        let named =
            core::Node { user_agent_name: long.clone(), ..node("sidecar~10.1.1.1~a.b~x", &[("CLUSTER_ID", &long)]) };
        let sidecar = SidecarNode::try_from(&named).unwrap();
        assert_eq!((sidecar.version.len(), sidecar.cluster_id.len()), (TEXT_MAX, TEXT_MAX));
    }
}
