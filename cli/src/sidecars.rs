//! The commands about sidecars: their state, and what they were sent.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use rutter_api::json::from_bytes;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{ResourceType, brief, printable_line};
use serde_json::{Value, json};

use crate::args::{Config, Output, Status};
use crate::client::Admin;
use crate::output::{Out, print, table};

/// The columns of the table of sidecars that are about a resource type: the usual short name of each type. Secrets have
/// none, because no sidecar is sent any yet.
fn column(resource_type: ResourceType) -> Option<&'static str> {
    match resource_type {
        ResourceType::Cluster => Some("CDS"),
        ResourceType::Endpoint => Some("EDS"),
        ResourceType::Listener => Some("LDS"),
        ResourceType::Route => Some("RDS"),
        ResourceType::Secret => None,
        ResourceType::VirtualHost => Some("VHDS"),
    }
}

/// Shows each sidecar, and whether it has acknowledged its config.
pub(crate) async fn status(admin: &mut Admin, wanted: Status, out: Out<'_>) -> Result<()> {
    let response = admin.proxy_status(pb::ProxyStatusRequest {}).await?.into_inner();
    if wanted.output != Output::Short {
        let sidecars: Vec<Value> = response.sidecars.iter().map(sidecar_json).collect();
        return print(&json!({"revision": response.revision, "sidecars": sidecars}), wanted.output, out);
    }
    print_sidecars(&response.sidecars, out)
}

/// Prints a table of sidecars, and below it what they refuse.
fn print_sidecars(sidecars: &[pb::Sidecar], out: Out<'_>) -> Result<()> {
    if sidecars.is_empty() {
        writeln!(out, "no sidecar is connected (rutterctl bootstrap prints what a proxy needs)")?;
        return Ok(());
    }
    let types: Vec<ResourceType> =
        ResourceType::ALL.into_iter().filter(|resource_type| column(*resource_type).is_some()).collect();
    let columns = types.iter().filter_map(|resource_type| column(*resource_type));
    let mut rows = table(["SIDECAR", "IP"].into_iter().chain(columns).chain(["VERSION", "CONNECTED"]));
    for sidecar in sidecars {
        let mut row = vec![sidecar.id.clone(), sidecar.ip.clone()];
        row.extend(types.iter().map(|resource_type| type_cell(sidecar, *resource_type)));
        row.extend([printable_line(&sidecar.version), age(sidecar.connected_ms)]);
        rows.add_row(row);
    }
    writeln!(out, "{rows}")?;
    print_contested(sidecars, out)?;
    sidecars.iter().try_for_each(|sidecar| print_refusals(sidecar, out))
}

/// Names the sidecars that several addresses claim to be.
fn print_contested(sidecars: &[pb::Sidecar], out: Out<'_>) -> Result<()> {
    let mut addresses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for sidecar in sidecars.iter().filter(|sidecar| sidecar.contested) {
        addresses.entry(&sidecar.id).or_default().insert(&sidecar.peer);
    }
    for (id, addresses) in addresses {
        let addresses = addresses.into_iter().collect::<Vec<_>>().join(", ");
        writeln!(out, "{id} is claimed from several addresses, of which all but one may be false: {addresses}")?;
    }
    Ok(())
}

fn print_refusals(sidecar: &pb::Sidecar, out: Out<'_>) -> Result<()> {
    for refused in sidecar.types.iter().flat_map(|status| &status.refused) {
        let pb::Refused { name, version, error, sources } = refused;
        writeln!(out, "{} refuses {name} (version {version}): {}", sidecar.id, printable_line(&brief(error)))?;
        if !sources.is_empty() {
            writeln!(out, "  it is made from {}", sources.join(", "))?;
        }
    }
    Ok(())
}

fn state(state: pb::type_status::State) -> &'static str {
    match state {
        pb::type_status::State::Unspecified => "?",
        pb::type_status::State::NotRequested => "NOT REQUESTED",
        pb::type_status::State::Synced => "SYNCED",
        pb::type_status::State::Stale => "STALE",
        pb::type_status::State::Nack => "NACK",
    }
}

/// Returns the state of a type at a sidecar, for a cell of the table.
fn type_cell(sidecar: &pb::Sidecar, resource_type: ResourceType) -> String {
    let status = sidecar.types.iter().find(|status| status.r#type == resource_type.word());
    match status {
        None => "?".to_owned(),
        Some(status) if status.state() == pb::type_status::State::NotRequested => "-".to_owned(),
        Some(status) => format!("{} ({}, {})", state(status.state()), status.resources, age(status.age_ms)),
    }
}

fn sidecar_json(sidecar: &pb::Sidecar) -> Value {
    let types: Vec<Value> = sidecar.types.iter().map(type_json).collect();
    json!({
        "id": sidecar.id, "ip": sidecar.ip, "clusterId": sidecar.cluster_id, "version": sidecar.version,
        "connectedMs": sidecar.connected_ms, "types": types, "peer": sidecar.peer, "contested": sidecar.contested,
    })
}

fn type_json(status: &pb::TypeStatus) -> Value {
    let refused: Vec<Value> = status.refused.iter().map(refused_json).collect();
    json!({
        "type": status.r#type, "state": state(status.state()), "ageMs": status.age_ms,
        "resources": status.resources, "refused": refused,
    })
}

fn refused_json(refused: &pb::Refused) -> Value {
    json!({
        "name": refused.name, "version": refused.version, "error": refused.error, "sources": refused.sources,
    })
}

fn age(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..120_000 => format!("{}s", ms / 1_000),
        120_000..7_200_000 => format!("{}m", ms / 60_000),
        _ => format!("{}h", ms / 3_600_000),
    }
}

/// Shows what was sent to a sidecar, and whether it was acknowledged.
pub(crate) async fn config(admin: &mut Admin, wanted: Config, out: Out<'_>) -> Result<()> {
    let request = pb::ProxyConfigRequest { sidecar: wanted.sidecar, r#type: wanted.resource_type };
    let response = admin.proxy_config(request).await?.into_inner();
    if wanted.output != Output::Short {
        let resources = response.resources.iter().map(resource_json).collect::<Result<Vec<Value>>>()?;
        return print(&json!({"sidecar": response.sidecar, "resources": resources}), wanted.output, out);
    }
    print_resources(&response.resources, out)
}

/// Prints a table of resources, each with what people look for first in it.
fn print_resources(resources: &[pb::SentResource], out: Out<'_>) -> Result<()> {
    let mut rows = table(["TYPE", "NAME", "VERSION", "STATE", "SUMMARY"]);
    for resource in resources {
        let message = resource.type_url.rsplit('.').next().unwrap_or_default();
        let json = from_bytes(&resource.type_url, &resource.body).unwrap_or_default();
        let mut state = resource.state().as_str_name().to_owned();
        if !resource.error.is_empty() {
            state.push_str(&format!(": {}", printable_line(&resource.error)));
        }
        rows.add_row([message, &resource.name, &resource.version, &state, &summary(message, &json)]);
    }
    writeln!(out, "{rows}")?;
    Ok(())
}

fn resource_json(resource: &pb::SentResource) -> Result<Value> {
    let body = from_bytes(&resource.type_url, &resource.body)?;
    Ok(json!({
        "type": resource.type_url, "name": resource.name, "version": resource.version,
        "state": resource.state().as_str_name(), "error": resource.error, "resource": body,
    }))
}

/// Returns what people look for first in a resource.
fn summary(message: &str, json: &Value) -> String {
    match message {
        "ClusterLoadAssignment" => {
            let localities = items(&json["endpoints"]);
            let endpoints = localities.iter().flat_map(|locality| items(&locality["lb_endpoints"]));
            let addresses: Vec<String> = endpoints.map(|endpoint| address(&endpoint["endpoint"])).collect();
            if addresses.is_empty() { "no endpoints".to_owned() } else { addresses.join(" ") }
        }
        "Listener" => address(json),
        "RouteConfiguration" => {
            let hosts: Vec<String> = items(&json["virtual_hosts"]).iter().map(|host| text(&host["name"])).collect();
            let more = if json["vhds"].is_object() { " and virtual hosts of their own" } else { "" };
            hosts.join(" ") + more
        }
        "VirtualHost" => items(&json["domains"]).iter().map(text).collect::<Vec<_>>().join(" "),
        _ => json.get("type").map_or_else(|| "STATIC".to_owned(), text),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn address(value: &Value) -> String {
    let socket = &value["address"]["socket_address"];
    format!("{}:{}", text(&socket["address"]), text(&socket["port_value"]))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_summary_says_what_people_look_for() {
        let address = |ip: &str| json!({"address": {"socket_address": {"address": ip, "port_value": 80}}});
        let endpoints = json!({"endpoints": [{"lb_endpoints": [{"endpoint": address("10.0.0.1")}, {"endpoint": address("10.0.0.2")}]}]});
        assert_eq!(summary("ClusterLoadAssignment", &endpoints), "10.0.0.1:80 10.0.0.2:80");
        assert_eq!(summary("ClusterLoadAssignment", &json!({})), "no endpoints");
        assert_eq!(summary("Listener", &address("0.0.0.0")), "0.0.0.0:80");
        let table = json!({"virtual_hosts": [{"name": "allow_any"}], "vhds": {}});
        assert_eq!(summary("RouteConfiguration", &table), "allow_any and virtual hosts of their own");
        assert_eq!(summary("Cluster", &json!({"type": "EDS"})), "EDS");
    }

    #[test]
    fn ages_have_the_unit_that_fits() {
        assert_eq!([age(999), age(1_500), age(180_000), age(10_000_000)], ["999ms", "1s", "3m", "2h"]);
    }

    fn status(resource_type: ResourceType, state: pb::type_status::State) -> pb::TypeStatus {
        pb::TypeStatus {
            r#type: resource_type.word().into(),
            state: state as i32,
            age_ms: 1_500,
            resources: 3,
            refused: Vec::new(),
        }
    }

    fn sidecar() -> pb::Sidecar {
        use pb::type_status::State::{Nack, NotRequested, Stale, Synced};
        let refused = pb::Refused {
            name: "outbound|80||a.shop".into(),
            version: "0123456789abcdef".into(),
            error: "no such thing\n".into(),
            sources: vec!["service shop/a".into(), "destinationRule shop/r".into()],
        };
        pb::Sidecar {
            id: "web-1.shop".into(),
            ip: "10.0.0.1".into(),
            cluster_id: "Kubernetes".into(),
            version: "envoy 1.40.0".into(),
            connected_ms: 180_000,
            peer: "10.0.0.1".into(),
            contested: false,
            types: vec![
                pb::TypeStatus { refused: vec![refused], ..status(ResourceType::Cluster, Nack) },
                status(ResourceType::Endpoint, Synced),
                status(ResourceType::Listener, Stale),
                status(ResourceType::Route, NotRequested),
            ],
        }
    }

    /// Returns what a function prints, each line behind a bar and without spaces at its end.
    fn printed(print: impl FnOnce(Out<'_>) -> Result<()>) -> String {
        let mut out = Vec::new();
        print(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| format!("|{}\n", line.trim_end())).collect()
    }

    #[test]
    fn the_table_of_sidecars_has_the_state_of_each_type_and_what_is_refused() {
        expect![[r#"
            | SIDECAR     IP        CDS           EDS             LDS            RDS  VHDS  VERSION       CONNECTED
            | web-1.shop  10.0.0.1  NACK (3, 1s)  SYNCED (3, 1s)  STALE (3, 1s)  -    ?     envoy 1.40.0  3m
            |web-1.shop refuses outbound|80||a.shop (version 0123456789abcdef): no such thing
            |  it is made from service shop/a, destinationRule shop/r
        "#]]
        .assert_eq(&printed(|out| print_sidecars(&[sidecar()], out)));
        let contested = |peer: &str| pb::Sidecar { peer: peer.into(), contested: true, types: vec![], ..sidecar() };
        expect![[r#"
            | SIDECAR     IP        CDS  EDS  LDS  RDS  VHDS  VERSION       CONNECTED
            | web-1.shop  10.0.0.1  ?    ?    ?    ?    ?     envoy 1.40.0  3m
            | web-1.shop  10.0.0.1  ?    ?    ?    ?    ?     envoy 1.40.0  3m
            |web-1.shop is claimed from several addresses, of which all but one may be false: 10.0.0.1, 10.0.9.9
        "#]]
        .assert_eq(&printed(|out| print_sidecars(&[contested("10.0.0.1"), contested("10.0.9.9")], out)));
        expect![[r#"
            |no sidecar is connected (rutterctl bootstrap prints what a proxy needs)
        "#]]
        .assert_eq(&printed(|out| print_sidecars(&[], out)));
    }

    #[test]
    fn json_of_a_sidecar_has_a_key_for_each_field() {
        expect![[r#"
            {
              "clusterId": "Kubernetes",
              "connectedMs": 180000,
              "contested": false,
              "id": "web-1.shop",
              "ip": "10.0.0.1",
              "peer": "10.0.0.1",
              "types": [
                {
                  "ageMs": 1500,
                  "refused": [
                    {
                      "error": "no such thing\n",
                      "name": "outbound|80||a.shop",
                      "sources": [
                        "service shop/a",
                        "destinationRule shop/r"
                      ],
                      "version": "0123456789abcdef"
                    }
                  ],
                  "resources": 3,
                  "state": "NACK",
                  "type": "cluster"
                },
                {
                  "ageMs": 1500,
                  "refused": [],
                  "resources": 3,
                  "state": "SYNCED",
                  "type": "endpoint"
                },
                {
                  "ageMs": 1500,
                  "refused": [],
                  "resources": 3,
                  "state": "STALE",
                  "type": "listener"
                },
                {
                  "ageMs": 1500,
                  "refused": [],
                  "resources": 3,
                  "state": "NOT REQUESTED",
                  "type": "route"
                }
              ],
              "version": "envoy 1.40.0"
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&sidecar_json(&sidecar())).unwrap());
    }

    fn resource(name: &str, state: pb::sent_resource::State, error: &str) -> pb::SentResource {
        use prost::Message;
        use rutter_api::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
        let assignment = ClusterLoadAssignment { cluster_name: name.into(), ..Default::default() };
        pb::SentResource {
            type_url: ResourceType::Endpoint.type_url().into(),
            name: name.into(),
            version: "0123456789abcdef".into(),
            state: state as i32,
            body: assignment.encode_to_vec().into(),
            error: error.into(),
        }
    }

    #[test]
    fn the_table_of_resources_has_their_state_and_a_summary() {
        use pb::sent_resource::State::{Acked, Due, Refused, Sent};
        let resources = [
            resource("a", Acked, ""),
            resource("b", Sent, ""),
            resource("c", Due, ""),
            resource("d", Refused, "no such thing"),
        ];
        expect![[r#"
            | TYPE                   NAME  VERSION           STATE                   SUMMARY
            | ClusterLoadAssignment  a     0123456789abcdef  ACKED                   no endpoints
            | ClusterLoadAssignment  b     0123456789abcdef  SENT                    no endpoints
            | ClusterLoadAssignment  c     0123456789abcdef  DUE                     no endpoints
            | ClusterLoadAssignment  d     0123456789abcdef  REFUSED: no such thing  no endpoints
        "#]]
        .assert_eq(&printed(|out| print_resources(&resources, out)));
        expect![[r#"
            | TYPE  NAME  VERSION  STATE  SUMMARY
        "#]]
        .assert_eq(&printed(|out| print_resources(&[], out)));
        let json = resource_json(&resources[3]).unwrap();
        expect![[r#"
            {
              "error": "no such thing",
              "name": "d",
              "resource": {
                "cluster_name": "d"
              },
              "state": "REFUSED",
              "type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
              "version": "0123456789abcdef"
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&json).unwrap());
    }

    #[test]
    fn a_resource_that_is_none_of_its_type_is_an_error_in_json_and_shown_in_the_table() {
        let broken = pb::SentResource { body: vec![0xff].into(), ..resource("a", pb::sent_resource::State::Acked, "") };
        assert!(resource_json(&broken).is_err());
        assert!(printed(|out| print_resources(&[broken], out)).contains("no endpoints"));
    }
}
