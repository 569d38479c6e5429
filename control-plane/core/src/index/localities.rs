//! What DestinationRules and services have to know of the places of clients.

use std::collections::BTreeMap;

use rutter_api::Config;
use rutter_api::config::istio::LocalityLbSetting;

use crate::model::{LocalityNeeds, Service, rule_locality_needs};

/// The needs of all rules and services, counted. They are empty in many meshes, in which the places of clients then cost nothing.
#[derive(Debug, Default, Clone)]
pub(super) struct LocalityIndex {
    needing: usize,
    keys: BTreeMap<String, usize>,
    of_mesh: LocalityNeeds,
    needs: LocalityNeeds,
}

impl LocalityIndex {
    /// Takes in that a rule changed, and returns whether other clients than before can see the same.
    pub(super) fn replace_rule(&mut self, old: Option<&Config>, new: Option<&Config>) -> bool {
        let needs = |config: Option<&Config>| {
            let rule = config.and_then(|config| config.spec.as_destination_rule());
            rule.map(rule_locality_needs).unwrap_or_default()
        };
        self.replace(&needs(old), needs(new))
    }

    /// Takes in that a service came or went, and returns the same.
    pub(super) fn replace_service(&mut self, old: Option<&Service>, new: Option<&Service>) -> bool {
        let needs = |service: Option<&Service>| {
            let mut needs = LocalityNeeds::default();
            service.into_iter().for_each(|service| needs.add_service(service));
            needs
        };
        self.replace(&needs(old), needs(new))
    }

    /// Takes in that the mesh has another default, and returns the same.
    pub(super) fn replace_default(&mut self, setting: Option<&LocalityLbSetting>) -> bool {
        self.of_mesh = LocalityNeeds::default();
        setting.into_iter().for_each(|setting| self.of_mesh.add_default(setting));
        self.sum_up()
    }

    fn replace(&mut self, old: &LocalityNeeds, new: LocalityNeeds) -> bool {
        if *old == new {
            return false;
        }
        self.needing += usize::from(new.is_locality_needed);
        self.needing -= usize::from(old.is_locality_needed);
        for key in new.label_keys {
            *self.keys.entry(key).or_default() += 1;
        }
        for key in &old.label_keys {
            let left = self.keys.remove(key).unwrap_or_default().saturating_sub(1);
            if left > 0 {
                self.keys.insert(key.clone(), left);
            }
        }
        self.sum_up()
    }

    fn sum_up(&mut self) -> bool {
        let keys = self.keys.keys().chain(&self.of_mesh.label_keys);
        let needs = LocalityNeeds {
            is_locality_needed: self.needing > 0 || self.of_mesh.is_locality_needed,
            label_keys: keys.cloned().collect(),
            has_shares: false,
        };
        let differs = needs != self.needs;
        self.needs = needs;
        differs
    }

    /// Returns what has to be known of clients.
    pub(super) fn needs(&self) -> &LocalityNeeds {
        &self.needs
    }
}
