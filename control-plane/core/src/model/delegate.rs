//! Delegation: the routes of one VirtualService in the place of a route of another.

use std::collections::BTreeMap;
use std::sync::Arc;

use rutter_api::config::istio::{Delegate, HttpMatch, HttpRoute, StringMatch, VirtualService};
use rutter_api::{Config, ConfigKey, Kind, Labels, Spec};

use super::ExportTo;

/// Returns the VirtualServices to which another delegates, whether or not they exist.
pub fn delegates_of(config: &Config) -> Vec<ConfigKey> {
    let http = config.spec.as_virtual_service().map(|spec| spec.http.as_slice()).unwrap_or_default();
    let delegates = http.iter().filter_map(|http| http.delegate.as_ref());
    delegates.map(|delegate| key_of(delegate, config)).collect()
}

fn key_of(delegate: &Delegate, root: &Config) -> ConfigKey {
    let namespace = delegate.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let namespace = namespace.map_or_else(|| root.key.namespace.clone(), Arc::from);
    ConfigKey { kind: Kind::VirtualService, namespace, name: delegate.name.as_str().into() }
}

/// Returns a VirtualService in which the routes of its delegates have taken the places of the routes that refer to
/// them, as in Istio: the conditions of both must hold; what the delegate leaves out (the timeout, the retries, …) is
/// that of the route; a route of the delegate whose conditions do not lie within those of the route is left out, and so
/// is a route whose delegate does not exist, is not exported here, or has hosts and so is none. Only the routes of the
/// VirtualService itself are replaced, so that delegates can form no ring.
pub fn with_delegates<'a>(root: &Arc<Config>, find: impl Fn(&ConfigKey) -> Option<&'a Arc<Config>>) -> Arc<Config> {
    let Some(spec) = root.spec.as_virtual_service() else { return root.clone() };
    if spec.http.iter().all(|http| http.delegate.is_none()) {
        return root.clone();
    }
    let routes = rules(root, find).into_iter().map(|(_, route)| route).collect();
    let spec = VirtualService { http: routes, ..spec.clone() };
    Arc::new(Config { spec: Spec::VirtualService(spec), ..(**root).clone() })
}

/// A rule of a VirtualService with its delegates in their places, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelegatedRule {
    /// The object that has the rule: the VirtualService itself, or a delegate.
    pub object: ConfigKey,
    /// The number of the rule of the VirtualService itself that delegates. `None` means that the rule is its own.
    pub delegating: Option<usize>,
    /// The number of the rule in the object.
    pub number: usize,
}

/// Returns where the rules of a VirtualService are written, in the order in which [`with_delegates`] has them.
pub fn delegate_rules<'a>(root: &Config, find: impl Fn(&ConfigKey) -> Option<&'a Arc<Config>>) -> Vec<DelegatedRule> {
    rules(root, find).into_iter().map(|(rule, _)| rule).collect()
}

fn rules<'a>(root: &Config, find: impl Fn(&ConfigKey) -> Option<&'a Arc<Config>>) -> Vec<(DelegatedRule, HttpRoute)> {
    let spec = root.spec.as_virtual_service();
    let mut rules = Vec::new();
    for (number, http) in spec.into_iter().flat_map(|spec| &spec.http).enumerate() {
        let Some(delegate) = &http.delegate else {
            rules.push((DelegatedRule { object: root.key.clone(), delegating: None, number }, http.clone()));
            continue;
        };
        let object = key_of(delegate, root);
        let delegate = find(&object)
            .filter(|config| config.key != root.key && ExportTo::of_config(config).reaches(&root.key.namespace));
        let delegate = delegate.and_then(|config| config.spec.as_virtual_service());
        let delegated = delegate.filter(|spec| spec.hosts.is_empty()).map(|spec| spec.http.as_slice());
        let delegated = delegated.unwrap_or_default().iter().enumerate().filter(|(_, route)| route.delegate.is_none());
        rules.extend(delegated.filter_map(|(place, route)| {
            let rule = DelegatedRule { object: object.clone(), delegating: Some(number), number: place };
            Some((rule, merged_route(http, route)?))
        }));
    }
    rules
}

/// Returns a route of a delegate as it is within a route. `None` means that its conditions do not lie within.
fn merged_route(root: &HttpRoute, delegate: &HttpRoute) -> Option<HttpRoute> {
    // A new field of a route does not compile until it is merged here.
    let HttpRoute {
        name,
        matches,
        route,
        redirect,
        direct_response,
        delegate: _,
        rewrite,
        timeout,
        retries,
        fault,
        mirrors,
        mirror,
        mirror_percentage,
        mirror_percent,
        cors_policy,
        headers,
    } = delegate.clone();
    let names: Vec<&str> = [root.name.as_str(), &name].into_iter().filter(|name| !name.is_empty()).collect();
    Some(HttpRoute {
        name: names.join("-"),
        matches: merged_matches(&root.matches, &matches)?,
        route,
        redirect,
        direct_response,
        delegate: None,
        rewrite: rewrite.or_else(|| root.rewrite.clone()),
        timeout: timeout.or(root.timeout),
        retries: retries.or_else(|| root.retries.clone()),
        fault: fault.or_else(|| root.fault.clone()),
        mirrors: if mirrors.is_empty() { root.mirrors.clone() } else { mirrors },
        mirror: mirror.or_else(|| root.mirror.clone()),
        mirror_percentage: mirror_percentage.or(root.mirror_percentage),
        mirror_percent: mirror_percent.or(root.mirror_percent),
        cors_policy: cors_policy.or_else(|| root.cors_policy.clone()),
        headers: headers.or_else(|| root.headers.clone()),
    })
}

/// Returns the conditions that hold where one of both sides holds. `None` means that some condition of the delegate
/// lies within none of the route's.
fn merged_matches(root: &[HttpMatch], delegate: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    if root.is_empty() {
        return Some(delegate.to_vec());
    }
    if delegate.is_empty() {
        return Some(root.to_vec());
    }
    let mut merged = Vec::new();
    for inner in delegate {
        let before = merged.len();
        merged.extend(root.iter().filter(|outer| lies_within(inner, outer)).map(|outer| merged_match(outer, inner)));
        if merged.len() == before {
            return None;
        }
    }
    Some(merged)
}

fn lies_within(inner: &HttpMatch, outer: &HttpMatch) -> bool {
    let texts = [
        (&inner.uri, &outer.uri),
        (&inner.scheme, &outer.scheme),
        (&inner.method, &outer.method),
        (&inner.authority, &outer.authority),
    ];
    inner.ignore_uri_case == outer.ignore_uri_case
        && texts.into_iter().all(|(inner, outer)| inner.as_ref().zip(outer.as_ref()).is_none_or(|(a, b)| is_part(a, b)))
        && are_parts(&inner.headers, &outer.headers)
        && are_parts(&inner.without_headers, &outer.without_headers)
        && are_parts(&inner.query_params, &outer.query_params)
        && inner.port.zip(outer.port).is_none_or(|(inner, outer)| inner == outer)
        && agree(&inner.source_labels, &outer.source_labels)
        && inner.source_namespace.as_ref().zip(outer.source_namespace.as_ref()).is_none_or(|(a, b)| a == b)
        && (outer.gateways.is_empty() || inner.gateways.iter().all(|gateway| outer.gateways.contains(gateway)))
}

/// Returns whether every text that one pattern takes is surely taken by another.
pub(crate) fn is_part(inner: &StringMatch, outer: &StringMatch) -> bool {
    match (inner, outer) {
        (_, StringMatch::Present) => true,
        (StringMatch::Exact(inner), StringMatch::Exact(outer)) => inner == outer,
        (StringMatch::Exact(inner) | StringMatch::Prefix(inner), StringMatch::Prefix(outer)) => {
            inner.starts_with(outer.as_str())
        }
        (StringMatch::Prefix(_) | StringMatch::Regex(_) | StringMatch::Present, StringMatch::Exact(_))
        | (StringMatch::Regex(_) | StringMatch::Present, StringMatch::Prefix(_))
        | (_, StringMatch::Regex(_)) => false,
    }
}

fn are_parts(inner: &BTreeMap<String, StringMatch>, outer: &BTreeMap<String, StringMatch>) -> bool {
    outer.iter().all(|(name, outer)| inner.get(name).is_none_or(|inner| is_part(inner, outer)))
}

fn agree(inner: &Labels, outer: &Labels) -> bool {
    outer.iter().all(|(key, value)| inner.get(key).is_none_or(|inner| inner == value))
}

/// Returns the condition that holds where both hold, of which the inner one lies within the outer one.
fn merged_match(outer: &HttpMatch, inner: &HttpMatch) -> HttpMatch {
    // A new field of a condition does not compile until it is merged here.
    let HttpMatch {
        name,
        uri,
        ignore_uri_case,
        scheme,
        method,
        authority,
        headers,
        without_headers,
        query_params,
        port,
        source_labels,
        source_namespace,
        gateways,
        stat_prefix,
    } = inner.clone();
    let both = |outer: &BTreeMap<String, StringMatch>, inner: BTreeMap<String, StringMatch>| {
        let mut both = outer.clone();
        both.extend(inner);
        both
    };
    let pairs = outer.source_labels.iter().chain(source_labels.iter());
    HttpMatch {
        name: if name.is_empty() { outer.name.clone() } else { name },
        uri: uri.or_else(|| outer.uri.clone()),
        ignore_uri_case,
        scheme: scheme.or_else(|| outer.scheme.clone()),
        method: method.or_else(|| outer.method.clone()),
        authority: authority.or_else(|| outer.authority.clone()),
        headers: both(&outer.headers, headers),
        without_headers: both(&outer.without_headers, without_headers),
        query_params: both(&outer.query_params, query_params),
        port: port.or(outer.port),
        source_labels: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        source_namespace: source_namespace.or_else(|| outer.source_namespace.clone()),
        gateways: if gateways.is_empty() { outer.gateways.clone() } else { gateways },
        stat_prefix: stat_prefix.or_else(|| outer.stat_prefix.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::configs;

    fn virtual_service(name: &str, spec: &str) -> String {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"
        )
    }

    /// The routes of the first object after delegation: the paths of the conditions, and the timeout.
    fn routes(all: &[String]) -> Vec<String> {
        let configs = configs(&all.concat());
        let merged = with_delegates(&configs[0], |key| configs.iter().find(|config| config.key == *key));
        let routes = merged.spec.as_virtual_service().unwrap().http.iter().map(|http| {
            let paths: Vec<String> = http.matches.iter().map(|condition| format!("{:?}", condition.uri)).collect();
            format!("{} {} {:?}", http.name, paths.join(" "), http.timeout)
        });
        routes.collect()
    }

    fn root(http: &str) -> String {
        virtual_service("root", &format!("{{hosts: [a], http: [{http}]}}"))
    }

    const ROUTE: &str = "route: [{destination: {host: a}}]";

    #[test]
    fn the_routes_of_a_delegate_take_the_place_of_the_route_and_what_they_leave_out_is_that_of_the_route() {
        let root = root(&format!(
            "{{name: r, timeout: 3s, match: [{{uri: {{prefix: /a}}}}], delegate: {{name: d}}}}, {{{ROUTE}}}"
        ));
        let delegate = virtual_service(
            "d",
            &format!(
                "{{http: [{{name: x, timeout: 1s, match: [{{uri: {{exact: /a/b}}}}], {ROUTE}}}, \
                 {{match: [{{uri: {{prefix: /z}}}}], {ROUTE}}}, {{{ROUTE}}}]}}"
            ),
        );
        assert_eq!(
            routes(&[root, delegate]),
            ["r-x Some(Exact(\"/a/b\")) Some(1s)", "r Some(Prefix(\"/a\")) Some(3s)", "  None"]
        );
    }

    #[test]
    fn a_delegate_that_is_missing_or_has_hosts_or_is_not_exported_here_leaves_nothing() {
        let root = root(&format!("{{delegate: {{name: d}}}}, {{{ROUTE}}}"));
        for spec in ["{hosts: [b], http: [", "{exportTo: [shop], http: ["] {
            let delegate = virtual_service("d", &format!("{spec}{{{ROUTE}}}]}}"));
            assert_eq!(routes(&[root.clone(), delegate]).len(), 1, "{spec}");
        }
        assert_eq!(routes(&[root]).len(), 1);
    }

    #[test]
    fn a_ring_of_delegates_is_not_followed() {
        let root = root("{delegate: {name: root}}");
        assert!(routes(&[root]).is_empty());
    }

    #[test]
    fn conditions_lie_within_others_by_their_texts() {
        let text = |text: &str| text.to_owned();
        let (exact, prefix) = (StringMatch::Exact(text("/a/b")), StringMatch::Prefix(text("/a")));
        let regex = StringMatch::Regex(text("/a.*"));
        assert!(is_part(&exact, &prefix) && is_part(&exact, &exact) && is_part(&regex, &StringMatch::Present));
        assert!(!is_part(&prefix, &exact) && !is_part(&regex, &prefix) && !is_part(&exact, &regex));
    }
}
