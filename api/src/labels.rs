//! Labels, as selectors and subsets compare them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

/// A set of labels, sorted by key. A mesh holds a set for each of its endpoints, so a set is one allocation, and clones
/// share it. If a key is given twice, its later value counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[(Box<str>, Box<str>)]>);

impl Labels {
    /// Returns the value of a key, or `None` if there is no such label.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(label_key, _)| (**label_key).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// Returns each key with its value, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Returns whether the set has no labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether `labels` has every label of this set with the same value. An empty set selects everything.
    pub fn selects(&self, labels: &Self) -> bool {
        self.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Takes over the allocation of an equal set among `known`, or adds itself to `known` if there is none. Callers
    /// pass the sets of one object, of which most are equal, so `known` stays short.
    pub fn share(&mut self, known: &mut Vec<Self>) {
        match known.iter().find(|labels| *labels == self) {
            Some(labels) => *self = labels.clone(),
            None => known.push(self.clone()),
        }
    }
}

impl FromIterator<(String, String)> for Labels {
    /// If a key occurs twice, its later value counts.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let sorted: BTreeMap<String, String> = pairs.into_iter().collect();
        Self(sorted.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(map: BTreeMap<String, String>) -> Self {
        map.into_iter().collect()
    }
}

impl fmt::Display for Labels {
    /// Prints the labels as kubectl does: `app=web,version=v1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::<String, String>::deserialize(deserializer)?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn labels_print_as_kubectl_shows_them() {
        assert_eq!(labels(&[("version", "v1"), ("app", "a")]).to_string(), "app=a,version=v1");
        assert_eq!(Labels::default().to_string(), "");
    }

    #[test]
    fn all_that_is_asked_for_must_be_there() {
        let pod = labels(&[("version", "v1"), ("app", "a")]);
        assert_eq!((pod.get("app"), pod.get("version"), pod.get("x")), (Some("a"), Some("v1"), None));
        assert!(labels(&[("app", "a")]).selects(&pod) && Labels::default().selects(&pod));
        assert!(!labels(&[("app", "b")]).selects(&pod) && !pod.selects(&labels(&[("app", "a")])));
    }

    #[test]
    fn equal_ones_share() {
        let mut known = Vec::new();
        let mut sets = [labels(&[("a", "1")]), labels(&[("a", "1")])];
        sets.iter_mut().for_each(|set| set.share(&mut known));
        assert!(Arc::ptr_eq(&sets[0].0, &sets[1].0));
    }
}
