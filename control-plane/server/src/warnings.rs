//! What an operator should know of objects that are to be applied, although nothing is wrong with them alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rutter_api::config::istio::Gateway;
use rutter_api::config::kubernetes::IngressControllerMode;
use rutter_api::node::{DEFAULT_RE2_PROGRAM_MAX, Role};
use rutter_api::{Config, ConfigKey, CreationTimestamp, Hostname, Kind, Labels, SidecarNode};
use rutter_core::model::{
    Discovery, ExportTo, GatewayServer, bound_gateways, credentials_of, is_for_mesh, servers_of, with_default_export,
};
use rutter_core::{ConfigBatch, ConfigChange, Mesh, MeshIndex};

/// Returns the warnings about objects that are to be applied beside those that are there, and those that are `pending`.
pub(crate) fn of_objects(index: &MeshIndex, pending: &ConfigBatch, configs: &[Arc<Config>]) -> Vec<String> {
    let pending = pending.changes.values().filter_map(|change| match change {
        ConfigChange::Put(config) => Some(config),
        ConfigChange::Delete => None,
    });
    let coming: Vec<&Arc<Config>> = pending.chain(configs).collect();
    let services = services_of(index, &coming);
    let sorts = [
        unknown_destinations(index, &services, configs),
        resolved_without_bounds(index, configs, &services),
        unknown_secrets(index, &coming, configs),
        overshadowed_routes(index, configs),
        servers_without_a_port(index, configs),
        configs.iter().filter_map(|config| mesh_config(index, config)).collect(),
        ingresses(index, &coming, configs),
    ];
    sorts.into_iter().flat_map(bounded).collect()
}

/// The number of warnings of one sort that are told one by one.
const MOST: usize = 50;

/// Shortens the warnings of one sort, if they are too many for anybody to read.
fn bounded(mut warnings: Vec<String>) -> Vec<String> {
    if warnings.len() > MOST {
        let more = warnings.len() - MOST;
        warnings.truncate(MOST);
        warnings.push(format!("{more} more warnings like these are not shown"));
    }
    warnings
}

/// The number of clients that a warning names.
const NAMED: usize = 3;

/// Returns a warning for each regular expression that some of the connected clients will refuse, unless they are set up otherwise than
/// is known of them.
pub(crate) fn long_regexes(mesh: &Mesh, configs: &[Arc<Config>]) -> Vec<String> {
    let mut warnings = Vec::new();
    for config in configs {
        let Some(virtual_service) = config.spec.as_virtual_service() else { continue };
        let sizes = virtual_service.regexes().into_iter().map(|regex| (regex.program_size(), regex));
        let long: Vec<_> = sizes.filter(|(size, _)| *size > DEFAULT_RE2_PROGRAM_MAX).collect();
        if long.is_empty() || warnings.len() > MOST {
            continue;
        }
        let Some(clients) = refusing_clients(mesh, config) else { continue };
        warnings.extend(long.into_iter().map(|(size, regex)| {
            format!(
                "{}: {}: its program has about {size} instructions; Envoys refuse more than {DEFAULT_RE2_PROGRAM_MAX} unless \
                 their bootstrap sets re2.max_program_size.error_level, which is not known of {clients}",
                config.key, regex.path
            )
        }));
    }
    bounded(warnings)
}

/// Returns the names of clients that may be sent the routes of a VirtualService and bound the size of regular expressions. `None`
/// means that there are none.
fn refusing_clients(mesh: &Mesh, config: &Arc<Config>) -> Option<String> {
    let index = mesh.index();
    let exported = index.mesh().and_then(|mesh| with_default_export(config, mesh));
    let export_to = ExportTo::of_config(exported.as_ref().unwrap_or(config));
    let gateways: Vec<&Gateway> =
        bound_gateways(config).iter().filter_map(|key| index.config(key)?.spec.as_gateway()).collect();
    let is_for = |node: &SidecarNode| match node.role {
        Role::Sidecar => is_for_mesh(config),
        Role::Gateway => gateways.iter().any(|gateway| gateway.selector.selects(&node.labels)),
    };
    let nodes = mesh.sidecars().map(|(node, _)| node);
    let mut refusing = nodes.filter(|node| node.bounds_regexes && export_to.reaches(&node.namespace) && is_for(node));
    let named: Vec<String> = refusing.by_ref().take(NAMED).map(|node| node.id()).collect();
    let more = refusing.count();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!named.is_empty()).then(|| format!("{}{more}", named.join(", ")))
}

/// Returns a warning for each VirtualService that sends to a host which is resolved as clients name it, although it takes other hosts
/// as well: whatever a client names is resolved then.
fn resolved_without_bounds(index: &MeshIndex, configs: &[Arc<Config>], coming: &MeshIndex) -> Vec<String> {
    let resolves = |host: &Hostname| {
        let mut definitions = index.definitions(host).iter().chain(coming.definitions(host));
        definitions.any(|service| service.discovery == Discovery::DnsOfClient)
    };
    let mut warnings = Vec::new();
    for config in configs {
        let routed = index.routed_hosts_of(config);
        for host in index.destinations_of(config).iter().filter(|host| resolves(host)) {
            if let Some(other) = routed.iter().find(|routed| !host.covers(routed)) {
                warnings.push(format!(
                    "{}: {host} is resolved as clients name it (DYNAMIC_DNS), and the routes take {other} as well: requests go to \
                     whatever host a client names",
                    config.key
                ));
            }
        }
    }
    warnings
}

/// Returns a warning for each Secret that the objects name and that is in no namespace and does not come with them.
fn unknown_secrets(index: &MeshIndex, coming: &[&Arc<Config>], configs: &[Arc<Config>]) -> Vec<String> {
    let coming = coming.iter().copied().filter(|config| config.key.kind == Kind::Secret);
    let secrets = index.of_kind(Kind::Secret).chain(coming);
    let names: BTreeSet<&str> = secrets.map(|config| &*config.key.name).collect();
    let mut warnings = BTreeSet::new();
    for config in configs {
        for credential in credentials_of(config) {
            let is_known = credential.secrets(&config.key.namespace).iter().any(|key| names.contains(&*key.name));
            if !is_known {
                let (key, name) = (&config.key, &credential.name);
                warnings.insert(format!(
                    "{key}: no Secret {name} is known; connections that need it fail until the gateway's namespace has one"
                ));
            }
        }
    }
    warnings.into_iter().collect()
}

/// Returns the services among objects that come.
fn services_of(index: &MeshIndex, coming: &[&Arc<Config>]) -> MeshIndex {
    let services = coming.iter().filter(|config| matches!(config.key.kind, Kind::Service | Kind::ServiceEntry));
    let changes = services.map(|config| (config.key.clone(), ConfigChange::Put((*config).clone()))).collect();
    let mut services = MeshIndex::new(index.settings().clone());
    services.apply(&ConfigBatch { changes, ..ConfigBatch::default() });
    services
}

/// Returns a warning for each destination of the objects that neither exists nor comes with them.
fn unknown_destinations(index: &MeshIndex, coming: &MeshIndex, configs: &[Arc<Config>]) -> Vec<String> {
    let mut warnings = Vec::new();
    for config in configs {
        let policy = config.spec.as_sidecar().and_then(|sidecar| sidecar.outbound_traffic_policy.as_ref());
        let proxy = policy.and_then(|policy| policy.egress_proxy.as_ref()).map(|proxy| proxy.host.clone());
        for host in index.destinations_of(config).into_iter().chain(proxy) {
            if index.definitions(&host).is_empty() && coming.definitions(&host).is_empty() {
                let key = &config.key;
                warnings.push(format!("{key}: no service {host} is known; requests sent there are answered 503"));
            }
        }
    }
    warnings
}

/// Returns what of a mesh config has no effect.
fn mesh_config(index: &MeshIndex, config: &Config) -> Option<String> {
    let mesh = config.spec.as_mesh_config()?;
    let root = &index.settings().root_namespace;
    if config.key.namespace != *root {
        return Some(format!("{}: only the one in the root namespace, {root}, has an effect", config.key));
    }
    let fields = mesh.ignored.join(", ");
    (!fields.is_empty()).then(|| format!("{}: not acted on yet: {fields}", config.key))
}

/// Returns what of the Ingresses has no effect, although they are meant for the mesh.
fn ingresses(index: &MeshIndex, coming: &[&Arc<Config>], configs: &[Arc<Config>]) -> Vec<String> {
    let root = &index.settings().root_namespace;
    let mesh = coming.iter().filter(|config| config.key.namespace == *root);
    let mesh = mesh.filter_map(|config| config.spec.as_mesh_config()).next_back().or_else(|| index.mesh());
    let mesh = mesh.cloned().unwrap_or_default();
    let mut warnings = Vec::new();
    for config in configs {
        let Some(ingress) = config.spec.as_ingress() else { continue };
        let class = ingress.class.as_deref();
        let key = &config.key;
        if mesh.serves_ingress(class) {
            warnings.extend(ingress.left_out.iter().map(|fault| format!("{key}: left out: {fault}")));
        } else if class.is_none() && mesh.ingress_controller_mode == IngressControllerMode::Strict {
            let served = mesh.ingress_class();
            warnings
                .push(format!("{key}: no gateway serves it, because it has no class; that of this mesh is {served}"));
        }
    }
    warnings
}

/// Returns objects with the ages that they will have among others, as far as it matters.
fn with_ages(index: &MeshIndex, configs: &[Arc<Config>]) -> Vec<Arc<Config>> {
    let aged = |config: &Arc<Config>| {
        let created = index.written(&config.key).map_or(CreationTimestamp::YOUNGEST, |known| known.created);
        Arc::new(Config { created, ..(**config).clone() })
    };
    configs.iter().map(aged).collect()
}

/// Returns a warning for each host of a VirtualService that another one routes in sidecars already. Of two the older counts.
fn overshadowed_routes(index: &MeshIndex, configs: &[Arc<Config>]) -> Vec<String> {
    let mut coming = with_ages(index, configs);
    coming.retain(|config| is_for_mesh(config));
    let keys: BTreeSet<&ConfigKey> = coming.iter().map(|config| &config.key).collect();
    let age = |config: &Arc<Config>| (config.created, config.key.clone());
    let mut oldest: BTreeMap<Hostname, Arc<Config>> = BTreeMap::new();
    for config in &coming {
        for host in index.routed_hosts_of(config) {
            let first = oldest.entry(host).or_insert_with_key(|host| {
                let there = index.virtual_services_routing(host).filter(|rival| !keys.contains(&rival.key));
                let there = there.filter(|rival| index.routed_hosts_of(rival).contains(host));
                there.min_by_key(|rival| age(rival)).unwrap_or(config).clone()
            });
            if age(config) < age(first) {
                first.clone_from(config);
            }
        }
    }
    let mut warnings = Vec::new();
    for config in &coming {
        for host in index.routed_hosts_of(config) {
            if let Some(rival) = oldest.get(&host).filter(|rival| rival.key != config.key) {
                warnings.push(format!(
                    "{}: the older {} routes {host} in sidecars that see both, so that this one has no effect there",
                    config.key, rival.key
                ));
            }
        }
    }
    warnings
}

/// Returns a warning for each server of a Gateway that cannot share its port with an older one, for gateways that both
/// select. The servers of all objects with one selector are looked at once.
fn servers_without_a_port(index: &MeshIndex, configs: &[Arc<Config>]) -> Vec<String> {
    let mut coming: Vec<Arc<Config>> = with_ages(index, configs);
    coming.retain(|config| config.key.kind == Kind::Gateway);
    let keys: BTreeSet<&ConfigKey> = coming.iter().map(|config| &config.key).collect();
    let there: Vec<&Arc<Config>> = index.of_kind(Kind::Gateway).filter(|other| !keys.contains(&other.key)).collect();
    let mut kept_of: BTreeMap<&Labels, KeptServers> = BTreeMap::new();
    let mut warnings = Vec::new();
    for config in &coming {
        let Some(gateway) = config.spec.as_gateway() else { continue };
        let kept = kept_of.entry(&gateway.selector).or_insert_with(|| {
            let selects_too = |other: &&Arc<Config>| {
                let other = other.spec.as_gateway();
                other.is_some_and(|other| {
                    other.selector.selects(&gateway.selector) || gateway.selector.selects(&other.selector)
                })
            };
            KeptServers::of(there.iter().copied().chain(&coming).filter(selects_too))
        });
        let alone = KeptServers::of(std::iter::once(config));
        for ((_, port), wanted) in &alone.counts {
            let got = kept.counts.get(&(config.key.clone(), *port)).copied().unwrap_or_default();
            let others = kept.of_port.get(port).into_iter().flatten();
            let Some(first) = others.into_iter().find(|server| server.gateway.key != config.key) else { continue };
            if got < *wanted {
                warnings.push(format!(
                    "{}: the older {} has port {port} for {}, which cannot be shared; requests to this one's servers there are not served",
                    config.key,
                    first.gateway.key,
                    first.server().port.protocol
                ));
            }
        }
    }
    warnings
}

/// The servers of some Gateway objects that have their ports.
struct KeptServers {
    /// The number of those of an object at a port.
    counts: BTreeMap<(ConfigKey, u16), usize>,
    /// The first ones at a port, those of at most two objects.
    of_port: BTreeMap<u16, Vec<GatewayServer>>,
}

impl KeptServers {
    fn of<'a>(gateways: impl Iterator<Item = &'a Arc<Config>>) -> Self {
        let mut kept = Self { counts: BTreeMap::new(), of_port: BTreeMap::new() };
        for server in servers_of(gateways, &BTreeMap::new()).into_values().flatten() {
            *kept.counts.entry((server.gateway.key.clone(), server.port())).or_default() += 1;
            let first = kept.of_port.entry(server.port()).or_default();
            if first.len() < 2 && !first.iter().any(|other| other.gateway.key == server.gateway.key) {
                first.push(server);
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use rutter_api::config::Object;
    use rutter_api::yaml;
    use rutter_core::MeshSettings;

    use super::*;

    fn objects(text: &str) -> Vec<Arc<Config>> {
        let documents = yaml::parse(text).unwrap().into_iter();
        documents.map(|document| Object::from_value(document.value, "shop").unwrap().config).collect()
    }

    fn index(text: &str) -> MeshIndex {
        let mut index = MeshIndex::new(MeshSettings::default());
        let changes = objects(text).into_iter().map(|config| (config.key.clone(), ConfigChange::Put(config))).collect();
        index.apply(&ConfigBatch { changes, ..ConfigBatch::default() });
        index
    }

    fn virtual_service(name: &str, gateways: &str) -> String {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\n\
             spec: {{hosts: [a.test], gateways: [{gateways}], http: [{{directResponse: {{status: 200}}}}]}}\n---\n"
        )
    }

    #[test]
    fn routes_that_lead_to_whatever_a_client_names_are_told() {
        let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\n\
             spec: {hosts: ['*.x'], resolution: DYNAMIC_DNS, ports: [{number: 80, name: http, protocol: HTTP}]}\n---\n";
        let routes = |host: &str| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\n\
                 spec: {{hosts: ['{host}'], gateways: [g], http: [{{route: [{{destination: {{host: '*.x'}}}}]}}]}}\n---\n"
            )
        };
        let said = |index: &MeshIndex, text: &str| of_objects(index, &ConfigBatch::default(), &objects(text));
        let want = "virtualService shop/v: *.x is resolved as clients name it (DYNAMIC_DNS), and the routes take * as well: \
                    requests go to whatever host a client names";
        assert_eq!(said(&index(entry), &routes("*")), [want]);
        assert_eq!(said(&index(""), &[entry, &routes("*")].concat()), [want], "they come together");
        assert!(said(&index(entry), &routes("a.x")).is_empty() && said(&index(entry), &routes("*.x")).is_empty());
    }

    #[test]
    fn of_two_virtual_services_for_one_host_the_younger_is_told() {
        let index = index(&virtual_service("old", "mesh"));
        let said = |name: &str, gateways: &str| {
            of_objects(&index, &ConfigBatch::default(), &objects(&virtual_service(name, gateways)))
        };
        let want = "virtualService shop/new: the older virtualService shop/old routes a.test in sidecars that see both, so that \
                    this one has no effect there";
        assert_eq!(said("new", "mesh"), [want]);
        assert!(said("new", "edge").is_empty(), "gateways merge them");
        assert!(said("old", "mesh").is_empty(), "it is the same object");
        let both = objects(&[virtual_service("first", "mesh"), virtual_service("second", "mesh")].concat());
        assert_eq!(
            of_objects(&MeshIndex::new(MeshSettings::default()), &ConfigBatch::default(), &both).len(),
            1,
            "the second by its name"
        );
        let many: String = (0..1000).map(|number| virtual_service(&format!("v{number}"), "mesh")).collect();
        let told = of_objects(&index, &ConfigBatch::default(), &objects(&many));
        assert_eq!((told.len(), told[50].as_str()), (51, "950 more warnings like these are not shown"));
    }

    #[test]
    fn what_is_on_its_way_is_known() {
        let routes = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n\
                      spec: {hosts: [a.test], http: [{route: [{destination: {host: late.test}}]}]}";
        let late = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: late}\n\
                    spec: {hosts: [late.test], resolution: STATIC, ports: [{number: 80, name: http}]}";
        let changes = objects(late).into_iter().map(|config| (config.key.clone(), ConfigChange::Put(config))).collect();
        let pending = ConfigBatch { changes, ..ConfigBatch::default() };
        let said = |pending: &ConfigBatch| of_objects(&index(""), pending, &objects(routes));
        assert_eq!((said(&ConfigBatch::default()).len(), said(&pending).len()), (1, 0));
    }

    #[test]
    fn a_server_that_gets_no_port_is_told() {
        let gateway = |name: &str, protocol: &str, label: &str| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\n\
                 spec: {{selector: {{app: {label}}}, servers: [{{port: {{number: 80, protocol: {protocol}}}, hosts: ['*']}}]}}"
            )
        };
        let index = index(&gateway("old", "HTTP", "edge"));
        let said = |text: &str| of_objects(&index, &ConfigBatch::default(), &objects(text));
        let want = "gateway shop/new: the older gateway shop/old has port 80 for HTTP, which cannot be shared; requests to this \
                    one's servers there are not served";
        assert_eq!(said(&gateway("new", "TCP", "edge")), [want]);
        assert!(said(&gateway("new", "HTTP", "edge")).is_empty() && said(&gateway("new", "TCP", "other")).is_empty());
    }
}
