//! The commands that change objects: apply, delete and rollback.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use rutter_api::config::{Content, Manifest, Refused, read_manifests};
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::printable;
use serde_json::{Value, json};

use crate::args::{Apply, Delete, Output, Rollback};
use crate::client::Admin;
use crate::files::read;
use crate::impact;
use crate::output::{Out, print};
use crate::targets::{api_key, display_name, keys};
use crate::usage::usage;
use crate::waiting::wait;

/// What every command knows of the command line.
pub(crate) struct Context<'a> {
    pub(crate) namespace: &'a str,
    /// How long `--wait` waits. Zero means for ever.
    pub(crate) timeout: Duration,
}

/// Creates or changes the objects of files in one transaction, and shows what became of each. What was passed over or left
/// out, and warnings, go to standard error. With `--wait` it fails if a sidecar refuses or does not answer in time.
/// The exit code is 1 if more sidecars are affected than `--fail-over` says, and nothing is changed then.
pub(crate) async fn apply(admin: &mut Admin, wanted: Apply, context: &Context<'_>, out: Out<'_>) -> Result<ExitCode> {
    let is_dry = wanted.dry_run.is_asked_for();
    if wanted.selector.as_ref().is_some_and(|selector| selector.trim().is_empty()) {
        return Err(usage("want labels behind --selector, got none"));
    }
    let request = pb::ApplyRequest {
        sources: read(&wanted.files)?,
        namespace: context.namespace.to_owned(),
        dry_run: false,
        strict: wanted.strict,
        skip_unsupported: wanted.skip_unsupported,
        prune: wanted.selector.clone().unwrap_or_default(),
        impact: wanted.impact.impact,
    };
    let send = async |dry_run| Ok(admin.apply(pb::ApplyRequest { dry_run, ..request.clone() }).await?.into_inner());
    let Changed { response, is_dry, exit_code } = change(send, is_dry, wanted.impact.fail_over).await?;
    let shown = Shown { is_dry, waits: wanted.wait, output: wanted.output };
    show(admin, &response, shown, context, out).await?;
    Ok(exit_code)
}

/// What a change came to.
struct Changed {
    response: pb::ApplyResponse,
    /// Whether nothing was changed.
    is_dry: bool,
    exit_code: ExitCode,
}

/// Makes a change by `send`, which is told whether it is only to be tried. With `fail_over` it is tried first, and made only if no more
/// sidecars are affected.
async fn change(
    mut send: impl AsyncFnMut(bool) -> Result<pb::ApplyResponse>,
    is_dry: bool,
    fail_over: Option<u32>,
) -> Result<Changed> {
    let is_trial = is_dry || fail_over.is_some();
    let mut response = send(is_trial).await?;
    let exit_code = impact::exit_code(response.impact.as_ref(), fail_over)?;
    let is_dry = is_dry || exit_code != ExitCode::SUCCESS;
    if is_trial && !is_dry {
        response = send(false).await?;
    }
    Ok(Changed { response, is_dry, exit_code })
}

/// How the outcome of a change is shown.
struct Shown {
    is_dry: bool,
    waits: bool,
    output: Output,
}

/// Shows what became of each object, waits for the sidecars if that is wanted, and fails if one of them refuses something.
async fn show(
    admin: &mut Admin,
    response: &pb::ApplyResponse,
    shown: Shown,
    context: &Context<'_>,
    out: Out<'_>,
) -> Result<()> {
    let Shown { is_dry, waits, output } = shown;
    if output == Output::Short {
        print_applied(&response.applied, is_dry, out)?;
    }
    tell_aside(response);
    if let (Output::Short, Some(impact)) = (output, &response.impact) {
        impact::print(impact, out)?;
    }
    let waited = if waits && !is_dry { Some(wait(admin, response.revision, context.timeout).await?) } else { None };
    match (&waited, output) {
        (Some(waited), Output::Short) => waited.print(out)?,
        (None, Output::Short) => {}
        (waited, output) => {
            let mut json = response_json(response, is_dry);
            if let Some(waited) = waited {
                json["wait"] = waited.json();
            }
            print(&json, output, out)?;
        }
    }
    waited.map_or(Ok(()), |waited| waited.result())
}

fn print_applied(applied: &[pb::Applied], is_dry: bool, out: Out<'_>) -> Result<()> {
    for applied in applied {
        writeln!(out, "{} {}", display_name(&key_of(applied)), action(applied.action(), is_dry))?;
    }
    Ok(())
}

fn key_of(applied: &pb::Applied) -> pb::ObjectKey {
    applied.key.clone().unwrap_or_default()
}

/// Tells on standard error what was not applied, and what to know of the rest.
fn tell_aside(response: &pb::ApplyResponse) {
    for left_out in &response.left_out {
        let pb::LeftOut { object, place, reasons } = left_out;
        eprintln!("left out: {}", printable(&format!("{object} ({place}): {}", reasons.join("; "))));
    }
    if !response.passed_over.is_empty() {
        let types = response.passed_over.iter().map(|passed| format!("{} {}", passed.count, passed.r#type));
        let types = types.collect::<Vec<_>>().join(", ");
        eprintln!("passed over, because they are no config of a mesh: {}", printable(&types));
    }
    for warning in &response.warnings {
        eprintln!("warning: {}", printable(warning));
    }
}

fn response_json(response: &pb::ApplyResponse, is_dry: bool) -> Value {
    let applied = response
        .applied
        .iter()
        .map(|applied| json!({"object": display_name(&key_of(applied)), "action": action(applied.action(), false)}));
    let passed_over = response.passed_over.iter().map(|passed| json!({"type": passed.r#type, "count": passed.count}));
    let left_out = response
        .left_out
        .iter()
        .map(|left_out| json!({"object": left_out.object, "place": left_out.place, "reasons": left_out.reasons}));
    let mut json = json!({
        "dryRun": is_dry, "revision": response.revision, "applied": applied.collect::<Vec<_>>(), "warnings": response.warnings,
        "passedOver": passed_over.collect::<Vec<_>>(), "leftOut": left_out.collect::<Vec<_>>(),
    });
    if let Some(impact) = &response.impact {
        json["impact"] = impact::json(impact);
    }
    json
}

/// Returns the word for what became of an object.
pub(crate) fn action(action: pb::applied::Action, is_dry: bool) -> String {
    let word = match action {
        pb::applied::Action::Unspecified => "unknown",
        pb::applied::Action::Created => "created",
        pb::applied::Action::Configured => "configured",
        pb::applied::Action::Unchanged => "unchanged",
        pb::applied::Action::Deleted => "deleted",
    };
    if is_dry { format!("{word} (dry run)") } else { word.to_owned() }
}

/// Deletes objects in one transaction, and names each. They are given by kinds and names, by files, or by what they have in
/// common; objects of the watched folder are not among the latter, because only their files can delete them.
pub(crate) async fn delete(admin: &mut Admin, wanted: Delete, context: &Context<'_>, out: Out<'_>) -> Result<ExitCode> {
    let keys = to_delete(admin, &wanted, context.namespace).await?;
    let is_dry = wanted.dry_run.is_asked_for();
    if keys.is_empty() {
        eprintln!("no objects");
        return Ok(ExitCode::SUCCESS);
    }
    let request = pb::DeleteRequest {
        keys,
        dry_run: false,
        ignore_missing: wanted.ignore_not_found,
        impact: wanted.impact.impact,
    };
    let send = async |dry_run| {
        let response = admin.delete(pb::DeleteRequest { dry_run, ..request.clone() }).await?.into_inner();
        let pb::DeleteResponse { revision, deleted, warnings, impact } = response;
        let action = pb::applied::Action::Deleted as i32;
        let applied = deleted.into_iter().map(|key| pb::Applied { key: Some(key), action }).collect();
        Ok(pb::ApplyResponse { revision, applied, warnings, impact, ..Default::default() })
    };
    let Changed { response, is_dry, exit_code } = change(send, is_dry, wanted.impact.fail_over).await?;
    let shown = Shown { is_dry, waits: wanted.wait, output: wanted.output };
    show(admin, &response, shown, context, out).await?;
    Ok(exit_code)
}

async fn to_delete(admin: &mut Admin, wanted: &Delete, namespace: &str) -> Result<Vec<pb::ObjectKey>> {
    let default_namespace = if namespace.is_empty() { "default" } else { namespace };
    if !wanted.files.is_empty() {
        if !wanted.targets.is_empty() || wanted.selector.is_some() {
            return Err(usage("want either files or kinds and names, got both"));
        }
        return keys_of_files(&read(&wanted.files)?, default_namespace);
    }
    if wanted.selector.as_ref().is_some_and(|selector| selector.trim().is_empty()) {
        return Err(usage("want labels behind --selector, got none (--all deletes everything of a kind)"));
    }
    let is_many = wanted.all || wanted.selector.is_some();
    let keys = keys(&wanted.targets, if wanted.all_namespaces { "" } else { default_namespace })?;
    if keys.is_empty() {
        return Err(usage("want kinds and names, or files (-f)"));
    }
    let is_named = |key: &pb::ObjectKey| !key.name.is_empty();
    match (is_many, keys.iter().any(is_named)) {
        (true, true) => Err(usage("want either names, or all (--all) or some (--selector) of a kind, got both")),
        (false, true) if wanted.all_namespaces => {
            Err(usage("want one namespace for objects by name, got --all-namespaces"))
        }
        (false, true) => Ok(keys),
        (false, false) => Err(usage("want names, or --all, or --selector")),
        (true, false) => {
            let selector = wanted.selector.clone().unwrap_or_default();
            let response = admin.get(pb::GetRequest { wanted: keys, selector }).await?.into_inner();
            let is_of_api = |object: &pb::Object| object.owner == "api";
            Ok(response.objects.into_iter().filter(is_of_api).filter_map(|object| object.key).collect())
        }
    }
}

/// Returns the objects that stand in files. What is of a kind that Rutter does not take is in no store, so it is passed
/// over; what an object of another kind says does not matter.
fn keys_of_files(sources: &[pb::Source], namespace: &str) -> Result<Vec<pb::ObjectKey>> {
    let mut keys = Vec::new();
    for source in sources {
        let text = String::from_utf8_lossy(&source.text);
        let manifests =
            read_manifests(&text, namespace).map_err(|error| anyhow::anyhow!("{}: {error}", source.name))?;
        for Manifest { line, content } in manifests {
            match content {
                Content::Taken(object) => keys.push(api_key(&object.config.key)),
                Content::Foreign(_) => {}
                // What an object says does not matter when it goes.
                Content::Refused(Refused { key: Some(key), .. }) => keys.push(api_key(&key)),
                Content::Refused(refused) => {
                    let fault = refused.faults.first().map(ToString::to_string).unwrap_or_default();
                    eprintln!("warning: {}", printable(&format!("{}: line {line}: passed over: {fault}", source.name)));
                }
            }
        }
    }
    Ok(keys)
}

/// Makes every object of the API again what it was at a revision, by a new revision, and names those that change. Objects
/// of the watched folder stay as their files have them, which is told as a warning.
pub(crate) async fn rollback(admin: &mut Admin, wanted: Rollback, context: &Context<'_>, out: Out<'_>) -> Result<()> {
    let is_dry = wanted.dry_run.is_asked_for();
    let request = pb::RollbackRequest { revision: wanted.revision, dry_run: is_dry };
    let response = admin.rollback(request).await?.into_inner();
    print_applied(&response.applied, is_dry, out)?;
    tell_aside(&response);
    match response.applied.is_empty() {
        true if response.warnings.is_empty() => {
            writeln!(out, "everything is as it was at revision {}", wanted.revision)?;
        }
        true => writeln!(out, "nothing is changed")?,
        false if is_dry => {}
        false => writeln!(out, "revision {} is as revision {} was", response.revision, wanted.revision)?,
    }
    if wanted.wait && !is_dry {
        let waited = wait(admin, response.revision, context.timeout).await?;
        return waited.show(out);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn actions_have_a_word_and_dry_runs_say_so() {
        use pb::applied::Action::{Configured, Created, Deleted, Unchanged};
        let words = [Created, Configured, Unchanged, Deleted].map(|done| action(done, false));
        assert_eq!(words, ["created", "configured", "unchanged", "deleted"]);
        assert_eq!(action(Created, true), "created (dry run)");
    }

    #[test]
    fn json_of_an_apply_has_everything_that_is_told() {
        let key = pb::ObjectKey { kind: "Service".into(), namespace: "shop".into(), name: "a".into() };
        let response = pb::ApplyResponse {
            revision: 7,
            applied: vec![pb::Applied { key: Some(key), action: pb::applied::Action::Created as i32 }],
            warnings: vec!["service shop/a: careful".into()],
            passed_over: vec![pb::PassedOver { r#type: "apps/v1 Deployment".into(), count: 3 }],
            left_out: vec![pb::LeftOut {
                object: "Gateway g".into(),
                place: "a.yaml: line 3".into(),
                reasons: vec!["kind: not yet".into()],
            }],
            impact: None,
        };
        expect![[r#"
            {
              "applied": [
                {
                  "action": "created",
                  "object": "service shop/a"
                }
              ],
              "dryRun": true,
              "leftOut": [
                {
                  "object": "Gateway g",
                  "place": "a.yaml: line 3",
                  "reasons": [
                    "kind: not yet"
                  ]
                }
              ],
              "passedOver": [
                {
                  "count": 3,
                  "type": "apps/v1 Deployment"
                }
              ],
              "revision": 7,
              "warnings": [
                "service shop/a: careful"
              ]
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&response_json(&response, true)).unwrap());
        let mut out = Vec::new();
        print_applied(&response.applied, true, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "service shop/a created (dry run)\n");
    }

    #[test]
    fn the_objects_of_files_are_deleted_by_their_names() {
        let text = "{apiVersion: v1, kind: Namespace, metadata: {name: a}}\n---\n\
                    {apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}\n---\n\
                    {apiVersion: networking.istio.io/v1, kind: EnvoyFilter, metadata: {name: a}}\n---\n\
                    {apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 0}]}}\n";
        let source = |text: &str| pb::Source { name: "a.yaml".into(), text: text.to_owned().into() };
        let keys = keys_of_files(&[source(text)], "shop").unwrap();
        assert_eq!(keys.iter().map(display_name).collect::<Vec<_>>(), ["namespace a", "service shop/a"]);
        let error = keys_of_files(&[source("a: [")], "shop").unwrap_err().to_string();
        assert!(error.starts_with("a.yaml: line "), "{error}");
    }
}
