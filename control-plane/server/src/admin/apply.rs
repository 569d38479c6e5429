//! What an apply request holds.

use std::collections::BTreeSet;

use rutter_api::config::Object;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_store::{ConfigWrite, Expected, Owner};
use tonic::Status;

use crate::sources::folder::parse;

/// The number of faults of one apply that are listed.
const FAULTS_MAX: usize = 20;

/// Returns the objects of a request, or everything that is wrong with them.
pub(super) fn read_sources(request: &pb::ApplyRequest) -> Result<Vec<Object>, Status> {
    let namespace = Some(request.default_namespace.as_str()).filter(|name| !name.is_empty()).unwrap_or("default");
    let mut objects: Vec<Object> = Vec::new();
    let mut faults = Vec::new();
    for source in &request.sources {
        let text = match std::str::from_utf8(&source.text) {
            Ok(text) => text,
            Err(error) => {
                faults.push(format!("{}: want UTF-8, got another byte at {}", source.name, error.valid_up_to()));
                continue;
            }
        };
        match parse(text, namespace) {
            Ok(more) => objects.extend(more),
            Err(more) => faults.extend(more.into_iter().map(|fault| format!("{}: {fault}", source.name))),
        }
    }
    let mut seen = BTreeSet::new();
    for object in objects.iter().filter(|object| !seen.insert(&object.config.key)) {
        faults.push(format!("{}: want each object once, got it twice", object.config.key));
    }
    if objects.is_empty() && faults.is_empty() {
        faults.push("want at least one object, got none".to_owned());
    }
    if faults.is_empty() {
        return Ok(objects);
    }
    let more = faults.len().saturating_sub(FAULTS_MAX);
    faults.truncate(FAULTS_MAX);
    if more > 0 {
        faults.push(format!("… and {more} more"));
    }
    Err(Status::invalid_argument(faults.join("\n")))
}

/// Returns the write that applies an object.
pub(super) fn write(object: Object) -> ConfigWrite {
    let expected = object.resource_version.map_or(Expected::Any, Expected::Revision);
    ConfigWrite {
        key: object.config.key.clone(),
        json: Some(object.json),
        created: object.created,
        owner: Owner::Api,
        expected,
    }
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

    fn refused(texts: &[&[u8]]) -> String {
        read_sources(&request(texts)).unwrap_err().message().to_owned()
    }

    #[test]
    fn the_objects_of_all_sources_are_read_into_the_default_namespace_of_the_request() {
        let other = SERVICE.replace("name: a", "name: b, namespace: bank");
        let mut request = request(&[SERVICE.as_bytes(), other.as_bytes()]);
        let keys = |request: &pb::ApplyRequest| {
            let objects = read_sources(request).unwrap();
            objects.iter().map(|object| object.config.key.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(keys(&request), ["service default/a", "service bank/b"]);
        request.default_namespace = "shop".into();
        assert_eq!(keys(&request), ["service shop/a", "service bank/b"]);
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
        let want = "service default/a: want each object once, got it twice";
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
    fn a_write_expects_the_version_that_the_object_names() {
        let text = SERVICE.replace("name: a", "name: a, resourceVersion: '7'");
        let objects =
            read_sources(&request(&[text.as_bytes(), SERVICE.replace("name: a", "name: b").as_bytes()])).unwrap();
        let writes: Vec<ConfigWrite> = objects.into_iter().map(write).collect();
        assert_eq!((writes[0].expected, writes[1].expected), (Expected::Revision(7), Expected::Any));
        assert_eq!((writes[0].key.kind, &writes[0].owner), (Kind::Service, &Owner::Api));
        assert!(writes[0].json.is_some() && writes[0].created.is_none());
    }
}
