//! What a route takes, in words.

use rutter_api::pb::envoy::config::route::v3 as pb;
use rutter_api::pb::envoy::r#type::matcher::v3 as matcher;

/// Returns what a route takes, in words.
pub(crate) fn condition(condition: Option<&pb::RouteMatch>) -> String {
    use pb::query_parameter_matcher::QueryParameterMatchSpecifier;
    use pb::route_match::PathSpecifier;
    let Some(condition) = condition else { return "*".to_owned() };
    let path = match &condition.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => format!("{prefix}*"),
        Some(PathSpecifier::Path(path)) => path.clone(),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => format!("{prefix}/*"),
        Some(PathSpecifier::SafeRegex(regex)) => format!("~{}", regex.regex),
        Some(_) | None => "*".to_owned(),
    };
    let headers = condition.headers.iter().map(|header| {
        let not = if header.invert_match { "not " } else { "" };
        format!(" {not}{}{}", header.name, header_text(header))
    });
    let queries = condition.query_parameters.iter().map(|query| match &query.query_parameter_match_specifier {
        Some(QueryParameterMatchSpecifier::StringMatch(text)) => format!(" ?{}{}", query.name, string_text(text)),
        Some(QueryParameterMatchSpecifier::PresentMatch(_)) | None => format!(" ?{}", query.name),
    });
    let others: String = headers.chain(queries).collect();
    format!("{path}{others}")
}

fn header_text(header: &pb::HeaderMatcher) -> String {
    use pb::header_matcher::HeaderMatchSpecifier;
    match &header.header_match_specifier {
        Some(HeaderMatchSpecifier::StringMatch(text)) => string_text(text),
        Some(HeaderMatchSpecifier::PresentMatch(_)) | None => String::new(),
        Some(other) => format!("({other:?})"),
    }
}

fn string_text(text: &matcher::StringMatcher) -> String {
    use matcher::string_matcher::MatchPattern;
    match &text.match_pattern {
        Some(MatchPattern::Exact(text)) => format!("={text}"),
        Some(MatchPattern::Prefix(text)) => format!("={text}*"),
        Some(MatchPattern::Suffix(text)) => format!("=*{text}"),
        Some(MatchPattern::Contains(text)) => format!("=*{text}*"),
        Some(MatchPattern::SafeRegex(regex)) => format!("~{}", regex.regex),
        Some(MatchPattern::Custom(_)) | None => String::new(),
    }
}
