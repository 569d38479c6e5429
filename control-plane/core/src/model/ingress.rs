//! What an Ingress means: a Gateway object and VirtualServices.

use std::num::NonZeroU16;
use std::sync::Arc;

use rutter_api::config::istio::{
    Destination, Gateway, GatewayPort, HttpMatch, HttpRoute, HttpRouteDestination, PortSelector, Server, ServerHost,
    ServerTls, ServerTlsMode, StringMatch, VirtualService,
};
use rutter_api::config::kubernetes::{
    Ingress, IngressBackend, IngressPath, IngressPathMatch, IngressPort, IngressTls, MeshConfig,
};
use rutter_api::{Config, ConfigKey, Hostname, Kind, Labels, Spec};

/// The label by which gateways are chosen to serve Ingresses.
const LABEL: &str = "istio";
/// The ports of plain and of encrypted requests.
const PORTS: [(u16, &str); 2] = [(80, "HTTP"), (443, "HTTPS")];

/// Returns what an Ingress means, or nothing for other kinds and for classes that are not served: a Gateway object and a
/// VirtualService for each host. They are as old as the Ingress, and have a `~` in their names, which nobody can write.
pub fn objects_of_ingress(config: &Config, mesh: &MeshConfig) -> Vec<Arc<Config>> {
    let ingress = config.spec.as_ingress().filter(|ingress| mesh.serves_ingress(ingress.class.as_deref()));
    let Some(ingress) = ingress else { return Vec::new() };
    let name = &config.key.name;
    let gateway_name = format!("{name}~");
    let gateway = (Kind::Gateway, gateway_name.clone(), Spec::Gateway(gateway_of(ingress, mesh.ingress_label())));
    let mut hosts: Vec<&Hostname> = ingress.rules.iter().map(|rule| &rule.host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let routed = hosts.into_iter().map(|host| (host.clone(), routes_of_host(ingress, host)));
    let mut routed: Vec<(Hostname, Vec<HttpRoute>)> = routed.filter(|(_, routes)| !routes.is_empty()).collect();
    let any: Option<Hostname> = "*".parse().ok();
    if let (Some(any), Some(backend)) = (any, &ingress.default_backend)
        && !routed.iter().any(|(host, _)| *host == any)
    {
        routed.push((any, vec![route(Vec::new(), backend)]));
    }
    let virtual_services = routed.into_iter().map(|(host, http)| {
        let name = format!("{name}~{host}");
        let spec = VirtualService {
            hosts: vec![host],
            gateways: vec![gateway_name.clone()],
            http,
            tls: Vec::new(),
            tcp: Vec::new(),
            export_to: Vec::new(),
        };
        (Kind::VirtualService, name, Spec::VirtualService(spec))
    });
    let object = |(kind, name, spec): (Kind, String, Spec)| {
        Arc::new(Config {
            key: ConfigKey::new(kind, &config.key.namespace, &name),
            labels: Labels::default(),
            annotations: Labels::default(),
            spec,
            created: config.created,
        })
    };
    [gateway].into_iter().chain(virtual_services).map(object).collect()
}

fn gateway_of(ingress: &Ingress, label: &str) -> Gateway {
    let [plain, encrypted] = PORTS;
    let any = || Vec::from_iter("*".parse::<Hostname>());
    let server = |(number, protocol): (u16, &str), hosts: Vec<Hostname>, tls: Option<ServerTls>| {
        let port = GatewayPort {
            number: NonZeroU16::new(number)?,
            protocol: protocol.to_owned(),
            name: protocol.to_ascii_lowercase(),
        };
        let hosts = hosts.into_iter().map(|host| ServerHost { namespace: None, host }).collect();
        Some(Server { port, bind: None, hosts, tls: tls.map(Box::new), name: String::new() })
    };
    let of_tls = |tls: &IngressTls| {
        let hosts = if tls.hosts.is_empty() { any() } else { tls.hosts.clone() };
        let settings =
            ServerTls { mode: ServerTlsMode::Simple, credential_name: tls.secret.parse().ok(), ..ServerTls::default() };
        server(encrypted, hosts, Some(settings))
    };
    let servers = ingress.tls.iter().map(of_tls).chain([server(plain, any(), None)]);
    Gateway {
        selector: [(LABEL.to_owned(), label.to_owned())].into_iter().collect(),
        servers: servers.flatten().collect(),
    }
}

/// Returns the routes of a host: those of longer paths first, and of equally long ones the exact one. What none of them
/// takes goes to the default backend.
fn routes_of_host(ingress: &Ingress, host: &Hostname) -> Vec<HttpRoute> {
    let mut paths: Vec<&IngressPath> =
        ingress.rules.iter().filter(|rule| rule.host == *host).flat_map(|rule| &rule.paths).collect();
    paths.sort_by_key(|path| {
        (std::cmp::Reverse(path.path.trim_end_matches('/').len()), path.path_match != IngressPathMatch::Exact)
    });
    let routes = paths.into_iter().map(|path| route(matches_of(path), &path.backend));
    routes.chain(ingress.default_backend.as_ref().map(|backend| route(Vec::new(), backend))).collect()
}

/// Returns the conditions of a path. A prefix takes whole elements: `/a` takes `/a` and `/a/b`, and not `/ab`.
fn matches_of(IngressPath { path, path_match, .. }: &IngressPath) -> Vec<HttpMatch> {
    let of_uri = |uri: StringMatch| HttpMatch { uri: Some(uri), ..HttpMatch::default() };
    let element = path.trim_end_matches('/');
    match (path_match, element) {
        (IngressPathMatch::Exact, _) => vec![of_uri(StringMatch::Exact(path.clone()))],
        (IngressPathMatch::Beginning | IngressPathMatch::Elements, "") => Vec::new(),
        (IngressPathMatch::Beginning, _) => vec![of_uri(StringMatch::Prefix(path.clone()))],
        (IngressPathMatch::Elements, element) => {
            let below = StringMatch::Prefix(format!("{element}/"));
            vec![of_uri(StringMatch::Exact(element.to_owned())), of_uri(below)]
        }
    }
}

fn route(matches: Vec<HttpMatch>, backend: &IngressBackend) -> HttpRoute {
    let (port, port_name) = match &backend.port {
        IngressPort::Number(number) => (NonZeroU16::new(*number).map(|number| PortSelector { number }), None),
        IngressPort::Name(name) => (None, Some(name.as_str().into())),
    };
    let destination = backend.service.parse().ok().map(|host| Destination { host, subset: None, port, port_name });
    let to = destination.map(|destination| HttpRouteDestination { destination, weight: 0, headers: None });
    HttpRoute { matches, route: to.into_iter().collect(), ..HttpRoute::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::config;

    #[test]
    fn an_ingress_is_a_gateway_and_a_virtual_service_for_each_host() {
        let text = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web, namespace: shop}\nspec:\n  \
            ingressClassName: istio\n  tls: [{hosts: [a.test], secretName: cert}]\n  rules:\n  - host: a.test\n    http:\n      paths:\n      \
            - {path: /, pathType: Prefix, backend: {service: {name: rest, port: {number: 80}}}}\n      \
            - {path: /api/v1, pathType: Prefix, backend: {service: {name: api, port: {name: http}}}}\n      \
            - {path: /api/v1, pathType: Exact, backend: {service: {name: index, port: {number: 80}}}}\n  \
            defaultBackend: {service: {name: fallback, port: {number: 80}}}\n";
        let objects = objects_of_ingress(&config(text), &MeshConfig::default());
        let names: Vec<String> = objects.iter().map(|object| object.key.to_string()).collect();
        assert_eq!(names, ["gateway shop/web~", "virtualService shop/web~a.test", "virtualService shop/web~*",]);
        let gateway = objects[0].spec.as_gateway().unwrap();
        let servers: Vec<String> = gateway
            .servers
            .iter()
            .map(|server| format!("{} {} {}", server.port.number, server.port.protocol, server.hosts[0].host))
            .collect();
        assert_eq!(servers, ["443 HTTPS a.test", "80 HTTP *"]);
        let routes: Vec<String> = objects[1]
            .spec
            .as_virtual_service()
            .unwrap()
            .http
            .iter()
            .map(|http| {
                let paths: Vec<String> =
                    http.matches.iter().map(|condition| format!("{:?}", condition.uri.as_ref().unwrap())).collect();
                format!("{} {}", http.route[0].destination.host, paths.join(" "))
            })
            .collect();
        assert_eq!(
            routes,
            ["index Exact(\"/api/v1\")", "api Exact(\"/api/v1\") Prefix(\"/api/v1/\")", "rest ", "fallback ",]
        );
    }
}
