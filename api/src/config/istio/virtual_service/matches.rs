//! Which requests a route of a VirtualService takes.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use serde::Deserialize;

use crate::labels::Labels;

/// One condition of a route. Everything that is given in it must hold.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpMatch {
    /// A name for logs and statistics; it has no effect on routing.
    #[serde(default)]
    pub name: String,
    /// What the path must be. Absent means any path.
    #[serde(default)]
    pub uri: Option<StringMatch>,
    /// Whether `uri` is compared without regard to case. It has no effect on a regular expression.
    #[serde(default)]
    pub ignore_uri_case: bool,
    /// What the scheme of the URL must be.
    #[serde(default)]
    pub scheme: Option<StringMatch>,
    /// What the method must be.
    #[serde(default)]
    pub method: Option<StringMatch>,
    /// What the host that the client asks for must be, with its port if the client sends one.
    #[serde(default)]
    pub authority: Option<StringMatch>,
    /// What headers must be, by their lower-case name.
    #[serde(default)]
    pub headers: BTreeMap<String, StringMatch>,
    /// What headers must not be, by their lower-case name. A header that is missing is none of them.
    #[serde(default)]
    pub without_headers: BTreeMap<String, StringMatch>,
    /// What parameters of the query must be, by their name.
    #[serde(default)]
    pub query_params: BTreeMap<String, StringMatch>,
    /// The port of the service that the client uses, or the port of the gateway's server.
    #[serde(default)]
    pub port: Option<NonZeroU16>,
    /// The labels that the client's workload must have. Gateways pass the condition over.
    #[serde(default)]
    pub source_labels: Labels,
    /// The namespace that the client must be in.
    #[serde(default)]
    pub source_namespace: Option<String>,
    /// Where the condition holds, `mesh` or gateways. Empty means where the VirtualService does.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// The prefix of the route's statistics in the proxy. Absent means that the proxy counts nothing for the route.
    #[serde(default)]
    pub stat_prefix: Option<String>,
}

/// What a text must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "StringMatchFields")]
pub enum StringMatch {
    /// The text is exactly this.
    Exact(String),
    /// The text begins with this.
    Prefix(String),
    /// The whole text matches this regular expression, in RE2's syntax.
    Regex(String),
    /// The text is there, with any value. It is written as `{}`.
    Present,
}

/// A [`StringMatch`] as it is written.
#[derive(Deserialize)]
struct StringMatchFields {
    exact: Option<String>,
    prefix: Option<String>,
    regex: Option<String>,
}

impl TryFrom<StringMatchFields> for StringMatch {
    type Error = &'static str;

    fn try_from(fields: StringMatchFields) -> Result<Self, Self::Error> {
        match (fields.exact, fields.prefix, fields.regex) {
            (Some(text), None, None) => Ok(Self::Exact(text)),
            (None, Some(text), None) => Ok(Self::Prefix(text)),
            (None, None, Some(text)) => Ok(Self::Regex(text)),
            (None, None, None) => Ok(Self::Present),
            (Some(_), ..) | (_, Some(_), _) => Err("want one of exact, prefix and regex, got several"),
        }
    }
}
