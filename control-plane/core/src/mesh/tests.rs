//! Three laws over random meshes and random changes, and what single changes cost.

mod analysis;
mod impact;
mod insight;
mod mesh_config;

use std::collections::BTreeMap;

use proptest::prelude::*;
use rutter_api::node::{Interception, Role, locality_of_text};
use rutter_api::{Config, CreationTimestamp, Kind};

use super::*;
use crate::debounce::ConfigChange;
use crate::resource::{EncodedResource, Sums};
use crate::testing::{batch, configs, delete, node};
use crate::verify::{Difference, differences};

type Contents = BTreeMap<(ResourceType, String), String>;

fn contents(view: &View) -> Contents {
    let mut contents = Contents::new();
    for resource_type in ResourceType::ALL {
        for resource in view.iter(resource_type) {
            contents.insert((resource_type, resource.name.to_string()), resource.version.to_string());
        }
    }
    contents
}

fn sidecars() -> Vec<SidecarNode> {
    let mut nodes = vec![
        node("s0", "n0", "10.0.0.1"),
        node("s1", "n0", "10.0.0.2"),
        node("s0", "n1", "10.0.1.1"),
        node("x", "n2", "10.0.2.9"),
    ];
    nodes[1].locality = locality_of_text("r/z1");
    nodes[3].captures_dns = true;
    let bound = SidecarNode { interception: Interception::None, ..node("b", "n1", "10.0.1.2") };
    let bound = SidecarNode { locality: locality_of_text("r/z2"), ..bound };
    let whole = SidecarNode { takes_virtual_hosts: false, captures_dns: true, ..node("w", "n0", "10.0.0.3") };
    let gateway = SidecarNode { role: Role::Gateway, interception: Interception::None, ..node("s0", "n1", "10.0.1.8") };
    let ingress_labels = [("app", "s0"), ("istio", "ingressgateway")];
    let labels = ingress_labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect();
    let gateway = SidecarNode { labels, ..gateway };
    let whole_gateway = SidecarNode { takes_virtual_hosts: false, may_be_sent_secrets: true, ..gateway.clone() };
    let whole_gateway = SidecarNode { pod: "g".into(), namespace: "n0".into(), ..whole_gateway };
    nodes.extend([bound, whole, gateway, whole_gateway]);
    nodes
}

#[derive(Debug, Clone)]
enum Op {
    Put(String),
    Delete(Kind, String, String),
    Connect(usize),
    Disconnect(usize),
    Sweep,
}

/// Returns a Kubernetes service with one port. An empty `export_to` means that everybody sees it.
fn service(namespace: &str, name: &str, port: u16, protocol: &str, export_to: &str) -> String {
    let annotations = if export_to.is_empty() {
        String::new()
    } else {
        format!(", annotations: {{networking.istio.io/exportTo: '{export_to}'}}")
    };
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}{annotations}}}\n\
         spec: {{clusterIP: 10.9.0.{port}, ports: [{{name: {protocol}, port: {port}}}]}}"
    )
}

/// Returns an object of one of Istio's kinds.
fn istio(kind: &str, namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{{spec}}}"
    )
}

fn namespaces() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("n0"), Just("n1"), Just("n2"), Just("istio-system")]
}

fn names() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("s0"), Just("s1")]
}

/// A host that several entries may define.
const WILDCARD: &str = "'*.s1.n1.svc.cluster.local'";

fn hosts() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        2 => Just("s0"),
        2 => Just("s1.n0.svc.cluster.local"),
        2 => Just("s0.n1.svc.cluster.local"),
        1 => Just("s1.n0"),
        1 => Just(WILDCARD)
    ]
}

fn exports() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("[]"), Just("['.']"), Just("[n1]")]
}

/// Returns random objects of a kind. A new kind does not compile until the laws write it.
fn writes_of(kind: Kind) -> BoxedStrategy<String> {
    match kind {
        Kind::Namespace => (namespaces(), 0u8..2)
            .prop_map(|(name, label)| {
                format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{l: v{label}}}}}")
            })
            .boxed(),
        Kind::Service => random_services().boxed(),
        Kind::Pod => random_pods().boxed(),
        Kind::EndpointSlice => random_endpoint_slices().boxed(),
        Kind::ServiceEntry => random_service_entries().boxed(),
        Kind::WorkloadGroup => (namespaces(), names())
            .prop_map(|(namespace, name)| istio("WorkloadGroup", namespace, name, "template: {weight: 2}"))
            .boxed(),
        Kind::WorkloadEntry => (namespaces(), names(), 0u8..4, 1u32..3)
            .prop_map(|(namespace, name, ip, weight)| {
                let spec = format!(
                    "address: 10.0.0.{ip}, weight: {weight}, labels: {{app: {name}, version: v{ip}}}, locality: r/z{ip}"
                );
                istio("WorkloadEntry", namespace, name, &spec)
            })
            .boxed(),
        Kind::Secret => (namespaces(), names(), 0u8..3, prop_oneof![Just("ca.crt"), Just("ca.crl")])
            .prop_map(|(namespace, name, value, other)| {
                let name = if value == 0 { format!("{name}-cacert") } else { name.to_owned() };
                format!(
                    "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
                     stringData: {{tls.crt: c{value}, tls.key: k{value}, {other}: a{value}}}"
                )
            })
            .boxed(),
        Kind::Ingress => (namespaces(), names(), names(), prop_oneof![Just("number: 80"), Just("name: http")], classes())
            .prop_map(|(namespace, name, service, port, class)| {
                format!(
                    "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
                     spec: {{{class}rules: [{{host: {service}.test, http: {{paths: [{{path: /a, pathType: Prefix, \
                     backend: {{service: {{name: {service}, port: {{{port}}}}}}}}}]}}}}], tls: [{{secretName: s0}}]}}"
                )
            })
            .boxed(),
        Kind::ConfigMap => random_mesh_configs().boxed(),
        Kind::Gateway => random_gateways().boxed(),
        Kind::VirtualService => random_virtual_services().boxed(),
        Kind::DestinationRule => random_destination_rules().boxed(),
        Kind::Sidecar => random_sidecar_objects().boxed(),
    }
}

fn classes() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just("ingressClassName: istio, "), 1 => Just("ingressClassName: edge, "), 1 => Just("")]
}

fn random_services() -> impl Strategy<Value = String> {
    let protocols = prop_oneof![Just("http"), Just("tcp"), Just("https"), Just("auto")];
    let export_to = prop_oneof![3 => Just(""), 1 => Just("."), 1 => Just("n1")];
    let sorts = prop_oneof![4 => Just(None), 1 => Just(Some("clusterIP: None")), 1 => Just(Some("type: ExternalName, externalName: x.y"))];
    (namespaces(), names(), 80u16..83, protocols, export_to, sorts).prop_map(
        |(namespace, name, port, protocol, export_to, sort)| {
            let usual = service(namespace, name, port, protocol, export_to);
            sort.map_or(usual.clone(), |sort| usual.replace(&format!("clusterIP: 10.9.0.{port}"), sort))
        },
    )
}

fn random_endpoint_slices() -> impl Strategy<Value = String> {
    let ports = prop_oneof![Just("http"), Just("tcp")];
    let pods = prop_oneof![2 => Just(""), 1 => Just(", targetRef: {kind: Pod, name: s0}"), 1 => Just(", targetRef: {kind: Pod, name: s1}")];
    (namespaces(), names(), (0u8..4, pods), ports, 80u16..82).prop_map(|(namespace, name, (ip, pod), port, number)| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: {namespace}, \
             labels: {{kubernetes.io/service-name: {name}, version: v{ip}}}}}\naddressType: IPv4\n\
             endpoints: [{{addresses: [10.0.0.{ip}]{pod}}}]\nports: [{{name: {port}, port: {number}}}]"
        )
    })
}

fn random_pods() -> impl Strategy<Value = String> {
    let places = prop_oneof![2 => Just(""), 1 => Just(", istio-locality: r.z1")];
    (namespaces(), names(), 0u8..4, any::<bool>(), places).prop_map(|(namespace, name, ip, is_ready, place)| {
        let ready = if is_ready { "True" } else { "False" };
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, \
             labels: {{app: {name}, version: v{ip}{place}}}}}\n\
             status: {{podIP: 10.0.0.{ip}, conditions: [{{type: Ready, status: '{ready}'}}]}}"
        )
    })
}

/// Some of these have a host or an address in common with services, and some have workloads as endpoints.
fn random_service_entries() -> impl Strategy<Value = String> {
    let hosts = prop_oneof![
        Just("s0.n0"),
        Just("a.x, b.x, A.x"),
        Just("10.9.0.80"),
        Just("s1.n1.svc.cluster.local"),
        Just(WILDCARD),
        Just("z.n2.svc.cluster.local")
    ];
    let resolutions = prop_oneof![
        4 => Just("HTTP}], resolution: STATIC, addresses: [10.9.0.80]"),
        1 => Just("HTTP}], resolution: STATIC, addresses: [10.9.0.80], workloadSelector: {labels: {app: s0}}"),
        1 => Just("HTTP}], resolution: NONE"),
        1 => Just("TCP}], resolution: NONE, addresses: [10.8.0.0/16]"),
        1 => Just("TLS}], resolution: DNS_ROUND_ROBIN, endpoints: [{address: x.y}]"),
        1 => Just("TLS}], resolution: DYNAMIC_DNS"),
        2 => Just("TCP}], resolution: STATIC"),
        1 => Just("HTTP}], resolution: DNS, endpoints: [{address: x.y}]"),
    ];
    (namespaces(), names(), hosts, 80u16..82, exports(), resolutions).prop_map(
        |(namespace, name, host, port, export_to, resolution)| {
            let host = if resolution.contains("DYNAMIC_DNS") { WILDCARD } else { host };
            let location = if port == 80 { "MESH_INTERNAL" } else { "MESH_EXTERNAL" };
            let spec = format!(
                "location: {location}, exportTo: {export_to}, hosts: [{host}], ports: [{{number: {port}, name: http, protocol: {resolution}"
            );
            istio("ServiceEntry", namespace, name, &spec)
        },
    )
}

/// Mesh configs, most of them where they count.
fn random_mesh_configs() -> impl Strategy<Value = String> {
    let texts = prop_oneof![
        Just("{connectTimeout: 3s}"),
        Just("{outboundTrafficPolicy: {mode: REGISTRY_ONLY}, protocolDetectionTimeout: 100ms}"),
        Just("{defaultHttpRetryPolicy: {attempts: 5}, h2UpgradePolicy: UPGRADE}"),
        Just("{localityLbSetting: {distribute: [{from: r/z1, to: {r/z0: 100}}]}}"),
        Just("{localityLbSetting: {enabled: false}, dnsRefreshRate: 9s}"),
        Just("{ingressControllerMode: DEFAULT, ingressClass: edge, defaultConfig: {concurrency: 1}}"),
        Just("{defaultServiceExportTo: [n1], defaultVirtualServiceExportTo: [.], defaultDestinationRuleExportTo: [.]}"),
    ];
    (prop_oneof![4 => Just("istio-system"), 1 => Just("n0")], texts).prop_map(|(namespace, text)| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: {namespace}}}\ndata: {{mesh: '{text}'}}"
        )
    })
}

/// Some of these share ports and hosts, and some are of other protocols.
fn random_gateways() -> impl Strategy<Value = String> {
    let servers = prop_oneof![
        Just("{port: {number: 80, protocol: HTTP}, hosts: ['*']}"),
        Just("{port: {number: 80, protocol: HTTP}, hosts: ['n0/*.n0.svc.cluster.local'], tls: {httpsRedirect: true}}"),
        Just("{port: {number: 80, protocol: TCP}, hosts: ['*']}"),
        Just("{port: {number: 443, protocol: TLS}, hosts: [s0.n1.svc.cluster.local], tls: {mode: PASSTHROUGH}}"),
        Just(
            "{port: {number: 443, protocol: HTTPS}, hosts: [s0.n1.svc.cluster.local], tls: {mode: SIMPLE, \
             serverCertificate: /c, privateKey: /k}}"
        ),
        Just("{port: {number: 443, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: s0}}"),
        Just("{port: {number: 445, protocol: TLS}, hosts: ['*.local', n0/s1.n0], tls: {mode: AUTO_PASSTHROUGH}}"),
        Just("{port: {number: 443, protocol: TLS}, hosts: ['./*'], tls: {mode: AUTO_PASSTHROUGH}}"),
        Just("{port: {number: 443, protocol: TLS}, hosts: ['*'], tls: {mode: AUTO_PASSTHROUGH}}"),
        Just("{port: {number: 444, protocol: TLS}, hosts: ['*'], tls: {mode: MUTUAL, credentialName: s1}}"),
    ];
    let selectors = prop_oneof![2 => Just(""), 1 => Just("selector: {app: s0}, ")];
    (namespaces(), names(), prop::collection::vec(servers, 1..3), selectors).prop_map(
        |(namespace, name, servers, selector)| {
            istio("Gateway", namespace, name, &format!("{selector}servers: [{}]", servers.join(", ")))
        },
    )
}

/// Some of these ask for clients of certain labels or of a namespace, some delegate, and some are delegates.
fn random_virtual_services() -> impl Strategy<Value = String> {
    let conditions = prop_oneof![
        4 => Just(""),
        1 => Just("match: [{uri: {prefix: /a}}], "),
        1 => Just("match: [{sourceLabels: {app: s0}}], "),
        1 => Just("match: [{sourceNamespace: n1}, {port: 81}], "),
    ];
    let delegates = prop_oneof![4 => Just(None), 1 => Just(Some("s0")), 1 => Just(Some("s1"))];
    let gateways = prop_oneof![3 => Just(""), 2 => Just("gateways: [n0/s0], "), 1 => Just("gateways: [mesh, s1], ")];
    let sorts = (conditions, delegates, gateways);
    let hosts = (hosts(), hosts(), prop_oneof![5 => Just(true), 1 => Just(false)]);
    (namespaces(), names(), hosts, 0u8..3, exports(), sorts).prop_map(
        |(namespace, name, (host, destination, has_host), timeout, export_to, (condition, delegate, gateways))| {
            let route =
                format!("{{{condition}timeout: {timeout}s, route: [{{destination: {{host: {destination}}}}}]}}");
            let delegation = delegate.filter(|_| has_host);
            let delegation = delegation.map(|name| format!("{{delegate: {{name: {name}, namespace: n0}}}}, "));
            let connections = format!("route: [{{destination: {{host: {destination}}}}}]");
            let connections =
                format!("tcp: [{{{connections}}}], tls: [{{match: [{{sniHosts: [{host}]}}], {connections}}}], ");
            let hosts = format!("hosts: [{host}], {gateways}{connections}");
            let hosts = if has_host { hosts } else { String::new() };
            let http = format!("{}{route}", delegation.unwrap_or_default());
            istio("VirtualService", namespace, name, &format!("exportTo: {export_to}, {hosts}http: [{http}]"))
        },
    )
}

/// Rules of one host with a subset, and rules of every Kubernetes host with a limit.
fn random_destination_rules() -> impl Strategy<Value = String> {
    let of_host = (namespaces(), names(), hosts(), 0u8..3).prop_map(|(namespace, name, host, version)| {
        let spec = format!("host: {host}, subsets: [{{name: v{version}, labels: {{version: v{version}}}}}]");
        istio("DestinationRule", namespace, name, &spec)
    });
    let of_all = (namespaces(), 1u32..4).prop_map(|(namespace, max)| {
        let limit = format!("trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {max}}}}}}}");
        istio("DestinationRule", namespace, "wild", &format!("host: '*.svc.cluster.local', {limit}"))
    });
    let hashing = (namespaces(), names(), hosts(), 0u8..2).prop_map(|(namespace, name, host, header)| {
        let hash = format!("loadBalancer: {{consistentHash: {{httpHeaderName: x-{header}}}}}");
        istio("DestinationRule", namespace, name, &format!("host: {host}, trafficPolicy: {{{hash}}}"))
    });
    let encrypting = (namespaces(), names(), hosts(), names()).prop_map(|(namespace, name, host, secret)| {
        let tls = format!("trafficPolicy: {{tls: {{mode: MUTUAL, credentialName: {secret}}}}}");
        istio("DestinationRule", namespace, name, &format!("host: {host}, {tls}"))
    });
    let settings = prop_oneof![
        2 => Just("outlierDetection: {}"),
        1 => Just("loadBalancer: {localityLbSetting: {distribute: [{from: r/z1, to: {r/z0: 100}}]}}"),
        1 => Just("outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [app, version]}}"),
        1 => Just("tunnel: {targetHost: a.b, targetPort: 443}"),
    ];
    let near = (namespaces(), names(), hosts(), settings).prop_map(|(namespace, name, host, setting)| {
        istio("DestinationRule", namespace, name, &format!("host: {host}, trafficPolicy: {{{setting}}}"))
    });
    let chosen = (namespaces(), names(), hosts(), names(), 1u32..3).prop_map(|(namespace, name, host, app, max)| {
        let limit = format!("trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {max}}}}}}}");
        let selector = format!("workloadSelector: {{matchLabels: {{app: {app}}}}}");
        istio("DestinationRule", namespace, name, &format!("host: {host}, {selector}, {limit}"))
    });
    prop_oneof![2 => of_host, 1 => of_all, 1 => hashing, 1 => encrypting, 2 => near, 1 => chosen]
}

fn random_sidecar_objects() -> impl Strategy<Value = String> {
    let egress = prop_oneof![Just("./*"), Just("n1/*"), Just("*/s0.n0.svc.cluster.local"), Just("~/*"), Just("*/*")];
    let places = prop_oneof![
        4 => Just(""),
        1 => Just("port: {number: 80, protocol: HTTP}, "),
        1 => Just("port: {number: 81, protocol: TCP}, bind: 127.0.0.9, captureMode: NONE, "),
        1 => Just("bind: 10.9.9.9, "),
        1 => Just("port: {number: 0, protocol: HTTP}, bind: 'unix:///run/a', hosts: ['*/*']}, {"),
        1 => Just("port: {number: 0, protocol: TCP}, bind: 'unix://@b', captureMode: NONE, "),
    ];
    let limits = prop_oneof![
        3 => Just(""),
        1 => Just("inboundConnectionPool: {http: {http2MaxRequests: 9}}, "),
        1 => Just(
            "ingress: [{port: {number: 80, protocol: HTTPS}, defaultEndpoint: 'unix:///a', \
             tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}], "
        ),
    ];
    (namespaces(), names(), egress, (any::<bool>(), any::<bool>()), places, limits).prop_map(
        |(namespace, name, egress, (selects, is_closed), place, limits)| {
            let selector =
                if selects { format!("workloadSelector: {{labels: {{app: {name}}}}}, ") } else { String::new() };
            let mode = match (is_closed, name) {
                (true, _) => "REGISTRY_ONLY",
                (false, "s1") => "ALLOW_ANY, egressProxy: {host: s0.n0.svc.cluster.local, port: {number: 80}}",
                (false, _) => "ALLOW_ANY",
            };
            let spec = format!(
                "{selector}{limits}outboundTrafficPolicy: {{mode: {mode}}}, egress: [{{{place}hosts: ['{egress}']}}]"
            );
            istio("Sidecar", namespace, name, &spec)
        },
    )
}

fn ops() -> impl Strategy<Value = Op> {
    // Services and what belongs to them change more often than what is about namespaces.
    let weight = |kind: Kind| match kind {
        Kind::Service => 4,
        Kind::EndpointSlice | Kind::VirtualService | Kind::DestinationRule => 3,
        Kind::ServiceEntry | Kind::Gateway | Kind::Sidecar => 2,
        Kind::Namespace
        | Kind::WorkloadGroup
        | Kind::WorkloadEntry
        | Kind::Pod
        | Kind::Secret
        | Kind::Ingress
        | Kind::ConfigMap => 1,
    };
    let puts = Kind::ALL.map(|kind| (weight(kind), writes_of(kind).prop_map(Op::Put).boxed()));
    let deletion = (prop::sample::select(Kind::ALL.to_vec()), namespaces(), names())
        .prop_map(|(kind, namespace, name)| Op::Delete(kind, namespace.into(), name.into()));
    let others = [
        (4, deletion.boxed()),
        (1, (0usize..8).prop_map(Op::Connect).boxed()),
        (1, (0usize..8).prop_map(Op::Disconnect).boxed()),
        (1, Just(Op::Sweep).boxed()),
    ];
    prop::strategy::Union::new_weighted(puts.into_iter().chain(others).collect())
}

/// Applies operations as a store would, keeping the revision that created an object.
struct Driver {
    mesh: Mesh,
    revision: i64,
    connected: BTreeMap<usize, NodeId>,
}

impl Driver {
    fn new() -> Self {
        let mut mesh = Mesh::new(MeshSettings::default()).with_analysis();
        let connected = sidecars().into_iter().enumerate().map(|(at, node)| (at, mesh.connect(node))).collect();
        Self { mesh, revision: 0, connected }
    }

    fn run(&mut self, op: &Op) -> BTreeSet<NodeId> {
        self.revision += 1;
        match op {
            Op::Put(text) => {
                let config = configs(text).remove(0);
                let now = CreationTimestamp::from_microseconds(self.revision);
                let created = self.mesh.index.config(&config.key).map_or(now, |old| old.created);
                return self.mesh.apply(&batch(vec![Arc::new(Config { created, ..(*config).clone() })]));
            }
            Op::Delete(kind, namespace, name) => return self.mesh.apply(&delete(*kind, namespace, name)),
            Op::Connect(at) => {
                let node = sidecars().remove(*at);
                let mesh = &mut self.mesh;
                self.connected.entry(*at).or_insert_with(|| mesh.connect(node));
            }
            Op::Disconnect(at) => {
                if let Some(id) = self.connected.remove(at) {
                    self.mesh.disconnect(id);
                }
            }
            Op::Sweep => self.mesh.sweep(),
        }
        BTreeSet::new()
    }

    fn differences(&self) -> Vec<Difference> {
        let sidecars = self.mesh.sidecars().map(|(node, view)| (node.clone(), view.clone())).collect();
        differences(self.mesh.index.settings(), self.mesh.index.configs().cloned(), sidecars)
    }

    fn views(&self) -> BTreeMap<NodeId, Contents> {
        self.connected.values().map(|id| (*id, contents(self.mesh.view(*id).unwrap()))).collect()
    }
}

/// Returns how often the laws are tried: 96 times, unless PROPTEST_CASES says otherwise.
fn config() -> ProptestConfig {
    const DEFAULT_OF_PROPTEST: u32 = 256;
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let cases = if config.cases == DEFAULT_OF_PROPTEST { 96 } else { config.cases };
    ProptestConfig { cases, ..config }
}

/// Found by law A: a port that only the base had, and that nobody uses any more where a host means another service.
#[test]
fn a_port_of_the_base_that_goes_with_a_host_of_a_namespace_is_no_longer_bound() {
    let entry = |namespace: &str, port: u16| {
        let spec = format!(
            "hosts: [s0.n0], ports: [{{number: {port}, name: http, protocol: HTTP}}], resolution: STATIC, addresses: [10.9.0.80]"
        );
        istio("ServiceEntry", namespace, "s0", &spec)
    };
    let rule = istio("DestinationRule", "n0", "s0", "host: s0, trafficPolicy: {outlierDetection: {}}");
    let mut driver = Driver::new();
    for text in [entry("n0", 81), rule, service("n0", "s0", 80, "http", "n1"), entry("n1", 80)] {
        driver.run(&Op::Put(text));
        assert_eq!(driver.differences(), vec![]);
    }
}

/// Found by law A: the last host goes from a listener that a Sidecar object had put somewhere.
#[test]
fn a_listener_that_was_put_somewhere_goes_with_its_last_host() {
    let place = "egress: [{port: {number: 81, protocol: TCP}, bind: 127.0.0.9, captureMode: NONE, hosts: ['./*']}]";
    let mut driver = Driver::new();
    for text in [
        service("n1", "s1", 81, "http", ""),
        istio("Sidecar", "istio-system", "s0", place),
        service("n1", "s1", 80, "http", ""),
    ] {
        driver.run(&Op::Put(text));
        assert_eq!(driver.differences(), vec![]);
    }
}

/// Found by law A: a host whose name is the address of a service that comes later.
#[test]
fn a_host_that_is_called_like_an_address_keeps_its_domain() {
    let entry =
        "exportTo: [n1], hosts: [10.9.0.80], ports: [{number: 80, name: http, protocol: HTTP}], resolution: NONE";
    let mut driver = Driver::new();
    for text in [istio("ServiceEntry", "n0", "s0", entry), service("n2", "s0", 80, "auto", "")] {
        driver.run(&Op::Put(text));
        assert_eq!(driver.differences(), vec![]);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn law_a_increments_equal_a_rebuild(ops in prop::collection::vec(ops(), 1..40)) {
        let mut driver = Driver::new();
        for op in &ops {
            let before = driver.views();
            let changed = driver.run(op);
            // Those whose content differs are named, and only those, but for a move to a scope that happens to be equal.
            let may_move = match op {
                Op::Put(text) => ["Sidecar", "VirtualService", "Gateway", "Ingress", "DestinationRule", "ConfigMap"].iter().any(|kind| text.contains(&format!("kind: {kind}"))),
                Op::Delete(kind, ..) => {
                    matches!(
                        kind,
                        Kind::Sidecar | Kind::VirtualService | Kind::Gateway | Kind::Ingress | Kind::DestinationRule
                    )
                }
                Op::Connect(_) | Op::Disconnect(_) | Op::Sweep => false,
            };
            for (id, now) in driver.views() {
                let differs = before.get(&id).is_some_and(|before| *before != now);
                let named = changed.contains(&id);
                prop_assert!(differs == named || may_move && named, "{:?}", op);
            }
        }
        prop_assert_eq!(driver.differences(), vec![]);
        for (_, view) in driver.mesh.sidecars() {
            for resource_type in ResourceType::ALL {
                let name_and_version = |resource: &EncodedResource| (resource.name.clone(), resource.version);
                let mut iterated: Vec<_> = view.iter(resource_type).map(name_and_version).collect();
                let mut listed: Vec<_> = view.list(resource_type).iter().map(name_and_version).collect();
                let versions = iterated.iter().map(|(name, version)| (&**name, version.number()));
                prop_assert_eq!(view.sums(resource_type), Sums::of_resources(versions));
                iterated.sort();
                listed.sort();
                prop_assert_eq!(listed, iterated);
            }
        }
    }

    #[test]
    fn law_b_writing_the_same_again_does_nothing(ops in prop::collection::vec(ops(), 1..25)) {
        let mut driver = Driver::new();
        for op in &ops {
            driver.run(op);
        }
        let before = driver.mesh.work();
        let changed = driver.mesh.apply(&batch(driver.mesh.index.configs().cloned().collect()));
        prop_assert!(changed.is_empty());
        prop_assert_eq!(driver.mesh.work(), before);
    }
}

/// Returns the path prefixes of the routes of a host, as a sidecar sees them.
fn paths(driver: &Driver, pod: &str) -> Vec<String> {
    let sidecars: Vec<_> =
        driver.mesh.sidecars().filter(|(node, _)| *node.pod == *pod && node.role == Role::Sidecar).collect();
    let table = sidecars[0].1.get(ResourceType::VirtualHost, "80/s0.n0.svc.cluster.local:80").unwrap();
    let json = rutter_api::json::from_bytes(ResourceType::VirtualHost.type_url(), &table.body()).unwrap();
    let routes = json["routes"].as_array().unwrap();
    routes.iter().map(|route| route["match"]["prefix"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn routes_for_certain_clients_are_sent_to_those_and_to_nobody_else() {
    let mut driver = Driver::new();
    let route = "route: [{destination: {host: s0}}]";
    let conditions = [("label", "sourceLabels: {app: s0}"), ("namespace", "sourceNamespace: n2"), ("port", "port: 81")];
    let routes =
        conditions.map(|(path, condition)| format!("{{match: [{{uri: {{prefix: /{path}}}, {condition}}}], {route}}}"));
    let virtual_service =
        istio("VirtualService", "n0", "v", &format!("hosts: [s0], http: [{}, {{{route}}}]", routes.join(", ")));
    driver.run(&Op::Put(service("n0", "s0", 80, "http", "")));
    driver.run(&Op::Put(virtual_service));
    assert_eq!(paths(&driver, "s0"), ["/label", "/"]);
    assert_eq!(paths(&driver, "s1"), ["/"]);
    assert_eq!(paths(&driver, "x"), ["/namespace", "/"]);
    assert_eq!(driver.differences(), []);
    driver.run(&Op::Delete(Kind::VirtualService, "n0".into(), "v".into()));
    assert_eq!(paths(&driver, "s0"), ["/"]);
    assert_eq!(driver.differences(), []);
}

#[test]
fn several_rules_of_one_host_count_as_one_and_the_oldest_policy_holds() {
    let mut driver = Driver::new();
    let rule = |name: &str, spec: &str| Op::Put(istio("DestinationRule", "n0", name, &format!("host: s0, {spec}")));
    let seen = |driver: &Driver| {
        let (_, view) = driver.mesh.sidecars().find(|(node, _)| *node.pod == *"s1").unwrap();
        let mut lines = Vec::new();
        for cluster in view.iter(ResourceType::Cluster).filter(|cluster| cluster.name.contains("s0.n0")) {
            let json = rutter_api::json::from_bytes(ResourceType::Cluster.type_url(), &cluster.body()).unwrap();
            lines.push(format!("{} {}", cluster.name, json["lb_policy"]));
        }
        lines.sort();
        lines.join(", ").replace("outbound|80|", "").replace("|s0.n0.svc.cluster.local", "").replace('"', "")
    };
    driver.run(&Op::Put(service("n0", "s0", 80, "http", "")));
    driver.run(&rule("a", "subsets: [{name: v1, labels: {version: v1}}]"));
    driver.run(&rule("b", "trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v1}, {name: v2}]"));
    driver.run(&rule("c", "exportTo: ['.'], trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v3}]"));
    assert_eq!(seen(&driver), "v1 RANDOM, v2 RANDOM,  RANDOM");
    driver.run(&Op::Delete(Kind::DestinationRule, "n0".into(), "b".into()));
    assert_eq!(seen(&driver), "v1 LEAST_REQUEST,  LEAST_REQUEST");
    driver.run(&Op::Delete(Kind::DestinationRule, "n0".into(), "a".into()));
    assert_eq!(seen(&driver), "v3 RANDOM,  RANDOM");
    assert_eq!(driver.differences(), []);
}

#[test]
fn a_change_of_a_delegate_reaches_the_routes_of_those_that_refer_to_it_and_nothing_else() {
    let mut driver = Driver::new();
    let delegate = |path: &str| {
        let http = format!("http: [{{match: [{{uri: {{prefix: {path}}}}}], route: [{{destination: {{host: s0}}}}]}}]");
        Op::Put(istio("VirtualService", "n1", "d", &http))
    };
    driver.run(&Op::Put(service("n0", "s0", 80, "http", "")));
    let root = "hosts: [s0], http: [{delegate: {name: d, namespace: n1}}, {route: [{destination: {host: s0}}]}]";
    driver.run(&Op::Put(istio("VirtualService", "n0", "v", root)));
    assert_eq!(paths(&driver, "s0"), ["/"]);
    driver.run(&delegate("/a"));
    assert_eq!(paths(&driver, "s0"), ["/a", "/"]);
    let before = driver.mesh.work();
    assert!(!driver.run(&delegate("/b")).is_empty());
    assert_eq!(paths(&driver, "s0"), ["/b", "/"]);
    assert!(driver.mesh.work().visits - before.visits <= 8, "only one host was looked at");
    driver.run(&Op::Delete(Kind::VirtualService, "n1".into(), "d".into()));
    assert_eq!(paths(&driver, "s0"), ["/"]);
    assert_eq!(driver.differences(), []);
}

#[test]
fn what_a_scope_hides_and_then_has_itself_is_there_although_the_base_lost_it_meanwhile() {
    let entry = |namespace: &str, name: &str, host: &str, port: u16, export_to: &str| {
        let spec = format!(
            "exportTo: {export_to}, hosts: [{host}], ports: [{{number: {port}, name: http}}], resolution: STATIC, \
             addresses: [10.9.0.80]"
        );
        Op::Put(istio("ServiceEntry", namespace, name, &spec))
    };
    let mut driver = Driver::new();
    driver.run(&entry("istio-system", "s1", "10.9.0.80", 80, "[]"));
    driver.run(&entry("n1", "s0", "10.9.0.80", 81, "[]"));
    driver.run(&entry("istio-system", "s1", "s0.n0", 80, "[n1]"));
    assert_eq!(driver.differences(), []);
}

#[test]
fn what_a_scope_hides_is_seen_again_when_it_comes_back() {
    let service = |export: &str, port: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s1, namespace: n0, annotations: {{networking.istio.io/exportTo: '{export}'}}}}\nspec: {{clusterIP: 10.9.0.80, ports: [{{name: {port}, port: 80}}]}}"
        )
    };
    let rule = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: s0, namespace: n0}\nspec: {hosts: [s1.n0.svc.cluster.local], http: [{route: [{destination: {host: s0}}]}]}";
    let mut driver = Driver::new();
    // Others have the rule without the service; n1, which sees the service, has neither; then all have both.
    for text in [&service("n1", "tcp"), rule, &service("*", "tcp"), &service("*", "http")] {
        driver.run(&Op::Put(text.to_owned()));
        assert_eq!(driver.differences(), vec![]);
    }
}

/// A mesh of `namespaces` with two services each; every Sidecar sees its own namespace only.
fn large(namespaces: usize) -> Mesh {
    let mut text = String::new();
    for number in 0..namespaces {
        let ns = format!("n{number}");
        for name in ["s0", "s1"] {
            text.push_str(&addressed(number, name));
            text.push_str("\n---\n");
        }
        text.push_str(&format!("apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: default, namespace: {ns}}}\nspec: {{egress: [{{hosts: ['./*']}}]}}\n---\n"));
    }
    let mut mesh = Mesh::new(MeshSettings::default());
    mesh.apply(&batch(configs(&text)));
    for number in 0..namespaces {
        mesh.connect(node("s0", &format!("n{number}"), &format!("10.{}.{}.1", number / 250, number % 250)));
    }
    mesh
}

fn cost(mesh: &mut Mesh, text: &str) -> (Work, usize) {
    let before = mesh.work();
    let created =
        mesh.index.config(&configs(text)[0].key).map_or(CreationTimestamp::from_microseconds(9_999), |old| old.created);
    let config = Config { created, ..(*configs(text)[0]).clone() };
    let changed = mesh.apply(&batch(vec![Arc::new(config)]));
    let after = mesh.work();
    let work = Work {
        visits: after.visits - before.visits,
        encodes: after.encodes - before.encodes,
        tables: after.tables - before.tables,
        sidecars: after.sidecars - before.sidecars,
    };
    (work, changed.len())
}

const ENDPOINT: &str = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: e, namespace: n0, labels: {kubernetes.io/service-name: s0}}\naddressType: IPv4\nendpoints: [{addresses: [10.0.7.7]}]\nports: [{name: http, port: 80}]";
const ROUTE: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r, namespace: n0}\nspec: {hosts: [s0], http: [{route: [{destination: {host: s1}}]}]}";

#[test]
fn law_c_work_grows_with_the_change_and_not_with_the_mesh() {
    for namespaces in [4, 64] {
        let mut mesh = large(namespaces);
        let check = |got: (Work, usize), want: (u64, u64, u64)| {
            assert_eq!((got.0.visits, got.0.encodes, got.0.tables, got.1), (want.0, want.1, want.2, 1), "{namespaces}");
        };
        check(cost(&mut mesh, ENDPOINT), (1, 1, 0));
        check(cost(&mut mesh, ROUTE), (2, 1, 0));
        check(cost(&mut mesh, &service("n0", "s9", 80, "http", "")), (1, 3, 0));
    }
}

#[test]
fn scopes_that_see_the_same_share_its_encoding() {
    let mut mesh = Mesh::new(MeshSettings::default());
    mesh.apply(&batch(configs(&service("n0", "s0", 80, "tcp", ""))));
    for number in 0..5 {
        mesh.connect(node("a", &format!("n{number}"), "10.0.0.1"));
    }
    assert_eq!((mesh.scopes(), mesh.work().encodes), (5, 2));
    let (a, b) = (mesh.view(NodeId(1)).unwrap(), mesh.view(NodeId(5)).unwrap());
    let name = "outbound|80||s0.n0.svc.cluster.local";
    let entry = |view: &View| view.get(ResourceType::Cluster, name).unwrap().entry.as_ptr();
    assert_eq!(entry(a), entry(b));
}

#[test]
fn a_large_scope_is_built_in_any_order_and_is_the_same() {
    let spread: crate::scope::Spread = |count, job| (0..count).rev().for_each(job);
    let (mut in_turn, mut spread) = (large(150), large(150).with_spread(spread));
    let views = [&mut in_turn, &mut spread].map(|mesh| {
        let id = mesh.connect(node("x", "elsewhere", "10.8.0.9"));
        contents(mesh.view(id).unwrap())
    });
    assert!(views[0].len() > 600);
    assert_eq!(views[0], views[1]);
    assert_eq!(in_turn.work(), spread.work());
}

#[test]
fn sidecars_of_one_scope_share_one_snapshot() {
    let mut mesh = large(1);
    let (a, b) = (mesh.connect(node("a", "n0", "10.0.0.2")), mesh.connect(node("b", "n0", "10.0.0.3")));
    assert!(Arc::ptr_eq(&mesh.view(a).unwrap().scope, &mesh.view(b).unwrap().scope));
    assert_eq!(mesh.scopes(), 1);
}

#[test]
fn a_scope_goes_with_its_last_sidecar_at_the_next_sweep() {
    let mut mesh = Mesh::new(MeshSettings::default());
    let id = mesh.connect(node("a", "n0", "10.0.0.1"));
    mesh.disconnect(id);
    assert_eq!(mesh.scopes(), 1);
    mesh.sweep();
    assert_eq!(mesh.scopes(), 0);
}

#[test]
fn a_service_without_endpoints_keeps_an_empty_assignment() {
    // O9: Envoy ignores the removal of an assignment.
    let mut mesh = large(1);
    mesh.apply(&batch(configs(ENDPOINT)));
    mesh.apply(&delete(Kind::EndpointSlice, "n0", "e"));
    let view = mesh.view(NodeId(1)).unwrap();
    let assignment = view.get(ResourceType::Endpoint, "outbound|80||s0.n0.svc.cluster.local").unwrap();
    let json = rutter_api::json::from_bytes(ResourceType::Endpoint.type_url(), &assignment.body()).unwrap();
    assert_eq!(json, serde_json::json!({"cluster_name": "outbound|80||s0.n0.svc.cluster.local"}));
}

#[test]
fn a_sidecar_without_capture_gets_listeners_at_its_own_address() {
    let mut mesh = large(1);
    mesh.apply(&batch(configs(&ENDPOINT.replace("10.0.7.7", "127.0.3.1").replace("port: 80", "port: 81"))));
    let bound = SidecarNode { interception: Interception::None, ..node("s0", "n0", "127.0.3.1") };
    let id = mesh.connect(bound);
    let names: Vec<_> =
        mesh.view(id).unwrap().iter(ResourceType::Listener).map(|listener| listener.name.to_string()).collect();
    assert_eq!(names, ["127.0.3.1_80", "127.0.3.1_81"]);
    let key = ConfigKey::new(Kind::Service, "n0", "s0");
    mesh.apply(&ConfigBatch { changes: [(key, ConfigChange::Delete)].into(), ..ConfigBatch::default() });
    let names: Vec<_> =
        mesh.view(id).unwrap().iter(ResourceType::Listener).map(|listener| listener.name.to_string()).collect();
    assert_eq!(names, ["127.0.3.1_80"]);
}

/// A service with an address that no other has.
fn addressed(number: usize, name: &str) -> String {
    let last = if name == "s0" { 1 } else { 2 };
    service(&format!("n{number}"), name, 80, "http", "").replace("10.9.0.80", &format!("10.9.{number}.{last}"))
}

/// One more of everything that a namespace may change, as the log of the work that it took.
fn changes(mesh: &mut Mesh) -> Vec<(&'static str, Work, usize)> {
    let slice = |ip: &str| ENDPOINT.replace("10.0.7.7", ip);
    let rule = |spec: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d, namespace: n0}}\nspec: {{host: s0, {spec}}}"
        )
    };
    let pool = "trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}";
    let wild = rule(pool).replace("host: s0", "host: '*.n0.svc.cluster.local'").replace("name: d", "name: w");
    let exported = service("n0", "s1", 80, "http", "n0").replace("10.9.0.80", "10.9.0.2");
    let steps: Vec<(&str, String)> = vec![
        ("endpoint up", slice("10.0.7.7")),
        ("endpoint moves", slice("10.0.7.8")),
        ("routes", ROUTE.to_owned()),
        ("routes alone", ROUTE.replace("http: [{", "http: [{timeout: 3s, ")),
        ("hosts of routes", ROUTE.replace("[s0]", "[s0, s1]")),
        ("policy", rule(pool)),
        ("policy of many", wild),
        ("subset", rule("subsets: [{name: v1, labels: {version: v1}}]")),
        ("service", service("n0", "s9", 80, "http", "").replace("10.9.0.80", "10.8.0.1")),
        ("port", service("n0", "s9", 81, "http", "").replace("10.9.0.81", "10.8.0.1")),
        ("export", exported),
        ("namespace label", "apiVersion: v1\nkind: Namespace\nmetadata: {name: n0, labels: {a: b}}".to_owned()),
        ("sidecar", "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: x, namespace: n0}\nspec: {workloadSelector: {labels: {app: nobody}}, egress: [{hosts: ['./*']}]}".to_owned()),
    ];
    steps
        .into_iter()
        .map(|(name, text)| (name, cost(mesh, &text)))
        .map(|(name, (work, changed))| (name, work, changed))
        .collect()
}

#[test]
fn law_c_every_kind_of_change_costs_the_same_in_a_mesh_of_any_size() {
    assert_eq!(changes(&mut large(4)), changes(&mut large(64)));
    // The same where nothing is restricted, for as many sidecars.
    let open = |namespaces: usize| {
        let mut mesh = Mesh::new(MeshSettings::default());
        let text: Vec<String> =
            (0..namespaces).flat_map(|number| ["s0", "s1"].map(|name| addressed(number, name))).collect();
        mesh.apply(&batch(configs(&text.join("\n---\n"))));
        for (pod, namespace) in [("a", "n0"), ("b", "n1"), ("c", "n2")] {
            mesh.connect(node(pod, namespace, "10.200.0.1"));
        }
        changes(&mut mesh)
    };
    let small = open(4);
    assert_eq!(small, open(64));
    let endpoint = small[0];
    assert_eq!((endpoint.1.encodes, endpoint.2), (1, 3), "seen by three, encoded once");
}

#[test]
fn one_more_sidecar_costs_no_resource() {
    let mut mesh = large(8);
    let first = mesh.connect(node("a", "n0", "10.200.0.1"));
    let before = mesh.work();
    let second = mesh.connect(node("b", "n0", "10.200.0.2"));
    assert_eq!(mesh.work(), before, "nothing is looked at, encoded or put together");
    let (a, b) = (mesh.view(first).unwrap(), mesh.view(second).unwrap());
    assert!(Arc::ptr_eq(&a.base, &b.base) && Arc::ptr_eq(&a.scope, &b.scope) && Arc::ptr_eq(&a.sidecar, &b.sidecar));
}

#[test]
fn one_more_scope_that_restricts_nothing_costs_what_its_namespace_sees_otherwise() {
    for namespaces in [4, 64] {
        let mut mesh = Mesh::new(MeshSettings::default());
        let text: Vec<String> =
            (0..namespaces).flat_map(|number| ["s0", "s1"].map(|name| addressed(number, name))).collect();
        mesh.apply(&batch(configs(&text.join("\n---\n"))));
        let first = mesh.connect(node("a", "n0", "10.200.0.1"));
        let before = mesh.work();
        let second = mesh.connect(node("b", "n1", "10.200.0.2"));
        let after = mesh.work();
        // Its own two services, which are called by their short names there.
        assert_eq!((after.visits - before.visits, after.encodes - before.encodes), (2, 2), "{namespaces}");
        let (a, b) = (mesh.view(first).unwrap(), mesh.view(second).unwrap());
        assert!(Arc::ptr_eq(&a.base, &b.base));
        let own = ResourceType::ALL.into_iter().map(|resource_type| b.scope.iter(resource_type).count());
        assert_eq!(own.sum::<usize>(), 2, "{namespaces}");
        assert_eq!(b.iter(ResourceType::VirtualHost).count(), namespaces * 2);
    }
}

#[test]
fn a_sidecar_object_without_egress_sees_everything_or_what_the_default_of_the_root_does() {
    for (inherit_egress, want) in [(false, 2), (true, 1)] {
        let mut mesh = Mesh::new(MeshSettings { inherit_egress, ..MeshSettings::default() });
        let services = [service("n0", "s0", 80, "http", ""), service("n1", "s1", 80, "http", "")].join("\n---\n");
        let sidecars = [
            istio("Sidecar", "istio-system", "default", "egress: [{hosts: ['./*']}]"),
            istio("Sidecar", "n0", "ports", "ingress: [{port: {number: 9000, protocol: HTTP}}]"),
        ];
        mesh.apply(&batch(configs(&format!("{services}\n---\n{}", sidecars.join("\n---\n")))));
        let id = mesh.connect(node("a", "n0", "10.0.0.1"));
        let seen = |mesh: &Mesh| mesh.view(id).unwrap().iter(ResourceType::Endpoint).count();
        assert_eq!(seen(&mesh), want);
        let wider = istio("Sidecar", "istio-system", "default", "egress: [{hosts: ['*/*']}]");
        mesh.apply(&batch(configs(&wider)));
        assert_eq!(seen(&mesh), 2, "what the root says now counts");
        mesh.apply(&delete(Kind::Sidecar, "istio-system", "default"));
        assert_eq!(seen(&mesh), 2);
    }
}

#[test]
fn a_sidecar_that_learns_addresses_has_listeners_at_those_that_were_given_beside_all_others() {
    let mut mesh = Mesh::new(MeshSettings::default());
    let entry = |name: &str, protocol: &str| {
        let ports = format!("ports: [{{number: 443, name: p, protocol: {protocol}}}]");
        istio("ServiceEntry", "n0", name, &format!("hosts: [{name}.x], resolution: DNS, {ports}"))
    };
    let entries = [entry("tls", "TLS"), entry("http", "HTTP"), entry("other", "''")].join("\n---\n");
    mesh.apply(&batch(configs(&entries)));
    let others = mesh.connect(node("a", "n0", "10.0.0.1"));
    let learning = mesh.connect(SidecarNode { captures_dns: true, ..node("b", "n0", "10.0.0.2") });
    let names = |id: NodeId| {
        let listeners = mesh.view(id).unwrap().iter(ResourceType::Listener);
        listeners.map(|listener| listener.name.to_string()).collect::<BTreeSet<_>>()
    };
    let mut more: Vec<String> = names(learning).difference(&names(others)).cloned().collect();
    let given = |host: &str| {
        let service = &mesh.index.definitions(&host.parse().unwrap())[0];
        format!("{}_443", mesh.index.addressed(service).addresses[0])
    };
    let mut want = vec![given("tls.x"), given("other.x")];
    more.sort();
    want.sort();
    assert_eq!(more, want, "requests are told apart by their host");
    assert!(names(others).is_subset(&names(learning)) && names(others).contains("0.0.0.0_443"));
    let clusters =
        |id: NodeId| mesh.view(id).unwrap().iter(ResourceType::Cluster).map(|it| it.version).collect::<Vec<_>>();
    assert_eq!(clusters(others), clusters(learning));
}

#[test]
fn a_gateway_that_passes_connections_on_is_not_encoded_again_for_an_endpoint() {
    let mut mesh = Mesh::new(MeshSettings::default());
    let server = "servers: [{port: {number: 443, protocol: TLS}, hosts: ['*.local'], tls: {mode: AUTO_PASSTHROUGH}}]";
    let services: Vec<String> = (80..84).map(|port| service("n0", &format!("s{port}"), port, "tls", "")).collect();
    mesh.apply(&batch(configs(&[istio("Gateway", "n0", "g", server), services.join("\n---\n")].join("\n---\n"))));
    let gateway = SidecarNode { role: Role::Gateway, interception: Interception::None, ..node("g", "n0", "10.0.0.1") };
    let id = mesh.connect(gateway);
    let listener = |mesh: &Mesh| {
        let scope = mesh.scopes.get(mesh.nodes.get(&id).unwrap().scope).unwrap();
        scope.passing_listeners().next().unwrap().clone()
    };
    let before = listener(&mesh);
    let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s80, namespace: n0, \
        labels: {kubernetes.io/service-name: s80}}\naddressType: IPv4\nendpoints: [{addresses: [10.0.0.9]}]\n\
        ports: [{name: tls, port: 80}]";
    assert_eq!(mesh.apply(&batch(configs(slice))), [id].into(), "it is sent the endpoint");
    let bytes = |resource: &crate::resource::EncodedResource| resource.body().as_ptr();
    assert_eq!(bytes(&before), bytes(&listener(&mesh)), "the very same allocation");
    mesh.apply(&batch(configs(&service("n0", "late", 85, "tls", ""))));
    assert_ne!(before.version, listener(&mesh).version);
}

#[test]
fn a_secret_goes_to_gateways_of_its_namespace_that_may_have_it_and_costs_no_host() {
    let mut mesh = Mesh::new(MeshSettings::default());
    let servers =
        "servers: [{port: {number: 443, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}}]";
    mesh.apply(&batch(configs(&istio("Gateway", "n1", "g", servers))));
    let gateway = SidecarNode { role: Role::Gateway, interception: Interception::None, ..node("g", "n0", "10.0.0.1") };
    let own = SidecarNode { may_be_sent_secrets: true, ..gateway.clone() };
    let elsewhere = SidecarNode { namespace: "n1".into(), ..own.clone() };
    let sidecar = SidecarNode { may_be_sent_secrets: true, ..node("s", "n0", "10.0.0.2") };
    let [own, remote, elsewhere, sidecar] = [own, gateway, elsewhere, sidecar].map(|node| mesh.connect(node));
    let secret = |value: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: c, namespace: n0}}\n\
             stringData: {{tls.crt: {value}, tls.key: k, password: p}}"
        );
        batch(configs(&text))
    };
    let before = mesh.work();
    assert_eq!(mesh.apply(&secret("a")), [own].into());
    assert_eq!(mesh.apply(&secret("b")), [own].into());
    let Work { visits, encodes, tables: _, sidecars } = mesh.work();
    assert_eq!((visits, encodes, sidecars), (before.visits, before.encodes, before.sidecars));
    let names = |id: NodeId| {
        let secrets = mesh.view(id).unwrap().iter(ResourceType::Secret);
        secrets.map(|secret| secret.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(own), ["kubernetes://c"]);
    for other in [remote, elsewhere, sidecar] {
        assert!(names(other).is_empty());
    }
    assert_eq!(mesh.sources(own, ResourceType::Secret, "kubernetes://c").len(), 1);
    assert_eq!(mesh.apply(&delete(Kind::Secret, "n0", "c")), [own].into());
    assert_eq!(mesh.view(own).unwrap().iter(ResourceType::Secret).count(), 0);
}
