//! The command that shows what was sent to a sidecar: its clusters, endpoints, listeners and routes, each as a table of
//! what people look for in it.

mod rows;

use anyhow::{Result, bail};
use rutter_api::json::from_bytes;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{ResourceType, printable_line};
use serde_json::{Value, json};

use crate::args::{Config, Filter, Output};
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
        return print_tables(&types, &resources, &wanted.filter, out);
    }
    let is_wanted = |resource: &&Resource| {
        let rows = rows_of(resource, resource.resource_type);
        rows.is_empty() || rows.iter().any(|row| row.matches(&wanted.filter))
    };
    let resources: Vec<Value> = resources.iter().filter(is_wanted).map(resource_json).collect();
    print(&json!({"sidecar": name, "resources": resources}), wanted.output, out)
}

/// Prints a table for each type. Of several types, those without rows are left out.
fn print_tables(types: &[ResourceType], resources: &[Resource], filter: &Filter, out: Out<'_>) -> Result<()> {
    let mut is_first = true;
    let is_shown = |resource_type: &&ResourceType| {
        **resource_type != ResourceType::VirtualHost || !types.contains(&ResourceType::Route)
    };
    for resource_type in types.iter().filter(is_shown) {
        let rows = resources.iter().flat_map(|resource| rows_of(resource, *resource_type));
        let rows: Vec<Row> = rows.filter(|row| row.matches(filter)).collect();
        if rows.is_empty() && types.len() > 2 {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            writeln!(out)?;
        }
        print_rows(*resource_type, &rows, out)?;
    }
    if is_first {
        eprintln!("nothing matches");
    }
    Ok(())
}

/// Reads a sidecar and a type, in any order. Without a type, all are meant.
fn read_targets(targets: &[String]) -> Result<(String, Vec<ResourceType>)> {
    match targets {
        [word] if ResourceType::from_word(word).is_some() => {
            Err(usage(format!("want a sidecar beside the type {word}")))
        }
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
        let is_alias = *resource_type == ResourceType::Endpoint && word == "ep";
        format!("{name}s").starts_with(&word) || short_name(*resource_type) == word || is_alias
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
    use expect_test::expect;

    use super::*;

    fn resource(resource_type: ResourceType, name: &str, state: pb::sent_resource::State, json: Value) -> Resource {
        let error = if state == pb::sent_resource::State::Refused { "no such thing\n" } else { "" };
        let sent = pb::SentResource {
            type_url: resource_type.type_url().into(),
            name: name.into(),
            version: "0123456789abcdef".into(),
            state: state as i32,
            error: error.into(),
            sources: vec!["service shop/a".into()],
            ..Default::default()
        };
        Resource { sent, resource_type, json }
    }

    fn resources() -> Vec<Resource> {
        use pb::sent_resource::State::{Acked, Due, Refused, Sent};
        let host = |name: &str, domain: &str| json!({"name": name, "domains": [domain], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "outbound|80||a.shop"}}]});
        let address = json!({"socket_address": {"address": "10.0.0.1", "port_value": 80}});
        let endpoint = json!({"endpoint": {"address": address}});
        vec![
            resource(ResourceType::Cluster, "outbound|80||a.shop", Acked, json!({"type": "EDS"})),
            resource(ResourceType::Cluster, "inbound|8080||", Refused, json!({})),
            resource(
                ResourceType::Endpoint,
                "outbound|80||a.shop",
                Sent,
                json!({"endpoints": [{"lb_endpoints": [endpoint]}]}),
            ),
            resource(ResourceType::Listener, "virtualOutbound", Due, json!({"address": {"pipe": {"path": "/a.sock"}}})),
            resource(ResourceType::Route, "80", Acked, json!({"virtual_hosts": [host("allow_any", "*")]})),
            resource(ResourceType::VirtualHost, "80/a.shop:80", Acked, host("80/a.shop:80", "a.shop")),
        ]
    }

    fn printed(types: &[ResourceType], filter: &Filter) -> String {
        let mut out = Vec::new();
        print_tables(types, &resources(), filter, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| format!("|{}\n", line.trim_end())).collect()
    }

    #[test]
    fn each_type_has_a_table_and_virtual_hosts_stand_among_the_routes() {
        expect![[r#"
            | SERVICE FQDN  PORT  SUBSET  DIRECTION  TYPE    STATE                   MADE FROM
            | a.shop        80    -       outbound   EDS     ACKED                   service shop/a
            | -             8080  -       inbound    STATIC  REFUSED: no such thing  service shop/a
            |
            | ENDPOINT     HEALTH   WEIGHT  CLUSTER              STATE  MADE FROM
            | 10.0.0.1:80  HEALTHY  -       outbound|80||a.shop  SENT   service shop/a
            |
            | LISTENER         ADDRESS  MATCH     DESTINATION  STATE
            | virtualOutbound  /a.sock  anything  -            DUE
            |
            | ROUTES  VIRTUAL HOST  MATCH  DESTINATION  WEIGHT  TIMEOUT  STATE  MADE FROM
            | 80      allow_any     /*     a.shop:80    -       -        ACKED  service shop/a
            | 80      a.shop:80     /*     a.shop:80    -       -        ACKED  service shop/a
        "#]]
        .assert_eq(&printed(&ResourceType::ALL, &Filter::default()));
    }

    #[test]
    fn a_filter_that_nothing_matches_leaves_the_heads_of_the_only_table() {
        let none = Filter { port: Some(9), ..Filter::default() };
        expect![[r#"
            | SERVICE FQDN  PORT  SUBSET  DIRECTION  TYPE  STATE  MADE FROM
        "#]]
        .assert_eq(&printed(&[ResourceType::Cluster], &none));
        assert_eq!(printed(&ResourceType::ALL, &none), "");
        let by_name = Filter { name: Some("80/a.shop:80".into()), ..Filter::default() };
        expect![[r#"
            | ROUTES  VIRTUAL HOST  MATCH  DESTINATION  WEIGHT  TIMEOUT  STATE  MADE FROM
            | 80      a.shop:80     /*     a.shop:80    -       -        ACKED  service shop/a
        "#]]
        .assert_eq(&printed(&[ResourceType::Route, ResourceType::VirtualHost], &by_name));
    }

    #[test]
    fn json_has_the_state_and_the_objects_of_a_resource() {
        expect![[r#"
            {
              "error": "no such thing\n",
              "name": "inbound|8080||",
              "resource": {},
              "sources": [
                "service shop/a"
              ],
              "state": "REFUSED",
              "type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
              "version": "0123456789abcdef"
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&resource_json(&resources()[1])).unwrap());
    }

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
        assert_eq!(read(&["ep", "web-1"]).unwrap(), "web-1: endpoint");
        assert_eq!(read(&["v", "web-1"]).unwrap(), "web-1: virtualhost");
        assert_eq!(read(&["cluster"]).unwrap_err().to_string(), "want a sidecar beside the type cluster");
        assert!(read(&["web-1"]).unwrap().starts_with("web-1: cluster endpoint listener"));
        let error = read(&["web-1", "pods"]).unwrap_err().to_string();
        assert!(error.starts_with("want a sidecar and all or one of cluster, endpoint"), "{error}");
    }
}
