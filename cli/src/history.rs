//! The commands about what was: history and diff.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use rutter_api::config::{Content, Manifest, read_manifests};
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{CreationTimestamp, printable};
use serde_json::{Value, json};
use similar::TextDiff;

use crate::apply::action;
use crate::args::{Diff, History, Output, WantedImpact};
use crate::client::Admin;
use crate::files::read;
use crate::impact;
use crate::output::{Out, print, table, yaml};
use crate::secrets;
use crate::targets::{DEFAULT_NAMESPACE, api_key, display_name, keys, namespace_or_default};
use crate::usage::usage;

/// The number of changes of a commit that the table names.
const CHANGES_SHOWN: usize = 3;
/// The number of equal lines around a difference.
const LINES_AROUND: usize = 3;

/// Shows the latest commits.
pub(crate) async fn history(admin: &mut Admin, wanted: History, namespace: &str, out: Out<'_>) -> Result<()> {
    let wanted_object = match &keys(&wanted.targets, namespace)?[..] {
        [] => in_namespace(namespace),
        [key] => Some(key.clone()),
        several => return Err(usage(format!("want one object or one kind, got {}", several.len()))),
    };
    let request = pb::HistoryRequest { wanted: wanted_object, limit: wanted.limit };
    let revisions = admin.history(request).await?.into_inner().revisions;
    if wanted.output != Output::Short {
        return print(&Value::Array(revisions.iter().map(revision_json).collect()), wanted.output, out);
    }
    if revisions.is_empty() {
        eprintln!("no commits");
        return Ok(());
    }
    print_revisions(&revisions, out)
}

/// Returns the pattern of every object of a namespace, or `None` for those of all.
fn in_namespace(namespace: &str) -> Option<pb::ObjectKey> {
    let pattern = pb::ObjectKey { kind: "all".into(), namespace: namespace.to_owned(), name: String::new() };
    Some(pattern).filter(|pattern| !pattern.namespace.is_empty())
}

fn print_revisions(revisions: &[pb::Revision], out: Out<'_>) -> Result<()> {
    let mut rows = table(["REVISION", "TIME", "BY", "CHANGES"]);
    for revision in revisions {
        let mut changes: Vec<String> = revision.changes.iter().take(CHANGES_SHOWN).map(change).collect();
        if let Some(more @ 1..) = revision.changes.len().checked_sub(CHANGES_SHOWN) {
            changes.push(format!("… {more} more"));
        }
        let by = if revision.by.is_empty() { "-" } else { &revision.by };
        rows.add_row([&revision.revision.to_string(), &time(revision.at_us), by, &changes.join(", ")]);
    }
    writeln!(out, "{rows}")?;
    Ok(())
}

fn time(at_us: i64) -> String {
    match at_us {
        0 => "-".to_owned(),
        at_us => CreationTimestamp::from_microseconds(at_us.div_euclid(1_000_000) * 1_000_000).to_string(),
    }
}

fn change(applied: &pb::Applied) -> String {
    let key = applied.key.clone().unwrap_or_default();
    format!("{} {}", display_name(&key), action(applied.action(), false))
}

fn revision_json(revision: &pb::Revision) -> Value {
    let changes = revision.changes.iter().map(|applied| {
        let key = applied.key.clone().unwrap_or_default();
        json!({"object": display_name(&key), "action": action(applied.action(), false)})
    });
    let (time, by) = (time(revision.at_us), &revision.by);
    json!({"revision": revision.revision, "time": time, "by": by, "changes": changes.collect::<Vec<_>>()})
}

/// Shows what files would change, and whom that concerns if it is asked for, or what changed between revisions. The exit code is 1
/// if there is a difference, as that of kubectl; with `--fail-over` it is 1 only if too many sidecars are affected.
pub(crate) async fn diff(admin: &mut Admin, wanted: Diff, namespace: &str, out: Out<'_>) -> Result<ExitCode> {
    let difference = |is_same: bool| if is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if let Some(text) = &wanted.revisions {
        return Ok(difference(print_pairs(&of_revisions(admin, text, namespace).await?, out)?));
    }
    let sources = read(&wanted.files)?;
    let is_same = print_pairs(&of_files(admin, &sources, namespace).await?, out)?;
    let WantedImpact { impact, fail_over } = wanted.impact;
    if !impact {
        return Ok(difference(is_same));
    }
    let request =
        pb::ApplyRequest { sources, namespace: namespace.to_owned(), dry_run: true, impact, ..Default::default() };
    let response = admin.apply(request).await?.into_inner();
    if let Some(impact) = &response.impact {
        impact::print(impact, out)?;
    }
    let by_count = impact::exit_code(response.impact.as_ref(), fail_over)?;
    Ok(if fail_over.is_some() { by_count } else { difference(is_same) })
}

/// Prints the differences between the texts of each object, and returns whether there is none.
fn print_pairs(pairs: &[Pair], out: Out<'_>) -> Result<bool> {
    let mut is_same = true;
    for Pair { name, from, to, before, after } in pairs {
        let diff = TextDiff::from_lines(before, after);
        let mut unified = diff.unified_diff();
        let text = unified
            .context_radius(LINES_AROUND)
            .header(&format!("{name} ({from})"), &format!("{name} ({to})"))
            .to_string();
        is_same &= text.is_empty();
        write!(out, "{text}")?;
    }
    Ok(is_same)
}

/// Two texts of one object.
struct Pair {
    name: String,
    from: String,
    to: String,
    before: String,
    after: String,
}

async fn of_revisions(admin: &mut Admin, text: &str, namespace: &str) -> Result<Vec<Pair>> {
    let (from, to) = text.split_once("..").unwrap_or((text, ""));
    let revision =
        |text: &str| text.parse::<u64>().map_err(|_| usage(format!("want FROM..TO, two revisions, got {text:?}")));
    let from_revision = revision(from)?;
    let to_revision = if to.is_empty() { 0 } else { revision(to)? };
    let wanted = in_namespace(namespace);
    let request = pb::DiffRequest { from_revision, to_revision, wanted };
    let response = admin.diff(request).await?.into_inner();
    let pair = |difference: &pb::Difference| {
        let pb::Difference { key, before, after } = difference;
        Ok(Pair {
            name: display_name(&key.clone().unwrap_or_default()),
            from: format!("revision {from_revision}"),
            to: format!("revision {}", response.to_revision),
            before: text_of(before)?,
            after: text_of(after)?,
        })
    };
    response.differences.iter().map(pair).collect()
}

fn text_of(json: &[u8]) -> Result<String> {
    if json.is_empty() { Ok(String::new()) } else { Ok(yaml(&serde_json::from_slice(json)?)) }
}

/// Compares the objects of files with those of the control plane.
async fn of_files(admin: &mut Admin, sources: &[pb::Source], namespace: &str) -> Result<Vec<Pair>> {
    let namespace = namespace_or_default(namespace);
    let mut files = BTreeMap::new();
    let mut faults = Vec::new();
    for source in sources {
        let text = String::from_utf8_lossy(&source.text);
        let manifests = read_manifests(&text, namespace).with_context(|| source.name.clone())?;
        for Manifest { line, content } in manifests {
            match content {
                Content::Taken(object) => {
                    let key = api_key(&object.config.key);
                    let name = display_name(&key);
                    if files.insert(name.clone(), (key, object)).is_some() {
                        faults
                            .push(format!("{}: line {line}: {name}: want each object once, got it twice", source.name));
                    }
                }
                Content::Foreign(_) => {}
                Content::Refused(refused) => {
                    let refused = refused.faults.iter().map(|fault| format!("{}: line {line}: {fault}", source.name));
                    faults.extend(refused);
                }
            }
        }
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    if files.is_empty() {
        bail!("want at least one object of a mesh, got none");
    }
    let request =
        pb::GetRequest { wanted: files.values().map(|(key, _)| key.clone()).collect(), selector: String::new() };
    let mut live = BTreeMap::new();
    for object in admin.get(request).await?.into_inner().objects {
        let name = display_name(&object.key.clone().unwrap_or_default());
        live.insert(name, without_server_fields(&object.json)?);
    }
    let mut pairs = Vec::new();
    for (name, (_, object)) in files {
        let (from, to) = ("live".to_owned(), "file".to_owned());
        let known = live.get(&name);
        let after = secrets::shown(admin, &object, known.map(|json| &**json)).await?;
        let before = known.map(|json| text_of(secrets::shown_live(json).as_bytes())).transpose()?.unwrap_or_default();
        pairs.push(Pair { from, to, before, after: text_of(after.as_bytes())?, name });
    }
    Ok(pairs)
}

/// Returns an object as its writer has it, as JSON.
fn without_server_fields(json: &[u8]) -> Result<String> {
    let text = String::from_utf8_lossy(json);
    let manifests = read_manifests(&text, DEFAULT_NAMESPACE)?;
    match manifests.into_iter().next().map(|manifest| manifest.content) {
        Some(Content::Taken(object)) => Ok(object.json.to_string()),
        Some(Content::Foreign(_) | Content::Refused(_)) | None => {
            bail!(
                "the control plane has an object that this program does not take (see rutterctl version): {}",
                printable(&text)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn times_are_to_the_second_and_may_be_unknown() {
        assert_eq!(time(0), "-");
        assert_eq!(time(1_767_225_600_123_456), "2026-01-01T00:00:00Z");
    }

    fn revision(number: u64, by: &str, names: &[&str]) -> pb::Revision {
        let changes = names.iter().map(|name| pb::Applied {
            key: Some(pb::ObjectKey { kind: "Service".into(), namespace: "shop".into(), name: (*name).into() }),
            action: pb::applied::Action::Configured as i32,
        });
        let at_us = if by.is_empty() { 0 } else { 1_767_225_600_000_000 };
        pb::Revision { revision: number, at_us, by: by.into(), changes: changes.collect() }
    }

    #[test]
    fn revisions_say_who_changed_what_and_count_what_is_too_much() {
        let revisions = [revision(9, "uid 0", &["a", "b", "c", "d", "e"]), revision(8, "", &["a"])];
        let mut out = Vec::new();
        print_revisions(&revisions, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let barred: String = text.lines().map(|line| format!("|{}\n", line.trim_end())).collect();
        expect![[r#"
            | REVISION  TIME                  BY     CHANGES
            | 9         2026-01-01T00:00:00Z  uid 0  service shop/a configured, service shop/b configured, service shop/c configured, … 2 more
            | 8         -                     -      service shop/a configured
        "#]].assert_eq(&barred);
        expect![[r#"
            {
              "by": "",
              "changes": [
                {
                  "action": "configured",
                  "object": "service shop/a"
                }
              ],
              "revision": 8,
              "time": "-"
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&revision_json(&revisions[1])).unwrap());
    }

    #[test]
    fn differences_are_shown_with_some_lines_around_them() {
        let pair = |before: &str, after: &str| Pair {
            name: "service shop/a".into(),
            from: "revision 1".into(),
            to: "revision 2".into(),
            before: before.into(),
            after: after.into(),
        };
        let text = "a\nb\nc\nd\ne\nf\ng\nh\n";
        let pairs = [pair(text, &text.replace('e', "E")), pair("x\n", "x\n"), pair("", "new\n"), pair("old\n", "")];
        let mut out = Vec::new();
        assert!(!print_pairs(&pairs, &mut out).unwrap());
        expect![[r#"
            --- service shop/a (revision 1)
            +++ service shop/a (revision 2)
            @@ -2,7 +2,7 @@
             b
             c
             d
            -e
            +E
             f
             g
             h
            --- service shop/a (revision 1)
            +++ service shop/a (revision 2)
            @@ -0,0 +1 @@
            +new
            --- service shop/a (revision 1)
            +++ service shop/a (revision 2)
            @@ -1 +0,0 @@
            -old
        "#]]
        .assert_eq(&String::from_utf8(out).unwrap());
        let mut out = Vec::new();
        assert!(print_pairs(&pairs[1..2], &mut out).unwrap() && out.is_empty());
    }

    #[test]
    fn an_object_is_compared_without_what_the_control_plane_adds() {
        let json = br#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a","resourceVersion":"7","annotations":{"rutter/revision":"7"}},"status":{}}"#;
        let want = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}"#;
        assert_eq!(without_server_fields(json).unwrap(), want);
        assert!(without_server_fields(br#"{"apiVersion":"v1","kind":"Pod"}"#).is_err());
    }
}
