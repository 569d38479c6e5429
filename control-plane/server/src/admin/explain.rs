//! What a proxy does with a request, and which objects made it so.

use std::collections::{BTreeMap, HashMap};

use http::Uri;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{ConfigKey, ResourceType};
use rutter_core::explain::{Asked, Sources, arrival};
use rutter_core::walk::{Arrival, End, Entry, HttpRequest, Origin, Outcome, Step, TlsHello, Walk, walk};
use rutter_core::{AdsStream, ConfigChange, Mesh, NodeId};
use tonic::Status;

use super::apply::read_sources;
use super::sidecars::count;
use super::warnings::batch_of;
use crate::engine::Branch;
use crate::sealing::Sealer;
use crate::streams::StreamHandle;

/// The number of endpoints of a cluster that are told.
const ENDPOINTS_MAX: usize = 100;
/// The protocols that clients of HTTPS offer.
const HTTPS_PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    asked: Asked,
    is_gateway: bool,
}

/// The clients that a request comes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proxies {
    /// The sidecar of the application that asks, or a gateway.
    pub(super) first: Option<NodeId>,
    /// The sidecar of the application that is asked.
    pub(super) last: Option<NodeId>,
}

fn wrong(text: impl Into<String>) -> Status {
    Status::invalid_argument(text)
}

impl Question {
    /// Reads what is asked.
    pub(super) fn of_request(request: &pb::ExplainRequest) -> Result<Self, Status> {
        let pb::ExplainRequest { from, to, via, method, url, headers, tcp, sni, .. } = request;
        match (from.is_empty(), via.is_empty(), to.is_empty()) {
            (true, true, true) => return Err(wrong("want a sidecar to ask (from, to or via), got none")),
            (false, false, _) => return Err(wrong("want from or via, got both")),
            _ => {}
        }
        let asked = match (url.is_empty(), tcp.is_empty()) {
            (false, true) => of_url(method, url, headers, sni)?,
            (true, false) => of_connection(tcp, sni)?,
            (true, true) => return Err(wrong("want a URL or a TCP destination, got neither")),
            (false, false) => return Err(wrong("want a URL or a TCP destination, got both")),
        };
        Ok(Self { asked, is_gateway: !via.is_empty() })
    }
}

fn of_url(method: &str, url: &str, headers: &[String], sni: &str) -> Result<Asked, Status> {
    let url = url.split('#').next().unwrap_or_default();
    let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: Uri = full.parse().map_err(|error| wrong(format!("{url:?}: want a URL: {error}")))?;
    let scheme = uri.scheme_str().unwrap_or_default();
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        other => return Err(wrong(format!("{url:?}: want http:// or https://, got {other}://"))),
    };
    let authority = uri.authority().ok_or_else(|| wrong(format!("{url:?}: want a host, got none")))?;
    let mut request = HttpRequest {
        method: if method.is_empty() { "GET".to_owned() } else { method.to_ascii_uppercase() },
        scheme: scheme.to_owned(),
        authority: authority.as_str().rsplit('@').next().unwrap_or_default().to_owned(),
        path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        headers: Vec::new(),
    };
    for header in headers {
        let (name, value) =
            header.split_once(':').ok_or_else(|| wrong(format!("{header:?}: want a header as NAME: VALUE")))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
        match name.as_str() {
            "host" => request.authority = value,
            "" => return Err(wrong(format!("{header:?}: want a header as NAME: VALUE, got no name"))),
            _ => request.headers.push((name, value)),
        }
    }
    let host = authority.host().to_owned();
    let tls = match (scheme, sni) {
        ("https", "") => Some(host.clone()),
        ("https", sni) => Some(sni.to_owned()),
        (_, "") => None,
        (_, sni) => return Err(wrong(format!("want https:// with a host of TLS, got http:// and {sni}"))),
    };
    let tls = tls.map(|server_name| TlsHello {
        server_name: server_name
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_err()
            .then(|| server_name.to_ascii_lowercase()),
        protocols: HTTPS_PROTOCOLS.map(str::to_owned).to_vec(),
    });
    Ok(Asked { host, port: authority.port_u16().unwrap_or(default_port), tls, request: Some(request) })
}

fn of_connection(destination: &str, sni: &str) -> Result<Asked, Status> {
    let parts = destination.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let Some((host, port @ 1..)) = parts.filter(|(host, _)| !host.is_empty()) else {
        return Err(wrong(format!("{destination:?}: want IP:PORT or HOST:PORT")));
    };
    let tls =
        (!sni.is_empty()).then(|| TlsHello { server_name: Some(sni.to_ascii_lowercase()), protocols: Vec::new() });
    Ok(Asked { host: host.trim_matches(['[', ']']).to_owned(), port, tls, request: None })
}

/// Returns the objects of a request, which are tried and not applied.
pub(super) fn candidate(
    request: &pb::ExplainRequest,
    sealer: &Sealer,
) -> Result<Vec<(ConfigKey, ConfigChange)>, Status> {
    if request.sources.is_empty() {
        return Ok(Vec::new());
    }
    let (sources, namespace) = (request.sources.clone(), request.namespace.clone());
    let read = read_sources(&pb::ApplyRequest { sources, namespace, ..Default::default() }, sealer)?;
    let objects = read.objects.into_iter();
    Ok(objects.map(|object| (object.config.key.clone(), ConfigChange::Put(object.config))).collect())
}

/// A step, and the resource that it is found in.
struct FoundStep {
    step: pb::ExplainedStep,
    resource: Option<(ResourceType, String)>,
}

/// One way in which it can end.
struct FoundEnd {
    end: pb::ExplainedEnd,
    steps: Vec<FoundStep>,
}

/// What one proxy does.
struct FoundProxy {
    id: NodeId,
    proxy: pb::ExplainedProxy,
    steps: Vec<FoundStep>,
    ends: Vec<FoundEnd>,
}

/// What all of them do.
pub(super) struct Explained {
    revision: u64,
    proxies: Vec<FoundProxy>,
    notes: Vec<String>,
}

/// Finds out what becomes of a request.
pub(super) fn explain(
    branch: &Branch,
    candidate: &[(ConfigKey, ConfigChange)],
    question: &Question,
    proxies: Proxies,
) -> Result<Explained, Status> {
    let mut mesh = branch.up_to_date();
    if !candidate.is_empty() {
        mesh.apply(&batch_of(candidate, mesh.index()));
    }
    let mut explained = Explained { revision: mesh.revision(), proxies: Vec::new(), notes: Vec::new() };
    let Proxies { first, last } = proxies;
    let mut asked_of_last = (question.asked.clone(), None);
    if let Some(id) = first {
        let sources = sources_of(&mesh, id)?;
        let arrival = arrival(&sources, &question.asked).map_err(Status::failed_precondition)?;
        let walked = walked(&mesh, id, &arrival)?;
        let side = if question.is_gateway { "gateway" } else { "outbound" };
        if let Some(last) = last {
            match arriving_at(&mesh, last, (&walked, &arrival), &question.asked) {
                Some((asked, port)) => asked_of_last = (asked, Some(port)),
                None => {
                    let name = mesh.node(last).map(|node| node.id()).unwrap_or_default();
                    explained.notes.push(format!("none of the endpoints is {name}: nothing of this reaches it"));
                }
            }
        }
        explained.proxies.push(found(&sources, (id, side), &arrival, walked)?);
    }
    let Some(id) = last.filter(|_| explained.notes.is_empty()) else { return Ok(explained) };
    let sources = sources_of(&mesh, id)?;
    let (asked, port) = asked_of_last;
    let port = port.unwrap_or_else(|| asked.port_at(&sources));
    let arrival = asked.arrival_inbound(&sources, port).map_err(Status::failed_precondition)?;
    let walked = walked(&mesh, id, &arrival)?;
    explained.proxies.push(found(&sources, (id, "inbound"), &arrival, walked)?);
    Ok(explained)
}

fn gone() -> Status {
    Status::not_found("the sidecar has gone meanwhile")
}

fn sources_of(mesh: &Mesh, id: NodeId) -> Result<Sources<'_>, Status> {
    Sources::of(mesh, id).ok_or_else(gone)
}

fn walked(mesh: &Mesh, id: NodeId, arrival: &Arrival) -> Result<Walk, Status> {
    Ok(walk(mesh.view(id).ok_or_else(gone)?, arrival))
}

/// Returns what arrives at a workload of what another proxy sends, and at which port. `None` means that nothing does.
fn arriving_at(mesh: &Mesh, id: NodeId, (walk, arrival): (&Walk, &Arrival), asked: &Asked) -> Option<(Asked, u16)> {
    let node = mesh.node(id)?;
    walk.ends.iter().find_map(|end| {
        let (request, tls, port) = match &end.outcome {
            Outcome::Endpoints { endpoints, request, tls, .. } => {
                let ports = endpoints.iter().filter_map(|endpoint| {
                    let address: std::net::SocketAddr = endpoint.address.parse().ok()?;
                    node.addresses.contains(&address.ip()).then_some(address.port())
                });
                (request, tls, ports.min())
            }
            Outcome::OriginalDestination { request, .. } => {
                let is_here = arrival.address.is_some_and(|ip| node.addresses.contains(&ip));
                (request, &None, is_here.then_some(arrival.port))
            }
            Outcome::Answered { .. } | Outcome::Redirected { .. } | Outcome::Closed { .. } | Outcome::TakenHere => {
                return None;
            }
        };
        // What a proxy has seen goes on in plain text, unless the cluster encrypts it.
        let tls = tls.clone().or_else(|| asked.tls.clone().filter(|_| request.is_none()));
        let request = request.clone().or_else(|| asked.request.clone());
        port.map(|port| (Asked { tls, request, ..asked.clone() }, port))
    })
}

fn found(
    sources: &Sources<'_>,
    (id, side): (NodeId, &str),
    arrival: &Arrival,
    walk: Walk,
) -> Result<FoundProxy, Status> {
    let proxy = pb::ExplainedProxy {
        sidecar: sources.node_id().ok_or_else(gone)?,
        side: side.to_owned(),
        arrives: arrives(arrival),
        arrival: Some(arrival_told(arrival)),
        ..Default::default()
    };
    let steps = walk.steps.iter().map(|step| found_step(sources, step)).collect();
    let ends = walk.ends.into_iter().map(|end| found_end(sources, end)).collect();
    Ok(FoundProxy { id, proxy, steps, ends })
}

fn arrival_told(arrival: &Arrival) -> pb::ExplainedArrival {
    let Arrival { entry, address, port, tls, request } = arrival.clone();
    let (redirected_to, asked_for) = match entry {
        Entry::Redirected(listener) => (listener, String::new()),
        Entry::Named(listener) => (String::new(), listener),
        Entry::Bound => (String::new(), String::new()),
    };
    let (is_tls, has_request) = (tls.is_some(), request.is_some());
    let TlsHello { server_name, protocols } = tls.unwrap_or_default();
    let HttpRequest { method, scheme, authority, path, headers } = request.unwrap_or_default();
    pb::ExplainedArrival {
        redirected_to,
        asked_for,
        address: address.map(|ip| ip.to_string()).unwrap_or_default(),
        port: port.into(),
        is_tls,
        server_name: server_name.unwrap_or_default(),
        protocols,
        has_request,
        method,
        scheme,
        authority,
        path,
        headers: headers.into_iter().map(|(name, value)| pb::ExplainedHeader { name, value }).collect(),
    }
}

fn arrives(arrival: &Arrival) -> String {
    let address =
        arrival.address.map_or_else(|| "an address that the mesh does not know".to_owned(), |ip| ip.to_string());
    let to = match arrival.address {
        Some(std::net::IpAddr::V6(ip)) => format!("[{ip}]:{}", arrival.port),
        Some(_) => format!("{address}:{}", arrival.port),
        None => format!("{address}, port {}", arrival.port),
    };
    match &arrival.entry {
        Entry::Redirected(_) => format!("a connection to {to} is redirected to the proxy"),
        Entry::Bound => format!("a connection comes to the proxy at {to}"),
        Entry::Named(name) => format!("the gRPC library asks for the listener {name}"),
    }
}

fn found_step(sources: &Sources<'_>, step: &Step) -> FoundStep {
    let resource = match &step.origin {
        Origin::Resource { resource_type, name }
        | Origin::VirtualHost { resource_type, name, .. }
        | Origin::Route { resource_type, name, .. } => Some((*resource_type, name.clone())),
        Origin::Chain { listener, .. } => Some((ResourceType::Listener, listener.clone())),
        Origin::Nowhere => None,
    };
    let made_by = sources.of_step(&step.origin).iter().map(ToString::to_string).collect();
    let step = pb::ExplainedStep {
        kind: step.kind.name().to_owned(),
        name: step.name.clone(),
        text: step.text.clone(),
        made_by,
        ..Default::default()
    };
    FoundStep { step, resource }
}

fn found_end(sources: &Sources<'_>, end: End) -> FoundEnd {
    let End { share, steps, outcome } = end;
    let steps = steps.iter().map(|step| found_step(sources, step)).collect();
    let mut told = pb::ExplainedEnd { share, text: outcome.to_string(), ..Default::default() };
    let sent = |told: &mut pb::ExplainedEnd, request: Option<HttpRequest>| {
        let HttpRequest { authority, path, .. } = request.unwrap_or_default();
        (told.authority, told.path) = (authority, path);
    };
    match outcome {
        Outcome::Endpoints { cluster, endpoints, request, tls: _ } => {
            told.endpoints_left_out = count(endpoints.len().saturating_sub(ENDPOINTS_MAX));
            told.outcome = "endpoints".to_owned();
            let endpoint = |endpoint: &rutter_core::walk::ChosenEndpoint| pb::ExplainedEndpoint {
                address: endpoint.address.clone(),
                share: endpoint.share,
                health: endpoint.health.as_str_name().to_owned(),
                locality: endpoint.locality.clone(),
                priority: endpoint.priority,
                made_by: sources
                    .of_endpoint(&cluster, &endpoint.address)
                    .map(|field| field.to_string())
                    .unwrap_or_default(),
            };
            told.endpoints = endpoints.iter().take(ENDPOINTS_MAX).map(endpoint).collect();
            told.cluster = cluster;
            sent(&mut told, request);
        }
        Outcome::OriginalDestination { cluster, request } => {
            told.outcome = "original destination".to_owned();
            told.cluster = cluster;
            sent(&mut told, request);
        }
        Outcome::Answered { status, grpc_status, flag, reason: _ } => {
            told.outcome = "answered".to_owned();
            (told.status, told.flag, told.grpc_status) = (status, flag.to_owned(), grpc_status);
        }
        Outcome::Redirected { status, location } => {
            told.outcome = "redirected".to_owned();
            (told.status, told.location) = (status, location);
        }
        Outcome::Closed { flag, reason: _ } => {
            told.outcome = "closed".to_owned();
            told.flag = flag.to_owned();
        }
        Outcome::TakenHere => told.outcome = "taken".to_owned(),
    }
    FoundEnd { end: told, steps }
}

/// What a client has of a resource.
struct Had {
    state: &'static str,
    error: String,
}

impl Explained {
    /// Adds what a client has of the resources of its steps.
    pub(super) async fn add_states(&mut self, handle: &StreamHandle) {
        for proxy in self.proxies.iter_mut().filter(|proxy| proxy.id == handle.id) {
            let mut wanted: BTreeMap<ResourceType, Vec<String>> = BTreeMap::new();
            let of_ends = proxy.ends.iter().flat_map(|end| &end.steps);
            for (resource_type, name) in proxy.steps.iter().chain(of_ends).filter_map(|step| step.resource.clone()) {
                wanted.entry(resource_type).or_default().push(name);
            }
            let Some(had) = handle.ask(move |stream| had(stream, &wanted)).await else {
                self.notes.push(format!(
                    "{}: its stream does not answer, so that it is not known what it has",
                    handle.node.id()
                ));
                continue;
            };
            let of_ends = proxy.ends.iter_mut().flat_map(|end| &mut end.steps);
            for found in proxy.steps.iter_mut().chain(of_ends) {
                let Some(resource) = &found.resource else { continue };
                match had.get(resource) {
                    Some(Had { state, error }) => {
                        (found.step.state, found.step.error) = ((*state).to_owned(), error.clone());
                    }
                    None => found.step.state = "NOT ASKED".to_owned(),
                }
            }
        }
    }

    /// Returns what is told.
    pub(super) fn told(mut self) -> pb::ExplainResponse {
        for proxy in &self.proxies {
            let of_ends = proxy.ends.iter().flat_map(|end| &end.steps);
            let steps = proxy.steps.iter().chain(of_ends).map(|found| &found.step);
            let mut differs: Vec<String> = steps
                .filter(|step| !matches!(step.state.as_str(), "" | "ACKED"))
                .map(|step| format!("{} {} ({})", step.kind, step.name, step.state))
                .collect();
            differs.dedup();
            if !differs.is_empty() {
                self.notes.push(format!(
                    "this is what {} should have; what it has differs, or is not known, in: {}",
                    proxy.proxy.sidecar,
                    differs.join(", ")
                ));
            }
        }
        let step = |found: FoundStep| found.step;
        let end =
            |found: FoundEnd| pb::ExplainedEnd { steps: found.steps.into_iter().map(step).collect(), ..found.end };
        let proxy = |found: FoundProxy| pb::ExplainedProxy {
            steps: found.steps.into_iter().map(step).collect(),
            ends: found.ends.into_iter().map(end).collect(),
            ..found.proxy
        };
        pb::ExplainResponse {
            revision: self.revision,
            proxies: self.proxies.into_iter().map(proxy).collect(),
            notes: self.notes,
        }
    }
}

fn had(stream: &AdsStream, wanted: &BTreeMap<ResourceType, Vec<String>>) -> HashMap<(ResourceType, String), Had> {
    use rutter_core::stream::ResourceState;
    let mut had = HashMap::new();
    for (resource_type, names) in wanted {
        for status in stream.resources(*resource_type) {
            if !names.iter().any(|name| *name == *status.resource.name) {
                continue;
            }
            let (state, error) = match status.state {
                ResourceState::Acked => ("ACKED", String::new()),
                ResourceState::Sent => ("SENT", String::new()),
                ResourceState::Due => ("DUE", String::new()),
                ResourceState::Refused(error) => ("REFUSED", error),
            };
            had.insert((*resource_type, status.resource.name.to_string()), Had { state, error });
        }
    }
    had
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(request: pb::ExplainRequest) -> Result<Asked, String> {
        let request = pb::ExplainRequest { from: "a".into(), ..request };
        Question::of_request(&request).map(|question| question.asked).map_err(|status| status.message().to_owned())
    }

    fn url(url: &str, headers: &[&str]) -> Result<Asked, String> {
        let headers = headers.iter().map(|header| (*header).to_owned()).collect();
        asked(pb::ExplainRequest { url: url.into(), headers, ..Default::default() })
    }

    #[test]
    fn urls_and_connections_are_read() {
        let plain = url("reviews:9080/a?q=1#f", &["X-A: b", "Host: other"]).unwrap();
        let request = plain.request.unwrap();
        assert_eq!((plain.host.as_str(), plain.port, plain.tls), ("reviews", 9080, None));
        assert_eq!((request.authority.as_str(), request.path.as_str()), ("other", "/a?q=1"));
        assert_eq!(request.headers, [("x-a".to_owned(), "b".to_owned())]);
        let encrypted = url("https://Shop.example.com", &[]).unwrap();
        assert_eq!((encrypted.port, encrypted.request.unwrap().path.as_str()), (443, "/"));
        assert_eq!(encrypted.tls.unwrap().server_name.as_deref(), Some("shop.example.com"));
        let tcp = |text: &str| asked(pb::ExplainRequest { tcp: text.into(), ..Default::default() });
        let connection = tcp("[fd00::1]:3306").unwrap();
        assert_eq!((connection.host.as_str(), connection.port, connection.request), ("fd00::1", 3306, None));
        assert_eq!(tcp("db").unwrap_err(), "\"db\": want IP:PORT or HOST:PORT");
        assert_eq!(tcp("db:0").unwrap_err(), "\"db:0\": want IP:PORT or HOST:PORT");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert_eq!(url("ftp://a", &[]).unwrap_err(), "\"ftp://a\": want http:// or https://, got ftp://");
        assert_eq!(url("http://a", &["b"]).unwrap_err(), "\"b\": want a header as NAME: VALUE");
        assert!(url("http://a b", &[]).unwrap_err().starts_with("\"http://a b\": want a URL: "));
        assert_eq!(asked(pb::ExplainRequest::default()).unwrap_err(), "want a URL or a TCP destination, got neither");
        let named = pb::ExplainRequest { url: "http://a".into(), sni: "b".into(), ..Default::default() };
        assert_eq!(asked(named).unwrap_err(), "want https:// with a host of TLS, got http:// and b");
        let nobody = Question::of_request(&pb::ExplainRequest { url: "a".into(), ..Default::default() });
        assert_eq!(nobody.unwrap_err().message(), "want a sidecar to ask (from, to or via), got none");
    }
}
