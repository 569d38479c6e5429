//! The label sets by which objects choose clients.

use std::collections::BTreeMap;

use rutter_api::Labels;

use super::delta::IndexDelta;

/// Label sets, each with the number of conditions that have it.
#[derive(Debug, Default, Clone)]
pub(super) struct LabelSets(BTreeMap<Labels, usize>);

impl LabelSets {
    pub(super) fn add(&mut self, labels: &Labels, delta: &mut IndexDelta) {
        if labels.is_empty() {
            return;
        }
        let count = self.0.entry(labels.clone()).or_default();
        *count += 1;
        if *count == 1 {
            delta.source_labels.insert(labels.clone());
        }
    }

    pub(super) fn remove(&mut self, labels: &Labels, delta: &mut IndexDelta) {
        let Some(count) = self.0.get_mut(labels) else { return };
        *count -= 1;
        if *count == 0 {
            self.0.remove(labels);
            delta.source_labels.insert(labels.clone());
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Labels> {
        self.0.keys()
    }
}
