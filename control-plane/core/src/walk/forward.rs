//! Where a route sends requests, and what it makes of them.

use prost::Message;
use rutter_api::ResourceType;
use rutter_api::pb::envoy::config::cluster::v3 as cluster;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::route::v3 as pb;
use rutter_api::pb::envoy::extensions::transport_sockets::tls::v3 as tls;

use super::domain::without_port;
use super::endpoints::{Choice, choice, is_told};
use super::filters::{answer, percent, seconds, share};
use super::{Arrival, End, Entry, HttpRequest, Origin, Outcome, Resources, Step, StepKind, TlsHello, scaled, text};

/// What has to be known of the proxy and of the connection.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) resources: &'a dyn Resources,
    pub(super) arrival: &'a Arrival,
    /// The host that the client names in TLS, as far as the listener finds it out.
    pub(super) server_name: Option<&'a str>,
    /// The port at which the host is asked for that the client names. `None` means that of the connection.
    pub(super) named_port: Option<u16>,
}

/// Returns the steps that a route takes before it chooses a cluster, and the ends of the requests that it forwards.
pub(super) fn forwarded(
    route: &pb::Route,
    action: &pb::RouteAction,
    request: &HttpRequest,
    at: &Step,
    context: Context<'_>,
) -> (Vec<Step>, Vec<End>) {
    use pb::route_action::ClusterSpecifier;
    let mut steps = Vec::new();
    let step = |kind: StepKind, name: &str, text: String| Step {
        kind,
        name: name.to_owned(),
        text,
        origin: at.origin.clone(),
    };
    if let Some(text) = retries(action) {
        steps.push(step(StepKind::Retry, "", text));
    }
    for mirror in &action.request_mirror_policies {
        let fraction = mirror.runtime_fraction.as_ref();
        let share = fraction.map_or(1.0, |fraction| share(fraction.default_value.as_ref()));
        steps.push(step(
            StepKind::Mirror,
            &mirror.cluster,
            format!("is sent a copy of {} of requests", percent(share)),
        ));
    }
    let path = rewritten_path(route, action, request);
    let clusters: Vec<(&str, f64, Option<&pb::weighted_cluster::ClusterWeight>)> = match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![(name, 1.0, None)],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let weight = |cluster: &pb::weighted_cluster::ClusterWeight| f64::from(cluster.weight.unwrap_or_default());
            let all: f64 = weighted.clusters.iter().map(weight).sum();
            let used = weighted.clusters.iter().filter(|cluster| weight(cluster) > 0.0);
            used.map(|cluster| (cluster.name.as_str(), weight(cluster) / all, Some(cluster))).collect()
        }
        Some(
            ClusterSpecifier::ClusterHeader(_)
            | ClusterSpecifier::ClusterSpecifierPlugin(_)
            | ClusterSpecifier::InlineClusterSpecifierPlugin(_),
        )
        | None => Vec::new(),
    };
    let mut ends = Vec::new();
    for (name, weight, cluster) in clusters {
        let mut sent = HttpRequest { path: path.clone(), ..request.clone() };
        let headers = cluster.map(|cluster| (&cluster.request_headers_to_remove, &cluster.request_headers_to_add));
        let of_route = (&route.request_headers_to_remove, &route.request_headers_to_add);
        headers.into_iter().chain([of_route]).for_each(|(remove, add)| change_headers(&mut sent, remove, add));
        if let Some(host) = rewritten_host(action, cluster) {
            sent.authority = host.clone();
        }
        let mut of_cluster = to_cluster(name, Some(&sent), context);
        if let Some(text) = difference(request, &sent) {
            of_cluster.steps.insert(0, step(StepKind::Rewrite, "", text));
        }
        ends.extend(scaled(vec![of_cluster], weight));
    }
    (steps, ends)
}

fn rewritten_host<'a>(
    action: &'a pb::RouteAction,
    cluster: Option<&'a pb::weighted_cluster::ClusterWeight>,
) -> Option<&'a String> {
    use pb::route_action::HostRewriteSpecifier;
    use pb::weighted_cluster::cluster_weight::HostRewriteSpecifier as OfCluster;
    let of_cluster = cluster.and_then(|cluster| cluster.host_rewrite_specifier.as_ref());
    let of_cluster = of_cluster.map(|OfCluster::HostRewriteLiteral(host)| host);
    let of_route = match &action.host_rewrite_specifier {
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => Some(host),
        Some(_) | None => None,
    };
    // Envoy writes that of the route over that of the cluster.
    of_route.or(of_cluster)
}

/// Returns the path that a request is sent on with.
fn rewritten_path(route: &pb::Route, action: &pb::RouteAction, request: &HttpRequest) -> String {
    use pb::route_match::PathSpecifier;
    let alone = request.path_alone();
    if let Some(rewrite) = &action.regex_rewrite {
        let regex = rewrite.pattern.as_ref().and_then(|pattern| text::regex(&pattern.regex));
        let Some(regex) = regex else { return request.path.clone() };
        let replaced = regex.replace_all(alone.as_bytes(), substitution(&rewrite.substitution).as_bytes());
        return format!("{}{}", String::from_utf8_lossy(&replaced), request.query());
    }
    if action.prefix_rewrite.is_empty() {
        return request.path.clone();
    }
    let taken = match route.r#match.as_ref().and_then(|matched| matched.path_specifier.as_ref()) {
        Some(PathSpecifier::Prefix(prefix) | PathSpecifier::PathSeparatedPrefix(prefix)) => prefix.len(),
        Some(_) | None => alone.len(),
    };
    format!("{}{}", action.prefix_rewrite, request.path.get(taken..).unwrap_or_default())
}

/// Returns what RE2 puts in the place of a match, as Rust's library writes it.
fn substitution(text: &str) -> String {
    let mut written = String::new();
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '\\' => match signs.next() {
                Some(digit) if digit.is_ascii_digit() => written.push_str(&format!("${{{digit}}}")),
                Some(sign) => written.push(sign),
                None => {}
            },
            '$' => written.push_str("$$"),
            sign => written.push(sign),
        }
    }
    written
}

fn change_headers(request: &mut HttpRequest, remove: &[String], add: &[core::HeaderValueOption]) {
    use core::header_value_option::HeaderAppendAction;
    request.headers.retain(|(name, _)| !remove.iter().any(|removed| removed.eq_ignore_ascii_case(name)));
    for option in add {
        let Some(header) = &option.header else { continue };
        // Envoy drops empty values.
        if header.value.is_empty() && !option.keep_empty_value {
            continue;
        }
        let name = header.key.to_ascii_lowercase();
        let has = request.headers.iter().any(|(known, _)| *known == name);
        match option.append_action() {
            HeaderAppendAction::AddIfAbsent if has => continue,
            HeaderAppendAction::OverwriteIfExists if !has => continue,
            HeaderAppendAction::OverwriteIfExists | HeaderAppendAction::OverwriteIfExistsOrAdd => {
                request.headers.retain(|(known, _)| *known != name);
            }
            HeaderAppendAction::AppendIfExistsOrAdd | HeaderAppendAction::AddIfAbsent => {}
        }
        request.headers.push((name, header.value.clone()));
    }
}

/// Returns what is changed of a request, in words.
fn difference(before: &HttpRequest, after: &HttpRequest) -> Option<String> {
    let mut changes = Vec::new();
    if before.authority != after.authority {
        changes.push(format!("host {}", after.authority));
    }
    if before.path != after.path {
        changes.push(format!("path {}", after.path));
    }
    let gone = before.headers.iter().filter(|(name, _)| !after.headers.iter().any(|(other, _)| other == name));
    changes.extend(gone.map(|(name, _)| format!("without header {name}")));
    let new = after.headers.iter().filter(|header| !before.headers.contains(header));
    changes.extend(new.map(|(name, value)| format!("header {name}: {value}")));
    (!changes.is_empty()).then(|| changes.join(", "))
}

fn retries(action: &pb::RouteAction) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(retries) = &action.retry_policy {
        let times = retries.num_retries.unwrap_or(1);
        parts.push(format!("tried again up to {times} times on {}", retries.retry_on.replace(',', ", ")));
        if !retries.retriable_status_codes.is_empty() {
            let codes: Vec<String> = retries.retriable_status_codes.iter().map(u32::to_string).collect();
            parts.push(format!("statuses {}", codes.join(", ")));
        }
        parts.extend(retries.per_try_timeout.as_ref().map(|limit| format!("at most {} for each try", seconds(limit))));
    }
    let limit = action.timeout.as_ref().filter(|limit| limit.seconds > 0 || limit.nanos > 0);
    parts.extend(limit.map(|limit| format!("given up with 504 after {}", seconds(limit))));
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Returns the end of what is sent to a cluster. `request` is none for a connection without requests.
pub(super) fn to_cluster(name: &str, request: Option<&HttpRequest>, context: Context<'_>) -> End {
    let fails = |flag: &'static str, reason: String| match request {
        Some(request) => answer(503, request, flag, reason),
        None => Outcome::closed(flag, reason),
    };
    let origin = Origin::Resource { resource_type: ResourceType::Cluster, name: name.to_owned() };
    let body = context.resources.body(ResourceType::Cluster, name);
    let Some(cluster) = body.and_then(|body| cluster::Cluster::decode(body).ok()) else {
        let outcome = fails("NC", format!("the proxy has no cluster {name}"));
        return End { share: 1.0, steps: Vec::new(), outcome };
    };
    let step = Step { kind: StepKind::Cluster, name: name.to_owned(), text: described(&cluster), origin };
    let mut steps = vec![step];
    let outcome = match choice(&cluster, context.resources) {
        Choice::Endpoints(endpoints) if endpoints.is_empty() => {
            fails("UH", format!("no endpoint of {name} can be used"))
        }
        Choice::Endpoints(endpoints) => {
            let resource_type = if is_told(&cluster) { ResourceType::Endpoint } else { ResourceType::Cluster };
            let origin = Origin::Resource { resource_type, name: name.to_owned() };
            let text = match endpoints.len() {
                1 => "1 endpoint".to_owned(),
                count => format!("one of {count} endpoints"),
            };
            steps.push(Step { kind: StepKind::Endpoints, name: String::new(), text, origin });
            let tls = hello(&cluster, request);
            Outcome::Endpoints { cluster: name.to_owned(), endpoints, request: request.cloned(), tls }
        }
        Choice::OriginalDestination => match context.arrival.entry {
            Entry::Redirected(_) => {
                Outcome::OriginalDestination { cluster: name.to_owned(), request: request.cloned() }
            }
            Entry::Bound | Entry::Named(_) => {
                fails("UH", "nothing was redirected to the proxy, so it knows no other destination".to_owned())
            }
        },
        Choice::NamedHost => named_host(&cluster, request, context),
    };
    End { share: 1.0, steps, outcome }
}

/// Returns the end of what goes to the host that the client names.
fn named_host(cluster: &cluster::Cluster, request: Option<&HttpRequest>, context: Context<'_>) -> Outcome {
    let host = match request {
        Some(request) => with_port(&request.authority, if encrypts(cluster) { 443 } else { 80 }),
        None => match (context.server_name, context.named_port) {
            (Some(name), port) => format!("{name}:{}", port.unwrap_or(context.arrival.port)),
            (None, _) => return Outcome::closed("UH", "the proxy learns of no host that the client names in TLS"),
        },
    };
    let endpoint = super::ChosenEndpoint {
        address: host,
        share: 1.0,
        health: core::HealthStatus::Unknown,
        locality: String::new(),
        priority: 0,
    };
    let (tls, request) = (hello(cluster, request), request.cloned());
    Outcome::Endpoints { cluster: cluster.name.clone(), endpoints: vec![endpoint], request, tls }
}

/// Returns a host with its port, or with one that is usual.
fn with_port(authority: &str, usual: u16) -> String {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    if has_port { authority.to_owned() } else { format!("{authority}:{usual}") }
}

fn encrypts(cluster: &cluster::Cluster) -> bool {
    cluster.transport_socket.as_ref().is_some_and(|socket| socket.name.ends_with("tls"))
}

/// Returns how a cluster begins TLS.
fn hello(cluster: &cluster::Cluster, request: Option<&HttpRequest>) -> Option<TlsHello> {
    use core::transport_socket::ConfigType;
    let socket = cluster.transport_socket.as_ref().filter(|_| encrypts(cluster))?;
    let Some(ConfigType::TypedConfig(config)) = &socket.config_type else { return None };
    let context = tls::UpstreamTlsContext::decode(config.value.as_slice()).unwrap_or_default();
    let of_request = || request.map(|request| without_port(&request.authority).to_ascii_lowercase());
    let server_name = Some(context.sni).filter(|name| !name.is_empty()).or_else(of_request);
    let protocols = context.common_tls_context.map(|common| common.alpn_protocols).unwrap_or_default();
    Some(TlsHello { server_name, protocols })
}

fn described(cluster: &cluster::Cluster) -> String {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
    let discovery = match &cluster.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(number)) => DiscoveryType::try_from(*number).unwrap_or_default().as_str_name(),
        Some(ClusterDiscoveryType::ClusterType(custom)) => custom.name.as_str(),
        None => DiscoveryType::Static.as_str_name(),
    };
    let mut parts = vec![discovery.to_owned(), cluster.lb_policy().as_str_name().to_owned()];
    if let Some(socket) = &cluster.transport_socket {
        parts.push(if encrypts(cluster) { "encrypted (TLS)".to_owned() } else { socket.name.clone() });
    }
    parts.join(", ")
}
