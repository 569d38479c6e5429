//! The rows of the tables, with what they can be filtered by.

use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::pb::rutter::admin::v1::sent_resource::State as SentState;
use rutter_api::{ClusterName, Direction, HostPort, ResourceType, brief};
use serde_json::Value;

use crate::args::{self, Filter};

/// A resource with its content as JSON.
pub(super) struct Resource {
    pub(super) sent: pb::SentResource,
    pub(super) resource_type: ResourceType,
    pub(super) json: Value,
}

/// One row of a table.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    name: String,
    /// The hosts that the row is about.
    hosts: Vec<String>,
    port: Option<u16>,
    subset: Option<String>,
    direction: Option<Direction>,
    state: SentState,
    /// The health of an endpoint. `None` means that the row is about something else.
    is_healthy: Option<bool>,
}

impl Row {
    /// Returns whether everything is true of the row that a filter wants.
    pub(super) fn matches(&self, filter: &Filter) -> bool {
        let Filter { fqdn, port, subset, direction, status, name } = filter;
        let has_direction = |wanted: &args::Direction| {
            self.direction
                == Some(match wanted {
                    args::Direction::Inbound => Direction::Inbound,
                    args::Direction::Outbound => Direction::Outbound,
                })
        };
        fqdn.as_ref().is_none_or(|fqdn| self.hosts.iter().any(|host| is_below(host, fqdn)))
            && port.is_none_or(|port| self.port == Some(port))
            && subset.as_ref().is_none_or(|subset| self.subset.as_ref() == Some(subset))
            && direction.as_ref().is_none_or(has_direction)
            && status.is_none_or(|status| self.has_status(status))
            && name.as_ref().is_none_or(|name| self.name == *name)
    }

    fn has_status(&self, wanted: args::State) -> bool {
        match wanted {
            args::State::Acked => self.state == SentState::Acked,
            args::State::Sent => self.state == SentState::Sent,
            args::State::Due => self.state == SentState::Due,
            args::State::Refused => self.state == SentState::Refused,
            args::State::Healthy => self.is_healthy == Some(true),
            args::State::Unhealthy => self.is_healthy == Some(false),
        }
    }
}

/// Returns whether a host is another or is below it: `a.shop.svc.cluster.local` is below `shop.svc.cluster.local`, and has
/// the beginnings `a` and `a.shop`.
fn is_below(host: &str, wanted: &str) -> bool {
    let ends = host.strip_suffix(wanted).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let begins = host.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'));
    ends || begins
}

/// Returns the rows of a resource in the table of a type. Virtual hosts that are resources of their own stand in the table
/// of the routes.
pub(super) fn rows_of(resource: &Resource, table: ResourceType) -> Vec<Row> {
    match (resource.resource_type, table) {
        (ResourceType::Cluster, ResourceType::Cluster) => vec![cluster(resource)],
        (ResourceType::Endpoint, ResourceType::Endpoint) => endpoints(resource),
        (ResourceType::Listener, ResourceType::Listener) => listener(resource),
        (ResourceType::Route, ResourceType::Route) => {
            let table = resource.sent.name.clone();
            items(&resource.json["virtual_hosts"]).iter().flat_map(|host| routes(resource, &table, host)).collect()
        }
        (ResourceType::VirtualHost, ResourceType::Route | ResourceType::VirtualHost) => {
            let table = resource.sent.name.split('/').next().unwrap_or_default();
            routes(resource, table, &resource.json)
        }
        (ResourceType::Secret, ResourceType::Secret) => {
            vec![Row { cells: vec![resource.sent.name.clone(), state(resource)], ..row(resource) }]
        }
        _ => Vec::new(),
    }
}

/// Returns a row of a resource without cells.
fn row(resource: &Resource) -> Row {
    Row { name: resource.sent.name.clone(), state: resource.sent.state(), ..Row::default() }
}

fn row_of_cluster(resource: &Resource, cluster: &ClusterName) -> Row {
    let ClusterName { direction, port, subset, host } = cluster;
    Row {
        hosts: host.iter().map(ToString::to_string).collect(),
        port: Some(*port),
        subset: subset.as_deref().map(str::to_owned),
        direction: Some(*direction),
        ..row(resource)
    }
}

fn state(resource: &Resource) -> String {
    let mut state = resource.sent.state().as_str_name().to_owned();
    if !resource.sent.error.is_empty() {
        state.push_str(&format!(": {}", brief(&resource.sent.error)));
    }
    state
}

fn made_from(resource: &Resource) -> String {
    or_dash(resource.sent.sources.join(", "))
}

fn cluster(resource: &Resource) -> Row {
    let cluster_type = resource.json["type"].as_str().unwrap_or("STATIC").to_owned();
    match resource.sent.name.parse::<ClusterName>() {
        Ok(cluster) => {
            let row = row_of_cluster(resource, &cluster);
            let host = row.hosts.first().cloned().unwrap_or_default();
            let direction = direction_word(cluster.direction).to_owned();
            let subset = or_dash(row.subset.clone().unwrap_or_default());
            let port = cluster.port.to_string();
            let cells =
                vec![or_dash(host), port, subset, direction, cluster_type, state(resource), made_from(resource)];
            Row { cells, ..row }
        }
        Err(_) => {
            let dash = || "-".to_owned();
            let name = resource.sent.name.clone();
            let cells = vec![name, dash(), dash(), dash(), cluster_type, state(resource), made_from(resource)];
            Row { cells, ..row(resource) }
        }
    }
}

fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

fn endpoints(resource: &Resource) -> Vec<Row> {
    let cluster = &resource.sent.name;
    let base = || match cluster.parse::<ClusterName>() {
        Ok(cluster) => row_of_cluster(resource, &cluster),
        Err(_) => row(resource),
    };
    let made_from = made_from(resource);
    let localities = items(&resource.json["endpoints"]).iter();
    let endpoints = localities.flat_map(|locality| items(&locality["lb_endpoints"]));
    let mut rows: Vec<Row> = endpoints
        .map(|endpoint| {
            let health = endpoint["health_status"].as_str().unwrap_or("HEALTHY").to_owned();
            let weight = or_dash(text(&endpoint["load_balancing_weight"]));
            let is_healthy = Some(health == "HEALTHY");
            let address = address(&endpoint["endpoint"]);
            let cells = vec![address, health, weight, cluster.clone(), state(resource), made_from.clone()];
            Row { cells, is_healthy, ..base() }
        })
        .collect();
    if rows.is_empty() {
        let cells =
            vec!["no endpoints".to_owned(), "-".into(), "-".into(), cluster.clone(), state(resource), made_from];
        rows.push(Row { cells, ..base() });
    }
    rows
}

fn listener(resource: &Resource) -> Vec<Row> {
    let json = &resource.json;
    let address = address(json);
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let is_inbound = json["traffic_direction"] == "INBOUND" || resource.sent.name.starts_with("virtualInbound");
    let direction = Some(if is_inbound { Direction::Inbound } else { Direction::Outbound });
    let chains = items(&json["filter_chains"]).iter().map(|chain| (chain_match(&chain["filter_chain_match"]), chain));
    let default = Some(&json["default_filter_chain"]).filter(|chain| chain.is_object());
    let chains = chains.chain(default.map(|chain| ("anything else".to_owned(), chain)));
    let mut rows: Vec<Row> = chains
        .map(|(matched, chain)| {
            let destination = chain_destination(chain);
            let cells = vec![resource.sent.name.clone(), address.clone(), matched, destination, state(resource)];
            Row { cells, port, direction, hosts: chain_hosts(chain), ..row(resource) }
        })
        .collect();
    if rows.is_empty() {
        // The API listener of a gRPC client.
        let destination = chain_destination(
            &serde_json::json!({"filters": [{"typed_config": json["api_listener"]["api_listener"]}]}),
        );
        let cells = vec![resource.sent.name.clone(), address, "anything".to_owned(), destination, state(resource)];
        rows.push(Row { cells, port, direction, ..row(resource) });
    }
    rows
}

fn chain_match(matched: &Value) -> String {
    let list = |field: &str| items(&matched[field]).iter().map(text).collect::<Vec<_>>().join(",");
    let ranges = items(&matched["prefix_ranges"]).iter();
    let ranges: Vec<String> =
        ranges.map(|range| format!("{}/{}", text(&range["address_prefix"]), text(&range["prefix_len"]))).collect();
    let parts = [
        ("port ", text(&matched["destination_port"])),
        ("to ", ranges.join(",")),
        ("SNI ", list("server_names")),
        ("ALPN ", list("application_protocols")),
        ("transport ", text(&matched["transport_protocol"])),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}{value}"))
        .collect();
    if parts.is_empty() { "anything".to_owned() } else { parts.join(" ") }
}

/// Returns where the connections of a filter chain go.
fn chain_destination(chain: &Value) -> String {
    let configs = items(&chain["filters"]).iter().map(|filter| &filter["typed_config"]);
    let mut destinations = configs.filter_map(|config| {
        let name = config["rds"]["route_config_name"].as_str();
        let inline = config["route_config"]["name"].as_str();
        let cluster = config["cluster"].as_str();
        let weighted = items(&config["weighted_clusters"]["clusters"]);
        name.map(|name| format!("routes {name}"))
            .or_else(|| inline.map(|name| format!("routes {name} (in the listener)")))
            .or_else(|| cluster.map(|name| format!("cluster {name}")))
            .or_else(|| (!weighted.is_empty()).then(|| weighted_text(weighted)))
    });
    destinations.next().unwrap_or_else(|| "-".to_owned())
}

/// Returns the hosts of the clusters to which a filter chain leads by itself.
fn chain_hosts(chain: &Value) -> Vec<String> {
    let configs = items(&chain["filters"]).iter().map(|filter| &filter["typed_config"]);
    let clusters = configs.flat_map(|config| {
        let weighted = items(&config["weighted_clusters"]["clusters"]).iter().map(|cluster| &cluster["name"]);
        weighted.chain([&config["cluster"]])
    });
    let clusters = clusters.filter_map(|cluster| cluster.as_str()?.parse::<ClusterName>().ok());
    clusters.filter_map(|cluster| cluster.host.map(|host| host.to_string())).collect()
}

fn weighted_text(clusters: &[Value]) -> String {
    let parts = clusters.iter().map(|cluster| format!("{} ({})", text(&cluster["name"]), text(&cluster["weight"])));
    parts.collect::<Vec<_>>().join(", ")
}

/// Returns a row for each destination of each route of a virtual host.
fn routes(resource: &Resource, table: &str, host: &Value) -> Vec<Row> {
    let name = text(&host["name"]);
    // A virtual host that is a resource of its own has the name of its table before its own.
    let name = name.strip_prefix(&format!("{table}/")).map_or(name.clone(), str::to_owned);
    let (fqdn, port) = match name.parse::<HostPort>() {
        Ok(HostPort { host, port }) => (host.to_string(), Some(port)),
        Err(_) => (name.clone(), table.parse().ok()),
    };
    let domains: Vec<String> = items(&host["domains"]).iter().map(text).collect();
    let mut rows = Vec::new();
    for route in items(&host["routes"]) {
        let source = source_of(route).unwrap_or_else(|| made_from(resource));
        let timeout = match route["route"]["timeout"].as_str() {
            None | Some("0s") => "-".to_owned(),
            Some(timeout) => timeout.to_owned(),
        };
        for Destination { text: destination, weight, subset } in destinations(route) {
            let matched = route_match(&route["match"]);
            let cells = vec![
                table.to_owned(),
                name.clone(),
                matched,
                destination,
                weight,
                timeout.clone(),
                state(resource),
                source.clone(),
            ];
            let mut hosts = domains.clone();
            hosts.push(fqdn.clone());
            let direction = Some(if table.starts_with("inbound") { Direction::Inbound } else { Direction::Outbound });
            rows.push(Row { cells, hosts, port, subset, direction, ..row(resource) });
        }
    }
    rows
}

/// Where a route sends requests.
struct Destination {
    text: String,
    weight: String,
    subset: Option<String>,
}

fn destinations(route: &Value) -> Vec<Destination> {
    let single = |text: String| vec![Destination { text, weight: "-".into(), subset: None }];
    let action = &route["route"];
    let weighted = items(&action["weighted_clusters"]["clusters"]);
    if !weighted.is_empty() {
        return weighted.iter().map(|cluster| destination(&cluster["name"], text(&cluster["weight"]))).collect();
    }
    if action["cluster"].is_string() {
        return vec![destination(&action["cluster"], "-".to_owned())];
    }
    if let Some(status) = route["direct_response"]["status"].as_u64() {
        return single(format!("answered {status}"));
    }
    if route["redirect"].is_object() {
        return single("redirected".to_owned());
    }
    single("-".to_owned())
}

/// Returns a cluster as `host:port subset`.
fn destination(cluster: &Value, weight: String) -> Destination {
    let name = text(cluster);
    match name.parse::<ClusterName>() {
        Ok(ClusterName { direction: Direction::Outbound, port, subset, host: Some(host) }) => {
            let subset_text = subset.as_deref().map(|subset| format!(" subset {subset}")).unwrap_or_default();
            let subset = subset.map(|subset| subset.to_string());
            Destination { text: format!("{host}:{port}{subset_text}"), weight, subset }
        }
        Ok(_) | Err(_) => Destination { text: name, weight, subset: None },
    }
}

/// Returns what a route matches: `prefix /api header end-user=jason`.
fn route_match(matched: &Value) -> String {
    let path = ["prefix", "path", "path_separated_prefix"].iter().find_map(|field| {
        let value = matched[field].as_str()?;
        Some(if *field == "path" { value.to_owned() } else { format!("{value}*") })
    });
    let path = path.or_else(|| matched["safe_regex"]["regex"].as_str().map(|regex| format!("~{regex}")));
    let mut parts: Vec<String> = path.into_iter().collect();
    for header in items(&matched["headers"]) {
        let not = if header["invert_match"] == true { "not " } else { "" };
        let name = text(&header["name"]);
        let strings = &header["string_match"];
        let how = if header["present_match"].is_boolean() {
            String::new()
        } else if let Some(exact) = strings["exact"].as_str() {
            format!("={exact}")
        } else if let Some(prefix) = strings["prefix"].as_str() {
            format!("={prefix}*")
        } else if let Some(regex) = strings["safe_regex"]["regex"].as_str() {
            format!("~{regex}")
        } else {
            String::new()
        };
        parts.push(format!("{not}header {name}{how}"));
    }
    or_dash(parts.join(" "))
}

/// Returns the object that a route is made from, which its metadata names by a path.
fn source_of(route: &Value) -> Option<String> {
    let path = route["metadata"]["filter_metadata"]["istio"]["config"].as_str()?;
    let parts: Vec<&str> = path.rsplitn(4, '/').collect();
    let [name, kind, namespace, _] = parts[..] else { return None };
    let mut words = kind.split('-');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at_checked(1)?;
        camel.push_str(&first.to_uppercase());
        camel.push_str(rest);
    }
    Some(format!("{camel} {namespace}/{name}"))
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn address(value: &Value) -> String {
    let address = &value["address"];
    let socket = &address["socket_address"];
    match (address["pipe"]["path"].as_str(), socket.is_object()) {
        (Some(path), _) => path.to_owned(),
        (None, true) => format!("{}:{}", text(&socket["address"]), text(&socket["port_value"])),
        (None, false) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resource(resource_type: ResourceType, name: &str, json: Value) -> Resource {
        let state = pb::sent_resource::State::Acked as i32;
        let sources = vec!["service shop/a".to_owned()];
        Resource {
            sent: pb::SentResource { name: name.into(), state, sources, ..Default::default() },
            resource_type,
            json,
        }
    }

    /// Returns the cells of each row, with bars between them.
    fn shown(resource: &Resource, filter: &Filter) -> Vec<String> {
        let rows = rows_of(resource, resource.resource_type);
        rows.iter().filter(|row| row.matches(filter)).map(|row| row.cells.join(" | ")).collect()
    }

    #[test]
    fn a_cluster_is_taken_apart() {
        let name = "outbound|80|v1|a.shop.svc.cluster.local";
        let cluster = resource(ResourceType::Cluster, name, json!({"type": "EDS"}));
        let row = "a.shop.svc.cluster.local | 80 | v1 | outbound | EDS | ACKED | service shop/a";
        assert_eq!(shown(&cluster, &Filter::default()), [row]);
        let matches = |filter: Filter| !shown(&cluster, &filter).is_empty();
        for fqdn in ["a.shop.svc.cluster.local", "a.shop", "a", "shop.svc.cluster.local"] {
            assert!(matches(Filter { fqdn: Some(fqdn.into()), ..Filter::default() }), "{fqdn}");
        }
        assert!(!matches(Filter { fqdn: Some("a.sho".into()), ..Filter::default() }));
        assert!(matches(Filter { port: Some(80), subset: Some("v1".into()), ..Filter::default() }));
        assert!(!matches(Filter { port: Some(81), ..Filter::default() }));
        assert!(!matches(Filter { subset: Some("v2".into()), ..Filter::default() }));
        assert!(!matches(Filter { direction: Some(args::Direction::Inbound), ..Filter::default() }));
        assert!(matches(Filter { status: Some(args::State::Acked), ..Filter::default() }));
        assert!(!matches(Filter { status: Some(args::State::Refused), ..Filter::default() }));
        let other = resource(ResourceType::Cluster, "BlackHoleCluster", json!({}));
        assert_eq!(
            shown(&other, &Filter::default()),
            ["BlackHoleCluster | - | - | - | STATIC | ACKED | service shop/a"]
        );
    }

    #[test]
    fn endpoints_have_a_row_each() {
        let endpoint = |ip: &str, health: &str| json!({"endpoint": {"address": {"socket_address": {"address": ip, "port_value": 80}}}, "health_status": health, "load_balancing_weight": 3});
        let json = json!({"endpoints": [{"lb_endpoints": [endpoint("10.0.0.1", "HEALTHY"), endpoint("10.0.0.2", "DRAINING")]}]});
        let name = "outbound|80||a.shop.svc.cluster.local";
        let assignment = resource(ResourceType::Endpoint, name, json);
        let unhealthy = Filter { status: Some(args::State::Unhealthy), ..Filter::default() };
        assert_eq!(shown(&assignment, &Filter::default()).len(), 2);
        assert_eq!(
            shown(&assignment, &unhealthy),
            [format!("10.0.0.2:80 | DRAINING | 3 | {name} | ACKED | service shop/a")]
        );
        let none = resource(ResourceType::Endpoint, name, json!({}));
        assert_eq!(
            shown(&none, &Filter::default()),
            [format!("no endpoints | - | - | {name} | ACKED | service shop/a")]
        );
    }

    #[test]
    fn listeners_have_a_row_for_each_filter_chain() {
        let json = json!({
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": 443}},
            "filter_chains": [
                {"filter_chain_match": {"application_protocols": ["h2c"], "transport_protocol": "raw_buffer"},
                 "filters": [{"typed_config": {"rds": {"route_config_name": "443"}}}]},
                {"filter_chain_match": {"server_names": ["t.x"]}, "filters": [{"typed_config": {"cluster": "outbound|443||t.x"}}]},
            ],
            "default_filter_chain": {"filters": [{"typed_config": {"cluster": "PassthroughCluster"}}]},
        });
        let listener = resource(ResourceType::Listener, "0.0.0.0_443", json);
        assert_eq!(
            shown(&listener, &Filter::default()),
            [
                "0.0.0.0_443 | 0.0.0.0:443 | ALPN h2c transport raw_buffer | routes 443 | ACKED",
                "0.0.0.0_443 | 0.0.0.0:443 | SNI t.x | cluster outbound|443||t.x | ACKED",
                "0.0.0.0_443 | 0.0.0.0:443 | anything else | cluster PassthroughCluster | ACKED",
            ]
        );
        assert_eq!(shown(&listener, &Filter { fqdn: Some("t.x".into()), ..Filter::default() }).len(), 1);
        assert!(shown(&listener, &Filter { port: Some(80), ..Filter::default() }).is_empty());
    }

    #[test]
    fn routes_have_a_row_for_each_destination_of_each_match() {
        let weighted = json!({"clusters": [
            {"name": "outbound|80|v1|a.shop.svc.cluster.local", "weight": 90},
            {"name": "outbound|80|v2|a.shop.svc.cluster.local", "weight": 10},
        ]});
        let config = "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/split";
        let json = json!({
            "name": "80/a.shop.svc.cluster.local:80",
            "domains": ["a.shop.svc.cluster.local", "a"],
            "routes": [
                {"match": {"prefix": "/api", "headers": [{"name": "end-user", "string_match": {"exact": "jason"}}]},
                 "route": {"weighted_clusters": weighted, "timeout": "3s"},
                 "metadata": {"filter_metadata": {"istio": {"config": config}}}},
                {"match": {"path": "/old"}, "direct_response": {"status": 503}},
            ],
        });
        let host = resource(ResourceType::VirtualHost, "80/a.shop.svc.cluster.local", json);
        let name = "80 | a.shop.svc.cluster.local:80";
        assert_eq!(
            shown(&host, &Filter::default()),
            [
                format!(
                    "{name} | /api* header end-user=jason | a.shop.svc.cluster.local:80 subset v1 | 90 | 3s | ACKED | virtualService shop/split"
                ),
                format!(
                    "{name} | /api* header end-user=jason | a.shop.svc.cluster.local:80 subset v2 | 10 | 3s | ACKED | virtualService shop/split"
                ),
                format!("{name} | /old | answered 503 | - | - | ACKED | service shop/a"),
            ]
        );
        assert_eq!(shown(&host, &Filter { subset: Some("v2".into()), ..Filter::default() }).len(), 1);
        assert_eq!(rows_of(&host, ResourceType::Route).len(), 3, "virtual hosts are shown among the routes");
    }
}
