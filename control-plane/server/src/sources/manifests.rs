//! Texts of config as they are taken at the door: read, checked, and checked for what the wire can bear.

use rutter_api::config::{Content, Manifest, Refused, read_manifests};
use rutter_api::yaml::YamlError;
use rutter_core::message_size::check_routes;

/// Returns the objects of a text. An object whose routes are too large for a message is refused as well.
pub(crate) fn read(text: &str, default_namespace: &str) -> Result<Vec<Manifest>, YamlError> {
    let mut manifests = read_manifests(text, default_namespace)?;
    for manifest in &mut manifests {
        if let Content::Taken(object) = &manifest.content
            && let Some(invalid) = check_routes(&object.config, object.json.len())
        {
            let key = object.config.key.clone();
            let (name, key) = (key.to_string(), Some(key));
            manifest.content = Content::Refused(Refused { name, key, faults: vec![invalid] });
        }
    }
    Ok(manifests)
}
