//! Objects: apply, get, delete.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rutter_api::config::APPLY_BYTES_MAX;
use rutter_api::pb::rutter::admin::v1 as pb;
use serde_json::{Value, json};

use crate::Admin;
use crate::args::{Apply, Delete, Get, Output};
use crate::proxies;

/// How long `--wait` waits, in milliseconds.
const WAIT_MS: u32 = 30_000;

pub(crate) async fn apply(admin: &mut Admin, apply: Apply, namespace: &str) -> Result<()> {
    let sources = read(&apply.filename)?;
    let request = pb::ApplyRequest { sources, default_namespace: namespace.to_owned(), dry_run: apply.dry_run };
    let response = admin.apply(request).await?.into_inner();
    if apply.output == Output::Short {
        for applied in &response.applied {
            println!("{} {}", name(applied.key.as_ref()), action(applied.action(), apply.dry_run));
        }
    } else {
        let applied: Vec<Value> = response
            .applied
            .iter()
            .map(|one| json!({"object": name(one.key.as_ref()), "action": action(one.action(), false)}))
            .collect();
        print(
            &json!({"revision": response.revision, "applied": applied, "warnings": response.warnings}),
            apply.output,
        )?;
    }
    for warning in &response.warnings {
        eprintln!("warning: {warning}");
    }
    if apply.wait && !apply.dry_run {
        wait(admin, response.revision).await?;
    }
    Ok(())
}

async fn wait(admin: &mut Admin, revision: u64) -> Result<()> {
    let answer = admin.wait_for_ack(pb::WaitForAckRequest { revision, timeout_ms: WAIT_MS }).await?.into_inner();
    let pushes =
        admin.pushes(pb::PushesRequest { sidecar: String::new(), since_revision: revision }).await?.into_inner();
    println!("\nrevision {revision}:");
    proxies::print_pushes(&pushes.pushes);
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

pub(crate) async fn get(admin: &mut Admin, get: Get, namespace: &str) -> Result<()> {
    let namespace = if get.all_namespaces { "" } else { namespace };
    let name_wanted = get.name.clone().unwrap_or_default();
    let request = pb::GetRequest { kind: get.kind, namespace: namespace.to_owned(), name: name_wanted };
    let response = admin.get(request).await?.into_inner();
    let objects: Vec<Value> =
        response.objects.iter().map(|object| serde_json::from_slice(&object.json)).collect::<Result<_, _>>()?;
    match (get.output, &objects[..]) {
        (Output::Short, []) => println!("no objects"),
        (Output::Short, _) => {
            let mut table = proxies::table(["KIND", "NAMESPACE", "NAME", "VERSION", "OWNER"]);
            for (object, json) in response.objects.iter().zip(&objects) {
                let key = object.key.clone().unwrap_or_default();
                let version = json["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                table.add_row([&key.kind, &key.namespace, &key.name, version, &object.owner]);
            }
            println!("{table}");
        }
        (output, [one]) if get.name.is_some() => print(one, output)?,
        (output, _) => print(&json!({"apiVersion": "v1", "kind": "List", "items": objects}), output)?,
    }
    Ok(())
}

pub(crate) async fn delete(admin: &mut Admin, delete: Delete, namespace: &str) -> Result<()> {
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    let key = |name: &String| pb::ObjectKey {
        kind: delete.kind.clone(),
        namespace: namespace.to_owned(),
        name: name.clone(),
    };
    admin.delete(pb::DeleteRequest { keys: delete.names.iter().map(key).collect() }).await?;
    for name in &delete.names {
        println!("{} {namespace}/{name} deleted", delete.kind);
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

fn read(paths: &[PathBuf]) -> Result<Vec<pb::Source>> {
    let mut sources = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = Vec::new();
            std::io::stdin().take(APPLY_BYTES_MAX as u64 + 1).read_to_end(&mut text).context("standard input")?;
            check_size("standard input", text.len() as u64)?;
            sources.push(pb::Source { name: "-".into(), text: text.into() });
            continue;
        }
        read_path(path, true, &mut sources).with_context(|| path.display().to_string())?;
    }
    if sources.is_empty() {
        bail!(
            "no .yaml, .yml or .json file in {}",
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(sources)
}

fn read_path(path: &Path, named: bool, sources: &mut Vec<pb::Source>) -> Result<()> {
    if path.is_dir() {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        entries.sort();
        for entry in entries {
            read_path(&entry, false, sources)?;
        }
        return Ok(());
    }
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if named || matches!(extension, "yaml" | "yml" | "json") {
        check_size(&path.display().to_string(), std::fs::metadata(path)?.len())?;
        sources.push(pb::Source { name: path.display().to_string(), text: std::fs::read(path)?.into() });
    }
    Ok(())
}

fn check_size(name: &str, size: u64) -> Result<()> {
    if size > APPLY_BYTES_MAX as u64 {
        bail!("{name}: want at most {APPLY_BYTES_MAX} bytes, got {size}");
    }
    Ok(())
}

/// JSON as it is, or as YAML.
pub(crate) fn print(value: &Value, output: Output) -> Result<()> {
    match output {
        Output::Yaml => print!("{}", yaml(value)),
        Output::Json | Output::Short => println!("{}", serde_json::to_string_pretty(value)?),
    }
    Ok(())
}

/// Block YAML; every string in double quotes, which JSON's form is.
fn yaml(value: &Value) -> String {
    let mut out = String::new();
    write_yaml(value, 0, &mut out);
    out
}

fn write_yaml(value: &Value, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (index, (key, inner)) in map.iter().enumerate() {
                let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/'))
                    && key.len() > 3;
                let key = if plain { key.clone() } else { Value::from(key.as_str()).to_string() };
                if index > 0 || !out.ends_with("- ") {
                    out.push_str(&pad);
                }
                out.push_str(&key);
                out.push(':');
                nested(inner, depth, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 || !out.ends_with("- ") {
                    out.push_str(&pad);
                }
                out.push_str("- ");
                if is_nested(item) {
                    write_yaml(item, depth + 1, out);
                } else {
                    out.push_str(&format!("{item}\n"));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            out.push_str(&format!("{value}\n"));
        }
    }
}

fn nested(value: &Value, depth: usize, out: &mut String) {
    if is_nested(value) {
        out.push('\n');
        write_yaml(value, depth + 1, out);
    } else {
        out.push_str(&format!(" {value}\n"));
    }
}

fn is_nested(value: &Value) -> bool {
    value.as_object().is_some_and(|map| !map.is_empty()) || value.as_array().is_some_and(|items| !items.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_reads_back_as_the_same_value() {
        let value = json!({
            "kind": "List", "y": "no", "spec": {"empty": {}, "none": [], "n": 1.5, "text": "a: \"b\"\nc"},
            "items": [{"host": "a", "deep": [[1, 2], {"k": null}]}, "x", true],
        });
        let text = yaml(&value);
        let read = rutter_api::yaml::parse(&text).map(|mut documents| documents.remove(0).value);
        assert_eq!(read, Ok(value), "{text}");
    }
}
