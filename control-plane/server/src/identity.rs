//! Who a client is.

use std::net::SocketAddr;

use rutter_api::pb::envoy::config::core::v3::Node;
use rutter_api::{Invalid, SidecarNode};
use tracing::warn;

/// The other end of a connection, as far as the connection itself tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The address from which the client connected. `None` means that the transport does not say.
    pub(crate) address: Option<SocketAddr>,
    /// The certificate that the client proved to have, in DER. It is always `None` as long as connections are not
    /// encrypted.
    pub(crate) certificate: Option<Vec<u8>>,
}

/// Finds out who a client is, from its connection and from what it says of itself.
pub(crate) type Identify = fn(&Peer, &Node) -> Result<SidecarNode, Invalid>;

/// Believes what a client says of itself. This is the place where the certificate will have to agree with it. Until
/// then the admin and the xDS address must not be reachable for strangers (`--insecure`).
pub(crate) fn identify_sidecar(peer: &Peer, node: &Node) -> Result<SidecarNode, Invalid> {
    let Peer { address, certificate: _ } = peer;
    // Nothing is encrypted yet, so that keys must not leave the machine.
    let may_be_sent_secrets = address.is_some_and(|address| address.ip().to_canonical().is_loopback());
    let sidecar = SidecarNode { may_be_sent_secrets, ..SidecarNode::try_from(node)? };
    if asks_to_be_registered(node) {
        warn!(
            sidecar = sidecar.id(),
            "the client asks to be registered as an endpoint of a WorkloadGroup, which is not supported: apply the \
             WorkloadEntry that `rutterctl bootstrap --workload-group FILE --workload-entry` prints"
        );
    }
    Ok(sidecar)
}

/// Returns whether a client wants to become an endpoint by its connection, which nobody may as long as clients are believed.
fn asks_to_be_registered(node: &Node) -> bool {
    node.metadata.as_ref().is_some_and(|metadata| metadata.fields.contains_key("AUTO_REGISTER_GROUP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_leave_the_machine() {
        let node = Node { id: "router~10.0.0.1~edge-1.shop~shop.svc.cluster.local".into(), ..Node::default() };
        let may = |address: &str| {
            let peer = Peer { address: address.parse().ok(), certificate: None };
            identify_sidecar(&peer, &node).unwrap().may_be_sent_secrets
        };
        assert!(may("127.0.0.1:1") && may("[::1]:1") && may("[::ffff:127.0.0.1]:1"));
        assert!(!may("10.0.0.1:1") && !may("unknown"));
    }

    #[test]
    fn a_client_without_a_node_id_is_refused() {
        let error = identify_sidecar(&Peer::default(), &Node::default()).unwrap_err();
        assert!(error.to_string().starts_with("node"), "{error}");
    }
}
