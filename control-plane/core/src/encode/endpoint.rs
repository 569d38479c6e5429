//! Endpoints of clusters, grouped by locality.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::endpoint::v3 as pb;
use rutter_api::{ClusterName, Config, Labels, ResourceType};

use super::cluster::subsets;
use super::{EncodedResource, socket_address};
use crate::index::{Endpoint, Service, destination_rule};

/// A load assignment for each of the clusters that [`super::cluster::encode_clusters`] makes of the
/// same input. A cluster without endpoints gets an empty one: removing it would mean nothing to Envoy.
pub fn encode_load_assignments(
    service: &Service,
    rule: Option<&Config>,
    endpoints: &[Endpoint],
) -> Vec<EncodedResource> {
    if service.dns {
        return Vec::new();
    }
    let spec = rule.and_then(destination_rule);
    let mut all = Vec::new();
    for port in &service.ports {
        for subset in subsets(spec) {
            let name = ClusterName::outbound(port.number, &service.key.host)
                .with_subset(subset.map(|subset| subset.name.as_str()))
                .to_string();
            let assignment = load_assignment(&name, port.number, endpoints, subset.map(|subset| &subset.labels));
            all.push(EncodedResource::new(ResourceType::Endpoint, Arc::from(name), &assignment.encode_to_vec()));
        }
    }
    all
}

pub(crate) fn load_assignment(
    name: &str,
    port: u16,
    endpoints: &[Endpoint],
    labels: Option<&Labels>,
) -> pb::ClusterLoadAssignment {
    let chosen = endpoints.iter().filter(|endpoint| labels.is_none_or(|labels| labels.selects(&endpoint.labels)));
    let mut localities: BTreeMap<&[Box<str>; 3], Vec<pb::LbEndpoint>> = BTreeMap::new();
    for endpoint in chosen {
        let Some(target) = endpoint.target(port) else { continue };
        let one = lb_endpoint(socket_address(&endpoint.address, target), endpoint.weight);
        localities.entry(&endpoint.locality).or_default().push(one);
    }
    let endpoints = localities.into_iter().map(|(locality, endpoints)| in_locality(locality, endpoints)).collect();
    pb::ClusterLoadAssignment { cluster_name: name.to_owned(), endpoints, ..Default::default() }
}

/// The load assignment of a cluster that has, or is, nothing.
pub(crate) fn encode_none(name: &str) -> EncodedResource {
    let assignment = pb::ClusterLoadAssignment { cluster_name: name.to_owned(), ..Default::default() };
    EncodedResource::new(ResourceType::Endpoint, Arc::from(name), &assignment.encode_to_vec())
}

/// One address, or name, alone.
pub(crate) fn single(name: &str, address: &str, port: u16) -> pb::ClusterLoadAssignment {
    let endpoints = vec![locality_of(socket_address(address, port))];
    pb::ClusterLoadAssignment { cluster_name: name.to_owned(), endpoints, ..Default::default() }
}

/// A locality without a name that has one address.
pub(crate) fn locality_of(address: core::Address) -> pb::LocalityLbEndpoints {
    in_locality(&Default::default(), vec![lb_endpoint(address, 1)])
}

fn in_locality([region, zone, sub_zone]: &[Box<str>; 3], lb_endpoints: Vec<pb::LbEndpoint>) -> pb::LocalityLbEndpoints {
    let weights = lb_endpoints.iter().filter_map(|endpoint| endpoint.load_balancing_weight);
    let sum = weights.fold(0u32, |sum, weight| sum.saturating_add(weight));
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
