//! What Prometheus may see. Labels are types, and objects that are refused: never a sidecar's name.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use rutter_api::{ConfigKey, ResourceType};

/// A resource type as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TypeLabel {
    r#type: &'static str,
}

/// A config object as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ObjectLabel {
    kind: &'static str,
    namespace: String,
    name: String,
}

/// Every metric of the process. The fields are counted or set where something happens; [`Metrics::text`] prints them all.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) streams: Gauge,
    pub(crate) stuck: Counter,
    pub(crate) pushes: Family<TypeLabel, Counter>,
    pub(crate) push_bytes: Family<TypeLabel, Counter>,
    pub(crate) nacks: Family<TypeLabel, Counter>,
    pub(crate) refused: Family<ObjectLabel, Gauge>,
    pub(crate) load_reports: Counter,
    pub(crate) convergence: Histogram,
    pub(crate) revision: Gauge,
    pub(crate) objects: Gauge,
    pub(crate) encodes: Gauge,
    pub(crate) scopes: Gauge,
    pub(crate) rejected: Counter,
    pub(crate) verify_checks: Counter,
    pub(crate) verify_differences: Counter,
    pub(crate) files_read: Counter,
    pub(crate) files_broken: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        // 1 ms to about 16 s.
        let convergence = Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let mut metrics = Self {
            registry: Registry::with_prefix("rutter"),
            streams: Gauge::default(),
            stuck: Counter::default(),
            pushes: Family::default(),
            push_bytes: Family::default(),
            nacks: Family::default(),
            refused: Family::default(),
            load_reports: Counter::default(),
            convergence,
            revision: Gauge::default(),
            objects: Gauge::default(),
            encodes: Gauge::default(),
            scopes: Gauge::default(),
            rejected: Counter::default(),
            verify_checks: Counter::default(),
            verify_differences: Counter::default(),
            files_read: Counter::default(),
            files_broken: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("xds_streams", "Open ADS streams", self.streams.clone());
        registry.register("xds_stuck", "Streams closed because the client took nothing", self.stuck.clone());
        registry.register("xds_pushes", "Responses sent, by type", self.pushes.clone());
        registry.register("xds_push_bytes", "Bytes of responses sent, by type", self.push_bytes.clone());
        registry.register("xds_nacks", "Responses refused by sidecars, by type", self.nacks.clone());
        let text = "Sidecars that refuse a resource which is made from this object";
        registry.register("config_refused", text, self.refused.clone());
        registry.register("xds_load_reports", "Load reports taken in", self.load_reports.clone());
        registry.register(
            "convergence_seconds",
            "From a config change to a sidecar's answer",
            self.convergence.clone(),
        );
        registry.register("config_revision", "The store's revision that sidecars are given", self.revision.clone());
        registry.register("config_objects", "Config objects in force", self.objects.clone());
        registry.register("encodes", "Pieces encoded since the start", self.encodes.clone());
        registry.register("scopes", "Distinct scopes kept", self.scopes.clone());
        registry.register("config_rejected", "Applies that were refused", self.rejected.clone());
        registry.register("verify_checks", "Full recomputations compared (--verify)", self.verify_checks.clone());
        registry.register(
            "verify_differences",
            "Resources found different from a full recomputation (--verify)",
            self.verify_differences.clone(),
        );
        registry.register("folder_files_read", "Files of the watched folder that were read", self.files_read.clone());
        registry.register(
            "folder_files_broken",
            "Files of the watched folder whose last good version is in force",
            self.files_broken.clone(),
        );
    }

    /// How many sidecars refuse something that is made from an object. An object that none refuses is not listed.
    pub(crate) fn set_refused(&self, key: &ConfigKey, sidecars: usize) {
        let (namespace, name) = (key.namespace.to_string(), key.name.to_string());
        let label = ObjectLabel { kind: key.kind.name(), namespace, name };
        if sidecars == 0 {
            self.refused.remove(&label);
        } else {
            self.refused.get_or_create(&label).set(i64::try_from(sidecars).unwrap_or(i64::MAX));
        }
    }

    /// In Prometheus' text form.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

impl From<ResourceType> for TypeLabel {
    fn from(kind: ResourceType) -> Self {
        Self { r#type: kind.word() }
    }
}
