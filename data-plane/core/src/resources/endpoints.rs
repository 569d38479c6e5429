//! Load assignments: the addresses of a cluster.

use std::net::{IpAddr, SocketAddr};

use rutter_api::Invalid;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::endpoint::v3 as endpoint;

use super::fields::message_fields;

message_fields! {
    cluster_load_assignment: endpoint::ClusterLoadAssignment {
        acts_on: endpoints;
        ignores: cluster_name;
        refuses: named_endpoints, policy;
    }
    locality_lb_endpoints: endpoint::LocalityLbEndpoints {
        acts_on: lb_endpoints;
        ignores: locality, load_balancing_weight;
        refuses: metadata, priority, proximity, lb_config;
    }
    lb_endpoint: endpoint::LbEndpoint {
        acts_on: host_identifier;
        ignores: load_balancing_weight;
        refuses: health_status, metadata;
    }
    endpoint: endpoint::Endpoint {
        acts_on: address;
        ignores: ;
        refuses: health_check_config, hostname, additional_addresses, observability_name;
    }
    socket_address: core::SocketAddress {
        acts_on: address, port_specifier;
        ignores: ;
        refuses: protocol, resolver_name, ipv4_compat, network_namespace_filepath;
    }
}

/// Reads the addresses of an assignment. Each is taken once, whatever its weight.
///
/// # Errors
/// Fails if an address is no IP address, or if the assignment needs what the proxy does not have.
pub fn load_assignment(message: &endpoint::ClusterLoadAssignment) -> Result<Vec<SocketAddr>, Invalid> {
    use endpoint::lb_endpoint::HostIdentifier;
    Fields::cluster_load_assignment(message, "")?;
    let mut addresses = Vec::new();
    for (number, locality) in message.endpoints.iter().enumerate() {
        let path = format!("endpoints[{number}]");
        Fields::locality_lb_endpoints(locality, &path)?;
        for (number, lb_endpoint) in locality.lb_endpoints.iter().enumerate() {
            let path = format!("{path}.lb_endpoints[{number}]");
            Fields::lb_endpoint(lb_endpoint, &path)?;
            let path = format!("{path}.endpoint");
            match &lb_endpoint.host_identifier {
                Some(HostIdentifier::Endpoint(endpoint)) => {
                    Fields::endpoint(endpoint, &path)?;
                    addresses.push(address(endpoint.address.as_ref(), &format!("{path}.address"))?);
                }
                Some(HostIdentifier::EndpointName(_)) | None => {
                    return Err(Invalid::new(format!("{path}.address"), "an address", "none"));
                }
            }
        }
    }
    Ok(addresses)
}

/// Reads an address, which must be an IP address with a port. `path` names its field in errors.
pub(super) fn address(message: Option<&core::Address>, path: &str) -> Result<SocketAddr, Invalid> {
    use core::socket_address::PortSpecifier;
    let address = message.and_then(|message| message.address.as_ref());
    let Some(core::address::Address::SocketAddress(socket)) = address else {
        let got = if address.is_some() { "an address of another kind" } else { "none" };
        return Err(Invalid::new(path, "an IP address and a port", got));
    };
    Fields::socket_address(socket, path)?;
    let ip: IpAddr =
        socket.address.parse().map_err(|_| Invalid::new(path, "an IP address", format!("{:?}", socket.address)))?;
    let port = match socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => u16::try_from(port).ok(),
        Some(PortSpecifier::NamedPort(_)) | None => None,
    };
    let port = port.ok_or_else(|| Invalid::new(path, "a port", "none"))?;
    Ok(SocketAddr::new(ip, port))
}
