//! The commands about objects: apply, get and delete.

use anyhow::{Result, bail};
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::printable;
use serde_json::{Value, json};

use crate::args::{Apply, Delete, Get, Output};
use crate::client::Admin;
use crate::files::read;
use crate::output::{Out, print, table};
use crate::pushes::print_pushes;

/// How long `--wait` waits for answers, in milliseconds.
const WAIT_MS: u32 = 30_000;

/// Creates or changes the objects of files, and shows what became of each.
pub(crate) async fn apply(admin: &mut Admin, apply: Apply, namespace: &str, out: Out<'_>) -> Result<()> {
    let sources = read(&apply.filename)?;
    let request = pb::ApplyRequest { sources, default_namespace: namespace.to_owned(), dry_run: apply.dry_run };
    let response = admin.apply(request).await?.into_inner();
    if apply.output == Output::Short {
        for applied in &response.applied {
            writeln!(out, "{} {}", name(applied.key.as_ref()), action(applied.action(), apply.dry_run))?;
        }
    } else {
        let applied: Vec<Value> = response.applied.iter().map(applied_json).collect();
        print(
            &json!({"revision": response.revision, "applied": applied, "warnings": response.warnings}),
            apply.output,
            out,
        )?;
    }
    for warning in &response.warnings {
        eprintln!("warning: {}", printable(warning));
    }
    if apply.wait && !apply.dry_run {
        wait(admin, response.revision, out).await?;
    }
    Ok(())
}

fn applied_json(applied: &pb::Applied) -> Value {
    json!({"object": name(applied.key.as_ref()), "action": action(applied.action(), false)})
}

async fn wait(admin: &mut Admin, revision: u64, out: Out<'_>) -> Result<()> {
    let answer = admin.wait_for_ack(pb::WaitForAckRequest { revision, timeout_ms: WAIT_MS }).await?.into_inner();
    let pushes =
        admin.pushes(pb::PushesRequest { sidecar: String::new(), since_revision: revision }).await?.into_inner();
    writeln!(out, "\nrevision {revision}:")?;
    print_pushes(&pushes.pushes, out)?;
    if !answer.refused.is_empty() {
        bail!("refused by {} (see rutterctl proxy-status)", answer.refused.join(", "));
    }
    if !answer.waiting.is_empty() {
        bail!("no answer within {} s from {}", WAIT_MS / 1000, answer.waiting.join(", "));
    }
    Ok(())
}

fn action(action: pb::applied::Action, dry_run: bool) -> String {
    let word = match action {
        pb::applied::Action::Unspecified => "unknown",
        pb::applied::Action::Created => "created",
        pb::applied::Action::Configured => "configured",
        pb::applied::Action::Unchanged => "unchanged",
    };
    if dry_run { format!("{word} (dry run)") } else { word.to_owned() }
}

/// Shows objects.
pub(crate) async fn get(admin: &mut Admin, get: Get, namespace: &str, out: Out<'_>) -> Result<()> {
    let namespace = if get.all_namespaces { "" } else { namespace };
    let name_wanted = get.name.clone().unwrap_or_default();
    let request = pb::GetRequest { kind: get.kind, namespace: namespace.to_owned(), name: name_wanted };
    let response = admin.get(request).await?.into_inner();
    let objects: Vec<Value> =
        response.objects.iter().map(|object| serde_json::from_slice(&object.json)).collect::<Result<_, _>>()?;
    match (get.output, &objects[..]) {
        (Output::Short, []) => writeln!(out, "no objects")?,
        (Output::Short, _) => {
            let mut table = table(["KIND", "NAMESPACE", "NAME", "VERSION", "OWNER"]);
            for (object, json) in response.objects.iter().zip(&objects) {
                let key = object.key.clone().unwrap_or_default();
                let version = json["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                table.add_row([&key.kind, &key.namespace, &key.name, version, &object.owner]);
            }
            writeln!(out, "{table}")?;
        }
        (output, [only]) if get.name.is_some() => print(only, output, out)?,
        (output, _) => print(&json!({"apiVersion": "v1", "kind": "List", "items": objects}), output, out)?,
    }
    Ok(())
}

/// Deletes objects, and names each.
pub(crate) async fn delete(admin: &mut Admin, delete: Delete, namespace: &str, out: Out<'_>) -> Result<()> {
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    let keys = delete.names.iter().map(|name| pb::ObjectKey {
        kind: delete.kind.clone(),
        namespace: namespace.to_owned(),
        name: name.clone(),
    });
    admin.delete(pb::DeleteRequest { keys: keys.collect() }).await?;
    for name in &delete.names {
        writeln!(out, "{} {namespace}/{name} deleted", delete.kind)?;
    }
    Ok(())
}

fn name(key: Option<&pb::ObjectKey>) -> String {
    let key = key.cloned().unwrap_or_default();
    let kind = key.kind.to_lowercase();
    if key.namespace.is_empty() {
        format!("{kind}/{}", key.name)
    } else {
        format!("{kind}/{}.{}", key.name, key.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_called_as_kubectl_calls_them() {
        let key = |kind: &str, namespace: &str| pb::ObjectKey {
            kind: kind.into(),
            namespace: namespace.into(),
            name: "a".into(),
        };
        assert_eq!(name(Some(&key("VirtualService", "shop"))), "virtualservice/a.shop");
        assert_eq!(name(Some(&key("Namespace", ""))), "namespace/a");
        assert_eq!(name(None), "/", "an answer without a key is of no version that exists");
    }

    #[test]
    fn actions_have_a_word_and_dry_runs_say_so() {
        use pb::applied::Action::{Configured, Created, Unchanged};
        assert_eq!(
            [Created, Configured, Unchanged].map(|done| action(done, false)),
            ["created", "configured", "unchanged"]
        );
        assert_eq!(action(Created, true), "created (dry run)");
        let applied = pb::Applied {
            key: Some(pb::ObjectKey { kind: "Service".into(), namespace: "shop".into(), name: "a".into() }),
            action: Configured as i32,
        };
        assert_eq!(applied_json(&applied), json!({"object": "service/a.shop", "action": "configured"}));
    }
}
