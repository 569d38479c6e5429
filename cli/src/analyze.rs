//! The command that says what is wrong with config.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Result, bail};
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::printable_line;
use rutter_core::MeshSettings;
use rutter_core::analysis::{Analyzer, Code, Input, Level, Row, Source, report};
use serde_json::{Value, json};

use crate::args::{Analyze, Files, Output};
use crate::client::Admin;
use crate::files::read;
use crate::output::{Out, print};
use crate::targets::api_key;
use crate::usage::usage;

/// Where Istio documents its codes.
const ISTIO_DOCUMENTATION: &str = "https://istio.io/latest/docs/reference/config/analysis";

impl Analyze {
    /// Returns whether no control plane is asked.
    pub(crate) fn is_offline(&self) -> bool {
        self.offline || !self.use_kube || self.list_codes
    }

    fn sources(&self) -> Result<Vec<pb::Source>> {
        let Files { filename, kustomize } = &self.files;
        let filename = self.paths.iter().chain(filename).cloned().collect();
        let files = Files { filename, kustomize: kustomize.clone() };
        if files.is_empty() { Ok(Vec::new()) } else { read(&files) }
    }
}

/// One thing that is wrong, as it is shown.
#[derive(Debug, Clone)]
struct Finding {
    code: Code,
    object: String,
    key: Option<pb::ObjectKey>,
    place: String,
    path: String,
    cause: String,
    fix: String,
    /// The connected clients that it is about, for people. `None` means that no control plane was asked.
    clients: Option<Hit>,
}

/// How many clients a finding is about, and the names of some of them.
#[derive(Debug, Clone)]
struct Hit {
    count: u32,
    names: Vec<String>,
}

impl Hit {
    fn text(&self) -> String {
        let Self { count, names } = self;
        let noun = if *count == 1 { "client" } else { "clients" };
        let more = if *count as usize > names.len() { ", …" } else { "" };
        match count {
            0 => "No connected client sees it.".to_owned(),
            _ => format!("{count} connected {noun}: {}{more}", names.join(", ")),
        }
    }
}

/// Says what is wrong with the objects of files, without a control plane. The exit code is 1 if something is as bad as
/// `--failure-threshold`.
pub(crate) fn offline(wanted: &Analyze, namespace: &str, out: Out<'_>) -> Result<ExitCode> {
    if wanted.list_codes {
        return list_codes(wanted.output, out);
    }
    let sources = wanted.sources()?;
    if sources.is_empty() {
        return Err(usage("want files beside --offline, got none"));
    }
    let named = sources.iter().map(|source| Source { name: &source.name, text: &source.text });
    let input = Input {
        live: Analyzer::new(MeshSettings {
            domain: wanted.domain.as_str().into(),
            root_namespace: wanted.root_namespace.as_str().into(),
            inherit_egress: wanted.inherit_egress,
            ..MeshSettings::default()
        }),
        sources: named.collect(),
        namespace: if namespace.is_empty() { "default" } else { namespace },
        clients: Vec::new(),
    };
    let report = report(input);
    let findings = report.rows.into_iter().map(|row| {
        let Row { code, object, key, place, path, cause, fix, clients: _, first_clients: _ } = row;
        let key = key.as_ref().map(api_key);
        Finding { code, object, key, place, path, cause, fix, clients: None }
    });
    let namespace = if wanted.all_namespaces { "" } else { namespace };
    let (here, elsewhere): (Vec<Finding>, Vec<Finding>) = findings
        .partition(|finding| finding.key.as_ref().is_none_or(|key| namespace.is_empty() || key.namespace == namespace));
    show(here, (report.objects as u64, elsewhere.len() as u64), wanted, out)
}

/// Says what is wrong with the objects that are there, as they would be with those of files.
pub(crate) async fn live(admin: &mut Admin, wanted: &Analyze, namespace: &str, out: Out<'_>) -> Result<ExitCode> {
    let only_namespace = if wanted.all_namespaces { String::new() } else { namespace.to_owned() };
    let request = pb::AnalyzeRequest { sources: wanted.sources()?, namespace: namespace.to_owned(), only_namespace };
    let response = admin.analyze(request).await?.into_inner();
    let mut findings = Vec::new();
    for pb::Finding { code, object, key, place, path, cause, fix, clients, client_ids } in response.findings {
        let Some(code) = Code::from_id(&code) else {
            bail!("{code}: this program does not know the code (see rutterctl version)");
        };
        // With nobody connected it would stand behind everything.
        let is_told = response.clients > 0 && key.is_some();
        let clients = is_told.then_some(Hit { count: clients, names: client_ids });
        findings.push(Finding { code, object, key, place, path, cause, fix, clients });
    }
    if response.left_out > 0 {
        eprintln!("{} more findings are left out, because they are too many for one answer", response.left_out);
    }
    show(findings, (response.objects, response.elsewhere), wanted, out)
}

/// Shows what is left of the findings, and returns the exit code.
fn show(
    mut findings: Vec<Finding>,
    (objects, elsewhere): (u64, u64),
    wanted: &Analyze,
    out: Out<'_>,
) -> Result<ExitCode> {
    let suppressions = wanted.suppress.iter().map(|text| Suppression::parse(text)).collect::<Result<Vec<_>>>()?;
    let all = findings.len() as u64 + elsewhere;
    findings.retain(|finding| {
        let is_unknown = wanted.ignore_unknown && finding.code == Code::SchemaValidationError;
        !is_unknown && !suppressions.iter().any(|suppression| suppression.is_about(finding))
    });
    let is_failure = findings.iter().any(|finding| finding.code.level() >= wanted.failure_threshold);
    findings.retain(|finding| finding.code.level() >= wanted.output_threshold);
    match wanted.output {
        Output::Short => print_findings(&findings, (objects, all), wanted.limit, out)?,
        output @ (Output::Json | Output::Yaml) => {
            print(&Value::Array(findings.iter().map(finding_json).collect()), output, out)?;
        }
    }
    Ok(if is_failure { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Prints the findings and how many there are, given the number of objects and that of the findings of which these are left.
fn print_findings(findings: &[Finding], (objects, all): (u64, u64), limit: usize, out: Out<'_>) -> Result<()> {
    let mut shown: BTreeMap<Code, usize> = BTreeMap::new();
    for finding in findings {
        let Finding { code, place, path, cause, fix, .. } = finding;
        let count = shown.entry(*code).or_default();
        *count += 1;
        if limit > 0 && *count > limit {
            continue;
        }
        let names = [name_of(finding), place.clone()];
        let names: Vec<&str> = names.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
        let line = format!("{} [{code}] ({}) {path}{cause}", code.level(), names.join(" "));
        writeln!(out, "{}\n    {}", printable_line(&line), printable_line(fix))?;
        if let Some(clients) = &finding.clients {
            writeln!(out, "    {}", printable_line(&clients.text()))?;
        }
    }
    for (code, count) in shown.iter().filter(|(_, count)| limit > 0 && **count > limit) {
        writeln!(out, "{} more [{code}] are not shown (see --limit)", count - limit)?;
    }
    if !findings.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "{}", summary(findings, objects, all.saturating_sub(findings.len() as u64)))?;
    Ok(())
}

/// Returns the name of the object as istioctl has it: `VirtualService shop/reviews`.
fn name_of(finding: &Finding) -> String {
    match &finding.key {
        Some(pb::ObjectKey { kind, namespace, name }) if namespace.is_empty() => format!("{kind} {name}"),
        Some(pb::ObjectKey { kind, namespace, name }) => format!("{kind} {namespace}/{name}"),
        None => finding.object.clone(),
    }
}

fn summary(findings: &[Finding], objects: u64, left_out: u64) -> String {
    let noun = if objects == 1 { "object" } else { "objects" };
    if findings.is_empty() && left_out == 0 {
        return format!("Nothing is wrong with {objects} {noun}.");
    }
    let left_out = (left_out > 0).then(|| format!("{left_out} that were not asked for"));
    let words = [(Level::Error, "error"), (Level::Warning, "warning"), (Level::Info, "note")];
    let counts = words.into_iter().filter_map(|(level, word)| {
        let count = findings.iter().filter(|finding| finding.code.level() == level).count();
        let plural = if count == 1 { "" } else { "s" };
        (count > 0).then(|| format!("{count} {word}{plural}"))
    });
    format!("{objects} {noun}: {}", counts.chain(left_out).collect::<Vec<_>>().join(", "))
}

/// Returns a finding with the keys of istioctl, and some of our own behind them.
fn finding_json(finding: &Finding) -> Value {
    let Finding { code, place, path, cause, fix, .. } = finding;
    let documentation = match code.id().strip_prefix("IST") {
        Some(number) => format!("{ISTIO_DOCUMENTATION}/ist{number}/"),
        None => format!("docs/analyze.md#{}", code.id().to_lowercase()),
    };
    let field = if path.is_empty() { String::new() } else { format!("{path}: ") };
    let mut json = json!({
        "code": code.id(), "level": code.level().word(), "origin": name_of(finding), "reference": place,
        "message": format!("{}: {field}{cause}", code.name()), "documentationUrl": documentation,
        "field": path, "cause": cause, "fix": fix,
    });
    if let Some(Hit { count, names }) = &finding.clients {
        json["clients"] = json!({"count": count, "first": names});
    }
    json
}

fn list_codes(output: Output, out: Out<'_>) -> Result<ExitCode> {
    match output {
        Output::Short => {
            for code in Code::ALL {
                writeln!(out, "{code} {:<7} {}", code.level().word(), code.name())?;
                writeln!(out, "    {}", code.about())?;
            }
        }
        output @ (Output::Json | Output::Yaml) => {
            let codes = Code::ALL.iter().map(|code| {
                json!({"code": code.id(), "level": code.level().word(), "name": code.name(), "about": code.about()})
            });
            print(&Value::Array(codes.collect()), output, out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What `--suppress` leaves out.
#[derive(Debug)]
struct Suppression {
    code: String,
    kind: String,
    name: String,
}

impl Suppression {
    fn parse(text: &str) -> Result<Self> {
        let parts = text.split_once('=').and_then(|(code, object)| Some((code, object.split_once(' ')?)));
        let Some((code, (kind, name))) = parts else {
            return Err(usage(format!(
                "--suppress {text}: want CODE=Kind NAME.NAMESPACE, such as IST0101=VirtualService a.shop"
            )));
        };
        // Istio has more codes than are told here, and scripts that leave them out.
        let is_of_istio =
            code.strip_prefix("IST").is_some_and(|number| number.len() == 4 && number.parse::<u16>().is_ok());
        if code != "*" && !is_of_istio && Code::from_id(code).is_none() {
            return Err(usage(format!("--suppress {text}: want a code that there is (see --list-codes), got {code}")));
        }
        Ok(Self { code: code.to_owned(), kind: kind.to_owned(), name: name.to_owned() })
    }

    fn is_about(&self, finding: &Finding) -> bool {
        let Some(pb::ObjectKey { kind, namespace, name }) = &finding.key else { return false };
        let full = if namespace.is_empty() { name.clone() } else { format!("{name}.{namespace}") };
        let is_code = self.code == "*" || self.code.eq_ignore_ascii_case(finding.code.id());
        is_code && matches(&self.kind.to_lowercase(), &kind.to_lowercase()) && matches(&self.name, &full)
    }
}

/// Returns whether a text is as a pattern says, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, want) in [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("*.b", "a.b", true),
            ("*", "", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("*a", "ba", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn suppressions_name_a_code_and_an_object() {
        let finding = |name: &str| Finding {
            code: Code::ReferencedResourceNotFound,
            object: String::new(),
            key: Some(pb::ObjectKey { kind: "VirtualService".into(), namespace: "shop".into(), name: name.into() }),
            place: String::new(),
            path: String::new(),
            cause: String::new(),
            fix: String::new(),
            clients: None,
        };
        let is_about = |text: &str, name: &str| Suppression::parse(text).unwrap().is_about(&finding(name));
        assert!(is_about("IST0101=VirtualService a.shop", "a") && is_about("IST0101=virtualservice *.shop", "a"));
        assert!(!is_about("IST0101=VirtualService a.shop", "b") && !is_about("IST0109=VirtualService *", "a"));
        for wrong in ["IST0101", "IST0101=a", "RUT9999=Service a.b"] {
            assert!(Suppression::parse(wrong).is_err(), "{wrong}");
        }
    }
}
