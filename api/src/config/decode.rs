//! From a JSON value to a typed object. What is unknown, mistyped or not acted on is refused with its path.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::checks::Faults;
use super::field_path::{dotted, is_listed};
use super::kind::Kind;
use crate::invalid::Invalid;

/// What came of typing a value.
pub(crate) struct Decoded<T> {
    /// The typed form, without the fields that are at fault. `None` means that a value has a wrong type.
    pub(crate) typed: Option<T>,
    /// Each unknown field, each field that is not supported, and the first value of a wrong type.
    pub(crate) faults: Faults,
}

/// Returns the typed form of `value`, and every fault that can be found before typing stops.
pub(crate) fn decode<T: DeserializeOwned>(kind: Kind, unsupported: &[&str], value: Value) -> Decoded<T> {
    let mut ignored = Vec::new();
    let mut note_ignored = |path: serde_ignored::Path<'_>| ignored.push(dotted(&path.to_string()));
    let mut track = serde_path_to_error::Track::new();
    let typed = T::deserialize(serde_ignored::Deserializer::new(
        serde_path_to_error::Deserializer::new(value, &mut track),
        &mut note_ignored,
    ));
    let mut faults: Faults = ignored
        .into_iter()
        .filter(|path| path != "status" && !path.starts_with("metadata."))
        .map(|path| ignored_field(kind, unsupported, path))
        .collect();
    let typed = typed.map_err(|error| faults.push(mistyped(dotted(&track.path().to_string()), &error.to_string())));
    Decoded { typed: typed.ok(), faults }
}

fn ignored_field(kind: Kind, unsupported: &[&str], path: String) -> Invalid {
    if is_listed(unsupported, &path) {
        return Invalid::not_supported(path);
    }
    if kind == Kind::Secret && !path.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        // A value that stands in a wrong place is not quoted.
        return Invalid::new("", "fields of Secret", "another field (is a colon or an indentation missing?)");
    }
    let last = path.rsplit('.').next().unwrap_or(&path).to_owned();
    Invalid::new(path, format!("a field of {kind}"), format!("unknown field {last:?}"))
}

/// Turns serde's message into a fault. serde says `invalid type: integer `5`, expected a string`, or `invalid value: …` for
/// a number that is out of range.
fn mistyped(path: String, error: &str) -> Invalid {
    let path = if path == "." { String::new() } else { path };
    let mismatch = error.strip_prefix("invalid type: ").or_else(|| error.strip_prefix("invalid value: "));
    if let Some((got, want)) = mismatch.and_then(|rest| rest.split_once(", expected ")) {
        // A port, which is the only number of this type.
        let want = if want == "a nonzero u16" { "1..=65535" } else { want };
        let invalid = Invalid::new(path, want, got);
        let hint = match got.split(' ').next() {
            Some("boolean") if want.contains("string") => {
                "y, yes, no, on, off, true and false without quotes are booleans in YAML: quote the value"
            }
            Some("integer" | "floating") if want.contains("string") => "quote the number",
            _ => return invalid,
        };
        return invalid.hint(hint);
    }
    if let Some(field) = error.strip_prefix("missing field ") {
        return Invalid::new(path, format!("the field {field}"), "nothing");
    }
    if let Some((want, got)) = error.strip_prefix("want ").and_then(|rest| rest.rsplit_once(", got ")) {
        return Invalid::new(path, want, got);
    }
    if let Some((got, want)) = error.split_once(", expected ") {
        return Invalid::new(path, want, got);
    }
    Invalid::new(path, "a valid value", error)
}

/// Returns the typed form of `metadata` alone, so that the object can be named in messages about the rest. It fails
/// with the first thing that is wrong with the metadata, which has few fields.
pub(crate) fn decode_metadata<T: DeserializeOwned>(metadata: Value) -> Result<T, Invalid> {
    let mut unknown = None;
    let mut track = serde_path_to_error::Track::new();
    let mut note_ignored = |path: serde_ignored::Path<'_>| {
        unknown.get_or_insert_with(|| format!("metadata.{}", dotted(&path.to_string())));
    };
    let typed = T::deserialize(serde_ignored::Deserializer::new(
        serde_path_to_error::Deserializer::new(metadata, &mut track),
        &mut note_ignored,
    ));
    let typed = typed.map_err(|error| {
        let path = dotted(&track.path().to_string());
        mistyped(if path.is_empty() { "metadata".into() } else { format!("metadata.{path}") }, &error.to_string())
    })?;
    match unknown {
        Some(path) => Err(Invalid::new(path, "a field of metadata", "an unknown field")),
        None => Ok(typed),
    }
}
