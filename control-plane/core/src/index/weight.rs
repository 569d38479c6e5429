//! Config whose resources some clients could not take: found before it is applied.
//!
//! The gRPC library breaks its stream off over a message of more than 4 MiB, and comes back for it for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;
use rutter_api::{ClusterName, Config, ConfigKey, Hostname, Invalid, Spec};

use crate::debounce::{ConfigBatch, ConfigChange};
use crate::delta_stream::Limits;
use crate::encode::endpoint::load_assignment;
use crate::encode::route::{Destination, RouteTables, Target, VirtualHost};

use super::{MeshIndex, ServiceKey, virtual_service};

/// What a resource may weigh, in bytes.
const BYTES_MAX: usize = Limits::GRPC_RESOURCE_BYTES_MAX;
/// An endpoint weighs less, as good as always: only services with many of them are weighed.
const ENDPOINT_BYTES: usize = 64;
/// The same of a match, without what is written in it, and of a destination.
const MATCH_BYTES: usize = 1024;
const DESTINATION_BYTES: usize = 512;

fn want(what: &str) -> String {
    format!("{what} of at most {BYTES_MAX} bytes, the bound of gRPC clients")
}

/// What is wrong with a VirtualService whose routes weigh too much in one virtual host. Every destination counts
/// as known, so that it does not depend on what else there is.
/// `written` is the length of the object as it is written, in bytes.
pub fn check_routes(config: &Config, written: usize) -> Option<Invalid> {
    let spec = virtual_service(config)?;
    let routes = spec.http.iter().map(|http| (http.matches.len().max(1), http.route.len()));
    let most: usize = routes.map(|(matches, to)| matches * (MATCH_BYTES + to * DESTINATION_BYTES)).sum();
    // Far from it, nearly always.
    if most + 2 * written < BYTES_MAX {
        return None;
    }
    let host = spec.hosts.first()?;
    let (namespace, domain) = (&config.key.namespace, "cluster.local");
    let full = |host: &Hostname| host.resolve(namespace, domain);
    let destinations = spec.http.iter().flat_map(|http| &http.route).map(|route| full(&route.destination.host));
    let destinations: BTreeSet<Hostname> = destinations.collect();
    let known = |host| Destination { host, ports: Some(vec![80]) };
    let destinations: Vec<Destination> = destinations.into_iter().map(known).collect();
    let host = full(host);
    let target = Target { host: &host, service: None, port: 80, client: namespace, domain };
    let got = VirtualHost::encode(target, Some(config), &destinations, RouteTables::PerHost).resource().entry.len();
    (got > BYTES_MAX).then(|| Invalid::new("spec.http", want("a virtual host"), got).of(config.key.to_string()))
}

impl MeshIndex {
    /// What is wrong with objects that are to be applied because the endpoints of a service, with those that it
    /// has, would weigh too much.
    pub fn check_endpoints(&self, coming: &[Arc<Config>]) -> Vec<Invalid> {
        let mut touched: BTreeMap<ServiceKey, &ConfigKey> = BTreeMap::new();
        for config in coming.iter().filter(|config| matches!(config.spec, Spec::EndpointSlice(_))) {
            touched.extend(self.service_of_slice(config).map(|service| (service, &config.key)));
        }
        let come: usize = coming.iter().map(|config| endpoints_in(config)).sum();
        touched.retain(|service, _| (self.endpoints(service).len() + come) * ENDPOINT_BYTES > BYTES_MAX);
        if touched.is_empty() {
            return Vec::new();
        }
        let mut then = Self::new(self.settings().clone());
        let there = touched.keys().flat_map(|service| self.objects_of(service));
        let all = there.chain(coming.iter().cloned()).map(|config| (config.key.clone(), ConfigChange::Put(config)));
        then.apply(&ConfigBatch { changes: all.collect(), ..ConfigBatch::default() });
        let fault = |(service, key): (&ServiceKey, &&ConfigKey)| {
            let port = then.service(service)?.ports.first()?.number;
            let name = ClusterName::outbound(port, &service.host).to_string();
            let got = load_assignment(&name, port, &then.endpoints(service), None).encoded_len();
            (got > BYTES_MAX).then(|| Invalid::new(&name, want("a load assignment"), got).of(key.to_string()))
        };
        touched.iter().filter_map(fault).collect()
    }
}

impl MeshIndex {
    /// The definition of a Kubernetes service, and its slices.
    fn objects_of(&self, service: &ServiceKey) -> Vec<Arc<Config>> {
        let origin = &service.origin;
        let slices = self.slices.get(&(origin.namespace.clone(), origin.name.to_string())).into_iter().flatten();
        [origin].into_iter().chain(slices).filter_map(|key| self.config(key)).cloned().collect()
    }
}

fn endpoints_in(config: &Config) -> usize {
    match &config.spec {
        Spec::EndpointSlice(slice) => slice.endpoints.len(),
        Spec::Namespace
        | Spec::Service(_)
        | Spec::ServiceEntry(_)
        | Spec::WorkloadEntry(_)
        | Spec::VirtualService(_)
        | Spec::DestinationRule(_)
        | Spec::Sidecar(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::MeshSettings;
    use crate::index::tests::{batch, configs};

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
        assert!(index.check_endpoints(&configs(&slice(7, 10))).is_empty());
        // The same again are no more than there are.
        assert!(index.check_endpoints(&configs(&texts[..6].join("---\n"))).is_empty());
        let faults = index.check_endpoints(&configs(&texts[6..].join("---\n")));
        let text = faults[0].to_string();
        assert!(
            text.contains("outbound|80||a.n0.svc.cluster.local: want a load assignment of at most 4128768 bytes"),
            "{text}"
        );
    }
}
