//! Which rule of which VirtualService a route of a virtual host is made from.

use rutter_api::{Config, ConfigKey, HostPort};

use super::host::HostResources;
use super::state::Scope;
use crate::encode::route::{RouteSource, gateway_route_sources, mesh_route_sources};

/// A rule of a VirtualService, with its delegates in their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleOfRoute {
    /// The VirtualService.
    pub virtual_service: ConfigKey,
    /// The number of the rule in `http`, once its delegates are in their places.
    pub http: usize,
    /// The number of the condition in the `match` of the rule. `None` means that the rule has none.
    pub condition: Option<usize>,
}

/// Returns the rule that a route of a virtual host of a scope is made from. `table` and `virtual_host` are the names as they stand in
/// the resources. `None` means that no VirtualService says anything of the route.
pub fn rule_of_route(
    scope: &Scope,
    base: Option<&Scope>,
    table: &str,
    virtual_host: &str,
    index: usize,
) -> Option<RuleOfRoute> {
    let name = virtual_host.strip_prefix(table).and_then(|rest| rest.strip_prefix('/')).unwrap_or(virtual_host);
    let HostPort { host, port } = name.parse().ok()?;
    let resources = scope.host(base, &host)?;
    let (config, source) = match scope.key.client.is_gateway() {
        true => of_gateway(resources, table, index)?,
        false => of_mesh(resources, port, index)?,
    };
    let RouteSource { http, condition } = source;
    Some(RuleOfRoute { virtual_service: config.key.clone(), http, condition })
}

fn of_mesh(resources: &HostResources, port: u16, index: usize) -> Option<(&Config, RouteSource)> {
    let encoded = resources.virtual_host_at(port)?;
    let virtual_service = encoded.inputs.virtual_service.as_ref()?;
    Some((virtual_service, mesh_route_sources(&encoded.inputs).into_iter().nth(index)?))
}

fn of_gateway<'a>(resources: &'a HostResources, table: &str, index: usize) -> Option<(&'a Config, RouteSource)> {
    let mut virtual_hosts = resources.gateway_virtual_hosts.iter();
    let encoded = virtual_hosts.find(|encoded| encoded.inputs.table.to_string() == table)?;
    let (number, source) = gateway_route_sources(&encoded.inputs).into_iter().nth(index)?;
    Some((&encoded.inputs.virtual_services.get(number)?.virtual_service, source))
}
