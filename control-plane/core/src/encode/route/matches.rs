//! Which requests a route takes.

use matcher::string_matcher::MatchPattern;
use rutter_api::config::istio::{HttpMatch, StringMatch};
use rutter_api::pb::envoy::config::route::v3 as pb;
use rutter_api::pb::envoy::r#type::matcher::v3 as matcher;

/// Returns the match of every request whose path begins with `path`.
pub(super) fn prefix(path: &str) -> pb::RouteMatch {
    pb::RouteMatch { path_specifier: Some(pb::route_match::PathSpecifier::Prefix(path.into())), ..Default::default() }
}

/// Returns the match of a VirtualService's condition, or of every request if there is no condition.
pub(super) fn route_match(condition: Option<&HttpMatch>) -> pb::RouteMatch {
    let Some(condition) = condition else { return prefix("/") };
    // The names are for statistics, and whether a condition can hold for a port or a client was decided already. A new
    // field of a condition does not compile until it is encoded here.
    let HttpMatch {
        name: _,
        stat_prefix: _,
        port: _,
        source_labels: _,
        source_namespace: _,
        gateways: _,
        uri,
        ignore_uri_case,
        scheme,
        method,
        authority,
        headers,
        without_headers,
        query_params,
    } = condition;
    let path = match uri {
        None | Some(StringMatch::Present) => pb::route_match::PathSpecifier::Prefix("/".into()),
        Some(StringMatch::Prefix(text)) => pb::route_match::PathSpecifier::Prefix(text.clone()),
        Some(StringMatch::Exact(text)) => pb::route_match::PathSpecifier::Path(text.clone()),
        Some(StringMatch::Regex(pattern)) => pb::route_match::PathSpecifier::SafeRegex(regex(pattern)),
    };
    let mut header_matchers: Vec<pb::HeaderMatcher> =
        headers.iter().map(|(name, text)| header_matcher(name, text)).collect();
    header_matchers.extend(without_headers.iter().map(|(name, text)| inverted_header_matcher(name, text)));
    for (name, text) in [(":method", method), (":authority", authority), (":scheme", scheme)] {
        header_matchers.extend(text.iter().map(|text| header_matcher(name, text)));
    }
    pb::RouteMatch {
        path_specifier: Some(path),
        headers: header_matchers,
        query_parameters: query_params.iter().map(|(name, text)| parameter_matcher(name, text)).collect(),
        case_sensitive: Some(!ignore_uri_case),
        ..Default::default()
    }
}

/// Returns a regular expression that the whole text has to match.
pub(super) fn regex(pattern: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: pattern.to_owned(), ..Default::default() }
}

/// Returns the matcher of a text. `None` means that the text has only to be there.
pub(super) fn string_matcher(text: &StringMatch) -> Option<matcher::StringMatcher> {
    let pattern = match text {
        StringMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        StringMatch::Prefix(text) => MatchPattern::Prefix(text.clone()),
        StringMatch::Regex(pattern) => MatchPattern::SafeRegex(regex(pattern)),
        StringMatch::Present => return None,
    };
    Some(matcher::StringMatcher { match_pattern: Some(pattern), ..Default::default() })
}

fn header_matcher(name: &str, text: &StringMatch) -> pb::HeaderMatcher {
    use pb::header_matcher::HeaderMatchSpecifier;
    let specifier = string_matcher(text);
    let specifier = specifier.map_or(HeaderMatchSpecifier::PresentMatch(true), HeaderMatchSpecifier::StringMatch);
    pb::HeaderMatcher { name: name.to_owned(), header_match_specifier: Some(specifier), ..Default::default() }
}

/// Returns the matcher of requests whose header is not so. A header that is missing counts as empty; without that Envoy
/// takes no request at all in which it is missing.
fn inverted_header_matcher(name: &str, text: &StringMatch) -> pb::HeaderMatcher {
    pb::HeaderMatcher {
        invert_match: true,
        treat_missing_header_as_empty: *text != StringMatch::Present,
        ..header_matcher(name, text)
    }
}

fn parameter_matcher(name: &str, text: &StringMatch) -> pb::QueryParameterMatcher {
    use pb::query_parameter_matcher::QueryParameterMatchSpecifier;
    let specifier = string_matcher(text);
    let specifier =
        specifier.map_or(QueryParameterMatchSpecifier::PresentMatch(true), QueryParameterMatchSpecifier::StringMatch);
    pb::QueryParameterMatcher { name: name.to_owned(), query_parameter_match_specifier: Some(specifier) }
}
