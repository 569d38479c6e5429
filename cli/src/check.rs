//! The command that says, without a control plane, what Rutter does with some files.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use rutter_api::config::{Content, Foreign, Manifest, read_manifests};
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{Invalid, printable_line};
use rutter_core::message_size::check_routes;
use serde_json::{Value, json};

use crate::args::{Check, Output};
use crate::files::read;
use crate::istio_notes;
use crate::output::{Out, print};

/// What Rutter does with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// Everything in it is acted on.
    ActedOn,
    /// Something in it is not supported yet, so that it is refused, or left out whole with `--skip-unsupported`.
    NotSupported,
    /// Something in it is wrong.
    Wrong,
    /// It is no config of a mesh.
    Foreign,
}

impl Verdict {
    fn text(self) -> &'static str {
        match self {
            Self::ActedOn => "acted on",
            Self::NotSupported => "not supported yet",
            Self::Wrong => "wrong",
            Self::Foreign => "no config of a mesh",
        }
    }
}

/// One object of the report.
#[derive(Debug)]
struct Row {
    place: String,
    object: String,
    verdict: Verdict,
    /// Everything because of which it is not taken.
    faults: Vec<Invalid>,
    /// What Istio does with it and Rutter does not.
    notes: Vec<String>,
}

/// Says of each object of some files whether Rutter acts on it, and if not, why. The exit code is 1 if something of a mesh
/// is not taken.
pub(crate) fn check(wanted: &Check, namespace: &str, out: Out<'_>) -> Result<ExitCode> {
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    let sources = read(&wanted.files)?;
    let mut rows: Vec<Row> = sources.iter().flat_map(|source| rows_of(source, namespace, wanted.from_istio)).collect();
    refuse_duplicates(&mut rows);
    match wanted.output {
        Output::Short => print_rows(&rows, out)?,
        output @ (Output::Json | Output::Yaml) => print(&report_json(&rows), output, out)?,
    }
    let is_taken = rows.iter().all(|row| matches!(row.verdict, Verdict::ActedOn | Verdict::Foreign));
    Ok(if is_taken { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn rows_of(source: &pb::Source, namespace: &str, from_istio: bool) -> Vec<Row> {
    let unreadable = |fault: Invalid| {
        vec![Row {
            place: source.name.clone(),
            object: String::new(),
            verdict: Verdict::Wrong,
            faults: vec![fault],
            notes: Vec::new(),
        }]
    };
    let text = match std::str::from_utf8(&source.text) {
        Ok(text) => text,
        Err(error) => return unreadable(Invalid::new("", "UTF-8", format!("another byte at {}", error.valid_up_to()))),
    };
    match read_manifests(text, namespace) {
        Ok(manifests) => manifests.into_iter().map(|manifest| row_of(&source.name, manifest, from_istio)).collect(),
        Err(error) => unreadable(Invalid::new("", "YAML or JSON", error)),
    }
}

fn row_of(source: &str, Manifest { line, content }: Manifest, from_istio: bool) -> Row {
    let place = format!("{source}:{line}");
    let row = |object: String, verdict: Verdict, faults: Vec<Invalid>, notes: Vec<String>| Row {
        place,
        object,
        verdict,
        faults,
        notes: if from_istio { notes } else { Vec::new() },
    };
    match content {
        Content::Taken(object) => {
            let notes = istio_notes::of_taken(&object.config);
            let name = object.config.key.to_string();
            match check_routes(&object.config, object.json.len()) {
                None => row(name, Verdict::ActedOn, Vec::new(), notes),
                Some(fault) => row(name, Verdict::Wrong, vec![fault], notes),
            }
        }
        Content::Foreign(foreign) => {
            let notes = istio_notes::of_foreign(&foreign);
            let Foreign { type_meta, name, document: _ } = *foreign;
            row(format!("{type_meta} {name}"), Verdict::Foreign, Vec::new(), notes)
        }
        Content::Refused(refused) => {
            let verdict = if refused.is_unsupported() { Verdict::NotSupported } else { Verdict::Wrong };
            row(refused.name, verdict, refused.faults, Vec::new())
        }
    }
}

/// Finds the objects that stand twice, in one file or in two, which an apply of all files would refuse. The first keeps its
/// verdict, and each later one names the place of the first.
fn refuse_duplicates(rows: &mut [Row]) {
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    for row in rows.iter_mut().filter(|row| row.verdict == Verdict::ActedOn) {
        match places.get(&row.object) {
            Some(place) => {
                row.verdict = Verdict::Wrong;
                row.faults.push(Invalid::new("", "each object once", format!("it at {place} too")));
            }
            None => drop(places.insert(row.object.clone(), row.place.clone())),
        }
    }
}

fn print_rows(rows: &[Row], out: Out<'_>) -> Result<()> {
    for row in rows.iter().filter(|row| row.verdict != Verdict::Foreign || !row.notes.is_empty()) {
        let object = if row.object.is_empty() { String::new() } else { format!("{}: ", printable_line(&row.object)) };
        writeln!(out, "{}: {object}{}", printable_line(&row.place), row.verdict.text())?;
        for fault in &row.faults {
            writeln!(out, "    {}", printable_line(&fault.text_without_object()))?;
        }
        for note in &row.notes {
            writeln!(out, "    Istio: {}", printable_line(note))?;
        }
    }
    if !rows.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "{}", summary(rows))?;
    Ok(())
}

fn summary(rows: &[Row]) -> String {
    let mut counts: BTreeMap<Verdict, usize> = BTreeMap::new();
    let mut foreign: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.verdict).or_default() += 1;
        if row.verdict == Verdict::Foreign {
            let kind = row.object.split(' ').take(2).collect::<Vec<_>>().join(" ");
            *foreign.entry(kind).or_default() += 1;
        }
    }
    let mut parts: Vec<String> = counts.iter().map(|(verdict, count)| format!("{count} {}", verdict.text())).collect();
    if let Some(last) = parts.last_mut().filter(|_| !foreign.is_empty()) {
        let kinds: Vec<String> = foreign.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        last.push_str(&format!(" ({})", kinds.join(", ")));
    }
    let noun = if rows.len() == 1 { "object" } else { "objects" };
    if rows.is_empty() { format!("0 {noun}") } else { format!("{} {noun}: {}", rows.len(), parts.join(", ")) }
}

fn report_json(rows: &[Row]) -> Value {
    let objects = rows.iter().map(|row| {
        let faults = row.faults.iter().map(|fault| {
            json!({"path": fault.path, "want": fault.want, "got": fault.got, "hint": fault.hint, "notSupportedYet": fault.is_unsupported})
        });
        json!({
            "place": row.place, "object": row.object, "verdict": row.verdict.text(),
            "faults": faults.collect::<Vec<_>>(), "notes": row.notes,
        })
    });
    json!({"objects": objects.collect::<Vec<_>>(), "summary": summary(rows)})
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    const FILES: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n---\n\
        apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n---\n\
        apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n\
        spec: {hosts: [a], http: [{fault: {abort: {httpStatus: 500, http2Error: b}, delay: {fixedDelay: 1s, exponentialDelay: 1s}}, \
        route: [{destination: {host: a}}]}]}\n---\n\
        apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\nspec: {host: a, hots: b}\n---\n\
        apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 81}]}\n";

    fn rows(text: &str) -> Vec<Row> {
        let source = pb::Source { name: "a.yaml".into(), text: text.to_owned().into() };
        let mut rows = rows_of(&source, "default", true);
        refuse_duplicates(&mut rows);
        rows
    }

    #[test]
    fn the_report_says_of_each_object_what_is_not_taken_field_by_field() {
        let mut out = Vec::new();
        print_rows(&rows(FILES), &mut out).unwrap();
        expect![[r#"
            a.yaml:1: service default/a: acted on
            a.yaml:10: virtualService default/v: not supported yet
                spec.http[0].fault.abort.http2Error: not supported yet
                spec.http[0].fault.delay.exponentialDelay: not supported yet
            a.yaml:15: destinationRule default/d: wrong
                spec.hots: want a field of DestinationRule, got unknown field "hots"
            a.yaml:20: service default/a: wrong
                want each object once, got it at a.yaml:1 too

            5 objects: 1 acted on, 1 not supported yet, 2 wrong, 1 no config of a mesh (1 apps/v1 Deployment)
        "#]]
        .assert_eq(&String::from_utf8(out).unwrap());
    }

    #[test]
    fn json_has_the_same() {
        let report = report_json(&rows(FILES));
        assert_eq!(report["objects"][2]["faults"][0]["path"], "spec.http[0].fault.abort.http2Error");
        assert_eq!(report["objects"][2]["faults"][0]["notSupportedYet"], true);
        assert_eq!(report["objects"][1]["verdict"], "no config of a mesh");
    }

    #[test]
    fn what_is_no_text_or_yaml_is_wrong() {
        assert_eq!(rows("a: [")[0].verdict, Verdict::Wrong);
        let source = pb::Source { name: "a.yaml".into(), text: vec![0xff].into() };
        assert_eq!(
            rows_of(&source, "default", false)[0].faults[0].text_without_object(),
            "want UTF-8, got another byte at 0"
        );
        assert_eq!(summary(&[]), "0 objects");
    }
}
