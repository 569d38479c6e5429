//! Config whose resources some clients could not take: found before it is applied.
//!
//! The gRPC library breaks its stream off over a message of more than 4 MiB, and comes back for it for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;
use rutter_api::config::istio::HttpRoute;
use rutter_api::{ClusterName, Config, ConfigKey, Hostname, Invalid};

use crate::client::{ClientClass, RouteTableForm};
use crate::debounce::{ConfigBatch, ConfigChange};
use crate::encode::endpoint::load_assignment_of_all;
use crate::encode::inputs::Shared;
use crate::encode::route::{LookedUpService, ShortNames, VirtualHostInputs, encode_virtual_host};
use crate::index::MeshIndex;
use crate::model::{Discovery, ExportTo, Protocol, RequestSource, Service, ServiceKey, ServicePort};

/// The largest resource that every client can take, in bytes.
const BYTES_MAX: usize = ClientClass::GRPC_RESOURCE_BYTES_MAX;
/// More bytes than an encoded endpoint nearly ever has. Only services with many endpoints are encoded to find out.
const ENDPOINT_BYTES: usize = 64;
/// More bytes than a condition of a route nearly ever has, beside what is written in it.
const CONDITION_BYTES: usize = 1024;
/// More bytes than a destination of a route nearly ever has.
const DESTINATION_BYTES: usize = 512;
/// The port, the domain and the client's namespace for which virtual hosts are encoded to find their size.
const EXAMPLE_PORT: u16 = 80;
const EXAMPLE_DOMAIN: &str = "cluster.local";
const EXAMPLE_NAMESPACE: &str = "default";

fn want(what: &str) -> String {
    format!("{what} of at most {BYTES_MAX} bytes, the bound of gRPC clients")
}

/// Returns what is wrong with a VirtualService whose routes are too large for one virtual host. Every destination
/// counts as known, so that the answer does not depend on what else there is. `written` is the length of the object as
/// it is written, in bytes.
pub fn check_routes(config: &Arc<Config>, written: usize) -> Option<Invalid> {
    let spec = config.spec.as_virtual_service()?;
    let estimates = spec.http.iter().map(|http| {
        let conditions = http.matches.len().max(1);
        conditions * (CONDITION_BYTES + http.route.len() * DESTINATION_BYTES)
    });
    // Nearly every object is far below the bound, and nothing has to be encoded.
    if estimates.sum::<usize>() + 2 * written < BYTES_MAX {
        return None;
    }
    let got = encode_virtual_host(&example_inputs(config, spec.hosts.first()?)).entry.len();
    (got > BYTES_MAX).then(|| Invalid::new("spec.http", want("a virtual host"), got).of(config.key.to_string()))
}

/// Returns the inputs of a virtual host whose destinations all exist.
fn example_inputs(virtual_service: &Arc<Config>, host: &Hostname) -> VirtualHostInputs {
    let namespace = &virtual_service.key.namespace;
    let routes = virtual_service.spec.as_virtual_service().into_iter().flat_map(|spec| &spec.http);
    let destinations = routes.flat_map(HttpRoute::destinations).map(|destination| &destination.host);
    let destinations: BTreeSet<Hostname> = destinations.map(|host| host.resolve(namespace, EXAMPLE_DOMAIN)).collect();
    let looked_up = destinations.into_iter().map(|host| LookedUpService {
        service: Some(Shared::from(&Arc::new(example_service(&host, virtual_service)))),
        rule: None,
        host,
    });
    VirtualHostInputs {
        retries: None,
        host: host.resolve(namespace, EXAMPLE_DOMAIN),
        port: EXAMPLE_PORT,
        service: None,
        rule: None,
        virtual_service: Some(virtual_service.into()),
        destinations: looked_up.collect(),
        source: RequestSource::for_routes(virtual_service, EXAMPLE_NAMESPACE, |_| true),
        short_names: ShortNames::WithoutNamespace,
        domain: EXAMPLE_DOMAIN.into(),
        form: RouteTableForm::PerHost,
    }
}

/// Returns a service that has one port and nothing else.
fn example_service(host: &Hostname, origin: &Config) -> Service {
    let port =
        ServicePort { number: EXAMPLE_PORT, name: String::new(), protocol: Protocol::Http, target: EXAMPLE_PORT };
    Service {
        key: ServiceKey { host: host.clone(), origin: origin.key.clone() },
        ports: vec![port],
        addresses: Vec::new(),
        export_to: ExportTo::All,
        created: origin.created,
        subnets: Vec::new(),
        wants_address: false,
        discovery: Discovery::Told,
        external: false,
        selector: None,
        endpoint_use: Default::default(),
        subject_alt_names: Vec::new(),
    }
}

/// Returns what is wrong with objects that are to be applied because the endpoints of a service, with those that it has
/// already, would be too large for one load assignment.
pub fn check_endpoints(index: &MeshIndex, coming: &[Arc<Config>]) -> Vec<Invalid> {
    let mut touched: BTreeMap<ServiceKey, &ConfigKey> = BTreeMap::new();
    let mut endpoints_coming = 0;
    for config in coming {
        let Some(slice) = config.spec.as_endpoint_slice() else { continue };
        endpoints_coming += slice.endpoints.len();
        touched.extend(index.service_of_slice(config).map(|service| (service, &config.key)));
    }
    touched.retain(|service, _| (index.endpoints(service).len() + endpoints_coming) * ENDPOINT_BYTES > BYTES_MAX);
    if touched.is_empty() {
        return Vec::new();
    }
    let mut then = MeshIndex::new(index.settings().clone());
    let present = touched.keys().flat_map(|service| index.objects_of_service(service));
    let changes = present.chain(coming).map(|config| (config.key.clone(), ConfigChange::Put(config.clone())));
    then.apply(&ConfigBatch { changes: changes.collect(), ..ConfigBatch::default() });
    touched.into_iter().filter_map(|(service, key)| check_assignment(&then, &service, key)).collect()
}

fn check_assignment(index: &MeshIndex, service: &ServiceKey, slice: &ConfigKey) -> Option<Invalid> {
    let port = index.service(service)?.ports.first()?.number;
    let name = ClusterName::outbound(port, &service.host).to_string();
    let got = load_assignment_of_all(&name, port, index.endpoints(service)).encoded_len();
    (got > BYTES_MAX).then(|| Invalid::new(&name, want("a load assignment"), got).of(slice.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::MeshSettings;
    use crate::testing::{batch, configs};

    fn routes(matches: usize) -> Arc<Config> {
        let all: Vec<String> = (0..matches).map(|number| format!("{{uri: {{exact: /{number}}}}}")).collect();
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v, namespace: n0}}\nspec: {{hosts: [a], http: [{{match: [{}], route: [{{destination: {{host: b}}}}]}}]}}",
            all.join(", ")
        );
        configs(&text).remove(0)
    }

    #[test]
    fn routes_that_no_grpc_client_could_take_are_found() {
        assert_eq!(check_routes(&routes(3), 200), None);
        assert_eq!(check_routes(&routes(2000), 50_000), None);
        let fault = check_routes(&routes(12_000), 300_000).unwrap().to_string();
        assert!(
            fault.starts_with("virtualService n0/v: spec.http: want a virtual host of at most 4128768 bytes"),
            "{fault}"
        );
    }

    fn slice(number: usize, endpoints: usize) -> String {
        let all: Vec<String> =
            (0..endpoints).map(|at| format!("{{addresses: ['10.{number}.{}.{}']}}", at / 250, at % 250)).collect();
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: e{number}, namespace: n0, labels: {{kubernetes.io/service-name: a}}}}\naddressType: IPv4\nendpoints: [{}]\nports: [{{name: http, port: 80}}]\n",
            all.join(", ")
        )
    }

    #[test]
    fn endpoints_count_together_with_those_that_are_there() {
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: n0}\nspec: {ports: [{name: http, port: 80}]}\n";
        let texts: Vec<String> = (0..15).map(|number| slice(number, 15_000)).collect();
        let mut index = MeshIndex::new(MeshSettings::default());
        index.apply(&batch(configs(&format!("{service}---\n{}", texts[..6].join("---\n")))));
        assert!(check_endpoints(&index, &configs(&slice(7, 10))).is_empty());
        // The same again are no more than there are.
        assert!(check_endpoints(&index, &configs(&texts[..6].join("---\n"))).is_empty());
        let faults = check_endpoints(&index, &configs(&texts[6..].join("---\n")));
        let text = faults[0].to_string();
        assert!(
            text.contains("outbound|80||a.n0.svc.cluster.local: want a load assignment of at most 4128768 bytes"),
            "{text}"
        );
    }
}
