//! Which requests a route takes.

use rutter_api::config::istio::{HeaderMatch, HttpMatch, StringMatch};
use rutter_api::pb::envoy::config::route::v3 as pb;
use rutter_api::pb::envoy::r#type::matcher::v3 as matcher;

/// Returns the match of every request whose path begins with `path`.
pub(super) fn prefix(path: &str) -> pb::RouteMatch {
    pb::RouteMatch { path_specifier: Some(pb::route_match::PathSpecifier::Prefix(path.into())), ..Default::default() }
}

/// Returns the match of a VirtualService's condition, or of every request if there is no condition.
pub(super) fn route_match(condition: Option<&HttpMatch>) -> pb::RouteMatch {
    let Some(condition) = condition else { return prefix("/") };
    // The name is for statistics. A new field of a condition does not compile until it is encoded here.
    let HttpMatch { name: _, uri, headers } = condition;
    let path = match uri {
        None => pb::route_match::PathSpecifier::Prefix("/".into()),
        Some(StringMatch::Prefix(text)) => pb::route_match::PathSpecifier::Prefix(text.clone()),
        Some(StringMatch::Exact(text)) => pb::route_match::PathSpecifier::Path(text.clone()),
    };
    pb::RouteMatch {
        path_specifier: Some(path),
        headers: headers.iter().map(|(name, header)| header_matcher(name, header)).collect(),
        case_sensitive: Some(true),
        ..Default::default()
    }
}

/// A header without a value to compare has only to be there.
fn header_matcher(name: &str, header: &HeaderMatch) -> pb::HeaderMatcher {
    use matcher::string_matcher::MatchPattern;
    let HeaderMatch { exact, prefix } = header;
    let pattern = match (exact, prefix) {
        (Some(text), _) => Some(MatchPattern::Exact(text.clone())),
        (None, Some(text)) => Some(MatchPattern::Prefix(text.clone())),
        (None, None) => None,
    };
    let specifier = match pattern {
        Some(pattern) => pb::header_matcher::HeaderMatchSpecifier::StringMatch(matcher::StringMatcher {
            match_pattern: Some(pattern),
            ..Default::default()
        }),
        None => pb::header_matcher::HeaderMatchSpecifier::PresentMatch(true),
    };
    pb::HeaderMatcher { name: name.to_owned(), header_match_specifier: Some(specifier), ..Default::default() }
}
