//! What is described and explained, compared with the resources that clients have.

use prost::Message;
use rutter_api::config::istio::StringMatch;
use rutter_api::pb::envoy::config::core::v3::Metadata;
use rutter_api::pb::envoy::config::route::v3 as pb;

use super::*;
use crate::describe::describe;
use crate::explain::{Asked, Sources, arrival};
use crate::walk::{HttpRequest, Origin, walk};

/// A route of a client, where it stands, and the object that it names.
struct Found {
    origin: Origin,
    route: pb::Route,
    config: ConfigKey,
    domains: Vec<String>,
}

fn config_of(metadata: Option<&Metadata>) -> Option<String> {
    let value = metadata?.filter_metadata.get("istio")?.fields.get("config")?;
    let Some(prost_types::value::Kind::StringValue(path)) = &value.kind else { return None };
    Some(path.clone())
}

/// Returns all routes of a client that name an object.
fn routes(view: &View, keys: &[ConfigKey]) -> Vec<Found> {
    let mut found = Vec::new();
    for resource_type in [ResourceType::VirtualHost, ResourceType::Route] {
        for resource in view.iter(resource_type) {
            let hosts = if resource_type == ResourceType::VirtualHost {
                vec![pb::VirtualHost::decode(resource.body()).unwrap()]
            } else {
                pb::RouteConfiguration::decode(resource.body()).unwrap().virtual_hosts
            };
            for host in hosts {
                for (index, route) in host.routes.iter().enumerate() {
                    let Some(path) = config_of(route.metadata.as_ref()) else { continue };
                    let config = keys.iter().find(|key| key.metadata_path() == path).unwrap().clone();
                    let origin = Origin::Route {
                        resource_type,
                        name: resource.name.to_string(),
                        virtual_host: host.name.clone(),
                        index,
                        config: Some(path),
                    };
                    found.push(Found { origin, route: route.clone(), config, domains: host.domains.clone() });
                }
            }
        }
    }
    found
}

/// Returns whether a rule of a VirtualService, given by the path of the field, has the path that a route takes.
fn is_rule_of(spec: &rutter_api::config::istio::VirtualService, field: &str, route: &pb::Route) -> bool {
    use pb::route_match::PathSpecifier;
    let number = |name: &str| -> Option<usize> {
        let rest = &field[field.find(name)? + name.len()..];
        rest[..rest.find(']')?].parse().ok()
    };
    let Some(rule) = number("spec.http[").and_then(|at| spec.http.get(at)) else { return false };
    let uri = match number("match[") {
        Some(at) => rule.matches.get(at).and_then(|condition| condition.uri.clone()),
        // The condition of a delegate may be that of the rule that delegates.
        None if field.contains("match") => return false,
        None => return true,
    };
    let taken = route.r#match.as_ref().and_then(|matched| matched.path_specifier.clone());
    match (uri, taken) {
        (None | Some(StringMatch::Present), Some(PathSpecifier::Prefix(prefix))) => prefix == "/",
        (Some(StringMatch::Prefix(wanted)), Some(PathSpecifier::Prefix(prefix))) => wanted == prefix,
        (Some(StringMatch::Exact(wanted)), Some(PathSpecifier::Path(path))) => wanted == path,
        (Some(StringMatch::Regex(wanted)), Some(PathSpecifier::SafeRegex(regex))) => wanted == regex.regex,
        (_, _) => false,
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn law_f_who_has_routes_of_an_object_is_told_so_and_each_route_is_told_with_its_rule(
        ops in prop::collection::vec(ops(), 1..30)
    ) {
        let mut driver = Driver::new();
        ops.iter().for_each(|op| drop(driver.run(op)));
        let mesh = &driver.mesh;
        let index = mesh.index();
        let keys: Vec<ConfigKey> = index.of_kind(Kind::VirtualService).map(|config| config.key.clone()).collect();
        let mut followers: BTreeMap<ConfigKey, BTreeSet<NodeId>> = BTreeMap::new();
        for id in driver.connected.values() {
            let view = mesh.view(*id).unwrap();
            let sources = Sources::of(mesh, *id).unwrap();
            for Found { origin, route, config, domains } in routes(view, &keys) {
                let followers = followers
                    .entry(config.clone())
                    .or_insert_with(|| describe(mesh, &config).unwrap().unwrap().remove(0).seen_by);
                prop_assert!(followers.contains(id), "{} is in force for {}", config, mesh.node(*id).unwrap().id());
                let fields = sources.of_step(&origin);
                let field = fields.first().unwrap();
                if !index.is_derived(&config) {
                    let written = index.written(&field.object).unwrap();
                    let spec = written.spec.as_virtual_service().unwrap();
                    prop_assert!(is_rule_of(spec, &field.path, &route), "{} for {:?} {:?}", field, origin, route.r#match);
                }
                let host = domains.first().unwrap().replace('*', "x");
                let request = HttpRequest {
                    method: "GET".to_owned(),
                    scheme: "http".to_owned(),
                    authority: host.clone(),
                    path: "/".to_owned(),
                    headers: Vec::new(),
                };
                let asked = Asked { host, port: 80, tls: None, request: Some(request) };
                let walked = walk(view, &arrival(&sources, &asked).unwrap());
                let sum: f64 = walked.ends.iter().map(|end| end.share).sum();
                prop_assert!((sum - 1.0).abs() < 1e-9, "{:?}", walked);
                walked.steps.iter().for_each(|step| drop(sources.of_step(&step.origin)));
            }
        }
    }
}
