//! Which services select which workloads, WorkloadEntries and Pods, found by label.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rutter_api::{Config, ConfigKey, Kind, Labels};

use crate::edges::{link, unlink};
use crate::model::{Service, ServiceKey};

/// A label in a namespace, of workloads of one kind. The Pods of Kubernetes Services are in their slices, so that these must
/// not come upon them when they look for workloads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct NamespaceLabel {
    namespace: Arc<str>,
    kind: Kind,
    key: String,
    value: String,
}

/// The kinds of workloads that a service selects.
fn selected_kinds(service: &Service) -> &'static [Kind] {
    if service.is_kubernetes() { &[Kind::WorkloadEntry] } else { &[Kind::WorkloadEntry, Kind::Pod] }
}

/// Services that select workloads, and the workloads, each by labels.
#[derive(Debug, Default, Clone)]
pub(super) struct WorkloadIndex {
    /// The services that select workloads, each under the first label that it wants.
    selecting: HashMap<NamespaceLabel, BTreeSet<ServiceKey>>,
    /// The workloads, each under all of its labels.
    workloads: HashMap<NamespaceLabel, BTreeSet<ConfigKey>>,
}

impl WorkloadIndex {
    pub(super) fn insert_service(&mut self, service: &Service) {
        for label in first_labels(service) {
            link(&mut self.selecting, label, service.key.clone());
        }
    }

    pub(super) fn remove_service(&mut self, service: &Service) {
        for label in first_labels(service) {
            unlink(&mut self.selecting, &label, &service.key);
        }
    }

    pub(super) fn insert_workload(&mut self, config: &Config) {
        for label in labels_of(config) {
            link(&mut self.workloads, label, config.key.clone());
        }
    }

    pub(super) fn remove_workload(&mut self, config: &Config) {
        for label in labels_of(config) {
            unlink(&mut self.workloads, &label, &config.key);
        }
    }

    /// Returns the services that may select a workload: those whose first label it has.
    pub(super) fn services_that_may_select(&self, config: &Config) -> Vec<&ServiceKey> {
        labels_of(config).iter().filter_map(|label| self.selecting.get(label)).flatten().collect()
    }

    /// Returns the workloads that a service may select: those that have its first label.
    pub(super) fn workloads_that_may_be_selected(&self, service: &Service) -> impl Iterator<Item = &ConfigKey> {
        first_labels(service).filter_map(|label| self.workloads.get(&label)).flatten()
    }
}

/// Returns the first label that a service wants, of each kind of workloads that it selects.
fn first_labels(service: &Service) -> impl Iterator<Item = NamespaceLabel> {
    let first = service.selector.as_ref().and_then(|selector| selector.iter().next());
    let label = first.map(|(key, value)| (key.to_owned(), value.to_owned()));
    label.into_iter().flat_map(move |(key, value)| {
        selected_kinds(service).iter().map(move |kind| NamespaceLabel {
            namespace: service.namespace().clone(),
            kind: *kind,
            key: key.clone(),
            value: value.clone(),
        })
    })
}

/// Returns the labels of a workload. Other objects have none.
pub(super) fn workload_labels(config: &Config) -> Option<&Labels> {
    let of_pod = config.spec.as_pod().map(|_| &config.labels);
    of_pod.or_else(|| config.spec.as_workload_entry().map(|entry| &entry.labels))
}

fn labels_of(config: &Config) -> Vec<NamespaceLabel> {
    let labels = workload_labels(config).into_iter().flat_map(Labels::iter).map(|(key, value)| NamespaceLabel {
        namespace: config.key.namespace.clone(),
        kind: config.key.kind,
        key: key.to_owned(),
        value: value.to_owned(),
    });
    labels.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::services_of;
    use crate::testing::config;

    #[test]
    fn services_and_workloads_find_each_other_in_their_namespace() {
        let service = |namespace: &str| {
            let text = format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: a, namespace: {namespace}}}\n\
                 spec: {{selector: {{app: a, tier: web}}, ports: [{{port: 80}}]}}"
            );
            services_of(&config(&text), "cluster.local").remove(0)
        };
        let workload = config(
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w, namespace: shop}\n\
             spec: {address: 10.0.0.1, labels: {app: a, version: v1}}",
        );
        let mut index = WorkloadIndex::default();
        index.insert_service(&service("shop"));
        index.insert_service(&service("bank"));
        index.insert_workload(&workload);
        let namespaces: Vec<_> =
            index.services_that_may_select(&workload).iter().map(|key| key.origin.namespace.clone()).collect();
        assert_eq!(namespaces, ["shop".into()]);
        assert_eq!(index.workloads_that_may_be_selected(&service("shop")).count(), 1);
        assert_eq!(index.workloads_that_may_be_selected(&service("bank")).count(), 0);
        index.remove_workload(&workload);
        index.remove_service(&service("shop"));
        assert_eq!(index.workloads_that_may_be_selected(&service("shop")).count(), 0);
        assert!(index.services_that_may_select(&workload).is_empty());
    }
    #[test]
    fn only_entries_come_upon_pods() {
        let pod = config(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, labels: {app: a}}\nstatus: {podIP: 10.0.0.1}",
        );
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\n\
                       spec: {selector: {app: a}, ports: [{port: 80}]}";
        let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a, namespace: shop}\n\
                     spec: {hosts: [a.x], resolution: STATIC, ports: [{number: 80, name: http}], \
                     workloadSelector: {labels: {app: a}}}";
        let [service, entry] = [service, entry].map(|text| services_of(&config(text), "cluster.local").remove(0));
        let mut index = WorkloadIndex::default();
        index.insert_workload(&pod);
        index.insert_service(&service);
        index.insert_service(&entry);
        assert_eq!(index.workloads_that_may_be_selected(&service).count(), 0);
        assert_eq!(index.workloads_that_may_be_selected(&entry).count(), 1);
        assert_eq!(index.services_that_may_select(&pod), [&entry.key]);
    }
}
