//! Which objects a request is about.

use std::collections::BTreeSet;

use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{ConfigKey, Kind, LabelSelector};
use serde_json::Value;
use tonic::Status;

use super::objects;

/// The objects that a request names, one by one or by what they have in common.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Objects that are named in full. There may be as many as in the largest apply.
    named: BTreeSet<ConfigKey>,
    patterns: Vec<Pattern>,
    selector: LabelSelector,
}

/// Some objects. What is `None` may be anything.
#[derive(Debug)]
struct Pattern {
    kind: Option<Kind>,
    namespace: Option<String>,
    name: Option<String>,
}

impl Wanted {
    /// Returns the objects that a request wants to see.
    pub(super) fn of_request(request: &pb::GetRequest) -> Result<Self, Status> {
        if request.wanted.is_empty() {
            return Err(Status::invalid_argument("want at least one kind, got none"));
        }
        Self::of_patterns(&request.wanted, selector(&request.selector)?)
    }

    /// Returns the objects of one pattern. Without one, every object is meant.
    pub(super) fn of_pattern(pattern: Option<&pb::ObjectKey>) -> Result<Self, Status> {
        Self::of_patterns(pattern.map(std::slice::from_ref).unwrap_or_default(), LabelSelector::default())
    }

    fn of_patterns(wanted: &[pb::ObjectKey], selector: LabelSelector) -> Result<Self, Status> {
        let mut named = BTreeSet::new();
        let mut patterns = Vec::new();
        for pattern in wanted {
            let pattern = Pattern::of(pattern)?;
            match pattern.only_key() {
                Some(key) => drop(named.insert(key)),
                None => patterns.push(pattern),
            }
        }
        Ok(Self { named, patterns, selector })
    }

    /// Returns whether an object is wanted, as far as its name tells.
    pub(super) fn has_key(&self, key: &ConfigKey) -> bool {
        let is_everything_wanted = self.named.is_empty() && self.patterns.is_empty();
        is_everything_wanted || self.named.contains(key) || self.patterns.iter().any(|pattern| pattern.has(key))
    }

    /// Returns whether an object is wanted, as far as its labels tell.
    pub(super) fn selects(&self, json: &str) -> bool {
        if self.selector.is_empty() {
            return true;
        }
        let object: Value = serde_json::from_str(json).unwrap_or_default();
        self.selector.selects_json(&object)
    }

    /// Returns those that are wanted by their name and are not among some keys, which are sorted.
    pub(super) fn missing(&self, found: &[&ConfigKey]) -> Vec<pb::ObjectKey> {
        let is_missing = |pattern: &&Pattern| pattern.name.is_some() && !found.iter().any(|key| pattern.has(key));
        let key = |pattern: &Pattern| pb::ObjectKey {
            kind: pattern.kind.map_or("all", Kind::name).into(),
            namespace: pattern.namespace.clone().unwrap_or_default(),
            name: pattern.name.clone().unwrap_or_default(),
        };
        let named = self.named.iter().filter(|key| found.binary_search(key).is_err()).map(objects::key);
        named.chain(self.patterns.iter().filter(is_missing).map(key)).collect()
    }
}

impl Pattern {
    fn of(wanted: &pb::ObjectKey) -> Result<Self, Status> {
        let kind = if wanted.kind == "all" { None } else { Some(kind_of(&wanted.kind)?) };
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Ok(Self { kind, namespace: some(&wanted.namespace), name: some(&wanted.name) })
    }

    /// Returns the only object that the pattern can mean, or `None` if there may be several.
    fn only_key(&self) -> Option<ConfigKey> {
        let (kind, name) = (self.kind?, self.name.as_ref()?);
        match &self.namespace {
            Some(namespace) => Some(ConfigKey::new(kind, namespace, name)),
            None if kind.is_namespaced() => None,
            None => Some(ConfigKey::new(kind, "", name)),
        }
    }

    fn has(&self, key: &ConfigKey) -> bool {
        // A kind without namespaces is in each of them only if it is asked for by itself.
        let is_in = |namespace: &String| match key.kind.is_namespaced() {
            true => *key.namespace == **namespace,
            false => self.kind.is_some(),
        };
        self.kind.is_none_or(|kind| kind == key.kind)
            && self.namespace.as_ref().is_none_or(is_in)
            && self.name.as_ref().is_none_or(|name| *key.name == **name)
    }
}

/// Returns a selector of labels.
pub(super) fn selector(text: &str) -> Result<LabelSelector, Status> {
    text.parse().map_err(|invalid| Status::invalid_argument(format!("selector: {invalid}")))
}

/// Returns the kind that a word means.
pub(super) fn kind_of(word: &str) -> Result<Kind, Status> {
    Kind::from_word(word).ok_or_else(|| {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let hint = Kind::nearest(word).map(|kind| format!(" (did you mean {kind}?)")).unwrap_or_default();
        Status::invalid_argument(format!("want a kind of {}, got {word:?}{hint}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &str, namespace: &str, name: &str) -> pb::ObjectKey {
        pb::ObjectKey { kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }

    fn wanted(patterns: &[pb::ObjectKey], selector: &str) -> Wanted {
        let request = pb::GetRequest { wanted: patterns.to_vec(), selector: selector.into() };
        Wanted::of_request(&request).unwrap()
    }

    #[test]
    fn objects_are_wanted_by_kind_namespace_and_name() {
        let a = ConfigKey::new(Kind::Service, "shop", "a");
        let b = ConfigKey::new(Kind::VirtualService, "bank", "b");
        let namespace = ConfigKey::new(Kind::Namespace, "", "shop");
        let has = |patterns: &[pb::ObjectKey]| [&a, &b, &namespace].map(|key| wanted(patterns, "").has_key(key));
        assert_eq!(has(&[key("svc", "", ""), key("vs", "bank", "b")]), [true, true, false]);
        assert_eq!(has(&[key("all", "", "")]), [true, true, true]);
        assert_eq!(has(&[key("all", "shop", "")]), [true, false, false], "a namespace is in none");
        assert_eq!(has(&[key("ns", "shop", "")]), [false, false, true], "and is found if it is asked for");
        let some = wanted(&[key("svc", "shop", "a"), key("svc", "shop", "gone"), key("vs", "shop", "")], "");
        assert_eq!(some.missing(&[&a]), [key("Service", "shop", "gone")]);
        assert!(Wanted::of_pattern(None).unwrap().has_key(&a));
    }

    #[test]
    fn labels_are_looked_at_in_the_text_of_the_object() {
        let some = wanted(&[key("all", "", "")], "app=web");
        assert!(some.selects(r#"{"metadata":{"labels":{"app":"web"}}}"#));
        assert!(!some.selects(r#"{"metadata":{}}"#) && !some.selects("{"));
    }

    #[test]
    fn what_is_no_kind_or_selector_is_refused_with_what_was_probably_meant() {
        let refused = |kind: &str, selector: &str| {
            let request = pb::GetRequest { wanted: vec![key(kind, "", "")], selector: selector.into() };
            Wanted::of_request(&request).unwrap_err().message().to_owned()
        };
        assert!(refused("destinationrul", "").ends_with("got \"destinationrul\" (did you mean DestinationRule?)"));
        assert!(refused("deployments", "").ends_with("got \"deployments\""));
        assert!(refused("all", "a b").starts_with("selector: want key=value"));
        let nothing = Wanted::of_request(&pb::GetRequest::default()).unwrap_err();
        assert_eq!(nothing.message(), "want at least one kind, got none");
    }
}
