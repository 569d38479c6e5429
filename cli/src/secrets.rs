//! Secrets of files, whose values no output has.

use anyhow::{Result, anyhow};
use rutter_api::config::Object;
use rutter_api::config::kubernetes::{SealedValues, SecretContent};
use rutter_api::pb::rutter::admin::v1 as pb;
use serde_json::Value;

use crate::client::Admin;

/// What stands for values that are those of the control plane.
const SAME: &str = "(values)";
/// What stands for values that are not.
const OTHER: &str = "(other values)";

fn is_open(object: &Object) -> bool {
    let secret = object.config.spec.as_secret();
    secret.is_some_and(|secret| matches!(secret.content, SecretContent::Open(_)))
}

/// Returns the JSON of an object of a file as a difference shows it. A Secret has the names of its values, and whether they
/// are others than those that the control plane has, which only that can tell. `live` is what it has.
pub(crate) async fn shown(admin: &mut Admin, object: &Object, live: Option<&str>) -> Result<String> {
    let Some(secret) = object.config.spec.as_secret() else { return Ok(object.json.to_string()) };
    let text = match (is_open(object), live) {
        (_, None) => SAME,
        (false, Some(live)) => {
            if sealed_text(&object.json) == sealed_text(live) {
                SAME
            } else {
                OTHER
            }
        }
        (true, Some(live)) => {
            let is_same = has_same_values(admin, object, live).await;
            is_same.map_or("(values; the control plane does not say whether they are others)", |is_same| {
                if is_same { SAME } else { OTHER }
            })
        }
    };
    let names = secret.names().into_iter().map(str::to_owned).collect();
    let sealed = SealedValues { key_id: String::new(), names, text: text.to_owned() };
    let hidden = object.with_sealed_values(&sealed).map_err(|_| anyhow!("want a Secret, got another kind"))?;
    Ok(hidden.json.to_string())
}

/// Returns the JSON of an object of the control plane as a difference shows it.
pub(crate) fn shown_live(json: &str) -> String {
    let Ok(mut object) = serde_json::from_str::<Value>(json) else { return json.to_owned() };
    if let Some(Value::Object(sealed)) = object.get_mut("sealed") {
        sealed.insert("keyId".into(), "".into());
        sealed.insert("text".into(), SAME.into());
    }
    object.to_string()
}

fn sealed_text(json: &str) -> Value {
    let object: Value = serde_json::from_str(json).unwrap_or_default();
    object["sealed"]["text"].clone()
}

/// Asks the control plane whether the values of a Secret are those that it has, by a dry run of what it has with these values.
/// `None` means that it does not say.
async fn has_same_values(admin: &mut Admin, object: &Object, live: &str) -> Option<bool> {
    let mut asked: Value = serde_json::from_str(live).ok()?;
    let file: Value = serde_json::from_str(&object.json).ok()?;
    let fields = asked.as_object_mut()?;
    fields.remove("sealed");
    for field in ["data", "stringData"] {
        fields.extend(file.get(field).map(|values| (field.to_owned(), values.clone())));
    }
    let source = pb::Source { name: "-".into(), text: asked.to_string().into_bytes().into() };
    let request = pb::ApplyRequest { sources: vec![source], dry_run: true, ..Default::default() };
    let response = admin.apply(request).await.ok()?.into_inner();
    Some(response.applied.first()?.action() == pb::applied::Action::Unchanged)
}
