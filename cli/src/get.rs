//! The command that shows objects.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use comfy_table::{ColumnConstraint, Table, Width};
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::pb::rutter::admin::v1::watch_response::Event;
use rutter_api::{CreationTimestamp, Kind};
use serde_json::{Value, json};
use tonic::Streaming;

use crate::args::{Get, ObjectOutput, Output};
use crate::client::Admin;
use crate::columns::{Endpoints, cells, count_endpoints, heads, items, labels};
use crate::output::{Out, print, rows, set_heads};
use crate::targets::{display_name, keys};

/// The width of the column for the longest event, `modified`, with the blanks around it.
const EVENT_WIDTH: u16 = 10;
/// How long a watch waits for another object that is there before it shows those that have come.
const LISTING_PAUSE: Duration = Duration::from_millis(100);

/// Shows objects: as a table for each kind, as names, as JSON or YAML (one object that was asked for by its name stands
/// alone, several are a `List`), or by a template. It fails after it has shown the others if one is not there.
pub(crate) async fn get(admin: &mut Admin, wanted: Get, namespace: &str, out: Out<'_>) -> Result<()> {
    let namespace = if wanted.all_namespaces { "" } else { namespace };
    let keys = keys(&wanted.targets, namespace)?;
    let is_single = matches!(&keys[..], [key] if !key.name.is_empty());
    let selector = wanted.selector.clone().unwrap_or_default();
    let request = pb::GetRequest { wanted: keys, selector };
    if wanted.watch {
        let changes = admin.watch(request).await?.into_inner();
        return watch(changes, &wanted, out).await;
    }
    let response = admin.get(request).await?.into_inner();
    let objects = response.objects.iter().map(Shown::of).collect::<Result<Vec<Shown>>>()?;
    if objects.is_empty() && response.missing.is_empty() {
        let place = if namespace.is_empty() { String::new() } else { format!(" in the namespace {namespace}") };
        eprintln!("no objects{place}");
    }
    let is_table = matches!(wanted.output, ObjectOutput::Short | ObjectOutput::Wide);
    if is_table {
        let endpoints = endpoints(admin, &objects, namespace).await?;
        print_tables(&objects, &endpoints, &wanted, out)?;
    } else if is_single && objects.len() == 1 {
        print_value(&objects[0].json, &objects, &wanted.output, out)?;
    } else if !(objects.is_empty() && is_single) {
        let items: Vec<&Value> = objects.iter().map(|object| &object.json).collect();
        print_value(&json!({"apiVersion": "v1", "kind": "List", "items": items}), &objects, &wanted.output, out)?;
    }
    if !response.missing.is_empty() {
        let lines: Vec<String> =
            response.missing.iter().map(|key| format!("{}: not found", display_name(key))).collect();
        bail!("{}", lines.join("\n"));
    }
    Ok(())
}

/// An object as it is shown.
struct Shown {
    kind: Kind,
    json: Value,
    owner: String,
    status: String,
}

impl Shown {
    fn of(object: &pb::Object) -> Result<Self> {
        let key = object.key.clone().unwrap_or_default();
        let Some(kind) = Kind::from_word(&key.kind) else {
            bail!("{}: this program does not know the kind (see rutterctl version)", display_name(&key));
        };
        let status = match object.refused_by {
            0 => "ok".to_owned(),
            refused_by => format!("refused by {refused_by} of {}", object.sent_to),
        };
        Ok(Self { kind, json: serde_json::from_slice(&object.json)?, owner: object.owner.clone(), status })
    }

    fn metadata(&self, field: &str) -> &str {
        self.json["metadata"][field].as_str().unwrap_or_default()
    }

    fn age(&self) -> String {
        let created: Result<CreationTimestamp, _> = self.metadata("creationTimestamp").parse();
        created.map_or_else(|_| "?".to_owned(), |created| age(SystemTime::now(), created))
    }

    /// Returns the name as kubectl has it, with the plural of the kind and its group.
    fn qualified_name(&self) -> String {
        let kind = self.kind.name().to_lowercase();
        let group = self.kind.api_versions()[0].split_once('/').map(|(group, _)| format!(".{group}"));
        format!("{kind}{}/{}", group.unwrap_or_default(), self.metadata("name"))
    }
}

/// Returns how long ago something was, in the unit that fits.
fn age(now: SystemTime, then: CreationTimestamp) -> String {
    let us = CreationTimestamp::from(now).microseconds().saturating_sub(then.microseconds()).max(0);
    match us / 1_000_000 {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// Counts the endpoints of services, if there are services among some objects.
async fn endpoints(admin: &mut Admin, objects: &[Shown], namespace: &str) -> Result<Endpoints> {
    if objects.iter().all(|object| object.kind != Kind::Service) {
        return Ok(Endpoints::new());
    }
    let (kind, namespace) = (Kind::EndpointSlice.name().to_owned(), namespace.to_owned());
    let wanted = vec![pb::ObjectKey { kind, namespace, name: String::new() }];
    let slices = admin.get(pb::GetRequest { wanted, selector: String::new() }).await?.into_inner();
    let slices: Vec<Value> =
        slices.objects.iter().map(|object| serde_json::from_slice(&object.json)).collect::<Result<_, _>>()?;
    Ok(count_endpoints(&slices))
}

/// Prints a table for each kind.
fn print_tables(objects: &[Shown], endpoints: &Endpoints, wanted: &Get, out: Out<'_>) -> Result<()> {
    let mut is_first = true;
    for kind in Kind::ALL {
        let of_kind: Vec<&Shown> = objects.iter().filter(|object| object.kind == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            writeln!(out)?;
        }
        let is_alone = of_kind.len() == objects.len();
        let mut table = rows();
        if !wanted.no_headers {
            set_heads(&mut table, &head(kind, wanted, None));
        }
        for object in of_kind {
            table.add_row(row(object, Some(endpoints), wanted, !is_alone));
        }
        writeln!(out, "{table}")?;
    }
    Ok(())
}

fn head(kind: Kind, wanted: &Get, first: Option<&'static str>) -> Vec<&'static str> {
    let mut head: Vec<&str> = first.into_iter().collect();
    if kind.is_namespaced() {
        head.push("NAMESPACE");
    }
    head.push("NAME");
    head.extend(heads(kind));
    head.extend(["AGE", "STATUS"]);
    if matches!(wanted.output, ObjectOutput::Wide) {
        head.extend(["VERSION", "OWNER"]);
    }
    if wanted.show_labels {
        head.push("LABELS");
    }
    head
}

fn row(object: &Shown, endpoints: Option<&Endpoints>, wanted: &Get, with_kind: bool) -> Vec<String> {
    let name = object.metadata("name");
    let mut row = Vec::new();
    if object.kind.is_namespaced() {
        row.push(object.metadata("namespace").to_owned());
    }
    row.push(if with_kind { format!("{}/{name}", object.kind.name().to_lowercase()) } else { name.to_owned() });
    row.extend(cells(object.kind, &object.json, endpoints));
    row.extend([object.age(), object.status.clone()]);
    if matches!(wanted.output, ObjectOutput::Wide) {
        row.extend([object.metadata("resourceVersion").to_owned(), object.owner.clone()]);
    }
    if wanted.show_labels {
        row.push(labels(&object.json["metadata"]["labels"]));
    }
    row
}

/// Prints a value that stands for some objects, in another form than a table.
fn print_value(value: &Value, objects: &[Shown], output: &ObjectOutput, out: Out<'_>) -> Result<()> {
    match output {
        ObjectOutput::Json => print(value, Output::Json, out),
        ObjectOutput::Yaml => print(value, Output::Yaml, out),
        ObjectOutput::Hosts => objects.iter().try_for_each(|object| print_hosts(&object.json, out)),
        ObjectOutput::Template(template) => Ok(write!(out, "{}", template.fill(value))?),
        ObjectOutput::Short | ObjectOutput::Wide | ObjectOutput::Name => {
            objects.iter().try_for_each(|object| Ok(writeln!(out, "{}", object.qualified_name())?))
        }
    }
}

/// Prints the addresses that the hosts of a ServiceEntry have or were given, as lines of `/etc/hosts`, by which somebody's DNS can tell
/// them. Other kinds have none.
fn print_hosts(object: &Value, out: Out<'_>) -> Result<()> {
    if object["kind"] != Kind::ServiceEntry.name() {
        return Ok(());
    }
    let texts = |list: &'static str| items(&object["spec"][list]).iter().filter_map(Value::as_str);
    for address in texts("addresses").filter(|address| address.parse::<IpAddr>().is_ok()) {
        for host in texts("hosts").filter(|host| !host.starts_with('*')) {
            writeln!(out, "{address}\t{host}")?;
        }
    }
    for given in items(&object["status"]["addresses"]) {
        let text = |field: &str| given[field].as_str().unwrap_or_default();
        writeln!(out, "{}\t{}", text("value"), text("host"))?;
    }
    Ok(())
}

/// Shows what is there, and then each change, until the control plane ends.
async fn watch(mut changes: Streaming<pb::WatchResponse>, wanted: &Get, out: Out<'_>) -> Result<()> {
    let mut batch: Vec<(Event, Shown)> = Vec::new();
    let mut widths = vec![EVENT_WIDTH];
    loop {
        let change = match batch.last() {
            // What is there at the beginning is one table.
            Some((Event::Listed, _)) => tokio::time::timeout(LISTING_PAUSE, changes.message()).await.ok(),
            _ => Some(changes.message().await),
        };
        let change = change.transpose()?;
        let is_listed = matches!(&change, Some(Some(change)) if change.event() == Event::Listed);
        if !is_listed {
            print_changes(&std::mem::take(&mut batch), wanted, &mut widths, out)?;
        }
        match change {
            Some(Some(change)) => {
                let object = Shown::of(&change.object.clone().unwrap_or_default())?;
                batch.push((change.event(), object));
            }
            Some(None) => bail!("the control plane has ended the watch"),
            None => {}
        }
        if matches!(batch.last(), Some((event, _)) if *event != Event::Listed) {
            print_changes(&std::mem::take(&mut batch), wanted, &mut widths, out)?;
        }
        out.flush()?;
    }
}

/// Prints changes as rows whose columns are as wide as those before them.
fn print_changes(changes: &[(Event, Shown)], wanted: &Get, widths: &mut Vec<u16>, out: Out<'_>) -> Result<()> {
    let Some((_, first)) = changes.first() else { return Ok(()) };
    if !matches!(wanted.output, ObjectOutput::Short | ObjectOutput::Wide) {
        return changes
            .iter()
            .try_for_each(|(_, object)| print_value(&object.json, std::slice::from_ref(object), &wanted.output, out));
    }
    let mut table = rows();
    if widths.len() <= 1 && !wanted.no_headers {
        set_heads(&mut table, &head(first.kind, wanted, Some("EVENT")));
    }
    for (event, object) in changes {
        let mut cells = vec![event.as_str_name().to_lowercase()];
        cells.extend(row(object, None, wanted, true));
        table.add_row(cells);
    }
    widen(&mut table, widths);
    Ok(writeln!(out, "{table}")?)
}

/// Makes the columns of a table at least as wide as those before, and takes in how wide they are.
fn widen(table: &mut Table, widths: &mut Vec<u16>) {
    for (column, width) in table.column_iter_mut().zip(widths.iter()) {
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*width)));
    }
    // Of the width of a column, two are the blanks around it.
    let now = table.column_max_content_widths().into_iter().map(|width| width + 2);
    *widths = now.enumerate().map(|(at, width)| widths.get(at).copied().unwrap_or_default().max(width)).collect();
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use expect_test::expect;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn ages_have_the_unit_that_fits() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let ago = |seconds: i64| age(now, CreationTimestamp::from_microseconds((1_000_000 - seconds) * 1_000_000));
        assert_eq!([ago(5), ago(119), ago(180), ago(7_200), ago(200_000)], ["5s", "119s", "3m", "2h", "2d"]);
        assert_eq!(ago(-5), "0s", "a clock that goes backwards");
    }

    /// Returns what a command line wants.
    fn wanted(line: &str) -> Get {
        let line = format!("rutterctl get {line}");
        let Command::Get(get) = Cli::parse_from(line.split(' ')).command else { panic!("{line}") };
        get
    }

    fn shown(kind: &str, name: &str, spec: Value) -> Shown {
        let labels = json!({"app": name});
        let created = "1971-01-01T00:00:00Z";
        let metadata = json!({
            "namespace": "shop", "name": name, "labels": labels, "resourceVersion": "7", "creationTimestamp": created,
        });
        Shown {
            kind: Kind::from_word(kind).unwrap(),
            json: json!({"metadata": metadata, "spec": spec}),
            owner: "shop/a.yaml".into(),
            status: "ok".into(),
        }
    }

    fn objects() -> Vec<Shown> {
        vec![
            shown("svc", "a", json!({"clusterIP": "10.9.0.1", "ports": [{"name": "http", "port": 80}]})),
            shown("svc", "longer-name", json!({"ports": [{"port": 443}]})),
            shown("vs", "v", json!({"hosts": ["a", "b.example.com"], "gateways": ["mesh"]})),
        ]
    }

    /// Returns a text with a bar before each line, without spaces at its end, and with `N` for the digits of ages.
    fn barred(out: Vec<u8>) -> String {
        let text = String::from_utf8(out).unwrap();
        let without_ages = |line: &str| {
            let words = line.split(' ').map(|word| match word.strip_suffix('d') {
                Some(days) if days.parse::<u64>().is_ok() => "N".repeat(days.len()) + "d",
                Some(_) | None => word.to_owned(),
            });
            words.collect::<Vec<_>>().join(" ")
        };
        text.lines().map(|line| format!("|{}\n", without_ages(line).trim_end())).collect()
    }

    fn tables(objects: &[Shown], line: &str) -> String {
        let endpoints = Endpoints::from([(("shop".to_owned(), "a".to_owned()), (2, 3))]);
        let mut out = Vec::new();
        print_tables(objects, &endpoints, &wanted(line), &mut out).unwrap();
        barred(out)
    }

    #[test]
    fn each_kind_has_a_table_of_its_own() {
        expect![[r#"
            | NAMESPACE  NAME                 CLUSTER-IP  PORTS    ENDPOINTS  AGE     STATUS
            | shop       service/a            10.9.0.1    80/http  2/3 ready  NNNNNd  ok
            | shop       service/longer-name  -           443      none       NNNNNd  ok
            |
            | NAMESPACE  NAME              GATEWAYS  HOSTS            AGE     STATUS
            | shop       virtualservice/v  mesh      a,b.example.com  NNNNNd  ok
        "#]]
        .assert_eq(&tables(&objects(), "all"));
        expect![[r#"
            | NAMESPACE  NAME         CLUSTER-IP  PORTS    ENDPOINTS  AGE     STATUS
            | shop       a            10.9.0.1    80/http  2/3 ready  NNNNNd  ok
            | shop       longer-name  -           443      none       NNNNNd  ok
        "#]]
        .assert_eq(&tables(&objects()[..2], "svc"));
        expect![[r#"
            | NAMESPACE  NAME  CLUSTER-IP  PORTS    ENDPOINTS  AGE     STATUS  VERSION  OWNER        LABELS
            | shop       a     10.9.0.1    80/http  2/3 ready  NNNNNd  ok      7        shop/a.yaml  app=a
        "#]]
        .assert_eq(&tables(&objects()[..1], "svc -o wide --show-labels"));
        expect![[r#"
            | shop  v  mesh  a,b.example.com  NNNNNd  ok
        "#]]
        .assert_eq(&tables(&objects()[2..], "vs --no-headers"));
        expect![[r#""#]].assert_eq(&tables(&[], "vs"));
    }

    #[test]
    fn a_namespace_is_in_none() {
        expect![[r#"
            | NAME  AGE     STATUS
            | shop  NNNNNd  ok
        "#]]
        .assert_eq(&tables(&[shown("ns", "shop", json!({}))], "ns"));
    }

    #[test]
    fn other_forms_than_tables_have_each_object() {
        let print = |line: &str| {
            let objects = objects();
            let items: Vec<&Value> = objects.iter().map(|object| &object.json).collect();
            let mut out = Vec::new();
            print_value(&json!({"items": items}), &objects, &wanted(line).output, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(print("all -o name"), "service/a\nservice/longer-name\nvirtualservice.networking.istio.io/v\n");
        assert_eq!(print("all -o jsonpath={.items[*].metadata.name}"), "a longer-name v");
        assert!(print("all -o json").starts_with("{\n  \"items\": ["));
        assert!(print("all -o yaml").starts_with("items:\n  - metadata:\n      creationTimestamp: "));
    }

    #[test]
    fn changes_are_rows_below_those_before() {
        let mut widths = vec![EVENT_WIDTH];
        let mut out = Vec::new();
        let mut print = |changes: Vec<(Event, Shown)>| {
            print_changes(&changes, &wanted("svc -w"), &mut widths, &mut out).unwrap();
        };
        print(objects().drain(..2).map(|object| (Event::Listed, object)).collect());
        print(vec![(Event::Modified, objects().remove(0))]);
        print(Vec::new());
        print(vec![(Event::Deleted, objects().remove(0))]);
        expect![[r#"
            | EVENT     NAMESPACE  NAME                 CLUSTER-IP  PORTS    ENDPOINTS  AGE     STATUS
            | listed    shop       service/a            10.9.0.1    80/http  -          NNNNNd  ok
            | listed    shop       service/longer-name  -           443      -          NNNNNd  ok
            | modified  shop       service/a            10.9.0.1    80/http  -          NNNNNd  ok
            | deleted   shop       service/a            10.9.0.1    80/http  -          NNNNNd  ok
        "#]]
        .assert_eq(&barred(out));
    }

    #[test]
    fn a_refusal_is_told_by_how_many_of_how_many() {
        let key = pb::ObjectKey { kind: "VirtualService".into(), namespace: "shop".into(), name: "a".into() };
        let object = |refused_by: u32| pb::Object {
            key: Some(key.clone()),
            json: r#"{"metadata":{"name":"a"}}"#.into(),
            owner: "api".into(),
            refused_by,
            sent_to: 40,
        };
        assert_eq!(Shown::of(&object(0)).unwrap().status, "ok");
        let refused = Shown::of(&object(1)).unwrap();
        assert_eq!(refused.status, "refused by 1 of 40");
        assert_eq!(refused.qualified_name(), "virtualservice.networking.istio.io/a");
        assert_eq!(refused.age(), "?");
        let unknown = pb::Object { key: Some(pb::ObjectKey { kind: "Thing".into(), ..key.clone() }), ..object(0) };
        let error = Shown::of(&unknown).map(drop).unwrap_err().to_string();
        assert_eq!(error, "thing shop/a: this program does not know the kind (see rutterctl version)");
    }
}
