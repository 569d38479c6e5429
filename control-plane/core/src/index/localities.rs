//! What DestinationRules have to know of the places of clients.

use std::collections::BTreeMap;

use rutter_api::Config;

use crate::model::{LocalityNeeds, rule_locality_needs};

/// The needs of all rules, counted. They are empty in many meshes, in which the places of clients then cost nothing.
#[derive(Debug, Default)]
pub(super) struct LocalityIndex {
    needing: usize,
    keys: BTreeMap<String, usize>,
    needs: LocalityNeeds,
}

impl LocalityIndex {
    /// Takes in that a rule changed, and returns whether other clients than before can see the same.
    pub(super) fn replace(&mut self, old: Option<&Config>, new: Option<&Config>) -> bool {
        let [old, new] = [old, new].map(|config| {
            let rule = config.and_then(|config| config.spec.as_destination_rule());
            rule.map(rule_locality_needs).unwrap_or_default()
        });
        if old == new {
            return false;
        }
        self.needing += usize::from(new.is_locality_needed);
        self.needing -= usize::from(old.is_locality_needed);
        for key in new.label_keys {
            *self.keys.entry(key).or_default() += 1;
        }
        for key in old.label_keys {
            let left = self.keys.remove(&key).unwrap_or_default().saturating_sub(1);
            if left > 0 {
                self.keys.insert(key, left);
            }
        }
        let needs =
            LocalityNeeds { is_locality_needed: self.needing > 0, label_keys: self.keys.keys().cloned().collect() };
        let differs = needs != self.needs;
        self.needs = needs;
        differs
    }

    /// Returns what has to be known of clients.
    pub(super) fn needs(&self) -> &LocalityNeeds {
        &self.needs
    }
}
