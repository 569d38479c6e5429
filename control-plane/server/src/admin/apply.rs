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
