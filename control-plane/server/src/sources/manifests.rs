//! Texts of config as they are taken at the door: read, checked, and checked for what the wire can bear.

use rutter_api::config::kubernetes::{Secret, SecretContent};
use rutter_api::config::{Content, Manifest, Object, Refused, read_manifests};
use rutter_api::yaml::YamlError;
use rutter_api::{Invalid, Spec};
use rutter_core::message_size::check_routes;

use crate::certificates;
use crate::sealing::Sealer;

/// Returns the objects of a text. An object whose routes are too large for a message is refused as well, and so is a
/// Secret that no proxy would take. Secrets are sealed.
pub(crate) fn read(text: &str, default_namespace: &str, sealer: &Sealer) -> Result<Vec<Manifest>, YamlError> {
    let mut manifests = read_manifests(text, default_namespace)?;
    for manifest in &mut manifests {
        let Content::Taken(object) = &mut manifest.content else { continue };
        let faults = match check_routes(&object.config, object.json.len()) {
            Some(invalid) => vec![invalid],
            None => seal(object, sealer).err().unwrap_or_default(),
        };
        if !faults.is_empty() {
            let key = object.config.key.clone();
            let faults = faults.into_iter().map(|fault| fault.of(key.to_string())).collect();
            manifest.content = Content::Refused(Refused { name: key.to_string(), key: Some(key), faults });
        }
    }
    Ok(manifests)
}

/// Seals a Secret. Other objects are left as they are.
fn seal(object: &mut Object, sealer: &Sealer) -> Result<(), Vec<Invalid>> {
    let Spec::Secret(secret) = &object.config.spec else { return Ok(()) };
    let key = &object.config.key;
    let Secret { content, .. } = secret;
    match content {
        SecretContent::Open(values) => {
            let faults = certificates::faults(secret);
            if !faults.is_empty() {
                return Err(faults);
            }
            let refuse =
                |error: anyhow::Error| vec![Invalid::new("", "a place for the sealing key", format!("{error:#}"))];
            let sealed = sealer.seal(key, values).map_err(refuse)?;
            *object = object.with_sealed_values(&sealed)?;
            Ok(())
        }
        SecretContent::Sealed(sealed) => {
            let refuse = |error| vec![Invalid::new("sealed", "values that were sealed here for this object", error)];
            sealer.open(key, sealed).map_err(refuse).map(drop)
        }
    }
}
