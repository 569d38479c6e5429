//! Clusters of services.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use prost_types::Value;
use rutter_api::config::istio::{LocalityLbSetting, Subset};
use rutter_api::duration::to_pb;
use rutter_api::pb::envoy::config::cluster::v3 as pb;
use rutter_api::pb::envoy::extensions::clusters::dynamic_forward_proxy::v3 as dynamic_forward_proxy;
use rutter_api::{ClusterName, Config};

use super::policy::{cluster_with_policy, set_http};
use super::transport::transport_socket;
use super::{discovery_type, encoded};
use crate::client::ClusterForm;
use crate::encode::dns_cache::dns_cache;
use crate::encode::endpoint::{self, EndpointChoice, takes_port};
use crate::encode::inputs::Shared;
use crate::encode::subsets::all_and_each_subset;
use crate::encode::wire::{ads, any, config_field, istio_metadata, list_of_one_struct, text_value};
use crate::model::{ClientLocality, ConnectionDefaults, Discovery, Endpoint, Policy, Service, ServicePort};
use crate::resource::EncodedResource;

/// The time between two questions to DNS.
const DNS_REFRESH: Duration = Duration::from_secs(60);

/// Everything that the clusters of a service depend on.
#[derive(Debug, Hash)]
pub struct ClusterInputs {
    /// The service, whose ports have a cluster each.
    pub service: Shared<Service>,
    /// The DestinationRule that applies to the service for the client.
    pub destination_rule: Option<Shared<Config>>,
    /// The endpoints, if sidecars ask DNS for them; otherwise they travel as load assignments.
    pub dns_endpoints: Option<Shared<Vec<Endpoint>>>,
    /// The form in which the client takes clusters.
    pub form: ClusterForm,
    /// Whether connections go to where the client goes: the service is so, and traffic has its original destination.
    pub follows_client: bool,
    /// The ports of the service that the client sees. `None` means all.
    pub ports: Option<BTreeSet<u16>>,
    /// Where the client is. `None` means that it does not matter.
    pub locality: Option<Arc<ClientLocality>>,
    /// Whether the client asks for the Secrets that the rule names. It is false if the rule names none.
    pub takes_secrets: bool,
    /// How connections are made where the rule does not say it.
    pub connection_defaults: Shared<ConnectionDefaults>,
    /// How requests are divided among localities where nothing else says it, if the service depends on it.
    pub locality_default: Option<Shared<LocalityLbSetting>>,
    /// The time between two questions to DNS, if the mesh config says it and DNS is asked.
    pub dns_refresh_rate: Option<Duration>,
}

/// Encodes the clusters of a service: for each port one of all endpoints, and one for each subset.
///
/// The gRPC library is sent what it can take: endpoints in turns, no HTTP options, and of a DNS service one name. A
/// DNS service with several endpoints has no cluster for it, nor has one whose hosts are resolved as requests name them.
pub fn encode_clusters(inputs: &ClusterInputs) -> Box<[EncodedResource]> {
    let dns_endpoints = inputs.dns_endpoints.as_ref().map(|endpoints| endpoints.as_slice()).unwrap_or_default();
    if inputs.form == ClusterForm::Grpc && dns_endpoints.len() > 1 {
        return Box::default();
    }
    if inputs.form == ClusterForm::Grpc && inputs.service.discovery == Discovery::DnsOfClient {
        return Box::default();
    }
    if let Discovery::Passthrough(name) = &inputs.service.discovery
        && name.starts_with('*')
        && !inputs.follows_client
    {
        // Nobody could be asked where such hosts are.
        return Box::default();
    }
    let rule = inputs.destination_rule.as_ref().and_then(|config| config.spec.as_destination_rule());
    let mut clusters = Vec::new();
    for port in inputs.service.ports.iter().filter(|port| takes_port(&inputs.ports, port.number)) {
        for subset in all_and_each_subset(rule) {
            let mut cluster = outbound_cluster(inputs, port, subset, dns_endpoints);
            match inputs.form {
                ClusterForm::Sidecar => {}
                ClusterForm::Grpc => reduce_to_grpc(&mut cluster, !inputs.service.discovery.is_told()),
            }
            clusters.push(encoded(&cluster));
        }
    }
    clusters.into()
}

fn outbound_cluster(
    inputs: &ClusterInputs,
    port: &ServicePort,
    subset: Option<&Subset>,
    dns_endpoints: &[Endpoint],
) -> pb::Cluster {
    let service = &inputs.service;
    let rule = inputs.destination_rule.as_ref().and_then(|config| config.spec.as_destination_rule());
    let name = ClusterName::outbound(port.number, &service.key.host).with_subset(subset.map(|subset| &*subset.name));
    let name = name.to_string();
    let policy = Policy::new(service, rule, port.number, subset.map(|subset| &*subset.name))
        .with_connection_defaults(&inputs.connection_defaults)
        .with_locality_default(inputs.locality_default.as_deref());
    let mut cluster = cluster_with_policy(&policy, service);
    cluster.transport_socket = transport_socket(&policy, port.protocol, inputs.takes_secrets);
    cluster.alt_stat_name = format!("{name};");
    let mut metadata = vec![service_field(service)];
    metadata.extend(inputs.destination_rule.as_ref().map(|config| config_field(config)));
    metadata.extend(subset.map(|subset| ("subset", text_value(&subset.name))));
    cluster.metadata = Some(istio_metadata(metadata));
    let follows_client = inputs.follows_client || cluster.lb_policy == pb::cluster::LbPolicy::ClusterProvided as i32;
    match &service.discovery {
        _ if follows_client => {
            cluster.cluster_discovery_type = discovery_type(pb::cluster::DiscoveryType::OriginalDst);
            cluster.lb_policy = pb::cluster::LbPolicy::ClusterProvided as i32;
            cluster.lb_config = None;
        }
        Discovery::Dns(dns_name) | Discovery::DnsRoundRobin(dns_name) | Discovery::Passthrough(dns_name) => {
            discover_by_dns(&mut cluster, inputs.dns_refresh_rate);
            let assignment = match dns_endpoints {
                [] => endpoint::single_endpoint_assignment(&name, dns_name, port.target),
                some => {
                    let choice = EndpointChoice {
                        labels: subset.map(|subset| &subset.labels),
                        client: inputs.locality.as_deref(),
                        ..EndpointChoice::of_port(port.number, service, &policy)
                    };
                    endpoint::load_assignment(&name, some, &choice)
                }
            };
            // Envoy wants one endpoint for it. A subset may have none.
            let has_one = assignment.endpoints.iter().map(|locality| locality.lb_endpoints.len()).sum::<usize>() == 1;
            if has_one && matches!(service.discovery, Discovery::DnsRoundRobin(_)) {
                cluster.cluster_discovery_type = discovery_type(pb::cluster::DiscoveryType::LogicalDns);
            }
            cluster.load_assignment = Some(assignment);
        }
        Discovery::DnsOfClient => resolve_hosts_of_clients(&mut cluster),
        Discovery::Told | Discovery::OfHeadless => {
            cluster.cluster_discovery_type = discovery_type(pb::cluster::DiscoveryType::Eds);
            cluster.eds_cluster_config =
                Some(pb::cluster::EdsClusterConfig { eds_config: Some(ads()), service_name: name.clone() });
        }
    }
    set_http(&mut cluster, port.protocol, &policy);
    cluster.name = name;
    cluster
}

#[expect(deprecated, reason = "the fields that istiod sends; their successor is an extension of its own")]
fn discover_by_dns(cluster: &mut pb::Cluster, refresh: Option<Duration>) {
    cluster.cluster_discovery_type = discovery_type(pb::cluster::DiscoveryType::StrictDns);
    cluster.dns_lookup_family = pb::cluster::DnsLookupFamily::V4Only as i32;
    cluster.dns_refresh_rate = Some(to_pb(refresh.unwrap_or(DNS_REFRESH)));
    cluster.respect_dns_ttl = true;
}

fn resolve_hosts_of_clients(cluster: &mut pb::Cluster) {
    let config = dynamic_forward_proxy::ClusterConfig {
        cluster_implementation_specifier: Some(
            dynamic_forward_proxy::cluster_config::ClusterImplementationSpecifier::DnsCacheConfig(dns_cache()),
        ),
        // Envoy wants that the certificate has the name of each host. What it must have is said by the rule that has
        // connections encrypted, as for any other cluster.
        allow_insecure_cluster_options: true,
        ..Default::default()
    };
    let typed_config = any("envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig", &config);
    cluster.cluster_discovery_type =
        Some(pb::cluster::ClusterDiscoveryType::ClusterType(pb::cluster::CustomClusterType {
            name: "envoy.clusters.dynamic_forward_proxy".into(),
            typed_config: Some(typed_config),
        }));
    cluster.lb_policy = pb::cluster::LbPolicy::ClusterProvided as i32;
    cluster.lb_config = None;
}

fn reduce_to_grpc(cluster: &mut pb::Cluster, dns: bool) {
    cluster.lb_policy = pb::cluster::LbPolicy::RoundRobin as i32;
    cluster.lb_config = None;
    cluster.typed_extension_protocol_options.clear();
    if dns {
        cluster.cluster_discovery_type = discovery_type(pb::cluster::DiscoveryType::LogicalDns);
    }
}

/// Returns the metadata field that names the service of a cluster, as Istio's telemetry reads it.
pub(super) fn service_field(service: &Service) -> (&'static str, Value) {
    let host = service.key.host.as_str();
    let name = if service.is_kubernetes() { &*service.key.origin.name } else { host };
    ("services", list_of_one_struct(&[("host", host), ("name", name), ("namespace", service.namespace())]))
}
