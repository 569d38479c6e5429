//! What the mesh config says where nothing else does, and what a change of it concerns.

use std::sync::Arc;
use std::time::Duration;

use rutter_api::config::istio::{HttpRetry, LocalityLbSetting, TcpKeepalive, UpgradePolicy};
use rutter_api::config::kubernetes::MeshConfig;

/// What holds for hosts of which nothing else says it. Each part is one allocation for as long as it says the same, so that a
/// change of one part costs nothing where only others are used.
#[derive(Debug, Clone, Default)]
pub struct MeshDefaults {
    /// How connections are made.
    pub connections: Arc<ConnectionDefaults>,
    /// How requests are divided among localities.
    pub localities: Option<Arc<LocalityLbSetting>>,
    /// The time between two questions to DNS.
    pub dns_refresh_rate: Option<Duration>,
    /// The retries of routes.
    pub retries: Option<Arc<HttpRetry>>,
}

/// How connections are made where no DestinationRule says it. What is absent is Istio's default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConnectionDefaults {
    /// The time that a connection may take to be established.
    pub connect_timeout: Option<Duration>,
    /// How silent connections are kept alive.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Whether HTTP/1.1 is spoken as HTTP/2 to endpoints.
    pub h2_upgrade_policy: UpgradePolicy,
}

impl MeshDefaults {
    /// Takes over what a mesh config says. `None` stands for one that says nothing.
    pub fn take_over(&mut self, mesh: Option<&MeshConfig>) {
        let mesh = mesh.cloned().unwrap_or_default();
        let connections = ConnectionDefaults {
            connect_timeout: mesh.connect_timeout,
            tcp_keepalive: mesh.tcp_keepalive,
            h2_upgrade_policy: mesh.h2_upgrade_policy,
        };
        if *self.connections != connections {
            self.connections = Arc::new(connections);
        }
        if self.localities.as_deref() != mesh.locality_lb_setting.as_ref() {
            self.localities = mesh.locality_lb_setting.map(Arc::new);
        }
        if self.retries.as_deref() != mesh.default_http_retry_policy.as_ref() {
            self.retries = mesh.default_http_retry_policy.map(Arc::new);
        }
        self.dns_refresh_rate = mesh.dns_refresh_rate;
    }
}

/// What two mesh configs say differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeshConfigDifference {
    /// Whether objects mean something else: those without an `exportTo`, and Ingresses.
    pub objects: bool,
    /// Whether something of hosts may be encoded otherwise.
    pub hosts: bool,
    /// Whether captured traffic may be treated otherwise of which nothing is known.
    pub capture: bool,
}

impl MeshConfigDifference {
    /// Returns what differs. `None` stands for a mesh config that says nothing.
    pub fn between(one: Option<&MeshConfig>, other: Option<&MeshConfig>) -> Self {
        let nothing = MeshConfig::default();
        // A new field does not compile until it is known what it concerns.
        let MeshConfig {
            outbound_traffic_policy,
            locality_lb_setting,
            connect_timeout,
            tcp_keepalive,
            h2_upgrade_policy,
            protocol_detection_timeout,
            dns_refresh_rate,
            default_http_retry_policy,
            default_config: _,
            default_service_export_to,
            default_virtual_service_export_to,
            default_destination_rule_export_to,
            ingress_controller_mode,
            ingress_class: _,
            ingress_service: _,
            ingress_selector: _,
            ignored: _,
        } = one.unwrap_or(&nothing);
        let other = other.unwrap_or(&nothing);
        let served = |mesh: &MeshConfig| (mesh.ingress_class().to_owned(), mesh.ingress_label().to_owned());
        let same_objects = *default_service_export_to == other.default_service_export_to
            && *default_virtual_service_export_to == other.default_virtual_service_export_to
            && *default_destination_rule_export_to == other.default_destination_rule_export_to
            && *ingress_controller_mode == other.ingress_controller_mode
            && served(one.unwrap_or(&nothing)) == served(other);
        // Listeners at the addresses of hosts await the first bytes of connections as well.
        let same_detection = *protocol_detection_timeout == other.protocol_detection_timeout;
        let same_hosts = same_detection
            && *locality_lb_setting == other.locality_lb_setting
            && *connect_timeout == other.connect_timeout
            && *tcp_keepalive == other.tcp_keepalive
            && *h2_upgrade_policy == other.h2_upgrade_policy
            && *dns_refresh_rate == other.dns_refresh_rate
            && *default_http_retry_policy == other.default_http_retry_policy;
        let same_capture = same_detection && *outbound_traffic_policy == other.outbound_traffic_policy;
        Self { objects: !same_objects, hosts: !same_hosts, capture: !same_capture }
    }

    /// Returns whether nothing differs that anything depends on.
    pub fn is_nothing(self) -> bool {
        let Self { objects, hosts, capture } = self;
        !objects && !hosts && !capture
    }
}

#[cfg(test)]
mod tests {
    use rutter_api::config::kubernetes::read_mesh_config;

    use super::*;

    #[test]
    fn a_field_concerns_objects_or_hosts_or_capture_or_nothing() {
        let difference = |text: &str| MeshConfigDifference::between(None, Some(&read_mesh_config(text).unwrap()));
        let nothing = MeshConfigDifference { objects: false, hosts: false, capture: false };
        for text in ["{}", "{defaultConfig: {concurrency: 2}, accessLogFile: /a}", "{ingressClass: istio}"] {
            assert_eq!(difference(text), nothing, "{text}");
            assert!(difference(text).is_nothing());
        }
        let objects = MeshConfigDifference { objects: true, ..nothing };
        for text in ["{defaultServiceExportTo: [.]}", "{ingressControllerMode: OFF}", "{ingressSelector: a}"] {
            assert_eq!(difference(text), objects, "{text}");
        }
        let hosts = MeshConfigDifference { hosts: true, ..nothing };
        assert_eq!(difference("{connectTimeout: 3s}"), hosts);
        let capture = MeshConfigDifference { capture: true, ..nothing };
        assert_eq!(difference("{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"), capture);
        let both = MeshConfigDifference { hosts: true, ..capture };
        assert_eq!(difference("{protocolDetectionTimeout: 1s}"), both);
    }

    #[test]
    fn a_part_is_the_same_allocation_for_as_long_as_it_says_the_same() {
        let mut defaults = MeshDefaults::default();
        let first = read_mesh_config("{connectTimeout: 3s, defaultHttpRetryPolicy: {attempts: 5}}").unwrap();
        let second = read_mesh_config("{connectTimeout: 4s, defaultHttpRetryPolicy: {attempts: 5}}").unwrap();
        defaults.take_over(Some(&first));
        let (connections, retries) = (defaults.connections.clone(), defaults.retries.clone().unwrap());
        defaults.take_over(Some(&second));
        assert!(!Arc::ptr_eq(&connections, &defaults.connections));
        assert!(Arc::ptr_eq(&retries, defaults.retries.as_ref().unwrap()));
        defaults.take_over(None);
        assert_eq!((&*defaults.connections, defaults.retries), (&ConnectionDefaults::default(), None));
    }
}
