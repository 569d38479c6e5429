//! Rules of VirtualServices that others before them leave nothing for.

use std::collections::BTreeMap;

use rutter_api::config::istio::{HttpMatch, StringMatch, TcpMatch, VirtualService};

use super::code::Code;
use super::finding::Found;
use crate::model::is_part;

/// What of a rule counts here.
struct Rule<'a, M> {
    /// Its conditions. Empty means that it takes everything.
    conditions: Vec<&'a M>,
    /// Whether it takes only what another VirtualService has conditions for.
    delegates: bool,
}

pub(super) fn check(spec: &VirtualService, found: &mut Found<'_>) {
    let http: Vec<Rule<'_, HttpMatch>> = spec
        .http
        .iter()
        .map(|http| Rule { conditions: http.matches.iter().collect(), delegates: http.delegate.is_some() })
        .collect();
    check_rules(
        "http",
        &http,
        &Compare { covers: is_covered, takes_all: |condition| is_covered(condition, &HttpMatch::default()) },
        found,
    );
    let tls: Vec<_> =
        spec.tls.iter().map(|tls| Rule { conditions: tls.matches.iter().collect(), delegates: false }).collect();
    check_rules("tls", &tls, &Compare { covers: PartialEq::eq, takes_all: |_| false }, found);
    let tcp: Vec<_> =
        spec.tcp.iter().map(|tcp| Rule { conditions: tcp.matches.iter().collect(), delegates: false }).collect();
    check_rules("tcp", &tcp, &Compare { covers: PartialEq::eq, takes_all: takes_all_connections }, found);
}

/// How conditions of one sort are compared.
struct Compare<M> {
    /// Whether everything that the second condition takes is taken by the first.
    covers: fn(&M, &M) -> bool,
    /// Whether a condition takes everything.
    takes_all: fn(&M) -> bool,
}

/// Tells the rules of one sort that nothing is left for.
fn check_rules<M>(sort: &str, rules: &[Rule<'_, M>], compare: &Compare<M>, found: &mut Found<'_>) {
    let mut catch_all = None;
    let mut earlier: Vec<(String, &M)> = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let path = format!("spec.{sort}[{at}]");
        if let Some(first) = catch_all {
            let cause = format!("spec.{sort}[{first}] stands before it and takes everything");
            found.add(Code::VirtualServiceUnreachableRule, path, cause, "Put the rule that takes everything last.");
            continue;
        }
        if !rule.delegates
            && (rule.conditions.is_empty() || rule.conditions.iter().any(|condition| (compare.takes_all)(condition)))
        {
            catch_all = Some(at);
        }
        if rule.conditions.is_empty() {
            continue;
        }
        let covered = rule.conditions.iter().enumerate().filter_map(|(number, condition)| {
            let (by, _) = earlier.iter().find(|(_, before)| (compare.covers)(before, condition))?;
            Some((number, by.clone()))
        });
        let covered: Vec<(usize, String)> = covered.collect();
        if covered.len() == rule.conditions.len() {
            let by: Vec<&str> = covered.iter().map(|(_, by)| by.as_str()).collect();
            let cause = format!("what it takes is taken before it, by {}", by.join(" and "));
            found.add(
                Code::VirtualServiceUnreachableRule,
                path.clone(),
                cause,
                "Put it before the wider one, or remove it.",
            );
        } else {
            for (number, by) in &covered {
                let cause = format!("what it takes is taken before it, by {by}");
                let path = format!("{path}.match[{number}]");
                let fix = "Put the rule before the wider one, or remove the condition.";
                found.add(Code::VirtualServiceIneffectiveMatch, path, cause, fix);
            }
        }
        if rule.delegates {
            continue;
        }
        // Conditions of one rule lead to one place, so that only later rules are compared with them.
        let of_rule = rule.conditions.iter().enumerate();
        earlier.extend(of_rule.map(|(number, condition)| (format!("{path}.match[{number}]"), *condition)));
    }
}

/// Returns whether every request that the second condition takes is taken by the first.
fn is_covered(wide: &HttpMatch, narrow: &HttpMatch) -> bool {
    // A new field does not compile until it is decided whether it narrows a condition.
    let HttpMatch {
        name: _,
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
        stat_prefix: _,
    } = wide;
    let is_case_alike = *ignore_uri_case == narrow.ignore_uri_case || uri.as_ref().is_none_or(is_any_path);
    is_case_alike
        && is_text_covered(uri.as_ref().filter(|uri| !is_any_path(uri)), narrow.uri.as_ref())
        && is_text_covered(scheme.as_ref(), narrow.scheme.as_ref())
        && is_text_covered(method.as_ref(), narrow.method.as_ref())
        && is_text_covered(authority.as_ref(), narrow.authority.as_ref())
        && are_covered(headers, &narrow.headers)
        && are_covered(query_params, &narrow.query_params)
        && without_headers.iter().all(|(name, value)| narrow.without_headers.get(name) == Some(value))
        && (port.is_none() || *port == narrow.port)
        && (source_labels.is_empty() || source_labels.selects(&narrow.source_labels))
        && (source_namespace.is_none() || *source_namespace == narrow.source_namespace)
        && (gateways.is_empty() || *gateways == narrow.gateways)
}

fn takes_all_connections(condition: &TcpMatch) -> bool {
    let TcpMatch { destination_subnets, port, source_labels, source_namespace, gateways } = condition;
    destination_subnets.is_empty()
        && port.is_none()
        && source_labels.is_empty()
        && source_namespace.is_none()
        && gateways.is_empty()
}

/// Returns whether every path is as a text says: they all begin with a slash.
fn is_any_path(uri: &StringMatch) -> bool {
    matches!(uri, StringMatch::Prefix(prefix) if prefix.is_empty() || prefix == "/")
}

fn are_covered(wide: &BTreeMap<String, StringMatch>, narrow: &BTreeMap<String, StringMatch>) -> bool {
    wide.iter().all(|(name, value)| is_text_covered(Some(value), narrow.get(name)))
}

fn is_text_covered(wide: Option<&StringMatch>, narrow: Option<&StringMatch>) -> bool {
    match (wide, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => wide == narrow || is_part(narrow, wide),
    }
}
