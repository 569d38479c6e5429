//! The commands about sidecars: their state, and what they were sent.

use anyhow::Result;
use rutter_api::brief;
use rutter_api::json::from_bytes;
use rutter_api::pb::rutter::admin::v1 as pb;
use serde_json::{Value, json};

use crate::args::{Config, Output, Status};
use crate::client::Admin;
use crate::output::{print, table};

pub(crate) async fn status(admin: &mut Admin, wanted: Status) -> Result<()> {
    let response = admin.proxy_status(pb::ProxyStatusRequest {}).await?.into_inner();
    if wanted.output != Output::Short {
        let sidecars: Vec<Value> = response.sidecars.iter().map(sidecar_json).collect();
        return print(&json!({"revision": response.revision, "sidecars": sidecars}), wanted.output);
    }
    if response.sidecars.is_empty() {
        println!("no sidecar is connected (rutterctl bootstrap prints what a proxy needs)");
        return Ok(());
    }
    let mut rows = table(["SIDECAR", "IP", "CDS", "EDS", "LDS", "RDS", "VHDS", "VERSION", "CONNECTED"]);
    for sidecar in &response.sidecars {
        rows.add_row([
            sidecar.id.clone(),
            sidecar.ip.clone(),
            type_cell(sidecar, "cluster"),
            type_cell(sidecar, "endpoint"),
            type_cell(sidecar, "listener"),
            type_cell(sidecar, "route"),
            type_cell(sidecar, "virtualhost"),
            sidecar.version.clone(),
            age(sidecar.connected_ms),
        ]);
    }
    println!("{rows}");
    response.sidecars.iter().for_each(print_refusals);
    Ok(())
}

fn print_refusals(sidecar: &pb::Sidecar) {
    for refused in sidecar.types.iter().flat_map(|status| &status.refused) {
        println!("{} refuses {} (version {}): {}", sidecar.id, refused.name, refused.version, brief(&refused.error));
        if !refused.sources.is_empty() {
            println!("  it is made from {}", refused.sources.join(", "));
        }
    }
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
fn type_cell(sidecar: &pb::Sidecar, word: &str) -> String {
    let status = sidecar.types.iter().find(|status| status.r#type == word);
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
        "connectedMs": sidecar.connected_ms, "types": types,
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

pub(crate) async fn config(admin: &mut Admin, wanted: Config) -> Result<()> {
    let request = pb::ProxyConfigRequest { sidecar: wanted.sidecar, r#type: wanted.kind };
    let response = admin.proxy_config(request).await?.into_inner();
    if wanted.output != Output::Short {
        let resources = response.resources.iter().map(resource_json).collect::<Result<Vec<Value>>>()?;
        return print(&json!({"sidecar": response.sidecar, "resources": resources}), wanted.output);
    }
    let mut rows = table(["TYPE", "NAME", "VERSION", "STATE", "SUMMARY"]);
    for resource in &response.resources {
        let message = resource.type_url.rsplit('.').next().unwrap_or_default();
        let json = from_bytes(&resource.type_url, &resource.body).unwrap_or_default();
        let mut state = resource.state().as_str_name().to_owned();
        if !resource.error.is_empty() {
            state.push_str(&format!(": {}", resource.error));
        }
        rows.add_row([message, &resource.name, &resource.version, &state, &summary(message, &json)]);
    }
    println!("{rows}");
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
}
