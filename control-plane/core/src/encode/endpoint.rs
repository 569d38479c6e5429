//! Endpoints of clusters, grouped by locality.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;
use rutter_api::config::istio::LocalityLbSetting;
use rutter_api::node::Locality;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::endpoint::v3 as pb;
use rutter_api::{ClusterName, Config, Labels, ResourceType, socket_path};

use super::inputs::Shared;
use super::subsets::all_and_each_subset;
use super::wire::{pipe_address, socket_address};
use crate::model::{ClientLocality, Endpoint, LocalityPlan, Policy, Service, consecutive};
use crate::resource::EncodedResource;

/// Everything that the load assignments of a service depend on.
#[derive(Debug, Hash)]
pub struct EndpointInputs {
    /// The service, whose ports have an assignment each.
    pub service: Shared<Service>,
    /// The DestinationRule that applies to the service for the client; its subsets have load assignments.
    pub destination_rule: Option<Shared<Config>>,
    /// The endpoints of the service, sorted.
    pub endpoints: Shared<Vec<Endpoint>>,
    /// Whether connections go to where the client goes, so that nobody asks for endpoints.
    pub follows_client: bool,
    /// How requests are divided among localities where nothing else says it, if the service depends on it.
    pub locality_default: Option<Shared<LocalityLbSetting>>,
    /// The ports of the service that the client sees. `None` means all.
    pub ports: Option<BTreeSet<u16>>,
    /// Where the client is. `None` means that it does not matter.
    pub locality: Option<Arc<ClientLocality>>,
    /// Whether endpoints at Unix sockets are left out, because the client takes none. It is false if there are none.
    pub without_sockets: bool,
}

/// Encodes a load assignment for each cluster of a service, unless sidecars ask DNS for its endpoints. A cluster
/// without endpoints has an empty assignment: its removal would mean nothing to Envoy (rule O9 of `docs/xds.md`).
/// Subsets come after the cluster of all endpoints, in the order of the rule.
pub fn encode_load_assignments(inputs: &EndpointInputs) -> Box<[EncodedResource]> {
    let service = &inputs.service;
    if !service.discovery.is_told() || inputs.follows_client {
        return Box::default();
    }
    let rule = inputs.destination_rule.as_ref().and_then(|config| config.spec.as_destination_rule());
    let mut assignments = Vec::new();
    for port in service.ports.iter().filter(|port| takes_port(&inputs.ports, port.number)) {
        for subset in all_and_each_subset(rule) {
            let name = ClusterName::outbound(port.number, &service.key.host);
            let name = name.with_subset(subset.map(|subset| &*subset.name)).to_string();
            let policy = Policy::new(service, rule, port.number, subset.map(|subset| &*subset.name))
                .with_locality_default(inputs.locality_default.as_deref());
            let choice = EndpointChoice {
                labels: subset.map(|subset| &subset.labels),
                client: inputs.locality.as_deref(),
                without_sockets: inputs.without_sockets,
                ..EndpointChoice::of_port(port.number, service, &policy)
            };
            let assignment = load_assignment(&name, &inputs.endpoints, &choice);
            assignments.push(encoded(&name, &assignment));
        }
    }
    assignments.into()
}

/// Returns whether a client that sees some ports, or all, sees one of them.
pub(super) fn takes_port(ports: &Option<BTreeSet<u16>>, port: u16) -> bool {
    ports.as_ref().is_none_or(|ports| ports.contains(&port))
}

fn encoded(name: &str, assignment: &pb::ClusterLoadAssignment) -> EncodedResource {
    EncodedResource::new(ResourceType::Endpoint, Arc::from(name), &assignment.encode_to_vec())
}

/// Which endpoints of a service a cluster has, and how they share its requests.
pub(super) struct EndpointChoice<'a> {
    /// The port of the service.
    pub(super) port: u16,
    /// The labels of the subset. `None` means every endpoint.
    pub(super) labels: Option<&'a Labels>,
    /// How requests are divided among localities.
    pub(super) plan: LocalityPlan<'a>,
    /// Whether only the endpoints on the node of the client count.
    pub(super) is_node_local: bool,
    /// Where the client is. `None` means that it does not matter.
    pub(super) client: Option<&'a ClientLocality>,
    /// Whether endpoints at Unix sockets are left out.
    pub(super) without_sockets: bool,
}

impl<'a> EndpointChoice<'a> {
    /// Returns the choice of all endpoints at a port of a service, for a client whose place does not matter.
    pub(super) fn of_port(port: u16, service: &Service, policy: &Policy<'a>) -> Self {
        let plan = LocalityPlan::of_policy(policy, service);
        let is_node_local = service.endpoint_use.is_node_local;
        Self { port, labels: None, plan, is_node_local, client: None, without_sockets: false }
    }
}

/// Returns the load assignment of a cluster: the endpoints that serve the port and have the labels, by locality. Localities
/// come in the order of their names, so that equal endpoints have equal bytes.
pub(super) fn load_assignment(
    cluster: &str,
    endpoints: &[Endpoint],
    choice: &EndpointChoice<'_>,
) -> pb::ClusterLoadAssignment {
    let EndpointChoice { port, labels, plan, is_node_local, client, without_sockets } = choice;
    let anywhere = ClientLocality::default();
    let client = client.unwrap_or(&anywhere);
    let mut groups: BTreeMap<(&Locality, u32), Vec<pb::LbEndpoint>> = BTreeMap::new();
    for endpoint in endpoints {
        if labels.is_some_and(|labels| !labels.selects(&endpoint.labels)) {
            continue;
        }
        if *is_node_local && !client.is_on_node_of(endpoint) {
            continue;
        }
        let Some(target) = endpoint.target(*port) else { continue };
        let address = match socket_path(&endpoint.address) {
            Some(_) if *without_sockets => continue,
            Some(path) => pipe_address(path),
            None => socket_address(&endpoint.address, target),
        };
        let group = (&*endpoint.locality, plan.label_rank(endpoint, client));
        groups.entry(group).or_default().push(lb_endpoint(address, endpoint.weight));
    }
    let priorities: Vec<u32> = groups.keys().map(|(locality, rank)| plan.priority(*rank, locality, client)).collect();
    let consecutive = consecutive(&priorities);
    let mut localities: Vec<pb::LocalityLbEndpoints> = Vec::new();
    for (((locality, _), endpoints), priority) in groups.iter_mut().zip(priorities) {
        let priority = consecutive.get(&priority).copied().unwrap_or_default();
        localities
            .push(pb::LocalityLbEndpoints { priority, ..locality_endpoints(locality, std::mem::take(endpoints)) });
    }
    let weights: Vec<(&Locality, u32)> = groups
        .keys()
        .zip(&localities)
        .map(|((locality, _), endpoints)| (*locality, endpoints.load_balancing_weight.unwrap_or_default()))
        .collect();
    if let Some(shares) = plan.shares(&weights, client) {
        for (locality, share) in localities.iter_mut().zip(shares) {
            locality.load_balancing_weight = Some(share);
        }
        localities.retain(|locality| locality.load_balancing_weight != Some(0));
    }
    pb::ClusterLoadAssignment { cluster_name: cluster.to_owned(), endpoints: localities, ..Default::default() }
}

/// Returns the load assignment of a port with all endpoints of a service.
pub(crate) fn load_assignment_of_all(cluster: &str, port: u16, endpoints: &[Endpoint]) -> pb::ClusterLoadAssignment {
    let plan = LocalityPlan::Alike;
    load_assignment(
        cluster,
        endpoints,
        &EndpointChoice { port, labels: None, plan, is_node_local: false, client: None, without_sockets: false },
    )
}

/// Encodes a load assignment without endpoints, for a cluster that does not exist.
pub(crate) fn encode_empty_assignment(name: &str) -> EncodedResource {
    encoded(name, &pb::ClusterLoadAssignment { cluster_name: name.to_owned(), ..Default::default() })
}

/// Returns a load assignment with one endpoint, given by its address or DNS name.
pub(super) fn single_endpoint_assignment(cluster: &str, host: &str, port: u16) -> pb::ClusterLoadAssignment {
    let endpoints = vec![locality_with_one_address(socket_address(host, port))];
    pb::ClusterLoadAssignment { cluster_name: cluster.to_owned(), endpoints, ..Default::default() }
}

/// Returns a locality without a name that has one address.
pub(super) fn locality_with_one_address(address: core::Address) -> pb::LocalityLbEndpoints {
    locality_endpoints(&Locality::default(), vec![lb_endpoint(address, 1)])
}

/// The weight of a locality is the sum of its endpoints' weights, so that each endpoint gets its share of all requests.
fn locality_endpoints(
    [region, zone, sub_zone]: &Locality,
    lb_endpoints: Vec<pb::LbEndpoint>,
) -> pb::LocalityLbEndpoints {
    let weights = lb_endpoints.iter().filter_map(|endpoint| endpoint.load_balancing_weight);
    let sum = weights.fold(0u32, u32::saturating_add);
    pb::LocalityLbEndpoints {
        locality: Some(core::Locality {
            region: region.to_string(),
            zone: zone.to_string(),
            sub_zone: sub_zone.to_string(),
        }),
        lb_endpoints,
        load_balancing_weight: Some(sum),
        ..Default::default()
    }
}

fn lb_endpoint(address: core::Address, weight: u32) -> pb::LbEndpoint {
    let endpoint = pb::Endpoint { address: Some(address), ..Default::default() };
    pb::LbEndpoint {
        host_identifier: Some(pb::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        load_balancing_weight: Some(weight),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::testing::{Mesh, summaries};

    const ENTRY: &str = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\n\
        spec: {hosts: [e.x], resolution: STATIC, ports: [{number: 80, name: http, targetPort: 8080}], endpoints: [\
        {address: 10.0.0.1, labels: {version: v1}, locality: r/z1, weight: 3}, \
        {address: 10.0.0.2, labels: {version: v2}, locality: r/z1}, {address: 10.0.0.3, locality: r/z2}]}\n---\n";
    const RULE: &str = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\n\
        spec: {host: e.x, subsets: [{name: v1, labels: {version: v1}}, {name: none, labels: {version: v9}}]}\n---\n";

    #[test]
    fn clients_that_take_no_unix_socket_are_sent_none() {
        let mesh = Mesh::new(&ENTRY.replace("10.0.0.2", "'unix:///run/a'"));
        let count = |without_sockets: bool| {
            let inputs = EndpointInputs {
                service: mesh.service("e.x"),
                destination_rule: None,
                endpoints: mesh.endpoints("e.x"),
                follows_client: false,
                locality_default: None,
                ports: None,
                locality: None,
                without_sockets,
            };
            let body = encode_load_assignments(&inputs)[0].body();
            let assignment = pb::ClusterLoadAssignment::decode(&*body).unwrap();
            assignment.endpoints.iter().map(|locality| locality.lb_endpoints.len()).sum::<usize>()
        };
        assert_eq!((count(false), count(true)), (3, 2));
    }

    fn assignments(text: &str) -> Vec<String> {
        let mesh = Mesh::new(text);
        let inputs = EndpointInputs {
            service: mesh.service("e.x"),
            destination_rule: mesh.destination_rule("e.x"),
            endpoints: mesh.endpoints("e.x"),
            follows_client: false,
            locality_default: None,
            ports: None,
            locality: None,
            without_sockets: false,
        };
        summaries(ResourceType::Endpoint, &encode_load_assignments(&inputs), |assignment| {
            let localities = assignment["endpoints"].as_array().cloned().unwrap_or_default();
            let mut text = String::new();
            for locality in localities {
                text.push_str(&format!(" {}={}:", locality["locality"]["zone"], locality["load_balancing_weight"]));
                for endpoint in locality["lb_endpoints"].as_array().unwrap() {
                    let address = &endpoint["endpoint"]["address"]["socket_address"];
                    let weight = &endpoint["load_balancing_weight"];
                    text.push_str(&format!(" {}:{}*{weight}", address["address"], address["port_value"]));
                }
            }
            text.replace('"', "")
        })
    }

    #[test]
    fn endpoints_are_grouped_by_locality_with_the_sum_of_their_weights() {
        assert_eq!(
            assignments(ENTRY),
            ["outbound|80||e.x z1=4: 10.0.0.1:8080*3 10.0.0.2:8080*1 z2=1: 10.0.0.3:8080*1"]
        );
    }

    #[test]
    fn each_subset_has_an_assignment_even_an_empty_one() {
        assert_eq!(
            assignments(&format!("{ENTRY}{RULE}"))[1..],
            ["outbound|80|v1|e.x z1=3: 10.0.0.1:8080*3", "outbound|80|none|e.x"]
        );
    }

    #[test]
    fn a_service_whose_endpoints_come_from_dns_has_none() {
        assert!(assignments(&ENTRY.replace("STATIC", "DNS")).is_empty());
    }

    #[test]
    fn the_empty_assignment_has_a_name_and_nothing_else() {
        let empty = summaries(ResourceType::Endpoint, &[encode_empty_assignment("gone")], |json| json.to_string());
        assert_eq!(empty, ["gone{\"cluster_name\":\"gone\"}"]);
    }
}
