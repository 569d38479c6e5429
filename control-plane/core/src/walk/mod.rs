//! What a proxy does with a request or a connection, found out from the resources that it has.
//!
//! Nothing here knows the objects that the resources were made from. It reads listeners, route tables, clusters and load
//! assignments as Envoy does, so that it can be compared with what a real Envoy does. Its input is an [`Arrival`], its result a
//! [`Walk`]: the steps that are the same whatever chance decides, and then every way that chance can take, with its probability.
//!
//! What cannot be known from resources is left open: whether an endpoint answers, what it answers, and what has been ejected for
//! its errors meanwhile.
//!
//! - `arrival`: what arrives, and where.
//! - `path`: the path of a request as the proxy normalizes it.
//! - `text`: whether texts match.
//! - `chain`: which filter chain of a listener takes a connection.
//! - `listener`: which listener takes it, and what its filters are.
//! - `domain`: which virtual host takes a request.
//! - `route`: which route takes it.
//! - `condition`: what a route takes, in words.
//! - `redirect`: where a redirect leads.
//! - `filters`: what the HTTP filters before the router do.
//! - `endpoints`: which endpoints of a cluster are used.
//! - `forward`: where a route sends requests, and what it makes of them.

mod arrival;
mod chain;
mod condition;
mod domain;
mod endpoints;
mod filters;
mod forward;
mod listener;
mod path;
mod redirect;
mod route;
mod text;

use std::fmt;

use bytes::Bytes;
use rutter_api::{ResourceType, brief};

use crate::snapshot::View;
pub use arrival::{Arrival, Entry, HttpRequest, TlsHello};
pub(crate) use condition::condition;
pub use endpoints::ChosenEndpoint;
pub(crate) use endpoints::is_told;
pub use listener::{bound_addresses, walk};

/// The resources that a proxy has.
pub trait Resources {
    /// Returns the body of a resource.
    fn body(&self, resource_type: ResourceType, name: &str) -> Option<Bytes>;

    /// Calls `each` with the name and the body of every resource of a type whose name begins with `prefix`.
    fn for_each(&self, resource_type: ResourceType, prefix: &str, each: &mut dyn FnMut(&str, Bytes));
}

impl Resources for View {
    fn body(&self, resource_type: ResourceType, name: &str) -> Option<Bytes> {
        self.get(resource_type, name).map(crate::resource::EncodedResource::body)
    }

    fn for_each(&self, resource_type: ResourceType, prefix: &str, each: &mut dyn FnMut(&str, Bytes)) {
        self.with_prefix(resource_type, prefix).for_each(|resource| each(&resource.name, resource.body()));
    }
}

/// What a proxy does with what arrives.
#[derive(Debug, Clone, PartialEq)]
pub struct Walk {
    /// The steps that are taken in any case, in order.
    pub steps: Vec<Step>,
    /// How it ends. If chance decides, there are several ends, whose shares add up to 1.
    pub ends: Vec<End>,
}

/// A step of the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What takes the request or the connection here.
    pub kind: StepKind,
    /// Its name.
    pub name: String,
    /// What it does, in words. It may be empty.
    pub text: String,
    /// Where in the resources the step stands.
    pub origin: Origin,
}

/// What a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// A listener takes the connection.
    Listener,
    /// A filter chain of the listener takes it.
    FilterChain,
    /// A virtual host of a route table takes the request.
    VirtualHost,
    /// A route takes the request.
    Route,
    /// A filter delays the request, answers it, or lets others read the answer.
    Filter,
    /// The request is changed before it is sent on.
    Rewrite,
    /// A copy is sent somewhere.
    Mirror,
    /// The request is tried again, or given up.
    Retry,
    /// A cluster takes the request or the connection.
    Cluster,
    /// Endpoints of the cluster are used.
    Endpoints,
}

impl StepKind {
    /// Returns the name of the kind, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::FilterChain => "filter chain",
            Self::VirtualHost => "virtual host",
            Self::Route => "route",
            Self::Filter => "filter",
            Self::Rewrite => "rewrite",
            Self::Mirror => "mirror",
            Self::Retry => "retry",
            Self::Cluster => "cluster",
            Self::Endpoints => "endpoints",
        }
    }
}

/// Where in the resources a step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A resource as a whole.
    Resource {
        /// Its type.
        resource_type: ResourceType,
        /// Its name.
        name: String,
    },
    /// A virtual host.
    VirtualHost {
        /// The type of the resource that it is in.
        resource_type: ResourceType,
        /// The name of that resource.
        name: String,
        /// Its own name.
        virtual_host: String,
    },
    /// A filter chain of a listener.
    Chain {
        /// The name of the listener.
        listener: String,
        /// The hosts that the chain wants to be named in TLS.
        server_names: Vec<String>,
        /// The addresses that the chain takes connections for, as `ADDRESS/BITS`.
        subnets: Vec<String>,
        /// The object that the chain names as its source, as a path of Kubernetes' API.
        config: Option<String>,
    },
    /// A route of a virtual host.
    Route {
        /// The type of the resource that the virtual host is in.
        resource_type: ResourceType,
        /// The name of that resource.
        name: String,
        /// The name of the virtual host.
        virtual_host: String,
        /// The number of the route in the virtual host, from 0.
        index: usize,
        /// The object that the route names as its source, as a path of Kubernetes' API.
        config: Option<String>,
    },
    /// No resource has it.
    Nowhere,
}

/// One way in which it can end.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// The probability, from 0 to 1.
    pub share: f64,
    /// The steps after those that are common to all ends.
    pub steps: Vec<Step>,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// What becomes of a request or a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is sent to an endpoint of a cluster.
    Endpoints {
        /// The cluster.
        cluster: String,
        /// The endpoints among which the proxy chooses, at least one.
        endpoints: Vec<ChosenEndpoint>,
        /// The request as the endpoint sees it. `None` means a connection without requests.
        request: Option<HttpRequest>,
        /// How TLS is begun to it, if the cluster encrypts.
        tls: Option<TlsHello>,
    },
    /// It is sent to where the application wanted it to go.
    OriginalDestination {
        /// The cluster.
        cluster: String,
        /// The request as the destination sees it. `None` means a connection without requests.
        request: Option<HttpRequest>,
    },
    /// The proxy answers itself.
    Answered {
        /// The HTTP status.
        status: u32,
        /// The status of gRPC, which clients of gRPC see in place of the other.
        grpc_status: Option<u32>,
        /// The response flag in Envoy's access log. It is empty if the config asks for the answer.
        flag: &'static str,
        /// Why, in words.
        reason: String,
    },
    /// The client is sent elsewhere.
    Redirected {
        /// The HTTP status.
        status: u32,
        /// The address.
        location: String,
    },
    /// The connection is closed.
    Closed {
        /// The response flag in Envoy's access log.
        flag: &'static str,
        /// Why, in words.
        reason: String,
    },
    /// The application takes the call itself, as gRPC servers do.
    TakenHere,
}

impl End {
    fn certain(outcome: Outcome) -> Vec<Self> {
        vec![Self { share: 1.0, steps: Vec::new(), outcome }]
    }
}

impl Outcome {
    fn closed(flag: &'static str, reason: impl Into<String>) -> Self {
        Self::Closed { flag, reason: reason.into() }
    }
}

/// What becomes of it, in words, in one line.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = |separator: &str, text: &str| match text {
            "" => String::new(),
            text => format!("{separator}{text}"),
        };
        match self {
            Self::Endpoints { cluster, endpoints, .. } => match &endpoints[..] {
                [only] => write!(f, "sent to {}", only.address),
                several => write!(f, "sent to one of {} endpoints of {cluster}", several.len()),
            },
            Self::OriginalDestination { .. } => f.write_str("sent on to where the application wanted it to go"),
            Self::Answered { status, flag, reason, .. } => {
                write!(f, "the proxy answers {status}{}{}", after(" ", flag), after(": ", &brief(reason)))
            }
            Self::Redirected { status, location } => write!(f, "the proxy answers {status}, with {location}"),
            Self::Closed { flag, reason } => write!(f, "the connection is closed{}: {reason}", after(" ", flag)),
            Self::TakenHere => f.write_str("the gRPC server takes the call itself"),
        }
    }
}

/// Returns the ends of a part of the way, as parts of a whole in which it has a share.
fn scaled(ends: Vec<End>, share: f64) -> impl Iterator<Item = End> {
    ends.into_iter().map(move |end| End { share: end.share * share, ..end })
}

#[cfg(test)]
mod tests;
