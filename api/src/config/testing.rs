//! Helpers for the tests of the kinds.

use super::Object;
use crate::yaml;

/// Reads the first document of a text. What is wrong with it stands on a line each.
pub(crate) fn read(text: &str) -> Result<Object, String> {
    let document = yaml::parse(text).map_err(|error| error.to_string())?.remove(0);
    Object::from_value(document.value, "default")
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// Returns the text of an object of one of Istio's kinds, named `x`.
pub(crate) fn istio(kind: &str, spec: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n")
}

/// Asserts that a text is refused, and how.
pub(crate) fn assert_refused(text: &str, want: &str) {
    let got = read(text).unwrap_err();
    assert!(got.starts_with(want), "{text}\nwant {want}\ngot  {got}");
}
