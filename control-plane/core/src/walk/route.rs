//! Which route takes a request.

use prost::Message;
use rutter_api::ResourceType;
use rutter_api::pb::envoy::config::route::v3 as pb;
use rutter_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;

use super::condition::condition;
use super::domain::{Found, virtual_host};
use super::filters::{Filtered, answer, filtered};
use super::forward::{Context, forwarded};
use super::redirect::{redirected, to_https};
use super::{End, HttpRequest, Origin, Outcome, Step, StepKind, Walk, path, scaled, text};

/// Returns what an HTTP connection manager of a listener does with a request.
pub(super) fn managed(
    manager: &hcm::HttpConnectionManager,
    listener: &str,
    request: &HttpRequest,
    context: Context<'_>,
) -> Walk {
    use hcm::http_connection_manager::RouteSpecifier;
    let request = match manager.normalize_path {
        Some(true) => HttpRequest { path: path::normalized(&request.path), ..request.clone() },
        Some(false) | None => request.clone(),
    };
    let (request, seen) = with_headers_of_manager(manager, request);
    let no_route = |reason: String| Walk { steps: Vec::new(), ends: End::certain(answer(404, &request, "NR", reason)) };
    let mut is_in_listener = false;
    let table = match &manager.route_specifier {
        Some(RouteSpecifier::RouteConfig(table)) => {
            is_in_listener = true;
            table.clone()
        }
        Some(RouteSpecifier::Rds(rds)) => {
            let body = context.resources.body(ResourceType::Route, &rds.route_config_name);
            match body.and_then(|body| pb::RouteConfiguration::decode(body).ok()) {
                Some(table) => table,
                None => return no_route(format!("the proxy has no route table {}", rds.route_config_name)),
            }
        }
        Some(RouteSpecifier::ScopedRoutes(_)) | None => {
            return no_route("the listener names no route table".to_owned());
        }
    };
    let Some(found) = virtual_host(&table, &request.authority, context.resources) else {
        let reason = format!("no virtual host of route table {} takes {}", table.name, request.authority);
        return no_route(reason);
    };
    let found = match is_in_listener {
        true => Found { resource_type: ResourceType::Listener, name: listener.to_owned(), ..found },
        false => found,
    };
    let names: Vec<String> = manager.http_filters.iter().map(|filter| filter.name.clone()).collect();
    in_virtual_host(&found, (&request, &seen), &names, context)
}

/// Returns a request as it is sent on, and as routes see it: the manager says in headers which protocol the client speaks and which
/// address it has, and gives the request an id.
fn with_headers_of_manager(manager: &hcm::HttpConnectionManager, request: HttpRequest) -> (HttpRequest, HttpRequest) {
    const PROTOCOL: &str = "x-forwarded-proto";
    let mut request = request;
    let is_edge = manager.use_remote_address == Some(true);
    if is_edge {
        request.headers.retain(|(name, _)| name != PROTOCOL);
    }
    let protocol = request.header(PROTOCOL).unwrap_or_else(|| request.scheme.clone());
    if matches!(protocol.as_str(), "http" | "https") {
        request.scheme.clone_from(&protocol);
    }
    let mut seen = request.clone();
    let address = is_edge.then_some(("x-forwarded-for", "the address of the client".to_owned()));
    let id = ("x-request-id", "an id of the request".to_owned());
    for (name, value) in [(PROTOCOL, protocol), id].into_iter().chain(address) {
        if seen.header(name).is_none() {
            seen.headers.push((name.to_owned(), value));
        }
    }
    (request, seen)
}

fn in_virtual_host(
    found: &Found,
    (request, seen): (&HttpRequest, &HttpRequest),
    filters: &[String],
    context: Context<'_>,
) -> Walk {
    let Found { host, resource_type, name } = found;
    let (resource, virtual_host) = (name.clone(), host.name.clone());
    let origin = Origin::VirtualHost { resource_type: *resource_type, name: resource, virtual_host };
    let domains = match &host.domains[..] {
        [] => String::new(),
        [only] => format!("for {only}"),
        [first, rest @ ..] => format!("for {first} and {} other names", rest.len()),
    };
    let mut steps = vec![Step { kind: StepKind::VirtualHost, name: host.name.clone(), text: domains, origin }];
    if host.require_tls() == pb::virtual_host::TlsRequirementType::All && request.scheme != "https" {
        return Walk { steps, ends: End::certain(to_https(request)) };
    }
    let taken = host.routes.iter().position(|route| takes(route.r#match.as_ref(), seen));
    let Some((index, route)) = taken.and_then(|index| Some((index, host.routes.get(index)?))) else {
        let reason = format!("none of {} routes takes the request", host.routes.len());
        return Walk { steps, ends: End::certain(answer(404, request, "NR", reason)) };
    };
    let origin = Origin::Route {
        resource_type: *resource_type,
        name: name.clone(),
        virtual_host: host.name.clone(),
        index,
        config: config_of(route.metadata.as_ref()),
    };
    let text = condition(route.r#match.as_ref());
    let step = Step { kind: StepKind::Route, name: route.name.clone(), text, origin };
    let Filtered { steps: of_filters, answers } = filtered(filters, route, request, &step);
    let (more, ends) = acted(route, request, &step, context);
    steps.push(step);
    steps.extend(of_filters);
    steps.extend(more);
    let mut left = 1.0;
    let mut all_ends = Vec::new();
    for (share, outcome) in answers {
        all_ends.push(End { share: left * share, steps: Vec::new(), outcome });
        left *= 1.0 - share;
    }
    if left > 0.0 {
        all_ends.extend(scaled(ends, left));
    }
    Walk { steps, ends: all_ends }
}

fn acted(route: &pb::Route, request: &HttpRequest, at: &Step, context: Context<'_>) -> (Vec<Step>, Vec<End>) {
    use pb::route::Action;
    match &route.action {
        Some(Action::Route(action)) => forwarded(route, action, request, at, context),
        Some(Action::Redirect(redirect)) => (Vec::new(), End::certain(redirected(redirect, request))),
        Some(Action::DirectResponse(response)) => {
            let reason = body_text(response.body.as_ref());
            (Vec::new(), End::certain(answer(response.status, request, "", reason)))
        }
        Some(Action::NonForwardingAction(_)) => (Vec::new(), End::certain(Outcome::TakenHere)),
        Some(Action::FilterAction(_)) | None => {
            (Vec::new(), End::certain(answer(404, request, "NR", "the route says nothing of what becomes of requests")))
        }
    }
}

fn body_text(body: Option<&rutter_api::pb::envoy::config::core::v3::DataSource>) -> String {
    use rutter_api::pb::envoy::config::core::v3::data_source::Specifier;
    match body.and_then(|body| body.specifier.as_ref()) {
        Some(Specifier::InlineString(text)) => text.trim_end().to_owned(),
        Some(Specifier::InlineBytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) | None => String::new(),
    }
}

/// Returns whether a route takes a request.
fn takes(condition: Option<&pb::RouteMatch>, request: &HttpRequest) -> bool {
    let Some(condition) = condition else { return false };
    takes_path(condition, request.path_alone())
        && condition.headers.iter().all(|header| text::takes_header(header, request))
        && condition.query_parameters.iter().all(|parameter| text::takes_parameter(parameter, request))
        && condition.grpc.as_ref().is_none_or(|_| request.is_grpc())
}

fn takes_path(condition: &pb::RouteMatch, path: &str) -> bool {
    use pb::route_match::PathSpecifier;
    let fold = |text: &str| match condition.case_sensitive {
        Some(false) => text.to_ascii_lowercase(),
        Some(true) | None => text.to_owned(),
    };
    match &condition.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => fold(path).starts_with(&fold(prefix)),
        Some(PathSpecifier::Path(exact)) => fold(path) == fold(exact),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
            let (path, prefix) = (fold(path), fold(prefix));
            path.strip_prefix(&prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        Some(PathSpecifier::SafeRegex(regex)) => text::takes_whole(&regex.regex, path),
        Some(PathSpecifier::ConnectMatcher(_) | PathSpecifier::PathMatchPolicy(_)) | None => false,
    }
}

/// Returns the object that metadata names as the source, as a path of Kubernetes' API.
pub(super) fn config_of(metadata: Option<&rutter_api::pb::envoy::config::core::v3::Metadata>) -> Option<String> {
    let value = metadata?.filter_metadata.get("istio")?.fields.get("config")?;
    match &value.kind {
        Some(prost_types::value::Kind::StringValue(path)) => Some(path.clone()),
        Some(_) | None => None,
    }
}
