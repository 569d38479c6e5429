//! What an apply request holds.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rutter_api::config::{Content, Manifest, Object};
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{ConfigKey, Invalid, LabelSelector};
use rutter_store::{ConfigWrite, Expected, Owner};
use tonic::Status;

use super::sidecars::count;
use super::wanted::selector;
use crate::sealing::Sealer;
use crate::sources::manifests;

/// The number of faults of one apply that are listed.
const FAULTS_MAX: usize = 20;

/// What the sources of an apply come to.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) objects: Vec<Object>,
    /// The objects that are no config of a mesh, by their type.
    pub(super) passed_over: Vec<pb::PassedOver>,
    /// The objects that are left out because something in them is not supported yet.
    pub(super) left_out: Vec<pb::LeftOut>,
    /// The labels of objects that are deleted unless they are among these. `None` means that nothing is deleted.
    pub(super) prune: Option<LabelSelector>,
}

/// Reads the sources of a request.
struct Reader<'a> {
    request: &'a pb::ApplyRequest,
    sealer: &'a Sealer,
    prune: Option<LabelSelector>,
    /// Where each object stands.
    places: BTreeMap<ConfigKey, String>,
    objects: Vec<Object>,
    passed_over: BTreeMap<String, usize>,
    left_out: Vec<pb::LeftOut>,
    faults: Vec<String>,
    /// The number of objects that are refused only because something in them is not supported yet.
    unsupported: usize,
}

/// Returns what is in the sources of a request, or everything that is wrong with them, as a status whose message has a line
/// for each fault, with its source, the line in it and the field. At most twenty are listed, and the others counted.
pub(super) fn read_sources(request: &pb::ApplyRequest, sealer: &Sealer) -> Result<Sources, Status> {
    let prune = Some(&request.prune).filter(|text| !text.is_empty()).map(|text| selector(text)).transpose()?;
    let mut reader = Reader {
        request,
        sealer,
        prune,
        places: BTreeMap::new(),
        objects: Vec::new(),
        passed_over: BTreeMap::new(),
        left_out: Vec::new(),
        faults: Vec::new(),
        unsupported: 0,
    };
    for source in &request.sources {
        reader.source(source);
    }
    reader.finish()
}

impl Reader<'_> {
    fn source(&mut self, source: &pb::Source) {
        let name = &source.name;
        let text = match std::str::from_utf8(&source.text) {
            Ok(text) => text,
            Err(error) => {
                self.faults.push(format!("{name}: want UTF-8, got another byte at {}", error.valid_up_to()));
                return;
            }
        };
        let namespace = if self.request.namespace.is_empty() { "default" } else { &self.request.namespace };
        match manifests::read(text, namespace, self.sealer) {
            Ok(manifests) => manifests.into_iter().for_each(|manifest| self.manifest(name, manifest)),
            Err(error) => self.faults.push(format!("{name}: {error}")),
        }
    }

    fn manifest(&mut self, source: &str, manifest: Manifest) {
        let place = format!("{source}: line {}", manifest.line);
        match manifest.content {
            Content::Taken(object) => self.object(place, *object),
            Content::Foreign(foreign) if self.request.strict => {
                let type_meta = foreign.type_meta;
                self.faults.push(format!(
                    "{place}: want config of a mesh, got {type_meta} (without --strict it is passed over)"
                ));
            }
            Content::Foreign(foreign) => *self.passed_over.entry(foreign.type_meta.to_string()).or_default() += 1,
            Content::Refused(refused) => {
                let is_unsupported = refused.is_unsupported();
                if is_unsupported && self.request.skip_unsupported {
                    let reasons = refused.faults.iter().map(Invalid::text_without_object).collect();
                    self.left_out.push(pb::LeftOut { object: refused.name, place, reasons });
                    return;
                }
                self.unsupported += usize::from(is_unsupported);
                self.faults.extend(refused.faults.iter().map(|fault| format!("{place}: {fault}")));
            }
        }
    }

    fn object(&mut self, place: String, object: Object) {
        let key = &object.config.key;
        let wanted = &self.request.namespace;
        if !wanted.is_empty() && key.kind.is_namespaced() && *key.namespace != **wanted {
            self.faults
                .push(format!("{place}: {key}: want the namespace {wanted} of --namespace, got {}", key.namespace));
            return;
        }
        if self.prune.as_ref().is_some_and(|prune| !prune.selects(&object.config.labels)) {
            let text = &self.request.prune;
            self.faults.push(format!("{place}: {key}: want labels that --prune selects ({text}), got others"));
            return;
        }
        match self.places.entry(key.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(place);
                self.objects.push(object);
            }
            Entry::Occupied(entry) => {
                self.faults.push(format!("{place}: {key}: want each object once, got it at {} too", entry.get()));
            }
        }
    }

    fn finish(mut self) -> Result<Sources, Status> {
        if self.objects.is_empty() && self.faults.is_empty() && self.left_out.is_empty() {
            self.faults.push(match self.passed_over.is_empty() {
                true => "want at least one object, got none".to_owned(),
                false => {
                    let types: Vec<&str> = self.passed_over.keys().map(String::as_str).collect();
                    format!("want at least one object of a mesh, got only {}", types.join(", "))
                }
            });
        }
        if !self.faults.is_empty() {
            return Err(self.refusal());
        }
        let passed_over = self.passed_over.into_iter();
        let passed_over = passed_over.map(|(r#type, number)| pb::PassedOver { r#type, count: count(number) }).collect();
        Ok(Sources { objects: self.objects, passed_over, left_out: self.left_out, prune: self.prune })
    }

    fn refusal(mut self) -> Status {
        let more = self.faults.len().saturating_sub(FAULTS_MAX);
        self.faults.truncate(FAULTS_MAX);
        if more > 0 {
            self.faults.push(format!("… and {more} more"));
        }
        if self.unsupported > 0 {
            let objects =
                if self.unsupported == 1 { "1 object".to_owned() } else { format!("{} objects", self.unsupported) };
            self.faults.push(format!(
                "{objects} would be taken if more were supported: --skip-unsupported leaves such objects out, whole"
            ));
        }
        Status::invalid_argument(self.faults.join("\n"))
    }
}

/// Returns the write that applies an object.
pub(super) fn write(object: Object) -> ConfigWrite {
    let expected = object.revision.map_or(Expected::Any, Expected::Revision);
    ConfigWrite {
        key: object.config.key.clone(),
        json: Some(object.json),
        created: object.created,
        owner: Owner::Api,
        expected,
    }
}

/// Returns the write that deletes an object of the API.
pub(super) fn deletion(key: ConfigKey) -> ConfigWrite {
    ConfigWrite { key, json: None, created: None, owner: Owner::Api, expected: Expected::Any }
}

#[cfg(test)]
mod tests {
    use rutter_api::Kind;

    use super::*;

    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";

    fn request(texts: &[&[u8]]) -> pb::ApplyRequest {
        let sources = texts
            .iter()
            .zip(1..)
            .map(|(text, number)| pb::Source { name: format!("file{number}.yaml"), text: text.to_vec().into() });
        pb::ApplyRequest { sources: sources.collect(), ..Default::default() }
    }

    fn read(request: &pb::ApplyRequest) -> Result<Sources, Status> {
        read_sources(request, &Sealer::in_memory())
    }

    fn refused(texts: &[&[u8]]) -> String {
        read(&request(texts)).unwrap_err().message().to_owned()
    }

    #[test]
    fn the_objects_of_all_sources_are_read_into_the_default_namespace_of_the_request() {
        let other = SERVICE.replace("name: a", "name: b, namespace: bank");
        let mut both = request(&[SERVICE.as_bytes(), other.as_bytes()]);
        let keys = |request: &pb::ApplyRequest| {
            let objects = read(request).unwrap().objects;
            objects.iter().map(|object| object.config.key.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(keys(&both), ["service default/a", "service bank/b"]);
        both.namespace = "bank".into();
        assert_eq!(keys(&both), ["service bank/a", "service bank/b"]);
        both.namespace = "shop".into();
        let want = "file2.yaml: line 1: service bank/b: want the namespace shop of --namespace, got bank";
        assert_eq!(read(&both).unwrap_err().message(), want);
    }

    #[test]
    fn every_fault_is_named_with_its_source_and_line() {
        let bad_port = SERVICE.replace("80", "0");
        let text = refused(&[SERVICE.as_bytes(), bad_port.as_bytes(), b"a: [", b"\xff"]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "file2.yaml: line 1: service default/a: spec.ports[0].port: want 1..=65535, got 0");
        assert!(lines[1].starts_with("file3.yaml: line "), "{text}");
        assert_eq!(lines[2], "file4.yaml: want UTF-8, got another byte at 0");
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn an_object_that_two_sources_have_is_refused() {
        let want = "file2.yaml: line 1: service default/a: want each object once, got it at file1.yaml: line 1 too";
        assert_eq!(refused(&[SERVICE.as_bytes(), SERVICE.as_bytes()]), want);
    }

    #[test]
    fn an_apply_of_nothing_is_refused() {
        assert_eq!(refused(&[]), "want at least one object, got none");
        assert_eq!(refused(&[b"# nothing\n"]), "want at least one object, got none");
    }

    #[test]
    fn of_many_faults_some_are_listed_and_the_others_counted() {
        let many = "kind: 7\n---\n".repeat(30);
        let text = refused(&[many.as_bytes()]);
        assert_eq!((text.lines().count(), text.lines().last()), (FAULTS_MAX + 1, Some("… and 10 more")));
    }

    #[test]
    fn what_is_no_config_of_a_mesh_is_passed_over_and_counted_or_refused_if_that_is_asked_for() {
        let deployment = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n";
        let text = format!("{SERVICE}{deployment}{deployment}");
        let mut some = request(&[text.as_bytes()]);
        let sources = read(&some).unwrap();
        assert_eq!(sources.objects.len(), 1);
        assert_eq!(sources.passed_over, [pb::PassedOver { r#type: "apps/v1 Deployment".into(), count: 2 }]);
        some.strict = true;
        let error = read(&some).unwrap_err();
        let want =
            "file1.yaml: line 6: want config of a mesh, got apps/v1 Deployment (without --strict it is passed over)";
        assert_eq!(error.message().lines().next(), Some(want));
        assert_eq!(
            refused(&[deployment.as_bytes()]),
            "want at least one object of a mesh, got only apps/v1 Deployment"
        );
    }

    #[test]
    fn what_is_not_supported_is_left_out_whole_if_that_is_asked_for() {
        let gateway = "---\napiVersion: networking.istio.io/v1\nkind: EnvoyFilter\nmetadata: {name: g}\n";
        let rule = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\nspec: {host: a, trafficPolicy: {outlierDetection: {consecutiveErrors: 1}}}\n";
        let text = format!("{SERVICE}{gateway}{rule}");
        let mut some = request(&[text.as_bytes()]);
        let error = read(&some).unwrap_err();
        let last = error.message().lines().last().unwrap_or_default();
        assert_eq!(
            last,
            "2 objects would be taken if more were supported: --skip-unsupported leaves such objects out, whole"
        );
        some.skip_unsupported = true;
        let sources = read(&some).unwrap();
        assert_eq!(sources.objects.len(), 1);
        let left_out: Vec<String> = sources
            .left_out
            .iter()
            .map(|left| format!("{} at {}: {}", left.object, left.place, left.reasons.join("; ")))
            .collect();
        assert_eq!(
            left_out[1],
            "destinationRule default/d at file1.yaml: line 10: spec.trafficPolicy.outlierDetection.consecutiveErrors: not supported yet"
        );
        assert!(
            left_out[0].starts_with("EnvoyFilter g at file1.yaml: line 6: kind: not supported yet"),
            "{}",
            left_out[0]
        );
        let wrong = format!("{text}{}", rule.replace("host", "hots"));
        let error = read(&pb::ApplyRequest { skip_unsupported: true, ..request(&[wrong.as_bytes()]) }).unwrap_err();
        assert!(error.message().contains("unknown field \"hots\""), "what is wrong is not left out: {error}");
    }

    #[test]
    fn objects_that_a_later_prune_would_not_find_are_refused() {
        let labelled = SERVICE.replace("name: a", "name: a, labels: {app: web}");
        let some = |text: &str| pb::ApplyRequest { prune: "app=web".into(), ..request(&[text.as_bytes()]) };
        assert!(read(&some(&labelled)).unwrap().prune.is_some());
        let want = "file1.yaml: line 1: service default/a: want labels that --prune selects (app=web), got others";
        assert_eq!(read(&some(SERVICE)).unwrap_err().message(), want);
    }

    #[test]
    fn a_write_expects_the_version_that_the_object_names() {
        let text = SERVICE.replace("name: a", "name: a, annotations: {rutter/revision: '7'}");
        let sources = read(&request(&[text.as_bytes(), SERVICE.replace("name: a", "name: b").as_bytes()]));
        let writes: Vec<ConfigWrite> = sources.unwrap().objects.into_iter().map(write).collect();
        assert_eq!((writes[0].expected, writes[1].expected), (Expected::Revision(7), Expected::Any));
        assert_eq!((writes[0].key.kind, &writes[0].owner), (Kind::Service, &Owner::Api));
        assert!(writes[0].json.is_some() && writes[0].created.is_none());
    }
}
