//! The classes of xDS clients, and what each class takes. Everything that depends on the kind of client is asked here.

use rutter_api::SidecarNode;
use rutter_api::node::{Interception, Role};

use crate::settings::MeshSettings;

/// How the virtual hosts of a port's route table reach a sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VirtualHostDelivery {
    /// Each virtual host is a resource of its own (VHDS), and the table is no more than a head.
    Separate,
    /// The virtual hosts are in the table (RDS).
    InTable,
}

/// The form in which routes are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteTableForm {
    /// There is a head for each port, and each virtual host is a resource of its own.
    Split,
    /// There is a table for each port, with the virtual hosts in it.
    Whole,
    /// There is a table for each port of each host, because the gRPC library asks for its targets one by one.
    PerHost,
}

/// The form in which clusters are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterForm {
    /// The cluster has everything that Istio gives to a sidecar.
    Sidecar,
    /// The cluster has no more than what the gRPC library takes.
    Grpc,
}

/// The class of an xDS client. A new class does not compile until every method here, and every match elsewhere, answers
/// for it. Nothing else in the control plane may ask what kind of client it has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientClass {
    /// A sidecar to which its application's traffic is redirected, with the original destination.
    CapturedSidecar(VirtualHostDelivery),
    /// A sidecar whose listeners are really bound, at its own address. Nothing is redirected to it.
    BoundSidecar(VirtualHostDelivery),
    /// The gRPC library in an application. It opens no listener and asks for its targets by name.
    Grpc,
    /// A proxy at the edge of the mesh, which listens for what Gateway objects say.
    Gateway(VirtualHostDelivery),
}

impl ClientClass {
    /// A gRPC client breaks off a stream over a message of more than 4 MiB; 64 KiB of that are for the envelope. What
    /// is larger is refused when config is applied, or left out for such clients.
    pub const GRPC_RESOURCE_BYTES_MAX: usize = (4 << 20) - (64 << 10);

    /// Returns the class of a client that describes itself as `node`.
    pub fn new(node: &SidecarNode, settings: &MeshSettings) -> Self {
        let delivery = if node.takes_virtual_hosts && !settings.whole_route_tables {
            VirtualHostDelivery::Separate
        } else {
            VirtualHostDelivery::InTable
        };
        if node.role == Role::Gateway {
            return Self::Gateway(delivery);
        }
        match (node.proxyless, node.interception) {
            (true, _) => Self::Grpc,
            (false, Interception::Redirect) => Self::CapturedSidecar(delivery),
            (false, Interception::None) => Self::BoundSidecar(delivery),
        }
    }

    /// Returns whether traffic reaches the client with its original destination, so that it can be told apart by
    /// address and can pass on to where the application sent it. Listeners at virtual addresses and the passthrough
    /// cluster are for such clients only.
    pub fn is_captured(self) -> bool {
        match self {
            Self::CapturedSidecar(_) => true,
            Self::BoundSidecar(_) | Self::Grpc | Self::Gateway(_) => false,
        }
    }

    /// Returns the form in which the client takes routes.
    pub fn route_table_form(self) -> RouteTableForm {
        match self {
            Self::CapturedSidecar(delivery) | Self::BoundSidecar(delivery) | Self::Gateway(delivery) => {
                match delivery {
                    VirtualHostDelivery::Separate => RouteTableForm::Split,
                    VirtualHostDelivery::InTable => RouteTableForm::Whole,
                }
            }
            Self::Grpc => RouteTableForm::PerHost,
        }
    }

    /// Returns the form in which the client takes clusters.
    pub fn cluster_form(self) -> ClusterForm {
        match self {
            Self::CapturedSidecar(_) | Self::BoundSidecar(_) | Self::Gateway(_) => ClusterForm::Sidecar,
            Self::Grpc => ClusterForm::Grpc,
        }
    }

    /// Returns whether a scope of such clients may lie over a base. A whole route table is one resource and differs in
    /// every namespace, so nothing of it could be shared. The same holds for the tables and listeners of gRPC targets.
    pub fn may_share_a_base(self) -> bool {
        match self {
            Self::CapturedSidecar(_) | Self::BoundSidecar(_) => self.route_table_form() == RouteTableForm::Split,
            // A gateway sees what its Gateway objects lead to, and no more.
            Self::Grpc | Self::Gateway(_) => false,
        }
    }

    /// Returns whether the client is a gateway, which sees what VirtualServices that are bound to it lead to.
    pub fn is_gateway(self) -> bool {
        match self {
            Self::Gateway(_) => true,
            Self::CapturedSidecar(_) | Self::BoundSidecar(_) | Self::Grpc => false,
        }
    }

    /// Returns the largest resource that the client can take, in bytes.
    pub fn resource_bytes_max(self) -> usize {
        match self {
            Self::CapturedSidecar(_) | Self::BoundSidecar(_) | Self::Gateway(_) => usize::MAX,
            Self::Grpc => Self::GRPC_RESOURCE_BYTES_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    #[test]
    fn the_class_follows_from_the_node_and_the_settings() {
        let class = |node: &SidecarNode| ClientClass::new(node, &MeshSettings::default());
        let sidecar = node("a", "shop", "10.0.0.1");
        assert_eq!(class(&sidecar), ClientClass::CapturedSidecar(VirtualHostDelivery::Separate));
        let bound = SidecarNode { interception: Interception::None, ..sidecar.clone() };
        assert_eq!(class(&bound), ClientClass::BoundSidecar(VirtualHostDelivery::Separate));
        let older = SidecarNode { takes_virtual_hosts: false, ..sidecar.clone() };
        assert_eq!(class(&older), ClientClass::CapturedSidecar(VirtualHostDelivery::InTable));
        assert_eq!(class(&SidecarNode { proxyless: true, ..bound }), ClientClass::Grpc);
        let whole = MeshSettings { whole_route_tables: true, ..MeshSettings::default() };
        assert_eq!(ClientClass::new(&sidecar, &whole), ClientClass::CapturedSidecar(VirtualHostDelivery::InTable));
    }

    #[test]
    fn each_class_has_its_forms() {
        let captured = ClientClass::CapturedSidecar(VirtualHostDelivery::Separate);
        let bound = ClientClass::BoundSidecar(VirtualHostDelivery::InTable);
        let forms = [captured, bound, ClientClass::Grpc].map(ClientClass::route_table_form);
        assert_eq!(forms, [RouteTableForm::Split, RouteTableForm::Whole, RouteTableForm::PerHost]);
        assert_eq!([captured, bound, ClientClass::Grpc].map(ClientClass::is_captured), [true, false, false]);
        assert_eq!([captured, bound, ClientClass::Grpc].map(ClientClass::may_share_a_base), [true, false, false]);
        assert_eq!(ClientClass::Grpc.cluster_form(), ClusterForm::Grpc);
        assert!(ClientClass::Grpc.resource_bytes_max() < 4 << 20);
    }
}
