//! Sidecars: their state, what they hold, what they were sent.

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use rutter_api::brief;
use rutter_api::json::from_bytes;
use rutter_api::pb::rutter::admin::v1 as pb;
use serde_json::{Value, json};

use crate::Admin;
use crate::args::{Config, Output, Pushes, Status};
use crate::config::print;

/// Names of a push that the table shows.
const NAMES_SHOWN: usize = 3;

pub(crate) fn table<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(head);
    table
}

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
        let cell = |word: &str| sidecar.types.iter().find(|one| one.r#type == word).map_or("?".to_owned(), type_text);
        rows.add_row([
            sidecar.id.clone(),
            sidecar.ip.clone(),
            cell("cluster"),
            cell("endpoint"),
            cell("listener"),
            cell("route"),
            cell("virtualhost"),
            sidecar.version.clone(),
            age(sidecar.connected_ms),
        ]);
    }
    println!("{rows}");
    for (sidecar, refused) in response
        .sidecars
        .iter()
        .flat_map(|one| one.types.iter().flat_map(move |t| t.refused.iter().map(move |r| (one, r))))
    {
        println!("{} refuses {} (version {}): {}", sidecar.id, refused.name, refused.version, brief(&refused.error));
        if !refused.sources.is_empty() {
            println!("  it is made from {}", refused.sources.join(", "));
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

fn type_text(one: &pb::TypeStatus) -> String {
    if one.state() == pb::type_status::State::NotRequested {
        return "-".to_owned();
    }
    format!("{} ({}, {})", state(one.state()), one.resources, age(one.age_ms))
}

fn sidecar_json(sidecar: &pb::Sidecar) -> Value {
    let types: Vec<Value> = sidecar
        .types
        .iter()
        .map(|one| {
            let refused: Vec<Value> =
                one.refused.iter().map(|r| json!({"name": r.name, "version": r.version, "error": r.error, "sources": r.sources})).collect();
            json!({"type": one.r#type, "state": state(one.state()), "ageMs": one.age_ms, "resources": one.resources, "refused": refused})
        })
        .collect();
    json!({
        "id": sidecar.id, "ip": sidecar.ip, "clusterId": sidecar.cluster_id, "version": sidecar.version,
        "connectedMs": sidecar.connected_ms, "types": types,
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
        let kind = resource.type_url.rsplit('.').next().unwrap_or_default();
        let json = from_bytes(&resource.type_url, &resource.body).unwrap_or_default();
        let mut state = resource.state().as_str_name().to_owned();
        if !resource.error.is_empty() {
            state.push_str(&format!(": {}", resource.error));
        }
        rows.add_row([kind, &resource.name, &resource.version, &state, &summary(kind, &json)]);
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

/// What one looks for first in a resource.
fn summary(kind: &str, json: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let address = |value: &Value| {
        let socket = &value["address"]["socket_address"];
        format!("{}:{}", text(&socket["address"]), text(&socket["port_value"]))
    };
    match kind {
        "ClusterLoadAssignment" => {
            let endpoints = items(&json["endpoints"]).into_iter().flat_map(|one| items(&one["lb_endpoints"]));
            let all: Vec<String> = endpoints.map(|one| address(&one["endpoint"])).collect();
            if all.is_empty() { "no endpoints".to_owned() } else { all.join(" ") }
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

pub(crate) async fn pushes(admin: &mut Admin, wanted: Pushes) -> Result<()> {
    let request = pb::PushesRequest { sidecar: wanted.sidecar, since_revision: wanted.since };
    let pushes = admin.pushes(request).await?.into_inner().pushes;
    if wanted.output == Output::Short {
        print_pushes(&pushes);
        return Ok(());
    }
    let all: Vec<Value> = pushes
        .iter()
        .map(|push| {
            json!({
                "sidecar": push.sidecar, "type": push.r#type, "revision": push.revision, "resources": push.resources,
                "removed": push.removed, "bytes": push.bytes, "ackUs": push.ack_us, "error": push.error, "names": push.names,
            })
        })
        .collect();
    print(&Value::Array(all), wanted.output)
}

pub(crate) fn print_pushes(pushes: &[pb::Push]) {
    if pushes.is_empty() {
        println!("nothing was sent to anybody");
        return;
    }
    let mut rows = table(["SIDECAR", "REVISION", "TYPE", "SENT", "REMOVED", "BYTES", "ANSWER", "NAMES"]);
    for push in pushes {
        let answer = match (push.ack_us, push.error.is_empty()) {
            (None, _) => "none yet".to_owned(),
            (Some(us), true) => format!("ACK {}.{} ms", us / 1000, us % 1000 / 100),
            (Some(_), false) => "NACK".to_owned(),
        };
        let mut names = push.names.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(" ");
        let total = (push.resources + push.removed) as usize;
        if total > NAMES_SHOWN {
            names.push_str(&format!(" … {} more", total - NAMES_SHOWN));
        }
        let cause = if push.revision == 0 { "(asked)".to_owned() } else { push.revision.to_string() };
        let (sent, removed, bytes) = (push.resources.to_string(), push.removed.to_string(), push.bytes.to_string());
        rows.add_row([&push.sidecar, &cause, &push.r#type, &sent, &removed, &bytes, &answer, &names]);
    }
    println!("{rows}");
    for push in pushes.iter().filter(|push| !push.error.is_empty()) {
        println!("{} refused {} {}: {}", push.sidecar, push.r#type, push.names.join(" "), brief(&push.error));
    }
}
