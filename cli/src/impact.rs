//! What a change would send to whom, as it is shown.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Result, bail};
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::printable;
use serde_json::{Value, json};

use crate::output::{Out, table};

/// The number of clients of a group that are named.
const NAMED: usize = 3;
/// The number of routes that are shown. JSON has more.
const ROUTES_SHOWN: usize = 30;

/// Prints an impact for people.
pub(crate) fn print(impact: &pb::Impact, out: Out<'_>) -> Result<()> {
    let pb::Impact { revision, clients, affected, bytes, groups, groups_left_out, broken_routes: _ } = impact;
    if *affected == 0 {
        writeln!(out, "\nimpact at revision {revision}: none of {clients} sidecars is sent anything")?;
        return Ok(());
    }
    writeln!(out, "\nimpact at revision {revision}: {affected} of {clients} sidecars, {}", size(*bytes))?;
    let mut rows = table(["SIDECARS", "SENT", "LOST", "BYTES EACH", "RESOURCES", "WHO"]);
    for group in groups {
        let all = group.resources.len() + group.resources_left_out as usize;
        let sent = all - group.lost as usize;
        let row = [
            group.clients.len().to_string(),
            sent.to_string(),
            group.lost.to_string(),
            group.bytes.to_string(),
            by_type(group),
            named(&group.clients),
        ];
        rows.add_row(row.map(|cell| printable(&cell).to_string()));
    }
    writeln!(out, "{rows}")?;
    if *groups_left_out > 0 {
        writeln!(out, "{groups_left_out} more groups of sidecars are not shown")?;
    }
    print_routes(groups, out)
}

/// Prints the routes that lead elsewhere, each once with the number of sidecars.
fn print_routes(groups: &[pb::ImpactGroup], out: Out<'_>) -> Result<()> {
    let mut routes: BTreeMap<(bool, &str, &str, &str), usize> = BTreeMap::new();
    for group in groups {
        for route in &group.routes {
            let key = (!route.breaks, route.place.as_str(), route.before.as_str(), route.after.as_str());
            *routes.entry(key).or_default() += group.clients.len();
        }
    }
    if routes.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut rows = table(["", "ROUTE", "SIDECARS", "NOW", "THEN"]);
    for ((holds, place, before, after), clients) in routes.iter().take(ROUTES_SHOWN) {
        let word =
            |text: &str| if text.is_empty() { "(no such route)".to_owned() } else { printable(text).to_string() };
        let mark = if *holds { "" } else { "BREAKS" };
        rows.add_row([mark, &printable(place), &clients.to_string(), &word(before), &word(after)]);
    }
    writeln!(out, "{rows}")?;
    if let Some(more @ 1..) = routes.len().checked_sub(ROUTES_SHOWN) {
        writeln!(out, "{more} more routes are not shown (see -o json)")?;
    }
    Ok(())
}

fn by_type(group: &pb::ImpactGroup) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for resource in &group.resources {
        *counts.entry(&resource.r#type).or_default() += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|(name, count)| format!("{count} {name}")).collect();
    counts.join(", ")
}

fn named(clients: &[String]) -> String {
    let more = if clients.len() > NAMED { ", …" } else { "" };
    format!("{}{more}", clients.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", "))
}

/// Returns a number of bytes as people write it.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

/// Returns an impact as JSON.
pub(crate) fn json(impact: &pb::Impact) -> Value {
    let resource = |resource: &pb::ImpactResource| {
        let bytes = |bytes: u64| (bytes > 0).then_some(bytes);
        json!({
            "type": resource.r#type, "name": resource.name, "bytesBefore": bytes(resource.bytes_before),
            "bytesAfter": bytes(resource.bytes_after),
        })
    };
    let route = |route: &pb::ImpactRoute| json!({"place": route.place, "before": route.before, "after": route.after, "breaks": route.breaks});
    let group = |group: &pb::ImpactGroup| {
        json!({
            "sidecars": group.clients, "bytes": group.bytes, "lost": group.lost,
            "resources": group.resources.iter().map(resource).collect::<Vec<_>>(), "resourcesLeftOut": group.resources_left_out,
            "routes": group.routes.iter().map(route).collect::<Vec<_>>(), "routesLeftOut": group.routes_left_out,
        })
    };
    json!({
        "revision": impact.revision, "sidecars": impact.clients, "affected": impact.affected, "bytes": impact.bytes,
        "brokenRoutes": impact.broken_routes, "groups": impact.groups.iter().map(group).collect::<Vec<_>>(),
        "groupsLeftOut": impact.groups_left_out,
    })
}

/// Returns the exit code: failure if more sidecars are affected than somebody wants.
///
/// # Errors
/// Fails if the control plane does not say how many are affected.
pub(crate) fn exit_code(impact: Option<&pb::Impact>, fail_over: Option<u32>) -> Result<ExitCode> {
    match (impact, fail_over) {
        (None, Some(_)) => bail!("--fail-over: the control plane tells no impact (see rutterctl version)"),
        (Some(impact), Some(most)) if impact.affected > most => {
            eprintln!("{} sidecars are affected, more than {most} (--fail-over)", impact.affected);
            Ok(ExitCode::FAILURE)
        }
        (_, _) => Ok(ExitCode::SUCCESS),
    }
}
