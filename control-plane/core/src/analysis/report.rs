//! The analysis of a mesh as it would be with some files.

use std::collections::BTreeMap;
use std::sync::Arc;

use rutter_api::config::{Content, Manifest, read_manifests};
use rutter_api::{Config, ConfigKey, Invalid, SidecarNode};

use super::analyzer::Analyzer;
use super::audience::Clients;
use super::code::Code;
use super::finding::Finding;
use crate::debounce::{ConfigBatch, ConfigChange};

/// The number of clients that a row names.
const NAMED: usize = 3;

/// A YAML or JSON text with any number of objects.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Where it came from, for people.
    pub name: &'a str,
    /// The text.
    pub text: &'a [u8],
}

/// What is analyzed.
#[derive(Debug)]
pub struct Input<'a> {
    /// The objects that are there already, with what is wrong with them.
    pub live: Analyzer,
    /// The files, whose objects take the place of those that are there.
    pub sources: Vec<Source<'a>>,
    /// The namespace of an object that names none.
    pub namespace: &'a str,
    /// The connected clients.
    pub clients: Vec<Arc<SidecarNode>>,
}

/// What an analysis comes to.
#[derive(Debug, Default)]
pub struct Report {
    /// What is wrong, the worst first.
    pub rows: Vec<Row>,
    /// The number of objects that were looked at.
    pub objects: usize,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The code.
    pub code: Code,
    /// Names the object, or what there is of a name if a document is refused.
    pub object: String,
    /// The object, if its name is known.
    pub key: Option<ConfigKey>,
    /// The file and the line of the object, or empty for one that is not in the files.
    pub place: String,
    /// The field, or empty for the object as a whole.
    pub path: String,
    /// What is wrong, and what comes of it.
    pub cause: String,
    /// What can be done.
    pub fix: String,
    /// The number of connected clients that it is about.
    pub clients: usize,
    /// The first of them, as `POD.NAMESPACE`.
    pub first_clients: Vec<String>,
}

/// Analyzes a mesh as it would be with some files.
pub fn report(input: Input<'_>) -> Report {
    let mut files = Files { namespace: input.namespace, rows: Vec::new(), objects: BTreeMap::new() };
    input.sources.iter().for_each(|source| files.read(source));
    let Files { mut rows, objects, .. } = files;
    let mut analyzer = input.live;
    let aged = |(key, (config, _)): (&ConfigKey, &(Arc<Config>, String))| {
        (key.clone(), ConfigChange::Put(analyzer.index().aged(config)))
    };
    let changes: BTreeMap<ConfigKey, ConfigChange> = objects.iter().map(aged).collect();
    if !changes.is_empty() {
        analyzer.apply(&ConfigBatch { changes, ..ConfigBatch::default() });
    }
    let clients = Clients::new(analyzer.index(), &input.clients);
    // Several findings about one object follow each other.
    let mut hit: Option<(ConfigKey, usize, Vec<String>)> = None;
    for Finding { object, code, path, cause, fix } in analyzer.findings().cloned() {
        let place = objects.get(&object).map(|(_, place)| place.clone()).unwrap_or_default();
        if hit.as_ref().is_none_or(|(key, ..)| *key != object) {
            let nodes = clients.of(&object);
            hit = Some((object.clone(), nodes.len(), nodes.iter().take(NAMED).map(|node| node.id()).collect()));
        }
        let (clients, first_clients) =
            hit.as_ref().map(|(_, count, first)| (*count, first.clone())).unwrap_or_default();
        let name = object.to_string();
        rows.push(Row { code, object: name, key: Some(object), place, path, cause, fix, clients, first_clients });
    }
    rows.sort_by(|a, b| (b.code.level(), a.code, &a.object).cmp(&(a.code.level(), b.code, &b.object)));
    Report { rows, objects: analyzer.index().len() }
}

/// The objects of files, and what of the files is refused.
struct Files<'a> {
    namespace: &'a str,
    rows: Vec<Row>,
    objects: BTreeMap<ConfigKey, (Arc<Config>, String)>,
}

impl Files<'_> {
    fn read(&mut self, source: &Source<'_>) {
        let text = match std::str::from_utf8(source.text) {
            Ok(text) => text,
            Err(error) => {
                let cause = format!("want UTF-8, got another byte at {}", error.valid_up_to());
                return self.refuse(source.name.to_owned(), None, String::new(), cause);
            }
        };
        match read_manifests(text, self.namespace) {
            Ok(manifests) => manifests.into_iter().for_each(|manifest| self.take(source.name, manifest)),
            Err(error) => self.refuse(source.name.to_owned(), None, String::new(), error.to_string()),
        }
    }

    fn take(&mut self, source: &str, Manifest { line, content }: Manifest) {
        let place = format!("{source}:{line}");
        match content {
            Content::Taken(object) => {
                let key = object.config.key.clone();
                if let Some((_, first)) = self.objects.get(&key) {
                    let cause = format!("want each object once, got it at {first} too");
                    return self.refuse(place, Some(key), String::new(), cause);
                }
                self.objects.insert(key, (object.config, place));
            }
            Content::Foreign(_) => {}
            Content::Refused(refused) => {
                for fault in &refused.faults {
                    let Invalid { path, .. } = fault;
                    let cause = fault.text_without_object();
                    let cause = cause.strip_prefix(&format!("{path}: ")).unwrap_or(&cause).to_owned();
                    let row = Row { object: refused.name.clone(), ..refused_row(place.clone(), path.clone(), cause) };
                    self.rows.push(Row { key: refused.key.clone(), ..row });
                }
            }
        }
    }

    fn refuse(&mut self, place: String, key: Option<ConfigKey>, path: String, cause: String) {
        let object = key.as_ref().map(ConfigKey::to_string).unwrap_or_default();
        self.rows.push(Row { key, object, ..refused_row(place, path, cause) });
    }
}

fn refused_row(place: String, path: String, cause: String) -> Row {
    let code = Code::SchemaValidationError;
    Row {
        code,
        object: String::new(),
        key: None,
        place,
        path,
        cause,
        fix: "Correct it; apply refuses it.".to_owned(),
        clients: 0,
        first_clients: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::MeshSettings;
    use crate::testing::{batch, configs};

    const LIVE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}\n";

    fn routes(name: &str, destination: &str) -> String {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\n\
             spec: {{hosts: [web], http: [{{route: [{{destination: {{host: {destination}}}}}]}}]}}\n---\n"
        )
    }

    fn analyzer(text: &str) -> Analyzer {
        let mut analyzer = Analyzer::new(MeshSettings::default());
        analyzer.apply(&batch(configs(text)));
        analyzer
    }

    fn lines(live: &str, text: &str) -> Vec<String> {
        let sources = vec![Source { name: "a.yaml", text: text.as_bytes() }];
        let input = Input { live: analyzer(live), sources, namespace: "shop", clients: Vec::new() };
        let row = |row: &Row| format!("{} {} {} {}", row.code, row.object, row.place, row.path);
        report(input).rows.iter().map(row).collect()
    }

    #[test]
    fn files_and_what_is_there_are_looked_at_together() {
        assert!(lines(LIVE, &routes("v", "web")).is_empty());
        let want = "IST0101 virtualService shop/v a.yaml:1 spec.http[0].route[0].destination.host";
        assert_eq!(lines("", &routes("v", "web")), [want]);
        let there = routes("v", "gone").replace("name: v}", "name: v, namespace: shop}");
        assert_eq!(
            lines(&format!("{LIVE}---\n{there}"), ""),
            ["IST0101 virtualService shop/v  spec.http[0].route[0].destination.host"]
        );
        assert!(lines(&format!("{LIVE}---\n{there}"), &routes("v", "web")).is_empty(), "the file takes its place");
    }

    #[test]
    fn what_is_refused_is_told_beside_the_rest() {
        let bad = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\nspec: {host: web, hots: a}\n---\n";
        let text = [bad, &routes("v", "gone"), &routes("v", "gone")].concat();
        assert_eq!(
            lines(LIVE, &text),
            [
                "IST0101 virtualService shop/v a.yaml:6 spec.http[0].route[0].destination.host",
                "IST0106 destinationRule shop/r a.yaml:1 spec.hots",
                "IST0106 virtualService shop/v a.yaml:11 ",
            ]
        );
        assert_eq!(lines("", "a: ["), ["IST0106  a.yaml "]);
    }
    #[test]
    fn the_clients_are_those_that_see_the_object() {
        let node = |name: &str, namespace: &str| Arc::new(crate::testing::node(name, namespace, "10.0.0.1"));
        let clients = vec![node("a", "shop"), node("b", "bank"), node("c", "far")];
        let narrow = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s, namespace: far}\n\
            spec: {egress: [{hosts: [./*]}]}\n---\n";
        let rule = |namespace: &str, host: &str| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r, namespace: {namespace}}}\n\
                 spec: {{host: {host}, subsets: [{{name: s, trafficPolicy: {{outlierDetection: {{}}}}}}]}}\n---\n"
            )
        };
        let hit = |text: &str| {
            let text = [narrow, text].concat();
            let sources = vec![Source { name: "a.yaml", text: text.as_bytes() }];
            let (live, clients) = (analyzer(LIVE), clients.clone());
            let rows = report(Input { live, sources, namespace: "shop", clients }).rows;
            rows.iter().map(|row| format!("{} {}", row.code, row.first_clients.join(" "))).collect::<Vec<_>>()
        };
        assert_eq!(hit(&routes("v", "gone")), ["IST0101 b.bank a.shop"]);
        assert_eq!(hit(&rule("shop", "web")), ["RUT0004 b.bank a.shop"]);
        let full = "web.shop.svc.cluster.local";
        assert_eq!(hit(&rule("bank", full)), ["RUT0002 b.bank", "RUT0004 b.bank"]);
        assert_eq!(hit(&rule("far", full)), ["RUT0002 ", "RUT0004 "]);
    }
}
