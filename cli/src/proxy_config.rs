//! The command that shows what was sent to a sidecar: its clusters, endpoints, listeners and routes, each as a table of
//! what people look for in it.

mod rows;

use anyhow::{Result, bail};
use rutter_api::json::from_bytes;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{ResourceType, printable_line};
use serde_json::{Value, json};

use crate::args::{Config, Output};
use crate::client::Admin;
use crate::output::{Out, print, table};
use crate::usage::usage;
use rows::{Resource, Row, rows_of};

/// Shows what was sent to a sidecar, and whether it was acknowledged.
pub(crate) async fn config(admin: &mut Admin, wanted: Config, namespace: &str, out: Out<'_>) -> Result<()> {
    let (sidecar, types) = read_targets(&wanted.targets)?;
    let mut resources = Vec::new();
    let mut name = String::new();
    for resource_type in &types {
        let (sidecar, namespace) = (sidecar.clone(), namespace.to_owned());
        let request = pb::ProxyConfigRequest { sidecar, r#type: resource_type.word().into(), namespace };
        let response = admin.proxy_config(request).await?.into_inner();
        name = response.sidecar;
        for sent in response.resources {
            let json = from_bytes(&sent.type_url, &sent.body);
            if let (Err(error), false) = (&json, wanted.output == Output::Short) {
                bail!("{}: {error}", sent.name);
            }
            resources.push(Resource { sent, resource_type: *resource_type, json: json.unwrap_or_default() });
        }
    }
    if wanted.output == Output::Short {
        let mut is_first = true;
        for resource_type in types.iter().filter(|resource_type| **resource_type != ResourceType::VirtualHost) {
            let rows: Vec<Row> = resources.iter().flat_map(|resource| rows_of(resource, *resource_type)).collect();
            let rows: Vec<Row> = rows.into_iter().filter(|row| row.matches(&wanted.filter)).collect();
            if rows.is_empty() && types.len() > 2 {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                writeln!(out)?;
            }
            print_rows(*resource_type, &rows, out)?;
        }
        return Ok(());
    }
    let is_wanted = |resource: &&Resource| {
        let rows = rows_of(resource, resource.resource_type);
        rows.is_empty() || rows.iter().any(|row| row.matches(&wanted.filter))
    };
    let resources: Vec<Value> = resources.iter().filter(is_wanted).map(resource_json).collect();
    print(&json!({"sidecar": name, "resources": resources}), wanted.output, out)
}

/// Reads a sidecar and a type, in any order. Without a type, all are meant.
fn read_targets(targets: &[String]) -> Result<(String, Vec<ResourceType>)> {
    match targets {
        [sidecar] => Ok((sidecar.clone(), ResourceType::ALL.to_vec())),
        [first, second] => match (types_of(first), types_of(second)) {
            (Some(types), _) => Ok((second.clone(), types)),
            (None, Some(types)) => Ok((first.clone(), types)),
            (None, None) => {
                let words: Vec<&str> = ResourceType::ALL.iter().map(|resource_type| resource_type.word()).collect();
                let words = words.join(", ");
                Err(usage(format!("want a sidecar and all or one of {words}, got {first:?} and {second:?}")))
            }
        },
        _ => Err(usage("want a sidecar and a type")),
    }
}

/// Returns the types that a word means: the name of a type, its plural, its short name in xDS, or a beginning of one of
/// them. Routes are shown with the virtual hosts that are resources of their own.
fn types_of(word: &str) -> Option<Vec<ResourceType>> {
    let word = word.to_ascii_lowercase();
    if word == "all" || word == "a" {
        return Some(ResourceType::ALL.to_vec());
    }
    let is_meant = |resource_type: &ResourceType| {
        let name = resource_type.word();
        format!("{name}s").starts_with(&word) || short_name(*resource_type) == word
    };
    let resource_type = ResourceType::ALL.into_iter().find(is_meant)?;
    let with_virtual_hosts = vec![ResourceType::Route, ResourceType::VirtualHost];
    Some(if resource_type == ResourceType::Route { with_virtual_hosts } else { vec![resource_type] })
}

fn short_name(resource_type: ResourceType) -> &'static str {
    match resource_type {
        ResourceType::Cluster => "cds",
        ResourceType::Endpoint => "eds",
        ResourceType::Listener => "lds",
        ResourceType::Route => "rds",
        ResourceType::Secret => "sds",
        ResourceType::VirtualHost => "vhds",
    }
}

fn heads(resource_type: ResourceType) -> &'static [&'static str] {
    match resource_type {
        ResourceType::Cluster => &["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "STATE", "MADE FROM"],
        ResourceType::Endpoint => &["ENDPOINT", "HEALTH", "WEIGHT", "CLUSTER", "STATE", "MADE FROM"],
        ResourceType::Listener => &["LISTENER", "ADDRESS", "MATCH", "DESTINATION", "STATE"],
        ResourceType::Route | ResourceType::VirtualHost => {
            &["ROUTES", "VIRTUAL HOST", "MATCH", "DESTINATION", "WEIGHT", "TIMEOUT", "STATE", "MADE FROM"]
        }
        ResourceType::Secret => &["NAME", "STATE"],
    }
}

fn print_rows(resource_type: ResourceType, rows: &[Row], out: Out<'_>) -> Result<()> {
    let mut table = table(heads(resource_type).iter().copied());
    for row in rows {
        table.add_row(row.cells.iter().map(|cell| printable_line(cell)));
    }
    writeln!(out, "{table}")?;
    Ok(())
}

fn resource_json(resource: &Resource) -> Value {
    let Resource { sent, resource_type: _, json } = resource;
    json!({
        "type": sent.type_url, "name": sent.name, "version": sent.version, "state": sent.state().as_str_name(),
        "error": sent.error, "sources": sent.sources, "resource": json,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_and_a_type_may_stand_in_any_order() {
        let read = |targets: &[&str]| {
            let targets: Vec<String> = targets.iter().map(|target| (*target).to_owned()).collect();
            read_targets(&targets).map(|(sidecar, types)| {
                let words: Vec<&str> = types.iter().map(|resource_type| resource_type.word()).collect();
                format!("{sidecar}: {}", words.join(" "))
            })
        };
        assert_eq!(read(&["web-1", "cluster"]).unwrap(), "web-1: cluster");
        assert_eq!(read(&["clusters", "web-1"]).unwrap(), "web-1: cluster");
        assert_eq!(read(&["r", "web-1"]).unwrap(), "web-1: route virtualhost");
        assert_eq!(read(&["web-1", "eds"]).unwrap(), "web-1: endpoint");
        assert!(read(&["web-1"]).unwrap().starts_with("web-1: cluster endpoint listener"));
        let error = read(&["web-1", "pods"]).unwrap_err().to_string();
        assert!(error.starts_with("want a sidecar and all or one of cluster, endpoint"), "{error}");
    }
}
