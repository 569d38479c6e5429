//! YAML as Kubernetes reads it: documents become JSON values, and plain scalars are resolved by YAML 1.1.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};
use serde_json::{Map, Number, Value};

use crate::json_documents::{self, JsonDocument};

/// The deepest nesting that is taken. No kind of config comes near it.
const DEPTH_MAX: usize = 64;
/// The most nodes that one text may have when its aliases are expanded, so that a text of a few lines cannot become
/// gigabytes. The largest apply, 16 MiB of YAML, has fewer values than that unless it is made to have more.
const NODES_MAX: usize = 2_000_000;

/// One document of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The content, which is never null.
    pub value: Value,
    /// The line on which the document starts, counted from 1.
    pub line: usize,
    /// The lines on which the items of a list start: of the document itself, or of its field `items`. It is empty where
    /// they are not known, as in several JSON values in one text.
    pub item_lines: Vec<usize>,
}

/// The reason why a text is not YAML, or not YAML that Kubernetes would take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct YamlError {
    /// The line of the problem, counted from 1.
    pub line: usize,
    /// The column of the problem, counted from 1.
    pub column: usize,
    /// A description of what is wrong there.
    pub problem: String,
}

/// Returns the documents of a text, of which empty ones are left out. JSON is YAML too, and several JSON values may
/// follow each other.
///
/// # Errors
/// Fails where the text is not YAML, repeats a key, has a key that is not a string, or is nested too deep.
pub fn parse(text: &str) -> Result<Vec<Document>, YamlError> {
    parse_yaml(text).or_else(|error| {
        if !text.trim_start().starts_with(['{', '[']) {
            return Err(error);
        }
        let documents =
            json_documents::parse(text).filter(|documents| documents.iter().all(is_shallow)).ok_or(error)?;
        let documents = documents.into_iter();
        Ok(documents.map(|JsonDocument { value, line }| Document { value, line, item_lines: Vec::new() }).collect())
    })
}

fn is_shallow(document: &JsonDocument) -> bool {
    depth(&document.value) <= DEPTH_MAX
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn parse_yaml(text: &str) -> Result<Vec<Document>, YamlError> {
    let mut reader =
        Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0, item_lines: Vec::new() };
    let mut documents = Vec::new();
    loop {
        let (event, at) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(documents),
            Event::DocumentStart(_) => {
                let (event, at) = reader.next()?;
                reader.item_lines.clear();
                let value = reader.node(event, at, 0)?;
                if !value.is_null() {
                    let item_lines = std::mem::take(&mut reader.item_lines);
                    documents.push(Document { value, line: at.line(), item_lines });
                }
            }
            Event::Nothing
            | Event::StreamStart
            | Event::DocumentEnd
            | Event::Alias(_)
            | Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::SequenceEnd
            | Event::MappingStart(..)
            | Event::MappingEnd => drop((event, at)),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, (Value, usize)>,
    nodes: usize,
    /// The lines of the items of the list that the document is or has.
    item_lines: Vec<usize>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Marker), YamlError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start)),
            Some(Err(error)) => Err(scan_error(&error)),
            None => Err(problem(Marker::new(0, 1, 0), "the text ends in the middle")),
        }
    }

    fn node(&mut self, event: Event<'a>, at: Marker, depth: usize) -> Result<Value, YamlError> {
        if depth > DEPTH_MAX {
            return Err(problem(at, format!("nested deeper than {DEPTH_MAX}")));
        }
        let nodes_before = self.nodes;
        self.count(at, 1)?;
        let (value, anchor) = match event {
            Event::Alias(id) => return self.alias(id, at),
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.is_some_and(|tag| tag.suffix == "str");
                (if is_text { Value::String(text.into_owned()) } else { scalar(&text, style) }, anchor)
            }
            Event::SequenceStart(anchor, _) if depth == 0 => (self.listed_sequence()?, anchor),
            Event::SequenceStart(anchor, _) => (self.sequence(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.mapping(depth)?, anchor),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => (Value::Null, 0),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), self.nodes - nodes_before));
        }
        Ok(value)
    }

    fn count(&mut self, at: Marker, nodes: usize) -> Result<(), YamlError> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            return Err(problem(
                at,
                format!("want at most {NODES_MAX} values in one text, aliases expanded; got more"),
            ));
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, at: Marker) -> Result<Value, YamlError> {
        let size = self.anchors.get(&id).map(|(_, size)| *size);
        let size = size.ok_or_else(|| problem(at, "an alias to an anchor that is not finished"))?;
        self.count(at, size)?;
        Ok(self.anchors[&id].0.clone())
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut items = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::Array(items));
            }
            items.push(self.node(event, at, depth + 1)?);
        }
    }

    /// Reads the sequence of a list of objects, and notes the line of each item.
    fn listed_sequence(&mut self) -> Result<Value, YamlError> {
        let mut items = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::Array(items));
            }
            self.item_lines.push(at.line());
            items.push(self.node(event, at, 2)?);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut map = Map::new();
        let mut merged = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = self.key(event, at, depth)?;
            let (event, value_at) = self.next()?;
            let is_list = depth == 0 && key == "items" && matches!(event, Event::SequenceStart(0, _));
            let value = if is_list { self.listed_sequence()? } else { self.node(event, value_at, depth + 1)? };
            if is_merge {
                merged.push((value, value_at));
            } else if map.insert(key.clone(), value).is_some() {
                return Err(problem(at, format!("the key {key:?} stands here twice")));
            }
        }
        for (value, at) in merged {
            merge(&mut map, value, at)?;
        }
        Ok(Value::Object(map))
    }

    fn key(&mut self, event: Event<'a>, at: Marker, depth: usize) -> Result<String, YamlError> {
        if let Event::Scalar(text, ScalarStyle::Plain, ..) = &event {
            let text = text.clone().into_owned();
            return match self.node(event, at, depth + 1)? {
                Value::Bool(value) => Err(problem(
                    at,
                    format!("want a string as key, got the boolean {value}: write \"{text}\" in quotes"),
                )),
                Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => Ok(text),
            };
        }
        let key = self.node(event, at, depth + 1)?;
        let text = key.as_str().map(str::to_owned);
        text.ok_or_else(|| problem(at, format!("want a string as key, got {key}")))
    }
}

/// Adds the keys of mappings that are merged with `<<` (YAML 1.1), except for those that the mapping itself has.
fn merge(map: &mut Map<String, Value>, from: Value, at: Marker) -> Result<(), YamlError> {
    let sources = if let Value::Array(items) = from { items } else { vec![from] };
    for source in sources {
        let Value::Object(source) = source else {
            return Err(problem(at, "want a mapping to merge"));
        };
        for (key, value) in source {
            map.entry(key).or_insert(value);
        }
    }
    Ok(())
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.')) {
        return None;
    }
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    if let Some(magnitude) = integer(digits) {
        let value = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
        return Number::from_i128(value);
    }
    let float_like = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'));
    let float: f64 = plain.parse().ok().filter(|_| float_like)?;
    Number::from_f64(float)
}

fn integer(digits: &str) -> Option<u64> {
    for (prefix, radix) in [("0x", 16), ("0b", 2), ("0o", 8)] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            return u64::from_str_radix(rest, radix).ok();
        }
    }
    if !digits.bytes().all(|b| b.is_ascii_digit()) || digits.is_empty() {
        return None;
    }
    match digits.strip_prefix('0').filter(|rest| !rest.is_empty()) {
        Some(octal) => u64::from_str_radix(octal, 8).ok(),
        None => digits.parse().ok(),
    }
}

fn scan_error(error: &ScanError) -> YamlError {
    problem(*error.marker(), error.info().to_owned())
}

fn problem(at: Marker, problem: impl Into<String>) -> YamlError {
    YamlError { line: at.line(), column: at.col() + 1, problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn only_document(text: &str) -> Value {
        let documents = parse(text).unwrap();
        assert_eq!(documents.len(), 1, "{text}");
        documents[0].value.clone()
    }

    #[test]
    fn plain_scalars_resolve_by_yaml_1_1() {
        let text = "[y, no, on, 'y', \"no\", 010, 0x10, 1_000, 1.5, -3, ~, 1.2.3, 1e3, v1, 5s]";
        let want = json!([true, false, true, "y", "no", 8, 16, 1000, 1.5, -3, null, "1.2.3", 1000.0, "v1", "5s"]);
        assert_eq!(only_document(text), want);
    }

    #[test]
    fn documents_are_separate_and_know_their_line() {
        let documents = parse("# first\na: 1\n---\n---\nb: 2\n").unwrap();
        let lines: Vec<_> = documents.iter().map(|document| document.line).collect();
        assert_eq!(lines, [2, 5]);
    }

    #[test]
    fn items_of_lists_know_their_lines_and_json_values_may_follow_each_other() {
        let lines = |text: &str| {
            let documents = parse(text).unwrap();
            documents.into_iter().map(|document| (document.line, document.item_lines)).collect::<Vec<_>>()
        };
        assert_eq!(lines("kind: List\nitems:\n- a: 1\n- b:\n    items: [c]\n"), [(1, vec![3, 4])]);
        assert_eq!(lines("- a: 1\n\n- b: 2\n---\n[]\n"), [(1, vec![1, 3]), (5, vec![])]);
        assert_eq!(lines("[\n{\"a\": 1},\n{\"b\": 2}]"), [(1, vec![2, 3])]);
        assert_eq!(lines("{\"a\": 1}\n{\"b\": 2}"), [(1, vec![]), (2, vec![])]);
        assert!(parse("{\"a\": 1, \"a\": 2}").unwrap_err().problem.contains("twice"));
        assert!(parse("{\"a\": 1}\n{\"b\"").is_err());
    }

    #[test]
    fn json_and_anchors_are_read() {
        assert_eq!(only_document(r#"{"a": [1, {"b": "c"}]}"#), json!({"a": [1, {"b": "c"}]}));
        assert_eq!(
            only_document("a: &x {k: 1}\nb: *x\nc: {<<: *x, d: 2}"),
            json!({"a": {"k": 1}, "b": {"k": 1}, "c": {"k": 1, "d": 2}})
        );
    }

    #[test]
    fn faults_name_their_place() {
        let check = |text: &str, want: &str| assert_eq!(parse(text).unwrap_err().to_string(), want, "{text}");
        check("a: 1\na: 2", "line 2, column 1: the key \"a\" stands here twice");
        check("on: 1", "line 1, column 1: want a string as key, got the boolean true: write \"on\" in quotes");
        assert!(parse("a: [1, 2").unwrap_err().line >= 1);
        assert!(parse("\tfoo: {").is_err());
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let previous = format!("*a{}, ", level - 1).repeat(10);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", previous.trim_end_matches(", ")));
        }
        assert!(parse(&text).unwrap_err().problem.contains("aliases expanded"));
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(parse(&"[".repeat(100)).is_err());
        assert!(parse(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap_err().problem.contains("deeper"));
    }
}
