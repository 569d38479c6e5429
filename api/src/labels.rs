//! Labels, as selectors and subsets use them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

/// Labels by key. A mesh has one set for each of its endpoints: it is one allocation, and clones share it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[(Box<str>, Box<str>)]>);

impl Labels {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(other, _)| (**other).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// Keys and values, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `labels` has everything that this asks for.
    pub fn selects(&self, labels: &Self) -> bool {
        self.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Takes the allocation of an equal one, where there is one among `others`; else adds itself there.
    pub fn share(&mut self, others: &mut Vec<Self>) {
        match others.iter().find(|other| *other == self) {
            Some(other) => *self = other.clone(),
            None => others.push(self.clone()),
        }
    }
}

impl FromIterator<(String, String)> for Labels {
    /// Of two values of a key the later counts.
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
    fn all_that_is_asked_for_must_be_there() {
        let pod = labels(&[("version", "v1"), ("app", "a")]);
        assert_eq!((pod.get("app"), pod.get("version"), pod.get("x")), (Some("a"), Some("v1"), None));
        assert!(labels(&[("app", "a")]).selects(&pod) && Labels::default().selects(&pod));
        assert!(!labels(&[("app", "b")]).selects(&pod) && !pod.selects(&labels(&[("app", "a")])));
    }

    #[test]
    fn equal_ones_share() {
        let mut known = Vec::new();
        let mut all = [labels(&[("a", "1")]), labels(&[("a", "1")])];
        all.iter_mut().for_each(|one| one.share(&mut known));
        assert!(Arc::ptr_eq(&all[0].0, &all[1].0));
    }
}
