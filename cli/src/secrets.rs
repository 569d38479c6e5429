//! Secrets of files, whose values no output has.

use std::collections::BTreeMap;

use anyhow::Result;
use rutter_api::config::Object;
use rutter_api::config::kubernetes::{SealedValues, SecretContent};
use rutter_api::pb::rutter::admin::v1 as pb;
use serde_json::Value;

use crate::client::Admin;
use crate::targets::display_name;

/// What stands for values that are those of the control plane.
const SAME: &str = "(values)";
/// What stands for values that are not.
const OTHER: &str = "(other values)";

/// Returns whether an object has values in the clear.
pub(crate) fn is_open(object: &Object) -> bool {
    let secret = object.config.spec.as_secret();
    secret.is_some_and(|secret| matches!(secret.content, SecretContent::Open(_)))
}

/// Returns the JSON of a Secret without its values: it says their names, and whether they are others than those that the
/// control plane has.
pub(crate) fn hide(object: &Object, is_changed: bool) -> Result<String> {
    let names = object.config.spec.as_secret().map(|secret| secret.names()).unwrap_or_default();
    let names = names.into_iter().map(str::to_owned).collect();
    let text = if is_changed { OTHER } else { SAME }.to_owned();
    let sealed = SealedValues { key_id: String::new(), names, text };
    let hidden = object.with_sealed_values(&sealed);
    Ok(hidden.map_err(|_| anyhow::anyhow!("want a Secret, got another kind"))?.json.to_string())
}

/// Returns the JSON of a Secret that the control plane has without what only it can read.
pub(crate) fn hide_sealed(json: &str) -> String {
    let Ok(mut object) = serde_json::from_str::<Value>(json) else { return json.to_owned() };
    if let Some(Value::Object(sealed)) = object.get_mut("sealed") {
        sealed.insert("keyId".into(), "".into());
        sealed.insert("text".into(), SAME.into());
    }
    object.to_string()
}

/// Asks the control plane what would become of each object of some texts.
pub(crate) async fn actions(
    admin: &mut Admin,
    sources: Vec<pb::Source>,
    namespace: &str,
) -> Result<BTreeMap<String, pb::applied::Action>> {
    let request = pb::ApplyRequest { sources, namespace: namespace.to_owned(), dry_run: true, ..Default::default() };
    let response = admin.apply(request).await?.into_inner();
    let action = |applied: &pb::Applied| (display_name(&applied.key.clone().unwrap_or_default()), applied.action());
    Ok(response.applied.iter().map(action).collect())
}
