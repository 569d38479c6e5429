//! How results are printed: tables, JSON and YAML.

use std::io::Write;

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::args::Output;

/// Returns a table with the given heads of columns and without rows.
pub(crate) fn table<'a>(head: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(head);
    table
}

/// Where the results of a command go: standard output, or a buffer in tests. Errors and warnings go to standard error.
pub(crate) type Out<'a> = &'a mut (dyn Write + Send);

/// Prints a value as JSON or as YAML.
pub(crate) fn print(value: &Value, output: Output, out: Out<'_>) -> Result<()> {
    match output {
        Output::Yaml => write!(out, "{}", yaml(value))?,
        Output::Json | Output::Short => writeln!(out, "{}", serde_json::to_string_pretty(value)?)?,
    }
    Ok(())
}

/// Returns a value as block YAML. Every string is in double quotes, as in JSON, so that none is taken for something
/// else. The control plane takes the text as it is, so that `get -o yaml` can be edited and applied.
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
    use expect_test::expect;
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

    #[test]
    fn yaml_is_in_blocks_and_quotes_every_string() {
        let value = json!({
            "apiVersion": "v1", "on": true, "metadata": {"name": "a", "labels": {}},
            "items": [{"port": 80, "name": "http"}, [1, 2], "text", null],
        });
        let mut out = Vec::new();
        print(&value, Output::Yaml, &mut out).unwrap();
        expect![[r#"
            apiVersion: "v1"
            items:
              - name: "http"
                port: 80
              - - 1
                - 2
              - "text"
              - null
            metadata:
              labels: {}
              name: "a"
            "on": true
        "#]]
        .assert_eq(&String::from_utf8(out).unwrap());
    }

    #[test]
    fn json_is_indented() {
        let mut out = Vec::new();
        print(&json!({"a": [1]}), Output::Json, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "{\n  \"a\": [\n    1\n  ]\n}\n");
    }

    #[test]
    fn a_table_has_its_columns_under_their_headings() {
        let mut rows = table(["NAME", "N"]);
        rows.add_row(["long name", "1"]).add_row(["x", "22"]);
        let text = rows.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines, [" NAME       N", " long name  1", " x          22"]);
    }

    #[test]
    fn the_reader_of_the_output_may_go() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let error = print(&json!({}), Output::Json, &mut Closed).unwrap_err();
        assert!(crate::is_broken_pipe(&error));
    }
}
