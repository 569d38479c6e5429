//! The names of xDS resources and of hosts. Every name prints with `Display` and parses with `FromStr`; no other
//! module builds or takes apart such a text.
//!
//! | resource | type | example |
//! | --- | --- | --- |
//! | cluster, load assignment | [`ClusterName`] | `outbound\|80\|v1\|reviews.shop.svc.cluster.local` |
//! | route table | [`RouteTableName`] | `80`, `reviews.shop.svc.cluster.local:80` |
//! | virtual host | [`VirtualHostName`] | `80/reviews.shop.svc.cluster.local:80` |
//! | listener | [`ListenerName`] | `0.0.0.0_80`, `virtualInbound` |

mod cluster;
mod host_port;
mod hostname;
mod listener;
mod route_table;
mod virtual_host;

pub use cluster::{ClusterName, Direction};
pub use host_port::HostPort;
pub use hostname::Hostname;
pub use listener::ListenerName;
pub use route_table::RouteTableName;
pub use virtual_host::{VirtualHostName, table_of_virtual_host};
