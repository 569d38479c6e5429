//! Templates of `-o jsonpath=…`, as kubectl takes them: text, and in braces paths, `range` and `end`.

use std::fmt::Write as _;
use std::str::FromStr;

use serde_json::Value;
use serde_json_path::JsonPath;

/// A template. `{.metadata.name}` is replaced by what the path finds, values being separated by spaces, and what is
/// between `{range .items[*]}` and `{end}` is repeated for each value of the path.
#[derive(Debug, Clone)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Path(JsonPath),
    Range(JsonPath, Vec<Part>),
}

impl Template {
    /// Returns the text of a template for a value.
    pub(crate) fn fill(&self, value: &Value) -> String {
        let mut text = String::new();
        fill(&self.0, value, &mut text);
        text
    }
}

fn fill(parts: &[Part], value: &Value, text: &mut String) {
    for part in parts {
        match part {
            Part::Text(more) => text.push_str(more),
            Part::Path(path) => {
                let found: Vec<String> = path.query(value).iter().map(|value| shown(value)).collect();
                text.push_str(&found.join(" "));
            }
            Part::Range(path, parts) => path.query(value).iter().for_each(|value| fill(parts, value, text)),
        }
    }
}

/// Returns a value as kubectl prints it: a string without quotes, anything else as JSON.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text, open_ranges: Vec::new(), parts: Vec::new() };
        while !reader.rest.is_empty() {
            reader.next()?;
        }
        match reader.open_ranges.len() {
            0 => Ok(Self(reader.parts)),
            _ => Err("want {end} for each {range …}".to_owned()),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    /// The ranges around the current place: the path of each, and the parts before it.
    open_ranges: Vec<(JsonPath, Vec<Part>)>,
    /// The parts of the innermost range so far.
    parts: Vec<Part>,
}

impl Reader<'_> {
    /// Takes in the next text or pair of braces.
    fn next(&mut self) -> Result<(), String> {
        let Some(rest) = self.rest.strip_prefix('{') else {
            let end = self.rest.find('{').unwrap_or(self.rest.len());
            self.parts.push(Part::Text(self.rest[..end].to_owned()));
            self.rest = &self.rest[end..];
            return Ok(());
        };
        let end = end_of_braces(rest).ok_or("want } for each {")?;
        let inner = rest[..end].trim();
        self.rest = &rest[end + 1..];
        if inner == "end" {
            let (path, before) = self.open_ranges.pop().ok_or("want {range …} before {end}")?;
            let inside = std::mem::replace(&mut self.parts, before);
            self.parts.push(Part::Range(path, inside));
        } else if let Some(path) = inner.strip_prefix("range ") {
            self.open_ranges.push((json_path(path.trim())?, std::mem::take(&mut self.parts)));
        } else if let Some(quoted) = inner.strip_prefix(['"', '\'']) {
            self.parts.push(Part::Text(unquoted(quoted.trim_end_matches(['"', '\'']))));
        } else {
            self.parts.push(Part::Path(json_path(inner)?));
        }
        Ok(())
    }
}

/// Returns where the brace is that closes one which was opened before the text.
fn end_of_braces(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (None, '}') => return Some(at),
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            _ => {}
        }
    }
    None
}

fn unquoted(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t").replace("\\\"", "\"").replace("\\\\", "\\")
}

/// Reads a path in the words of kubectl, which differ a little from those of the standard: the root needs no sign, and dots
/// in names are behind backslashes.
fn json_path(path: &str) -> Result<JsonPath, String> {
    let relative = path.strip_prefix(['$', '@']).unwrap_or(path);
    let mut standard = String::from("$");
    let mut rest = relative;
    if !rest.is_empty() && !rest.starts_with(['.', '[']) {
        return Err(format!("want a path such as {{.metadata.name}}, got {{{path}}}"));
    }
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = inner.find(']').ok_or_else(|| format!("want ] for each [ in {{{path}}}"))?;
            standard.push_str(&rest[..end + 2]);
            rest = &inner[end + 1..];
            continue;
        }
        let descends = rest.starts_with("..");
        rest = rest.trim_start_matches('.');
        let (name, after) = name_of(rest);
        rest = after;
        if descends {
            standard.push_str("..");
        }
        match name.as_str() {
            "" if rest.starts_with('[') || !descends && rest.is_empty() => {}
            "*" => standard.push_str("[*]"),
            // Writing to a string cannot fail.
            name => drop(write!(standard, "[{}]", Value::from(name))),
        }
    }
    JsonPath::parse(&standard)
        .map_err(|error| format!("want a path such as {{.metadata.name}}, got {{{path}}}: {error}"))
}

/// Returns the name at the beginning of a text, without its backslashes, and what is behind it.
fn name_of(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(letters.next().map(|(_, letter)| letter)),
            letter => name.push(letter),
        }
    }
    (name, "")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(template: &str) -> String {
        let value = json!({
            "kind": "List",
            "items": [
                {"metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "web"}}, "spec": {"hosts": ["x", "y"], "n": 1}},
                {"metadata": {"name": "b"}, "spec": {"hosts": [], "ports": [{"port": 80, "name": "http"}]}},
            ],
        });
        template.parse::<Template>().map_or_else(|error| format!("error: {error}"), |template| template.fill(&value))
    }

    #[test]
    fn templates_of_kubectl_are_filled() {
        assert_eq!(filled("{.items[0].metadata.name}"), "a");
        assert_eq!(filled("{.items[*].metadata.name}"), "a b");
        assert_eq!(filled("{$.items[-1:].metadata.name}"), "b");
        assert_eq!(filled("{.items[0].spec}"), r#"{"hosts":["x","y"],"n":1}"#);
        assert_eq!(filled("{range .items[*]}{.metadata.name}{\"\\t\"}{.spec.hosts[*]}{\"\\n\"}{end}"), "a\tx y\nb\t\n");
        assert_eq!(filled(r"{.items[0].metadata.labels.app\.kubernetes\.io/name}"), "web");
        assert_eq!(filled("{.items[0].metadata.labels['app.kubernetes.io/name']}"), "web");
        assert_eq!(filled("{.items[?(@.metadata.name==\"b\")].spec.ports[0].port}"), "80");
        assert_eq!(filled("{..name}"), "a b http");
        assert_eq!(filled("kind is {.kind}!{.nothing}"), "kind is List!");
        assert_eq!(filled("{.items[*].spec['n']}"), "1");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        assert_eq!(filled("{.a"), "error: want } for each {");
        assert_eq!(filled("{range .items[*]}x"), "error: want {end} for each {range …}");
        assert_eq!(filled("{end}"), "error: want {range …} before {end}");
        assert_eq!(filled("{name}"), "error: want a path such as {.metadata.name}, got {name}");
        assert!(filled("{.a[x]}").starts_with("error: want a path such as {.metadata.name}, got {.a[x]}: "));
        assert_eq!(filled("{.a[0}"), "error: want ] for each [ in {.a[0}");
    }
}
