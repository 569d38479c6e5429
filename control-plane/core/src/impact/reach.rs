//! Which clusters of a view have endpoints.

use std::cell::RefCell;
use std::collections::HashMap;

use prost::Message;
use rutter_api::ResourceType;
use rutter_api::pb::envoy::config::cluster::v3 as cluster;
use rutter_api::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;

use crate::encode::cluster::BLACK_HOLE;
use crate::snapshot::View;
use crate::walk::is_told;

/// Which clusters of a view have endpoints.
pub(super) struct Reach<'a> {
    view: &'a View,
    known: RefCell<HashMap<String, bool>>,
}

impl<'a> Reach<'a> {
    pub(super) fn of(view: &'a View) -> Self {
        Self { view, known: RefCell::default() }
    }

    /// Returns whether requests to a cluster find an endpoint, as far as the control plane knows.
    pub(super) fn has(&self, name: &str) -> bool {
        if let Some(known) = self.known.borrow().get(name) {
            return *known;
        }
        let found = self.look(name);
        self.known.borrow_mut().insert(name.to_owned(), found);
        found
    }

    fn look(&self, name: &str) -> bool {
        if name == BLACK_HOLE {
            return false;
        }
        let Some(resource) = self.view.get(ResourceType::Cluster, name) else { return false };
        let Ok(decoded) = cluster::Cluster::decode(resource.body()) else { return false };
        if !is_told(&decoded) {
            // The proxy finds the endpoints itself.
            return true;
        }
        let assignment = self.view.get(ResourceType::Endpoint, name);
        let assignment = assignment.and_then(|assignment| ClusterLoadAssignment::decode(assignment.body()).ok());
        assignment.is_some_and(|assignment| assignment.endpoints.iter().any(|group| !group.lb_endpoints.is_empty()))
    }
}
