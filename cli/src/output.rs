//! How results are printed: tables, JSON and YAML.

use std::io::{IsTerminal, Write};

use anyhow::Result;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde_json::Value;

use crate::args::Output;

/// Returns a table with the given heads of columns and without rows. On a terminal it is no wider than that, as long as no
/// head has to be broken for it.
pub(crate) fn table<'a>(heads: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = rows();
    set_heads(&mut table, &heads.into_iter().collect::<Vec<_>>());
    table
}

/// Returns a table without heads and rows.
pub(crate) fn rows() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// The blanks around the text of a cell.
const BLANKS: usize = 2;

/// Sets the heads of the columns of a table.
pub(crate) fn set_heads(table: &mut Table, heads: &[&str]) {
    table.set_header(heads);
    let Some(width) = width() else { return };
    let widths: Vec<u16> = heads.iter().map(|head| u16::try_from(head.len() + BLANKS).unwrap_or(u16::MAX)).collect();
    if widths.iter().map(|width| u32::from(*width)).sum::<u32>() > u32::from(width) {
        return;
    }
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    for (column, width) in table.column_iter_mut().zip(widths) {
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
    }
}

/// Returns the width of the terminal. `None` means that there is none.
pub(crate) fn width() -> Option<u16> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(terminal_size::Width(width), _)| width)
}

/// Returns whether what is printed for people may have colours.
pub(crate) fn has_colours() -> bool {
    let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !is_off && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The words that say how something is, each with its colour on a terminal.
const COLOURED: [(&str, &str); 6] = [
    ("SYNCED", "\x1b[32m"),
    ("ACKED", "\x1b[32m"),
    ("STALE", "\x1b[33m"),
    ("DUE", "\x1b[33m"),
    ("NACK", "\x1b[31m"),
    ("REFUSED", "\x1b[31m"),
];
const PLAIN: &str = "\x1b[0m";

/// Colours the words that say how something is. They are in capitals, and nothing that others name is.
#[derive(Debug)]
pub(crate) struct ColouredWriter<W: Write> {
    inner: W,
    is_on: bool,
    /// The line that is not complete yet.
    line: String,
}

impl<W: Write> ColouredWriter<W> {
    pub(crate) fn new(inner: W, is_on: bool) -> Self {
        Self { inner, is_on, line: String::new() }
    }
}

impl<W: Write> Write for ColouredWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if !self.is_on {
            return self.inner.write(bytes);
        }
        self.line.push_str(&String::from_utf8_lossy(bytes));
        if let Some(end) = self.line.rfind('\n') {
            let rest = self.line.split_off(end + 1);
            self.inner.write_all(coloured(&std::mem::replace(&mut self.line, rest)).as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let rest = std::mem::take(&mut self.line);
        self.inner.write_all(coloured(&rest).as_bytes())?;
        self.inner.flush()
    }
}

fn coloured(text: &str) -> String {
    let is_border = |letter: Option<char>| letter.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_');
    let mut coloured = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let word = COLOURED.iter().find(|(word, _)| rest.starts_with(word));
        let is_whole = word.is_some_and(|(word, _)| {
            is_border(coloured.chars().next_back()) && is_border(rest[word.len()..].chars().next())
        });
        if let Some((word, colour)) = word.filter(|_| is_whole) {
            coloured.push_str(&format!("{colour}{word}{PLAIN}"));
            rest = &rest[word.len()..];
        } else {
            let next = rest.chars().next().map_or(0, char::len_utf8);
            coloured.push_str(&rest[..next]);
            rest = &rest[next..];
        }
    }
    coloured
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

/// Returns a value as block YAML. A string that YAML could take for something else is in double quotes, as in JSON. The
/// control plane takes the text as it is, so that `get -o yaml` can be edited and applied.
pub(crate) fn yaml(value: &Value) -> String {
    let mut out = String::new();
    write_yaml(value, 0, &mut out);
    out
}

fn write_yaml(value: &Value, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (index, (key, inner)) in map.iter().enumerate() {
                let key = string(key);
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
                    out.push_str(&format!("{}\n", scalar(item)));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            out.push_str(&format!("{}\n", scalar(value)));
        }
    }
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), string)
}

/// Returns a string as YAML: without quotes if it begins with a letter or a slash, has no letter that means something to
/// YAML, and is no word for something else.
fn string(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let lower = text.to_ascii_lowercase();
    let is_word = matches!(lower.as_str(), "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null");
    if begins && !is_word && text.bytes().all(is_plain) { text.to_owned() } else { Value::from(text).to_string() }
}

fn nested(value: &Value, depth: usize, out: &mut String) {
    if is_nested(value) {
        out.push('\n');
        write_yaml(value, depth + 1, out);
    } else {
        out.push_str(&format!(" {}\n", scalar(value)));
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
    fn words_that_say_how_something_is_have_a_colour() {
        let mut out = Vec::new();
        let mut writer = ColouredWriter::new(&mut out, true);
        write!(writer, "a NA").unwrap();
        write!(writer, "CK (1) nack UNSYNCED\nSYNCED").unwrap();
        writer.flush().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a \x1b[31mNACK\x1b[0m (1) nack UNSYNCED\n\x1b[32mSYNCED\x1b[0m");
        let mut out = Vec::new();
        ColouredWriter::new(&mut out, false).write_all(b"NACK").unwrap();
        assert_eq!(out, b"NACK");
    }

    #[test]
    fn strings_that_yaml_could_take_for_something_else_are_quoted() {
        for text in ["a", "v1", "/x", "app.kubernetes.io/name", "a-b_c.d"] {
            assert_eq!(string(text), text);
        }
        for text in [
            "", "1", "1.5", "no", "ON", "null", "~", "- a", "a: b", "a b", "#", "*", "0x1", "10.0.0.1", "1:30", ".inf",
            "é",
        ] {
            assert_eq!(string(text), Value::from(text).to_string());
        }
    }

    #[test]
    fn yaml_is_in_blocks() {
        let value = json!({
            "apiVersion": "v1", "on": true, "metadata": {"name": "a", "labels": {}},
            "items": [{"port": 80, "name": "http"}, [1, 2], "text", null],
        });
        let mut out = Vec::new();
        print(&value, Output::Yaml, &mut out).unwrap();
        expect![[r#"
            apiVersion: v1
            items:
              - name: http
                port: 80
              - - 1
                - 2
              - text
              - null
            metadata:
              labels: {}
              name: a
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
