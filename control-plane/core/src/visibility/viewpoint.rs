//! From where a client looks at the mesh, and what it finds there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rutter_api::{Config, ConfigKey, Hostname, Labels};

use super::egress::Egress;
use crate::index::MeshIndex;
use crate::model::{ExportTo, Service, bound_gateways, is_for_mesh};

/// From where a client looks at the mesh. All clients of a scope have the same viewpoint.
#[derive(Debug, Clone, Copy)]
pub struct Viewpoint<'a> {
    /// The namespace of the client. It is empty for the client of no namespace that a base is made for.
    pub namespace: &'a str,
    /// What the Sidecar object of the client admits.
    pub egress: &'a Egress,
    /// The hosts that are seen although the egress does not admit them, because a VirtualService that is seen sends
    /// there; each with the number of such VirtualServices.
    pub inferred_hosts: &'a BTreeMap<Hostname, usize>,
    /// The Gateway objects of the client, if it is a gateway.
    pub gateways: &'a BTreeSet<ConfigKey>,
    /// The label sets by which objects choose clients and the client has.
    pub labels: &'a BTreeSet<Labels>,
    /// Where a gateway listens for ports of the services in front of it.
    pub target_ports: &'a BTreeMap<u16, u16>,
}

impl Viewpoint<'_> {
    /// Returns the service that a host means here. Of several definitions that are seen, Kubernetes' own comes first,
    /// then that of the client's namespace, then the oldest. `None` means that no definition of the host is exported to
    /// the client and admitted by its egress.
    pub fn service<'i>(&self, index: &'i MeshIndex, host: &Hostname) -> Option<&'i Arc<Service>> {
        let is_inferred = self.inferred_hosts.contains_key(host);
        let seen = index.definitions(host).iter().filter(|service| {
            service.export_to.reaches(self.namespace)
                && (is_inferred || self.egress.admits(service.namespace(), host) && self.sees_some_port(service))
        });
        seen.min_by_key(|service| (!service.is_kubernetes(), **service.namespace() != *self.namespace, service.age()))
    }

    /// Returns the ports of a service that are seen, or `None` if all are: those that the egress admits, unless some route
    /// leads to the service.
    pub fn ports(&self, service: &Service) -> Option<BTreeSet<u16>> {
        let host = &service.key.host;
        let is_inferred = self.inferred_hosts.contains_key(host);
        if is_inferred { None } else { self.egress.ports(service.namespace(), host) }
    }

    fn sees_some_port(&self, service: &Service) -> bool {
        let ports = self.ports(service);
        ports.is_none_or(|ports| service.ports.iter().any(|port| ports.contains(&port.number)))
    }

    /// Returns the VirtualService that routes a host here: the most specific one. Of equally specific ones, one that is
    /// exported to its own namespace alone comes first, then the oldest. `None` means that requests go to the service
    /// by the default route.
    pub fn virtual_service<'i>(&self, index: &'i MeshIndex, host: &Hostname) -> Option<&'i Arc<Config>> {
        let seen = index.virtual_services_routing(host).filter(|config| self.sees_virtual_service(index, config));
        // Of equal ones the first is taken, and they come in the order of their age.
        seen.min_by_key(|config| (Reverse(specificity(index, config, host)), !is_private(config), config.created))
    }

    /// Returns whether a VirtualService is exported to the client's namespace and about a host that may be seen, or, for
    /// a gateway, bound to one of its Gateway objects.
    pub fn sees_virtual_service(&self, index: &MeshIndex, config: &Config) -> bool {
        let namespace = &config.key.namespace;
        let Some(spec) = config.spec.as_virtual_service() else { return false };
        if !ExportTo::new(&spec.export_to, namespace).reaches(self.namespace) {
            return false;
        }
        if !self.gateways.is_empty() {
            return !self.gateways.is_disjoint(&bound_gateways(config));
        }
        is_for_mesh(config) && index.routed_hosts_of(config).iter().any(|host| self.egress.admits(namespace, host))
    }

    /// Returns the DestinationRule that applies to a service here: one of the client's namespace, else one of the
    /// service's, else one of the root namespace; in each the most specific, of equally specific ones one that chooses the
    /// client by its labels, and then the oldest.
    pub fn destination_rule<'i>(&self, index: &'i MeshIndex, service: &Service) -> Option<&'i Arc<Config>> {
        let rules: Vec<&Arc<Config>> = index.destination_rules_about(&service.key.host).collect();
        let namespaces = [self.namespace, &**service.namespace(), &*index.settings().root_namespace];
        namespaces.into_iter().find_map(|namespace| {
            let is_for_client = |rule: &&Arc<Config>| {
                let is_visible = is_rule_visible(rule, self.namespace) && self.is_chosen_by(rule);
                *rule.key.namespace == *namespace && is_visible
            };
            let mut applying = rules.iter().copied().filter(is_for_client);
            let first = applying.next()?;
            let host = index.destination_rule_host(first);
            let is_as_specific = |rule: &&Arc<Config>| index.destination_rule_host(rule) == host;
            let choosing = [first].into_iter().chain(applying).take_while(is_as_specific).find(|rule| chooses(rule));
            Some(choosing.unwrap_or(first))
        })
    }

    /// Returns whether a rule is for every client, or for this one by its labels.
    pub(super) fn is_chosen_by(&self, rule: &Config) -> bool {
        let selector = rule.spec.as_destination_rule().and_then(|rule| rule.workload_selector.as_ref());
        selector.is_none_or(|selector| {
            let labels = &selector.match_labels;
            *rule.key.namespace == *self.namespace && (labels.is_empty() || self.labels.contains(labels))
        })
    }
}

/// Returns how specifically a VirtualService names a host: exactly, or by a wildcard of this length.
pub(super) fn specificity(index: &MeshIndex, config: &Config, host: &Hostname) -> Option<(bool, usize)> {
    let hosts = index.routed_hosts_of(config);
    let covering = hosts.iter().filter(|routed| routed.covers(host));
    covering.map(|routed| (!routed.is_wildcard(), routed.as_str().len())).max()
}

/// Returns whether a VirtualService is exported to its own namespace alone. Istio prefers such a one.
pub(super) fn is_private(config: &Config) -> bool {
    config.spec.as_virtual_service().is_some_and(|spec| spec.export_to == ["."])
}

/// Returns whether a rule chooses its clients by their labels.
pub(super) fn chooses(rule: &Config) -> bool {
    rule.spec.as_destination_rule().is_some_and(|rule| rule.workload_selector.is_some())
}

/// A DestinationRule is seen in its own namespace, whatever its `exportTo` says.
pub(super) fn is_rule_visible(rule: &Config, client_namespace: &str) -> bool {
    let namespace = &rule.key.namespace;
    let Some(spec) = rule.spec.as_destination_rule() else { return false };
    **namespace == *client_namespace || ExportTo::new(&spec.export_to, namespace).reaches(client_namespace)
}

#[cfg(test)]
mod tests {
    use rutter_api::Kind;

    use super::*;
    use crate::settings::MeshSettings;
    use crate::testing::{batch, configs, delete};

    const HOST: &str = "a.default.svc.cluster.local";

    fn index(text: &str) -> MeshIndex {
        let mut index = MeshIndex::new(MeshSettings::default());
        index.apply(&batch(configs(text)));
        index
    }

    fn host(text: &str) -> Hostname {
        text.parse().unwrap()
    }

    /// Calls a function with the viewpoint of a client that no Sidecar object restricts.
    fn from<T>(namespace: &str, look: impl FnOnce(Viewpoint<'_>) -> T) -> T {
        let gateways = &BTreeSet::new();
        look(Viewpoint {
            namespace,
            egress: &Egress::everything(),
            inferred_hosts: &BTreeMap::new(),
            gateways,
            labels: &BTreeSet::new(),
            target_ports: &BTreeMap::new(),
        })
    }

    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n---\n";

    fn entry(name: &str, namespace: &str, export_to: &str) -> String {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{hosts: [e.x], exportTo: {export_to}, resolution: STATIC, ports: [{{number: 80, name: http}}]}}\n---\n"
        )
    }

    fn rule(namespace: &str, host: &str) -> String {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r, namespace: {namespace}}}\n\
             spec: {{host: '{host}'}}\n---\n"
        )
    }

    #[test]
    fn the_own_definition_comes_before_an_older_one_and_others_by_age() {
        let index = index(&[entry("old", "bank", "[]"), entry("young", "shop", "[]")].concat());
        let origin = |namespace: &str| {
            from(namespace, |viewpoint| viewpoint.service(&index, &host("e.x")).unwrap().key.origin.name.to_string())
        };
        assert_eq!((origin("shop").as_str(), origin("bank").as_str(), origin("x").as_str()), ("young", "old", "old"));
    }

    #[test]
    fn kubernetes_comes_before_everything_else() {
        let entry = entry("e", "client", "[]").replace("e.x", HOST);
        let index = index(&format!("{entry}{SERVICE}"));
        assert!(from("client", |viewpoint| viewpoint.service(&index, &host(HOST)).unwrap().is_kubernetes()));
    }

    #[test]
    fn what_is_not_exported_or_not_admitted_is_not_seen_unless_a_route_leads_there() {
        let index = index(&[entry("e", "bank", "['.']"), SERVICE.to_owned()].concat());
        let sees =
            |namespace: &str, name: &str| from(namespace, |viewpoint| viewpoint.service(&index, &host(name)).is_some());
        assert!(sees("bank", "e.x") && !sees("shop", "e.x"));
        let spec = configs(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s}\nspec: {egress: [{hosts: ['./*']}]}",
        );
        let egress = Egress::new(spec[0].spec.as_sidecar().unwrap(), &"shop".into());
        let nothing = BTreeMap::new();
        let gateways = &BTreeSet::new();
        let restricted = Viewpoint {
            namespace: "shop",
            egress: &egress,
            inferred_hosts: &nothing,
            gateways,
            labels: &BTreeSet::new(),
            target_ports: &BTreeMap::new(),
        };
        assert!(restricted.service(&index, &host(HOST)).is_none());
        let inferred = BTreeMap::from([(host(HOST), 1)]);
        let widened = Viewpoint { inferred_hosts: &inferred, ..restricted };
        assert!(widened.service(&index, &host(HOST)).is_some());
    }

    #[test]
    fn rules_are_looked_up_at_the_client_then_the_service_then_the_root() {
        let rules = [
            rule("istio-system", "*.svc.cluster.local"),
            rule("default", "*.default.svc.cluster.local"),
            rule("client", HOST),
        ];
        let mut index = index(&format!("{SERVICE}{}", rules.concat()));
        let found = |index: &MeshIndex, client: &str| {
            let service = index.definitions(&host(HOST))[0].clone();
            from(client, |viewpoint| {
                viewpoint.destination_rule(index, &service).map(|rule| rule.key.namespace.to_string())
            })
        };
        assert_eq!(found(&index, "client").as_deref(), Some("client"));
        assert_eq!(found(&index, "other").as_deref(), Some("default"));
        index.apply(&delete(Kind::DestinationRule, "default", "r"));
        assert_eq!(found(&index, "other").as_deref(), Some("istio-system"));
        index.apply(&delete(Kind::DestinationRule, "istio-system", "r"));
        assert_eq!(found(&index, "other"), None);
    }

    #[test]
    fn a_rule_that_is_not_exported_works_in_its_own_namespace_only() {
        let private = rule("default", HOST).replace("spec: {", "spec: {exportTo: ['.'], ");
        let index = index(&format!("{SERVICE}{private}"));
        let service = index.definitions(&host(HOST))[0].clone();
        let works = |client: &str| from(client, |viewpoint| viewpoint.destination_rule(&index, &service).is_some());
        assert!(works("default") && !works("client"));
    }

    fn virtual_service(name: &str, hosts: &str, export_to: &str) -> String {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\n\
             spec: {{hosts: [{hosts}], exportTo: {export_to}, http: [{{route: [{{destination: {{host: a}}}}]}}]}}\n---\n"
        )
    }

    #[test]
    fn the_most_specific_virtual_service_routes_then_a_private_one_then_the_oldest() {
        let all = [
            virtual_service("wild", "'*.default.svc.cluster.local'", "['.']"),
            virtual_service("old", "a", "[]"),
            virtual_service("young", "a", "[]"),
        ];
        let routes = |index: &MeshIndex, client: &str| {
            from(client, |viewpoint| {
                viewpoint.virtual_service(index, &host(HOST)).map(|config| config.key.name.to_string())
            })
        };
        let mut index = index(&all.concat());
        assert_eq!(routes(&index, "default").as_deref(), Some("old"));
        index.apply(&batch(configs(&virtual_service("private", "a", "['.']"))));
        assert_eq!(routes(&index, "default").as_deref(), Some("private"));
        assert_eq!(routes(&index, "client").as_deref(), Some("old"));
        for name in ["old", "young", "private"] {
            index.apply(&delete(Kind::VirtualService, "default", name));
        }
        assert_eq!(routes(&index, "default").as_deref(), Some("wild"));
        assert_eq!(routes(&index, "client"), None);
    }
}
