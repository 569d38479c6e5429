//! What a change of the mesh config concerns.

use rutter_api::config::kubernetes::MeshConfig;

/// What two mesh configs say differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeshConfigDifference {
    /// Whether objects mean something else: those without an `exportTo`, and Ingresses.
    pub objects: bool,
    /// Whether something may be encoded otherwise.
    pub resources: bool,
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
        let same_resources = *outbound_traffic_policy == other.outbound_traffic_policy
            && *locality_lb_setting == other.locality_lb_setting
            && *connect_timeout == other.connect_timeout
            && *tcp_keepalive == other.tcp_keepalive
            && *h2_upgrade_policy == other.h2_upgrade_policy
            && *protocol_detection_timeout == other.protocol_detection_timeout
            && *dns_refresh_rate == other.dns_refresh_rate
            && *default_http_retry_policy == other.default_http_retry_policy;
        Self { objects: !same_objects, resources: !same_resources }
    }
}

#[cfg(test)]
mod tests {
    use rutter_api::config::kubernetes::read_mesh_config;

    use super::*;

    #[test]
    fn a_field_concerns_objects_or_resources_or_neither() {
        let difference = |text: &str| MeshConfigDifference::between(None, Some(&read_mesh_config(text).unwrap()));
        let neither = MeshConfigDifference { objects: false, resources: false };
        for text in ["{}", "{defaultConfig: {concurrency: 2}, accessLogFile: /a}", "{ingressClass: istio}"] {
            assert_eq!(difference(text), neither, "{text}");
        }
        let objects = MeshConfigDifference { objects: true, ..neither };
        for text in ["{defaultServiceExportTo: [.]}", "{ingressControllerMode: OFF}", "{ingressSelector: a}"] {
            assert_eq!(difference(text), objects, "{text}");
        }
        let resources = MeshConfigDifference { resources: true, ..neither };
        assert_eq!(difference("{connectTimeout: 3s}"), resources);
    }
}
