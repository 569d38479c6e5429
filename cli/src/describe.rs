//! The command that says what touches an object or a sidecar.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::printable_line;
use serde_json::{Value, json};
use tonic::Code;

use crate::args::{Describe, Output};
use crate::client::Admin;
use crate::output::{Out, print, table};
use crate::sidecars::age;
use crate::targets::keys;
use crate::usage::usage;

/// The number of objects of each sort that are shown. JSON has more.
const OBJECTS_SHOWN: usize = 20;

/// Describes an object or a sidecar.
pub(crate) async fn describe(admin: &mut Admin, wanted: &Describe, namespace: &str, out: Out<'_>) -> Result<()> {
    let described = match &wanted.targets[..] {
        [word] if !word.contains('/') => service_or_sidecar(admin, word, namespace).await?,
        [word] if word.starts_with("pod/") => sidecar(admin, word, namespace).await?,
        [pod, word] if matches!(pod.as_str(), "pod" | "po" | "pods") => sidecar(admin, word, namespace).await?,
        targets => match &keys(targets, namespace)?[..] {
            [key] if !key.name.is_empty() => object(admin, key.clone()).await?,
            _ => return Err(usage("want one POD, SERVICE or KIND/NAME")),
        },
    };
    if wanted.output != Output::Short {
        return print(&described_json(&described), wanted.output, out);
    }
    for (number, description) in described.descriptions.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        print_description(description, described.clients, out)?;
    }
    Ok(())
}

/// Describes the service of a name, or else the sidecar that has it or is the only one that begins so.
async fn service_or_sidecar(admin: &mut Admin, word: &str, namespace: &str) -> Result<pb::DescribeResponse> {
    let key = pb::ObjectKey { kind: "Service".into(), namespace: namespace.into(), name: word.into() };
    match call(admin, pb::DescribeRequest { object: Some(key), ..Default::default() }).await {
        Err(status) if status.code() == Code::NotFound => sidecar(admin, word, namespace).await,
        described => Ok(described?),
    }
}

async fn sidecar(admin: &mut Admin, word: &str, namespace: &str) -> Result<pb::DescribeResponse> {
    let request = pb::DescribeRequest { sidecar: word.into(), namespace: namespace.into(), ..Default::default() };
    Ok(call(admin, request).await?)
}

async fn object(admin: &mut Admin, key: pb::ObjectKey) -> Result<pb::DescribeResponse> {
    Ok(call(admin, pb::DescribeRequest { object: Some(key), ..Default::default() }).await?)
}

async fn call(admin: &mut Admin, request: pb::DescribeRequest) -> Result<pb::DescribeResponse, tonic::Status> {
    Ok(admin.describe(request).await?.into_inner())
}

fn print_description(description: &pb::Description, clients: u32, out: Out<'_>) -> Result<()> {
    let pb::Description { title, facts, seen_by, seen_by_names, unseen, refusals, refused_by, findings, .. } =
        description;
    writeln!(out, "{}", printable_line(title))?;
    let width = facts.iter().map(|fact| fact.name.chars().count()).max().unwrap_or_default();
    for pb::DescribedFact { name, value } in facts {
        writeln!(out, "  {name:width$}  {}", printable_line(value))?;
    }
    if !description.is_client {
        let more = if *seen_by as usize > seen_by_names.len() { ", …" } else { "" };
        let names =
            if seen_by_names.is_empty() { String::new() } else { format!(": {}{more}", seen_by_names.join(", ")) };
        let is_service = title.starts_with("service ") || title.starts_with("serviceEntry ");
        let word = if is_service { "seen by" } else { "in force for" };
        writeln!(out, "\n{word} {seen_by} of {clients} sidecars{}", printable_line(&names))?;
        for pb::DescribedReason { reason, clients } in unseen {
            writeln!(out, "  not for {clients}: {}", printable_line(reason))?;
        }
    }
    print_objects("SHAPED BY", &description.shaped_by, out)?;
    print_objects("WITHOUT EFFECT", &description.without_effect, out)?;
    if description.objects_left_out > 0 {
        writeln!(out, "{} more objects are left out", description.objects_left_out)?;
    }
    print_types(description, out)?;
    if *refused_by > 0 {
        writeln!(out, "\nREFUSED by {refused_by} sidecars:")?;
        refusals.iter().try_for_each(|refusal| writeln!(out, "  {}", printable_line(refusal)))?;
    }
    if !findings.is_empty() {
        writeln!(out, "\nfindings (see rutterctl analyze):")?;
        findings.iter().try_for_each(|finding| writeln!(out, "  {}", printable_line(finding)))?;
    }
    Ok(())
}

fn print_objects(head: &str, objects: &[pb::DescribedObject], out: Out<'_>) -> Result<()> {
    if objects.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut rows = table([head, "SIDECARS", "HOW"]);
    for pb::DescribedObject { object, text, clients } in objects.iter().take(OBJECTS_SHOWN) {
        let clients = if *clients == 0 { "-".to_owned() } else { clients.to_string() };
        rows.add_row([printable_line(object), clients, printable_line(text)]);
    }
    writeln!(out, "{rows}")?;
    if let Some(more @ 1..) = objects.len().checked_sub(OBJECTS_SHOWN) {
        writeln!(out, "{more} more are not shown (see -o json)")?;
    }
    Ok(())
}

fn print_types(description: &pb::Description, out: Out<'_>) -> Result<()> {
    let pb::Description { types, bytes, last_sent_us, last_ack_us, .. } = description;
    if types.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut rows = table(["COST", "RESOURCES", "BYTES", "ACKED", "SENT", "DUE", "REFUSED"]);
    for pb::DescribedType { r#type, resources, bytes, acked, sent, due, refused } in types {
        rows.add_row([
            r#type.clone(),
            resources.to_string(),
            bytes.to_string(),
            acked.to_string(),
            sent.to_string(),
            due.to_string(),
            refused.to_string(),
        ]);
    }
    writeln!(out, "{rows}")?;
    let sent = match (last_sent_us, last_ack_us) {
        (0, _) => "the latest responses have nothing of it".to_owned(),
        (at, Some(took)) => format!("last sent {}, answered after {took} µs", ago(*at)),
        (at, None) => format!("last sent {}, not answered", ago(*at)),
    };
    writeln!(out, "{bytes} bytes for one copy each; {sent}")?;
    Ok(())
}

/// Returns how long ago a time of the clock is, in microseconds since 1970.
fn ago(at_us: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
    format!("{} ago", age(u64::try_from(now.saturating_sub(at_us) / 1_000).unwrap_or_default()))
}

fn described_json(described: &pb::DescribeResponse) -> Value {
    let object = |object: &pb::DescribedObject| json!({"object": object.object, "text": object.text, "sidecars": object.clients});
    let objects = |objects: &[pb::DescribedObject]| objects.iter().map(object).collect::<Vec<_>>();
    let of_type = |one: &pb::DescribedType| {
        json!({
            "type": one.r#type, "resources": one.resources, "bytes": one.bytes, "acked": one.acked, "sent": one.sent,
            "due": one.due, "refused": one.refused,
        })
    };
    let description = |one: &pb::Description| {
        let facts = one.facts.iter().map(|fact| json!({"name": fact.name, "value": fact.value}));
        let unseen = one.unseen.iter().map(|reason| json!({"reason": reason.reason, "sidecars": reason.clients}));
        json!({
            "title": one.title, "facts": facts.collect::<Vec<_>>(), "seenBy": one.seen_by, "seenByNames": one.seen_by_names,
            "unseen": unseen.collect::<Vec<_>>(), "shapedBy": objects(&one.shaped_by),
            "withoutEffect": objects(&one.without_effect), "types": one.types.iter().map(of_type).collect::<Vec<_>>(),
            "bytes": one.bytes, "refusals": one.refusals, "refusedBy": one.refused_by, "findings": one.findings,
            "lastSentUs": one.last_sent_us, "lastAckUs": one.last_ack_us,
            "isSidecar": one.is_client, "objectsLeftOut": one.objects_left_out,
        })
    };
    json!({
        "revision": described.revision, "sidecars": described.clients,
        "descriptions": described.descriptions.iter().map(description).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn who_follows_an_object_and_who_does_not_is_shown() {
        let object = |object: &str, text: &str, clients: u32| pb::DescribedObject {
            object: object.into(),
            text: text.into(),
            clients,
        };
        let description = pb::Description {
            title: "virtualService shop/a".into(),
            facts: vec![pb::DescribedFact { name: "hosts".into(), value: "a.shop".into() }],
            seen_by: 2,
            seen_by_names: vec!["web-1.shop".into()],
            unseen: vec![pb::DescribedReason { reason: "it is for gateways alone".into(), clients: 3 }],
            shaped_by: vec![object("gateway shop/edge", "serves it at gateways", 0)],
            without_effect: vec![object(
                "virtualService shop/b",
                "virtualService shop/a routes a.shop, which is older",
                2,
            )],
            types: vec![pb::DescribedType {
                r#type: "virtualhost".into(),
                resources: 1,
                bytes: 900,
                acked: 1,
                refused: 1,
                ..Default::default()
            }],
            bytes: 900,
            refusals: vec!["web-1.shop refuses virtualhost 80/a.shop:80: no".into()],
            refused_by: 1,
            findings: vec!["IST0101 spec.hosts[0]: nobody has it".into()],
            last_sent_us: 0,
            last_ack_us: None,
            is_client: false,
            objects_left_out: 0,
        };
        let mut out = Vec::new();
        print_description(&description, 5, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        expect![[r#"
            virtualService shop/a
              hosts  a.shop

            in force for 2 of 5 sidecars: web-1.shop, …
              not for 3: it is for gateways alone

             SHAPED BY          SIDECARS  HOW
             gateway shop/edge  -         serves it at gateways

             WITHOUT EFFECT         SIDECARS  HOW
             virtualService shop/b  2         virtualService shop/a routes a.shop, which is older

             COST         RESOURCES  BYTES  ACKED  SENT  DUE  REFUSED
             virtualhost  1          900    1      0     0    1
            900 bytes for one copy each; the latest responses have nothing of it

            REFUSED by 1 sidecars:
              web-1.shop refuses virtualhost 80/a.shop:80: no

            findings (see rutterctl analyze):
              IST0101 spec.hosts[0]: nobody has it
        "#]]
        .assert_eq(&(lines.join("\n") + "\n"));
        let described = pb::DescribeResponse { descriptions: vec![description], revision: 7, clients: 5 };
        let json = described_json(&described);
        assert_eq!((&json["descriptions"][0]["unseen"][0]["sidecars"], &json["revision"]), (&json!(3), &json!(7)));
    }
}
