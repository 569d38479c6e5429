//! The command about the state of sidecars.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{ResourceType, brief, printable_line};
use serde_json::{Value, json};

use crate::args::{Output, Status};
use crate::client::Admin;
use crate::output::{Out, print, table};

/// The columns of the table of sidecars that are about a resource type: the usual short name of each type. Secrets have
/// none, as in istioctl; one that is refused is told below the table.
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
pub(crate) async fn status(admin: &mut Admin, wanted: Status, namespace: &str, out: Out<'_>) -> Result<()> {
    let request = pb::ProxyStatusRequest { namespace: namespace.to_owned() };
    let mut response = admin.proxy_status(request).await?.into_inner();
    if let Some(name) = &wanted.sidecar {
        response.sidecars = streams_of(response.sidecars, name)?;
        response.left.clear();
    }
    let pb::ProxyStatusResponse { sidecars, revision, left } = response;
    if wanted.output != Output::Short {
        let sidecars: Vec<Value> = sidecars.iter().map(sidecar_json).collect();
        let left: Vec<Value> = left.iter().map(left_json).collect();
        return print(&json!({"revision": revision, "sidecars": sidecars, "left": left}), wanted.output, out);
    }
    if wanted.sidecar.is_some() {
        return sidecars.iter().try_for_each(|sidecar| print_detail(sidecar, out));
    }
    print_sidecars(&sidecars, out)?;
    print_left(&left, out)
}

/// Returns the streams of the sidecar that a name means, which is whole or a beginning that no other sidecar has.
fn streams_of(sidecars: Vec<pb::Sidecar>, name: &str) -> Result<Vec<pb::Sidecar>> {
    let name = name.strip_prefix("pod/").unwrap_or(name);
    let ids: BTreeSet<String> =
        sidecars.iter().map(|sidecar| sidecar.id.clone()).filter(|id| id.starts_with(name)).collect();
    let id = match &ids.iter().collect::<Vec<_>>()[..] {
        [] => bail!("{name}: no such sidecar is connected (see rutterctl proxy-status)"),
        [only] => (*only).clone(),
        _ if ids.contains(name) => name.to_owned(),
        several => {
            let several: Vec<&str> = several.iter().map(|id| id.as_str()).collect();
            bail!("{name}: want one sidecar, got {}", several.join(", "))
        }
    };
    Ok(sidecars.into_iter().filter(|sidecar| sidecar.id == id).collect())
}

/// Prints everything that is known of one stream.
fn print_detail(sidecar: &pb::Sidecar, out: Out<'_>) -> Result<()> {
    let pb::Sidecar { id, ip, cluster_id, version, types: _, connected_ms, peer, contested } = sidecar;
    let is_contested = if *contested { ", which is not the only address that claims to be it" } else { "" };
    writeln!(out, "{id}: {}", printable_line(version))?;
    writeln!(out, "says that its address is {ip}, and connects from {peer}{is_contested}")?;
    writeln!(out, "connected for {}; cluster {}", age(*connected_ms), printable_line(cluster_id))?;
    let mut rows = table(["TYPE", "STATE", "SINCE", "RESOURCES"]);
    for status in &sidecar.types {
        let is_requested = status.state() != pb::type_status::State::NotRequested;
        let since = if is_requested { age(status.age_ms) } else { "-".to_owned() };
        rows.add_row([&status.r#type, state(status.state()), &since, &status.resources.to_string()]);
    }
    writeln!(out, "{rows}")?;
    print_refusals(sidecar, out)
}

/// The number of sidecars that have left and are shown.
const LEFT_SHOWN: usize = 10;

/// Prints the sidecars that left lately.
fn print_left(left: &[pb::Left], out: Out<'_>) -> Result<()> {
    if left.is_empty() {
        return Ok(());
    }
    let mut rows = table(["LEFT", "IP", "AGO", "WHY"]);
    for pb::Left { id, ip, ms, reason } in left.iter().take(LEFT_SHOWN) {
        rows.add_row([id, ip, &age(*ms), &printable_line(reason)]);
    }
    writeln!(out, "\n{rows}")?;
    if let Some(more @ 1..) = left.len().checked_sub(LEFT_SHOWN) {
        writeln!(out, " … and {more} more")?;
    }
    Ok(())
}

fn left_json(left: &pb::Left) -> Value {
    let pb::Left { id, ip, ms, reason } = left;
    json!({"id": id, "ip": ip, "leftMs": ms, "reason": reason})
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

pub(crate) fn age(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..120_000 => format!("{}s", ms / 1_000),
        120_000..7_200_000 => format!("{}m", ms / 60_000),
        _ => format!("{}h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

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
    fn one_sidecar_is_shown_in_detail_and_found_by_its_beginning() {
        expect![[r#"
            |web-1.shop: envoy 1.40.0
            |says that its address is 10.0.0.1, and connects from 10.0.0.1
            |connected for 3m; cluster Kubernetes
            | TYPE      STATE          SINCE  RESOURCES
            | cluster   NACK           1s     3
            | endpoint  SYNCED         1s     3
            | listener  STALE          1s     3
            | route     NOT REQUESTED  -      3
            |web-1.shop refuses outbound|80||a.shop (version 0123456789abcdef): no such thing
            |  it is made from service shop/a, destinationRule shop/r
        "#]]
        .assert_eq(&printed(|out| print_detail(&sidecar(), out)));
        let named = |id: &str| pb::Sidecar { id: id.into(), ..sidecar() };
        let all = || vec![named("web.shop"), named("web-1.shop"), named("web.shop"), named("api.shop")];
        let found =
            |name: &str| streams_of(all(), name).map(|sidecars| sidecars.len()).map_err(|error| error.to_string());
        assert_eq!((found("web.shop"), found("pod/api")), (Ok(2), Ok(1)));
        assert_eq!(found("web"), Err("web: want one sidecar, got web-1.shop, web.shop".to_owned()));
        assert_eq!(found("x"), Err("x: no such sidecar is connected (see rutterctl proxy-status)".to_owned()));
    }

    #[test]
    fn sidecars_that_left_are_listed_and_the_others_counted() {
        let left = pb::Left { id: "web-1.shop".into(), ip: "10.0.0.1".into(), ms: 90_000, reason: "cut\x1b".into() };
        expect![[r#"
            |
            | LEFT        IP        AGO  WHY
            | web-1.shop  10.0.0.1  90s  cut\u001b
            | web-1.shop  10.0.0.1  90s  cut\u001b
            | web-1.shop  10.0.0.1  90s  cut\u001b
            | web-1.shop  10.0.0.1  90s  cut\u001b
            | web-1.shop  10.0.0.1  90s  cut\u001b
            | web-1.shop  10.0.0.1  90s  cut\u001b
            | web-1.shop  10.0.0.1  90s  cut\u001b
            | web-1.shop  10.0.0.1  90s  cut\u001b
            | web-1.shop  10.0.0.1  90s  cut\u001b
            | web-1.shop  10.0.0.1  90s  cut\u001b
            | … and 1 more
        "#]]
        .assert_eq(&printed(|out| print_left(&vec![left; 11], out)));
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
}
