//! Which endpoints of a cluster are used.

use std::collections::BTreeMap;

use prost::Message;
use rutter_api::ResourceType;
use rutter_api::pb::envoy::config::cluster::v3 as cluster;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::endpoint::v3 as pb;

use super::Resources;

/// How many more requests a priority takes than its healthy endpoints would by themselves, if the assignment says nothing.
const OVERPROVISIONING: f64 = 1.4;
/// The percentage of endpoints that must be healthy so that only they are used, if the cluster says nothing.
const PANIC_PERCENT: f64 = 50.0;

/// An endpoint that is used.
#[derive(Debug, Clone, PartialEq)]
pub struct ChosenEndpoint {
    /// `ADDRESS:PORT`, or the path of a Unix socket. If the proxy asks DNS, the address is the name that it asks for.
    pub address: String,
    /// The share of the requests to the cluster, from 0 to 1. It is that of equal use, where the load balancer has a say of its own.
    pub share: f64,
    /// The health, as the control plane knows it.
    pub health: core::HealthStatus,
    /// The locality, `region/zone/sub-zone`. It may be empty.
    pub locality: String,
    /// The priority, from 0.
    pub priority: u32,
}

/// Where a cluster sends requests.
pub(super) enum Choice {
    /// To endpoints, of which there may be none.
    Endpoints(Vec<ChosenEndpoint>),
    /// To where the application wanted it to go.
    OriginalDestination,
    /// To the host that the client names, of which the proxy asks DNS.
    NamedHost,
}

/// Returns where a cluster sends requests.
pub(super) fn choice(cluster: &cluster::Cluster, resources: &dyn Resources) -> Choice {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
    let discovery = match &cluster.cluster_discovery_type {
        Some(ClusterDiscoveryType::ClusterType(_)) => return Choice::NamedHost,
        Some(ClusterDiscoveryType::Type(number)) => DiscoveryType::try_from(*number).unwrap_or_default(),
        None => DiscoveryType::Static,
    };
    let assignment = match discovery {
        DiscoveryType::OriginalDst => return Choice::OriginalDestination,
        DiscoveryType::Eds => {
            let name = cluster.eds_cluster_config.as_ref().map(|config| config.service_name.as_str());
            let name = name.filter(|name| !name.is_empty()).unwrap_or(&cluster.name);
            let body = resources.body(ResourceType::Endpoint, name);
            body.and_then(|body| pb::ClusterLoadAssignment::decode(body).ok())
        }
        DiscoveryType::Static | DiscoveryType::StrictDns | DiscoveryType::LogicalDns => cluster.load_assignment.clone(),
    };
    Choice::Endpoints(chosen(&assignment.unwrap_or_default(), cluster))
}

/// Returns whether the endpoints of a cluster are a resource of their own.
pub(crate) fn is_told(cluster: &cluster::Cluster) -> bool {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
    cluster.cluster_discovery_type == Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32))
}

fn is_available(endpoint: &pb::LbEndpoint) -> bool {
    match endpoint.health_status() {
        core::HealthStatus::Unknown | core::HealthStatus::Healthy | core::HealthStatus::Degraded => true,
        core::HealthStatus::Unhealthy | core::HealthStatus::Draining | core::HealthStatus::Timeout => false,
    }
}

fn chosen(assignment: &pb::ClusterLoadAssignment, cluster: &cluster::Cluster) -> Vec<ChosenEndpoint> {
    let mut priorities: BTreeMap<u32, Vec<&pb::LocalityLbEndpoints>> = BTreeMap::new();
    for locality in &assignment.endpoints {
        priorities.entry(locality.priority).or_default().push(locality);
    }
    let common = cluster.common_lb_config.as_ref();
    let panic = common.and_then(|common| common.healthy_panic_threshold).map_or(PANIC_PERCENT, |percent| percent.value);
    let factor = assignment.policy.as_ref().and_then(|policy| policy.overprovisioning_factor);
    let factor = factor.map_or(OVERPROVISIONING, |factor| f64::from(factor) / 100.0);
    let available = |localities: &[&pb::LocalityLbEndpoints]| {
        let endpoints = || localities.iter().flat_map(|locality| &locality.lb_endpoints);
        let (all, usable) = (endpoints().count(), endpoints().filter(|endpoint| is_available(endpoint)).count());
        if all == 0 { 0.0 } else { ratio(usable, all) }
    };
    let mut left = 1.0;
    let mut loads: Vec<(f64, f64, &Vec<&pb::LocalityLbEndpoints>)> = Vec::new();
    for localities in priorities.values() {
        let healthy = available(localities);
        let load = (healthy * factor).min(left);
        left -= load;
        loads.push((load, healthy, localities));
    }
    let taken = 1.0 - left;
    let mut chosen = Vec::new();
    for (number, (load, healthy, localities)) in loads.into_iter().enumerate() {
        // If no priority has enough, they share the rest as they share what they have, and without any the first has all.
        let load = if taken > 0.0 { load / taken } else { f64::from(u8::from(number == 0)) };
        if load > 0.0 {
            let is_panic = healthy * 100.0 < panic;
            chosen.extend(of_priority(localities, load, is_panic, common));
        }
    }
    chosen
}

fn of_priority(
    localities: &[&pb::LocalityLbEndpoints],
    load: f64,
    is_panic: bool,
    common: Option<&cluster::cluster::CommonLbConfig>,
) -> Vec<ChosenEndpoint> {
    use cluster::cluster::common_lb_config::LocalityConfigSpecifier;
    let specifier = common.and_then(|common| common.locality_config_specifier.as_ref());
    let by_locality = match specifier {
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => true,
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(_)) | None => false,
    };
    let is_used = |endpoint: &&pb::LbEndpoint| is_panic || is_available(endpoint);
    let weight = |endpoint: &pb::LbEndpoint| f64::from(endpoint.load_balancing_weight.unwrap_or(1));
    let of_endpoints =
        |locality: &pb::LocalityLbEndpoints| -> f64 { locality.lb_endpoints.iter().filter(is_used).map(weight).sum() };
    let of_locality = |locality: &pb::LocalityLbEndpoints| -> f64 {
        let usable = locality.lb_endpoints.iter().filter(is_used).count();
        match (by_locality, usable) {
            (_, 0) => 0.0,
            (true, usable) => {
                let weight = f64::from(locality.load_balancing_weight.unwrap_or_default());
                weight * (ratio(usable, locality.lb_endpoints.len()) * OVERPROVISIONING).min(1.0)
            }
            (false, _) => of_endpoints(locality),
        }
    };
    let all: f64 = localities.iter().map(|locality| of_locality(locality)).sum();
    let mut chosen = Vec::new();
    for locality in localities {
        let (share, sum) = (of_locality(locality), of_endpoints(locality));
        if share <= 0.0 || sum <= 0.0 {
            continue;
        }
        for endpoint in locality.lb_endpoints.iter().filter(is_used) {
            chosen.push(ChosenEndpoint {
                address: address_of(endpoint),
                share: load * share / all * weight(endpoint) / sum,
                health: endpoint.health_status(),
                locality: locality_name(locality.locality.as_ref()),
                priority: locality.priority,
            });
        }
    }
    chosen
}

fn ratio(part: usize, all: usize) -> f64 {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    number(part) / number(all)
}

fn address_of(endpoint: &pb::LbEndpoint) -> String {
    use pb::lb_endpoint::HostIdentifier;
    let endpoint = match &endpoint.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint,
        Some(HostIdentifier::EndpointName(name)) => return name.clone(),
        None => return String::new(),
    };
    endpoint.address.as_ref().map(address_text).unwrap_or_default()
}

/// Returns an address as `ADDRESS:PORT`, or the path of a Unix socket.
pub(super) fn address_text(address: &core::Address) -> String {
    use core::address::Address;
    use core::socket_address::PortSpecifier;
    match &address.address {
        Some(Address::SocketAddress(socket)) => {
            let port = match &socket.port_specifier {
                Some(PortSpecifier::PortValue(port)) => port.to_string(),
                Some(PortSpecifier::NamedPort(name)) => name.clone(),
                None => "0".to_owned(),
            };
            if socket.address.contains(':') {
                format!("[{}]:{port}", socket.address)
            } else {
                format!("{}:{port}", socket.address)
            }
        }
        Some(Address::Pipe(pipe)) => pipe.path.clone(),
        Some(Address::EnvoyInternalAddress(_)) | None => String::new(),
    }
}

fn locality_name(locality: Option<&core::Locality>) -> String {
    let Some(core::Locality { region, zone, sub_zone }) = locality else { return String::new() };
    format!("{region}/{zone}/{sub_zone}").trim_end_matches('/').to_owned()
}
