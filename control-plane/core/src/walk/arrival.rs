//! What arrives at a proxy, and where.

use std::net::IpAddr;

/// What arrives at a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Where it arrives.
    pub entry: Entry,
    /// The address that the connection is for. `None` means one that no listener is about.
    pub address: Option<IpAddr>,
    /// The port that the connection is for.
    pub port: u16,
    /// How the client begins TLS. `None` means plain text.
    pub tls: Option<TlsHello>,
    /// The request. `None` means bytes that are no HTTP, or HTTP that the proxy cannot see because the client encrypts it for
    /// somebody else.
    pub request: Option<HttpRequest>,
}

/// Where something arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// It is redirected to a listener, given by its name, which knows where it was going.
    Redirected(String),
    /// It comes to a listener that is bound at the address.
    Bound,
    /// The gRPC library asks for a listener by the name of its target.
    Named(String),
}

/// How a client begins TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsHello {
    /// The host that the client names (SNI), in lower case.
    pub server_name: Option<String>,
    /// The protocols that the client offers (ALPN).
    pub protocols: Vec<String>,
}

/// The head of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method, in upper case.
    pub method: String,
    /// `http` or `https`, as the proxy sees it.
    pub scheme: String,
    /// The Host header, perhaps with a port.
    pub authority: String,
    /// The path with the query. It begins with a slash.
    pub path: String,
    /// The headers, with names in lower case, without Host.
    pub headers: Vec<(String, String)>,
}

impl HttpRequest {
    /// Returns the values of a header, or of one of the pseudo headers of HTTP/2, joined by commas. `None` means that there is
    /// none.
    pub fn header(&self, name: &str) -> Option<String> {
        match name {
            ":method" => return Some(self.method.clone()),
            ":authority" | "host" => return Some(self.authority.clone()),
            ":scheme" => return Some(self.scheme.clone()),
            ":path" => return Some(self.path.clone()),
            _ => {}
        }
        let values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        values.map(|(_, value)| value.clone()).reduce(|all, value| format!("{all},{value}"))
    }

    /// Returns whether the request is a call of gRPC.
    pub fn is_grpc(&self) -> bool {
        let content_type = self.header("content-type").unwrap_or_default();
        let rest = content_type.strip_prefix("application/grpc");
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
    }

    /// Returns the path without the query.
    pub fn path_alone(&self) -> &str {
        self.path.split(['?', '#']).next().unwrap_or_default()
    }

    /// Returns the query with its question mark, or nothing.
    pub fn query(&self) -> &str {
        &self.path[self.path_alone().len()..]
    }
}
