//! What a batch changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use rutter_api::{Config, ConfigKey, Hostname, Labels};

use crate::model::{Service, ServiceKey};

/// The objects whose value a batch changed, and what follows from them directly. An object that is written as it was is
/// not in it. Consumers take it apart field by field, so that a new field does not compile until each has decided about
/// it.
#[derive(Debug, Default)]
pub struct IndexDelta {
    /// The hosts of which some definition changed. For each host: every definition that came or went, where a changed
    /// one counts as both.
    pub services: BTreeMap<Hostname, Vec<Arc<Service>>>,
    /// The services whose endpoints changed.
    pub endpoints: BTreeSet<ServiceKey>,
    /// The addresses that became or ceased to be an endpoint, and those of endpoints whose service changed.
    pub addresses: BTreeSet<IpAddr>,
    /// The DestinationRules that changed, as they were and as they are.
    pub destination_rules: BTreeSet<ChangedDestinationRule>,
    /// The VirtualServices that changed, as they were and as they are.
    pub virtual_services: Vec<Arc<Config>>,
    /// The Sidecar objects that changed.
    pub sidecars: BTreeSet<ConfigKey>,
    /// The Gateway objects that changed.
    pub gateways: BTreeSet<ConfigKey>,
    /// The Secrets that changed.
    pub secrets: BTreeSet<ConfigKey>,
    /// Whether something else holds for hosts of which nothing else says it, by the mesh config.
    pub mesh_defaults: bool,
    /// Whether captured traffic of which nothing is known is treated otherwise, by the mesh config.
    pub capture: bool,
    /// Whether rules have to know something else of the places of clients.
    pub locality_needs: bool,
    /// The label sets that came into or went out of the conditions of all VirtualServices (`sourceLabels`).
    pub source_labels: BTreeSet<Labels>,
}

/// What matters of a DestinationRule that changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangedDestinationRule {
    /// The full host that the rule is about, perhaps a wildcard.
    pub host: Hostname,
    /// The namespace of the rule.
    pub namespace: Arc<str>,
    /// Whether routes to the host depend on the rule.
    pub shapes_routes: bool,
}
