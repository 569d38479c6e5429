//! Selectors of labels, as `kubectl -l` takes them.

use std::str::FromStr;

use serde_json::Value;

use crate::dns_name::check_label_value;
use crate::invalid::Invalid;
use crate::labels::Labels;

/// Says which labels an object must have: `app=web,version!=v1,tier in (a, b),!legacy`. An empty selector selects
/// everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

/// What must be true of one label.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    /// Also true if there is no such label.
    NotIn(Vec<String>),
}

impl LabelSelector {
    /// Returns whether every object is selected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether an object with these labels is selected.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.test.holds(labels.get(&requirement.key)))
    }

    /// Returns whether an object is selected, given as JSON.
    pub fn selects_json(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.0.iter().all(|requirement| requirement.test.holds(labels[&requirement.key].as_str()))
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        let is_among = |values: &[String]| value.is_some_and(|value| values.iter().any(|known| known == value));
        match self {
            Self::Exists => value.is_some(),
            Self::Missing => value.is_none(),
            Self::In(values) => is_among(values),
            Self::NotIn(values) => !is_among(values),
        }
    }
}

impl FromStr for LabelSelector {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut parts = Vec::new();
        let mut depth = 0;
        let mut start = 0;
        for (at, letter) in text.char_indices() {
            match letter {
                '(' => depth += 1,
                ')' => depth -= 1,
                ',' if depth == 0 => {
                    parts.push(&text[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        parts.push(&text[start..]);
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        parts.into_iter().map(requirement).collect::<Result<_, _>>().map(Self)
    }
}

fn requirement(part: &str) -> Result<Requirement, Invalid> {
    let part = part.trim();
    let refuse =
        || Invalid::new("", "key=value, key!=value, key in (a, b), key notin (a, b), key or !key", format!("{part:?}"));
    let (key, test) = if let Some(key) = part.strip_prefix('!') {
        (key, Test::Missing)
    } else if let Some((key, value)) = part.split_once("!=") {
        (key, Test::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (key, Test::In(vec![value.trim().to_owned()]))
    } else if let Some(list) = part.strip_suffix(')') {
        let (head, values) = list.split_once('(').ok_or_else(refuse)?;
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        match head.split_whitespace().collect::<Vec<_>>()[..] {
            [key, "in"] => (key, Test::In(values)),
            [key, "notin"] => (key, Test::NotIn(values)),
            _ => return Err(refuse()),
        }
    } else {
        (part, Test::Exists)
    };
    let key = key.trim();
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '/');
    if key.is_empty() || !key.chars().all(is_name) {
        return Err(refuse());
    }
    if let Test::In(values) | Test::NotIn(values) = &test {
        for value in values {
            check_label_value(key, value)?;
        }
    }
    Ok(Requirement { key: key.to_owned(), test })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(selector: &str) -> bool {
        let selector: LabelSelector = selector.parse().unwrap();
        let pairs = [("app", "web"), ("version", "v1")];
        let labels = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let json = json!({"metadata": {"labels": {"app": "web", "version": "v1"}}});
        assert_eq!(selector.selects(&labels), selector.selects_json(&json));
        selector.selects(&labels)
    }

    #[test]
    fn selectors_select_as_those_of_kubectl() {
        for selector in [
            "",
            "app=web",
            "app==web, version != v2",
            "app in (api, web),version",
            "!tier",
            "tier!=a",
            "tier notin (a)",
        ] {
            assert!(selects(selector), "{selector}");
        }
        for selector in
            ["app=api", "app=web,version!=v1", "app in (api)", "!app", "tier", "app notin (web, api)", "app="]
        {
            assert!(!selects(selector), "{selector}");
        }
        assert!(!"app=".parse::<LabelSelector>().unwrap().selects_json(&json!({})), "no label is not an empty one");
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        let want = "want key=value, key!=value, key in (a, b), key notin (a, b), key or !key, got ";
        for text in ["a b", "=x", "a within (b)", "a,,b", "a in b)", "!"] {
            let error = text.parse::<LabelSelector>().unwrap_err().to_string();
            assert!(error.starts_with(want), "{text}: {error}");
        }
        assert!("a=b c".parse::<LabelSelector>().unwrap_err().to_string().starts_with("a: want "));
    }
}
