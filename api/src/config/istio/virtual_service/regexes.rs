//! The regular expressions of a VirtualService, all of which the proxy runs.

use super::actions::{CorsPolicy, HttpRewrite};
use super::matches::{HttpMatch, StringMatch};
use super::{HttpRoute, VirtualService};
use crate::re2::program_size;

/// A regular expression of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regex<'a> {
    /// Where it stands.
    pub path: String,
    /// The regular expression.
    pub pattern: &'a str,
}

impl Regex<'_> {
    /// Returns about how many instructions the program has to which the proxy compiles it.
    pub fn program_size(&self) -> usize {
        program_size(self.pattern)
    }
}

impl VirtualService {
    /// Returns all regular expressions.
    pub fn regexes(&self) -> Vec<Regex<'_>> {
        let mut regexes = Vec::new();
        for (index, http) in self.http.iter().enumerate() {
            add_route(&format!("spec.http[{index}]"), http, &mut regexes);
        }
        regexes
    }
}

fn add_route<'a>(path: &str, http: &'a HttpRoute, regexes: &mut Vec<Regex<'a>>) {
    for (index, condition) in http.matches.iter().enumerate() {
        add_condition(&format!("{path}.match[{index}]"), condition, regexes);
    }
    if let Some(HttpRewrite { uri_regex_rewrite: Some(rewrite), uri: _, authority: _ }) = http.rewrite.as_deref() {
        regexes.push(Regex { path: format!("{path}.rewrite.uriRegexRewrite.match"), pattern: &rewrite.pattern });
    }
    if let Some(CorsPolicy { allow_origins, .. }) = http.cors_policy.as_deref() {
        for (index, origin) in allow_origins.iter().enumerate() {
            add_text(&format!("{path}.corsPolicy.allowOrigins[{index}]"), origin, regexes);
        }
    }
}

fn add_condition<'a>(path: &str, condition: &'a HttpMatch, regexes: &mut Vec<Regex<'a>>) {
    let HttpMatch { uri, scheme, method, authority, headers, without_headers, query_params, .. } = condition;
    for (name, text) in [("uri", uri), ("scheme", scheme), ("method", method), ("authority", authority)] {
        text.iter().for_each(|text| add_text(&format!("{path}.{name}"), text, regexes));
    }
    for (field, texts) in [("headers", headers), ("withoutHeaders", without_headers), ("queryParams", query_params)] {
        for (name, text) in texts {
            add_text(&format!("{path}.{field}.{name}"), text, regexes);
        }
    }
}

fn add_text<'a>(path: &str, text: &'a StringMatch, regexes: &mut Vec<Regex<'a>>) {
    if let StringMatch::Regex(pattern) = text {
        regexes.push(Regex { path: format!("{path}.regex"), pattern });
    }
}
