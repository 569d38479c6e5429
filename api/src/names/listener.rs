//! The names of listeners.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::HostPort;
use crate::socket_path::socket_path;

/// Istio's name of the listener of all captured inbound traffic.
const VIRTUAL_INBOUND: &str = "virtualInbound";
/// Istio's name of the listener of all captured outbound traffic.
const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
/// What stands before the address in the name of a gRPC server's listener. gRPC clients of Istio use it too.
const GRPC_SERVER: &str = "xds.istio.io/grpc/lds/inbound/";
/// What stands after a socket in place of a port, as with Istio.
const SOCKET_PORT: &str = "_0";

/// The name of a listener, which says what the listener is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerName {
    /// `virtualInbound`: where all captured inbound traffic arrives.
    VirtualInbound,
    /// `virtualOutbound`: where all captured outbound traffic arrives.
    VirtualOutbound,
    /// `0.0.0.0_80`, `10.1.2.3_3306`: traffic to a port, at every address or at one.
    Address {
        /// The address that traffic is sent to, or at which the listener is bound.
        ip: IpAddr,
        /// The port.
        port: u16,
    },
    /// `unix:///run/app.sock_0`: connections to a Unix socket. It has the number of no port.
    Socket(Box<str>),
    /// `reviews.shop:80`: what a gRPC client asks for by the name of its target. Nothing is bound.
    GrpcClient(HostPort),
    /// `xds.istio.io/grpc/lds/inbound/10.0.0.1:7070`: what a gRPC server asks for before it takes a call.
    GrpcServer(SocketAddr),
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VirtualInbound => f.write_str(VIRTUAL_INBOUND),
            Self::VirtualOutbound => f.write_str(VIRTUAL_OUTBOUND),
            Self::Address { ip, port } => write!(f, "{ip}_{port}"),
            Self::Socket(path) => write!(f, "unix://{path}{SOCKET_PORT}"),
            Self::GrpcClient(target) => write!(f, "{target}"),
            Self::GrpcServer(address) => write!(f, "{GRPC_SERVER}{address}"),
        }
    }
}

impl FromStr for ListenerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            VIRTUAL_INBOUND => return Ok(Self::VirtualInbound),
            VIRTUAL_OUTBOUND => return Ok(Self::VirtualOutbound),
            _ => {}
        }
        if let Some(address) = text.strip_prefix(GRPC_SERVER) {
            let address = address.parse().map_err(|_| format!("want {GRPC_SERVER}IP:PORT, got {text:?}"))?;
            return Ok(Self::GrpcServer(address));
        }
        if let Some(path) = text.strip_suffix(SOCKET_PORT).and_then(socket_path) {
            return Ok(Self::Socket(path.into()));
        }
        let address = text.rsplit_once('_').and_then(|(ip, port)| Some((ip.parse().ok()?, port.parse().ok()?)));
        if let Some((ip, port)) = address {
            return Ok(Self::Address { ip, port });
        }
        text.parse().map(Self::GrpcClient).map_err(|_| format!("want the name of a listener, got {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_names_print_and_parse() {
        let names = [
            "virtualInbound",
            "virtualOutbound",
            "0.0.0.0_80",
            "fd00::1_3306",
            "unix:///run/a_0.sock_0",
            "unix://@a_0",
            "reviews.shop:80",
            "xds.istio.io/grpc/lds/inbound/10.0.0.1:7070",
            "xds.istio.io/grpc/lds/inbound/[::]:7070",
        ];
        for text in names {
            assert_eq!(text.parse::<ListenerName>().unwrap().to_string(), text);
        }
        for text in ["", "a", "0.0.0.0_x", "xds.istio.io/grpc/lds/inbound/a:80"] {
            assert!(text.parse::<ListenerName>().is_err(), "{text:?}");
        }
    }
}
