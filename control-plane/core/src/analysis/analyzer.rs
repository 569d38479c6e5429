//! A mesh of which nothing is computed but what is wrong with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rutter_api::{ConfigKey, Labels};

use super::finding::Finding;
use super::state::{Analysis, Before};
use crate::debounce::ConfigBatch;
use crate::index::MeshIndex;
use crate::settings::MeshSettings;

/// The objects of a mesh, and what is wrong with them. Clones share what is not written since.
#[derive(Debug, Default, Clone)]
pub struct Analyzer {
    index: MeshIndex,
    analysis: Analysis,
}

/// What a batch would alter of what is wrong.
#[derive(Debug, Default)]
pub struct Outlook {
    /// What would be wrong with the objects that the batch writes.
    pub written: Vec<Finding>,
    /// What would be wrong with others, and is not now.
    pub elsewhere: Vec<Finding>,
}

impl Analyzer {
    /// Returns the analyzer of a mesh without objects.
    pub fn new(settings: MeshSettings) -> Self {
        Self { index: MeshIndex::new(settings), ..Self::default() }
    }

    /// Returns the analyzer of objects whose analysis is kept beside them.
    pub(crate) fn of(index: MeshIndex, analysis: Analysis) -> Self {
        let mut analyzer = Self { index, analysis };
        analyzer.settle();
        analyzer
    }

    /// Returns the objects.
    pub fn index(&self) -> &MeshIndex {
        &self.index
    }

    /// Returns everything that is wrong, in the order of the objects.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.analysis.findings()
    }

    /// Returns what is wrong with an object.
    pub fn findings_of(&self, object: &ConfigKey) -> &[Finding] {
        self.analysis.of(object)
    }

    /// Returns how often an object was checked.
    pub fn checks(&self) -> u64 {
        self.analysis.checks()
    }

    /// Takes a batch in, and checks what it can alter.
    pub fn apply(&mut self, batch: &ConfigBatch) {
        self.note(batch);
        self.settle();
    }

    /// Takes in that the workload of a client comes.
    pub fn connect(&mut self, namespace: &Arc<str>, labels: &Labels) {
        self.analysis.connect(namespace, labels);
        self.settle();
    }

    /// Takes in that the workload of a client goes.
    pub fn disconnect(&mut self, namespace: &Arc<str>, labels: &Labels) {
        self.analysis.disconnect(namespace, labels);
        self.settle();
    }

    /// Takes a batch in and returns what it would alter of what is wrong. Objects that somebody writes as they are already, which are
    /// given by their keys, count as written. Nothing is kept of what the checks look at, so that this costs less than taking the
    /// batch in for good.
    pub fn outlook(mut self, batch: &ConfigBatch, unchanged: &[ConfigKey]) -> Outlook {
        self.note(batch);
        let mut found: BTreeMap<ConfigKey, Vec<Finding>> = self.analysis.unsettled(&self.index);
        for object in unchanged {
            found.entry(object.clone()).or_insert_with(|| self.analysis.of(object).to_vec());
        }
        let mut outlook = Outlook::default();
        for (object, findings) in found {
            if batch.changes.contains_key(&object) || unchanged.contains(&object) {
                outlook.written.extend(findings);
            } else {
                let known = self.analysis.of(&object);
                outlook.elsewhere.extend(findings.into_iter().filter(|finding| !known.contains(finding)));
            }
        }
        outlook
    }

    fn note(&mut self, batch: &ConfigBatch) {
        let before = Before::of(batch, &self.index);
        let delta = self.index.apply(batch);
        self.analysis.note(batch, &before, &delta, &self.index);
    }

    fn settle(&mut self) {
        self.analysis.settle(&self.index, usize::MAX);
    }
}
