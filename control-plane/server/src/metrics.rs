//! What Prometheus may see. Labels are types, and objects that are refused: never a sidecar's name.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};
use rutter_api::{ConfigKey, ResourceType};
use rutter_core::analysis::Level;

use crate::process_metrics::ProcessMetrics;

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

/// The level of a finding as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LevelLabel {
    level: &'static str,
}

/// Every metric of the process. The fields are counted or set where something happens, and [`Metrics::text`] prints them
/// all. A metric gets its name and its help in the same expression that creates it, so that none is counted and never
/// shown. Names of counters have `_total` added when they are printed.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    pub(crate) connections_silent: Counter,
    pub(crate) streams: Gauge,
    pub(crate) contested: Gauge,
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
    pub(crate) otlp_exported: Counter,
    pub(crate) otlp_dropped: Counter,
    findings: Family<LevelLabel, Gauge>,
    pub(crate) store_writable: Gauge,
    pub(crate) store_failures: Counter,
    pub(crate) verify_checks: Counter,
    pub(crate) verify_differences: Counter,
    pub(crate) files_read: Counter,
    pub(crate) files_broken: Gauge,
    pub(crate) folder_objects_held: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        registry.sub_registry_with_prefix("process").register_collector(Box::new(ProcessMetrics));
        let into = registry.sub_registry_with_prefix("rutter");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        into.register("build", "The version of this program", build);
        // 1 ms to about 16 s.
        let convergence = Histogram::new(exponential_buckets(0.001, 2.0, 15));
        Self {
            connections: new(into, "connections", "Open TCP connections to xDS and to the admin API"),
            connections_refused: new(into, "connections_refused", "Connections refused because there were too many"),
            connections_silent: new(
                into,
                "connections_silent",
                "Connections closed because no whole request came in time",
            ),
            streams: new(into, "xds_streams", "Open ADS streams"),
            contested: new(
                into,
                "sidecars_contested",
                "Sidecars that have open streams from several addresses, of which all but one may be false",
            ),
            stuck: new(into, "xds_stuck", "Streams closed because the client took nothing"),
            pushes: new(into, "xds_pushes", "Responses sent, by type"),
            push_bytes: new(into, "xds_push_bytes", "Bytes of responses sent, by type"),
            nacks: new(into, "xds_nacks", "Responses refused by sidecars, by type"),
            refused: new(into, "config_refused", "Sidecars that refuse a resource which is made from this object"),
            load_reports: new(into, "xds_load_reports", "Load reports taken in"),
            convergence: registered(
                into,
                "convergence_seconds",
                "From a config change to a sidecar's answer",
                convergence,
            ),
            revision: new(into, "config_revision", "The store's revision that sidecars are given"),
            objects: new(into, "config_objects", "Config objects in force"),
            encodes: new(
                into,
                "encodes",
                "Clusters, load assignments and virtual hosts of hosts encoded since the start",
            ),
            scopes: new(into, "scopes", "Distinct scopes kept"),
            findings: new(
                into,
                "config_findings",
                "What rutterctl analyze finds in the config in force, by level, looked at every second",
            ),
            rejected: new(into, "config_rejected", "Applies that were refused"),
            otlp_exported: new(
                into,
                "otlp_traces_exported",
                "Traces of changes that a collector took (--otlp-endpoint)",
            ),
            otlp_dropped: new(into, "otlp_traces_dropped", "Traces of changes that no collector took in time"),
            store_writable: new(into, "store_writable", "1 if the store takes commits, 0 if it can only be read"),
            store_failures: new(into, "store_failures", "Commits that the store could not make durable"),
            verify_checks: new(into, "verify_checks", "Full recomputations compared (--verify)"),
            verify_differences: new(
                into,
                "verify_differences",
                "Resources found different from a full recomputation (--verify)",
            ),
            files_read: new(into, "folder_files_read", "Files of the watched folder that were read"),
            files_broken: new(into, "folder_files_broken", "Files of the watched folder that have a fault"),
            folder_objects_held: new(
                into,
                "folder_objects_held",
                "Objects that are no longer in the watched folder and stay until that is confirmed",
            ),
            registry,
        }
    }
}

/// Returns a new metric that the registry prints under a name, after the prefix `rutter_`.
fn new<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    registered(registry, name, help, M::default())
}

/// Registers a metric under a name, after the prefix `rutter_`, and returns it.
fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// Returns the number of findings of a level.
    pub(crate) fn findings(&self, level: Level) -> Gauge {
        self.findings.get_or_create(&LevelLabel { level: level.word() }).clone()
    }

    /// Sets how many sidecars refuse something that is made from an object. An object that none refuses is not listed, so
    /// that the number of labels follows the number of faults and not the size of the mesh.
    pub(crate) fn set_refused(&self, key: &ConfigKey, sidecars: usize) {
        let (namespace, name) = (key.namespace.to_string(), key.name.to_string());
        let label = ObjectLabel { kind: key.kind.name(), namespace, name };
        if sidecars == 0 {
            self.refused.remove(&label);
        } else {
            self.refused.get_or_create(&label).set(i64::try_from(sidecars).unwrap_or(i64::MAX));
        }
    }

    /// Returns every metric in Prometheus' text format, as the monitoring address serves it at `/metrics`.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

impl From<ResourceType> for TypeLabel {
    fn from(resource_type: ResourceType) -> Self {
        Self { r#type: resource_type.word() }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn names_types_and_help_are_those_that_dashboards_know() {
        let text = Metrics::default().text();
        let described: Vec<&str> = text.lines().filter(|line| line.starts_with("# ")).collect();
        expect![[r#"
            # HELP process_cpu_seconds Time of CPUs that the process took
            # TYPE process_cpu_seconds counter
            # UNIT process_cpu_seconds seconds
            # HELP process_start_time_seconds When the process started, since 1970
            # TYPE process_start_time_seconds gauge
            # UNIT process_start_time_seconds seconds
            # HELP process_resident_memory_bytes Memory that the process has in use
            # TYPE process_resident_memory_bytes gauge
            # UNIT process_resident_memory_bytes bytes
            # HELP process_virtual_memory_bytes Memory that the process has reserved
            # TYPE process_virtual_memory_bytes gauge
            # UNIT process_virtual_memory_bytes bytes
            # HELP process_threads Threads of the process
            # TYPE process_threads gauge
            # HELP process_open_fds Open file descriptors
            # TYPE process_open_fds gauge
            # HELP process_max_fds File descriptors that may be open
            # TYPE process_max_fds gauge
            # HELP rutter_build The version of this program.
            # TYPE rutter_build info
            # HELP rutter_connections Open TCP connections to xDS and to the admin API.
            # TYPE rutter_connections gauge
            # HELP rutter_connections_refused Connections refused because there were too many.
            # TYPE rutter_connections_refused counter
            # HELP rutter_connections_silent Connections closed because no whole request came in time.
            # TYPE rutter_connections_silent counter
            # HELP rutter_xds_streams Open ADS streams.
            # TYPE rutter_xds_streams gauge
            # HELP rutter_sidecars_contested Sidecars that have open streams from several addresses, of which all but one may be false.
            # TYPE rutter_sidecars_contested gauge
            # HELP rutter_xds_stuck Streams closed because the client took nothing.
            # TYPE rutter_xds_stuck counter
            # HELP rutter_xds_load_reports Load reports taken in.
            # TYPE rutter_xds_load_reports counter
            # HELP rutter_convergence_seconds From a config change to a sidecar's answer.
            # TYPE rutter_convergence_seconds histogram
            # HELP rutter_config_revision The store's revision that sidecars are given.
            # TYPE rutter_config_revision gauge
            # HELP rutter_config_objects Config objects in force.
            # TYPE rutter_config_objects gauge
            # HELP rutter_encodes Clusters, load assignments and virtual hosts of hosts encoded since the start.
            # TYPE rutter_encodes gauge
            # HELP rutter_scopes Distinct scopes kept.
            # TYPE rutter_scopes gauge
            # HELP rutter_config_rejected Applies that were refused.
            # TYPE rutter_config_rejected counter
            # HELP rutter_otlp_traces_exported Traces of changes that a collector took (--otlp-endpoint).
            # TYPE rutter_otlp_traces_exported counter
            # HELP rutter_otlp_traces_dropped Traces of changes that no collector took in time.
            # TYPE rutter_otlp_traces_dropped counter
            # HELP rutter_store_writable 1 if the store takes commits, 0 if it can only be read.
            # TYPE rutter_store_writable gauge
            # HELP rutter_store_failures Commits that the store could not make durable.
            # TYPE rutter_store_failures counter
            # HELP rutter_verify_checks Full recomputations compared (--verify).
            # TYPE rutter_verify_checks counter
            # HELP rutter_verify_differences Resources found different from a full recomputation (--verify).
            # TYPE rutter_verify_differences counter
            # HELP rutter_folder_files_read Files of the watched folder that were read.
            # TYPE rutter_folder_files_read counter
            # HELP rutter_folder_files_broken Files of the watched folder that have a fault.
            # TYPE rutter_folder_files_broken gauge
            # HELP rutter_folder_objects_held Objects that are no longer in the watched folder and stay until that is confirmed.
            # TYPE rutter_folder_objects_held gauge
            # EOF"#]]
        .assert_eq(&described.join("\n"));
    }

    #[test]
    fn a_metric_without_labels_is_there_from_the_start_and_one_with_labels_when_it_is_counted() {
        let metrics = Metrics::default();
        metrics.pushes.get_or_create(&ResourceType::Cluster.into()).inc_by(3);
        metrics.push_bytes.get_or_create(&ResourceType::Endpoint.into()).inc_by(70);
        metrics.nacks.get_or_create(&ResourceType::VirtualHost.into()).inc();
        metrics.streams.inc();
        metrics.convergence.observe(0.003);
        metrics.set_refused(&ConfigKey::new(rutter_api::Kind::VirtualService, "shop", "a"), 2);
        let text = metrics.text();
        let is_value = |line: &&str| !line.starts_with('#') && !line.starts_with("process_");
        let values: Vec<&str> = text.lines().filter(is_value).collect();
        expect![[r#"
            rutter_build_info{version="0.1.0"} 1
            rutter_connections 0
            rutter_connections_refused_total 0
            rutter_connections_silent_total 0
            rutter_xds_streams 1
            rutter_sidecars_contested 0
            rutter_xds_stuck_total 0
            rutter_xds_pushes_total{type="cluster"} 3
            rutter_xds_push_bytes_total{type="endpoint"} 70
            rutter_xds_nacks_total{type="virtualhost"} 1
            rutter_config_refused{kind="VirtualService",namespace="shop",name="a"} 2
            rutter_xds_load_reports_total 0
            rutter_convergence_seconds_sum 0.003
            rutter_convergence_seconds_count 1
            rutter_convergence_seconds_bucket{le="0.001"} 0
            rutter_convergence_seconds_bucket{le="0.002"} 0
            rutter_convergence_seconds_bucket{le="0.004"} 1
            rutter_convergence_seconds_bucket{le="0.008"} 1
            rutter_convergence_seconds_bucket{le="0.016"} 1
            rutter_convergence_seconds_bucket{le="0.032"} 1
            rutter_convergence_seconds_bucket{le="0.064"} 1
            rutter_convergence_seconds_bucket{le="0.128"} 1
            rutter_convergence_seconds_bucket{le="0.256"} 1
            rutter_convergence_seconds_bucket{le="0.512"} 1
            rutter_convergence_seconds_bucket{le="1.024"} 1
            rutter_convergence_seconds_bucket{le="2.048"} 1
            rutter_convergence_seconds_bucket{le="4.096"} 1
            rutter_convergence_seconds_bucket{le="8.192"} 1
            rutter_convergence_seconds_bucket{le="16.384"} 1
            rutter_convergence_seconds_bucket{le="+Inf"} 1
            rutter_config_revision 0
            rutter_config_objects 0
            rutter_encodes 0
            rutter_scopes 0
            rutter_config_rejected_total 0
            rutter_otlp_traces_exported_total 0
            rutter_otlp_traces_dropped_total 0
            rutter_store_writable 0
            rutter_store_failures_total 0
            rutter_verify_checks_total 0
            rutter_verify_differences_total 0
            rutter_folder_files_read_total 0
            rutter_folder_files_broken 0
            rutter_folder_objects_held 0"#]]
        .assert_eq(&values.join("\n"));
    }
}
