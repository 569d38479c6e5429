//! How results are printed: tables, JSON and YAML.

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::args::Output;

/// Returns a table without rows.
pub(crate) fn table<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(head);
    table
}

/// Prints a value as JSON or as YAML.
pub(crate) fn print(value: &Value, output: Output) -> Result<()> {
    match output {
        Output::Yaml => print!("{}", yaml(value)),
        Output::Json | Output::Short => println!("{}", serde_json::to_string_pretty(value)?),
    }
    Ok(())
}

/// Returns a value as block YAML. Every string is in double quotes, as in JSON, so that none is taken for something else.
fn yaml(value: &Value) -> String {
    let mut out = String::new();
    write_yaml(value, 0, &mut out);
    out
}

fn write_yaml(value: &Value, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (index, (key, inner)) in map.iter().enumerate() {
                let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/'))
                    && key.len() > 3;
                let key = if plain { key.clone() } else { Value::from(key.as_str()).to_string() };
                if index > 0 || !out.ends_with("- ") {
                    out.push_str(&pad);
                }
                out.push_str(&key);
                out.push(':');
                nested(inner, depth, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 || !out.ends_with("- ") {
                    out.push_str(&pad);
                }
                out.push_str("- ");
                if is_nested(item) {
                    write_yaml(item, depth + 1, out);
                } else {
                    out.push_str(&format!("{item}\n"));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            out.push_str(&format!("{value}\n"));
        }
    }
}

fn nested(value: &Value, depth: usize, out: &mut String) {
    if is_nested(value) {
        out.push('\n');
        write_yaml(value, depth + 1, out);
    } else {
        out.push_str(&format!(" {value}\n"));
    }
}

fn is_nested(value: &Value) -> bool {
    value.as_object().is_some_and(|map| !map.is_empty()) || value.as_array().is_some_and(|items| !items.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_reads_back_as_the_same_value() {
        let value = json!({
            "kind": "List", "y": "no", "spec": {"empty": {}, "none": [], "n": 1.5, "text": "a: \"b\"\nc"},
            "items": [{"host": "a", "deep": [[1, 2], {"k": null}]}, "x", true],
        });
        let text = yaml(&value);
        let read = rutter_api::yaml::parse(&text).map(|mut documents| documents.remove(0).value);
        assert_eq!(read, Ok(value), "{text}");
    }
}
