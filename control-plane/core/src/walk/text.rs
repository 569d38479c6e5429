//! Whether texts match.

use matcher::string_matcher::MatchPattern;
use regex::bytes::{Regex, RegexBuilder};
use rutter_api::pb::envoy::config::route::v3 as pb;
use rutter_api::pb::envoy::r#type::matcher::v3 as matcher;

use super::HttpRequest;

/// Returns a regular expression of RE2.
pub(super) fn regex(pattern: &str) -> Option<Regex> {
    let pattern = rutter_api::re2_as_rust(pattern);
    // Paths and headers are bytes. Where the expression asks for classes of Unicode, it is about characters.
    let bytes = RegexBuilder::new(&pattern).unicode(false).build();
    bytes.or_else(|_| RegexBuilder::new(&pattern).build()).ok()
}

/// Returns whether a regular expression takes the whole of a text.
pub(super) fn takes_whole(pattern: &str, text: &str) -> bool {
    regex(&format!("^(?:{pattern})$")).is_some_and(|regex| regex.is_match(text.as_bytes()))
}

/// Returns whether a matcher takes a text.
pub(super) fn takes(matcher: &matcher::StringMatcher, text: &str) -> bool {
    let fold = |text: &str| if matcher.ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(pattern)) => fold(text) == fold(pattern),
        Some(MatchPattern::Prefix(pattern)) => fold(text).starts_with(&fold(pattern)),
        Some(MatchPattern::Suffix(pattern)) => fold(text).ends_with(&fold(pattern)),
        Some(MatchPattern::Contains(pattern)) => fold(text).contains(&fold(pattern)),
        Some(MatchPattern::SafeRegex(regex)) => takes_whole(&regex.regex, text),
        Some(MatchPattern::Custom(_)) | None => false,
    }
}

/// Returns whether the headers of a request are as a matcher wants them.
pub(super) fn takes_header(matcher: &pb::HeaderMatcher, request: &HttpRequest) -> bool {
    use pb::header_matcher::HeaderMatchSpecifier;
    let value = request.header(&matcher.name);
    let wants = match &matcher.header_match_specifier {
        Some(HeaderMatchSpecifier::PresentMatch(is_wanted)) => {
            return (value.is_some() == *is_wanted) != matcher.invert_match;
        }
        None => return value.is_some() != matcher.invert_match,
        Some(HeaderMatchSpecifier::StringMatch(text)) => text,
        // The control plane writes no other.
        Some(_) => return false,
    };
    match value {
        None if !matcher.treat_missing_header_as_empty => false,
        value => takes(wants, &value.unwrap_or_default()) != matcher.invert_match,
    }
}

/// Returns whether the query of a request is as a matcher wants it. The first parameter of a name counts.
pub(super) fn takes_parameter(matcher: &pb::QueryParameterMatcher, request: &HttpRequest) -> bool {
    use pb::query_parameter_matcher::QueryParameterMatchSpecifier;
    let query = request.query().strip_prefix('?').unwrap_or_default();
    let mut parameters = query.split('&').map(|part| part.split_once('=').unwrap_or((part, "")));
    let value = parameters.find(|(name, _)| *name == matcher.name).map(|(_, value)| value);
    match &matcher.query_parameter_match_specifier {
        Some(QueryParameterMatchSpecifier::PresentMatch(is_wanted)) => value.is_some() == *is_wanted,
        Some(QueryParameterMatchSpecifier::StringMatch(text)) => value.is_some_and(|value| takes(text, value)),
        None => value.is_some(),
    }
}
