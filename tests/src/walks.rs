//! What the evaluator says of a request, compared with what a real Envoy did with it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use rutter_api::ResourceType;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::pb::rutter::admin::v1::admin_client::AdminClient;
use rutter_core::walk::{Arrival, End, Entry, HttpRequest, Outcome, Resources, StepKind, TlsHello, Walk, walk};
use serde_json::Value;

use crate::client::admin_channel;
use crate::http::Answer;
use crate::process::ControlPlane;

/// The resources that a proxy was sent.
#[derive(Debug, Default)]
pub struct Sent(BTreeMap<(ResourceType, String), Bytes>);

impl Resources for Sent {
    fn body(&self, resource_type: ResourceType, name: &str) -> Option<Bytes> {
        self.0.get(&(resource_type, name.to_owned())).cloned()
    }

    fn for_each(&self, resource_type: ResourceType, prefix: &str, each: &mut dyn FnMut(&str, Bytes)) {
        let of_type = self.0.iter().filter(|((known, _), _)| *known == resource_type);
        let named = of_type.filter(|((_, name), _)| name.starts_with(prefix));
        named.for_each(|((_, name), body)| each(name, body.clone()));
    }
}

impl Sent {
    /// Asks the control plane what it has sent to a proxy.
    ///
    /// # Errors
    /// Fails if the control plane does not know the proxy.
    pub async fn to(plane: &ControlPlane, proxy: &str) -> Result<Self> {
        let mut admin =
            AdminClient::new(admin_channel(plane.admin_socket()).await?).max_decoding_message_size(64 << 20);
        let request = pb::ProxyConfigRequest { sidecar: proxy.into(), r#type: "all".into(), namespace: String::new() };
        let sent = admin.proxy_config(request).await?.into_inner().resources;
        let resource = |sent: pb::SentResource| {
            let resource_type = ResourceType::from_type_url(&sent.type_url).context("a known type")?;
            Ok(((resource_type, sent.name), sent.body))
        };
        Ok(Self(sent.into_iter().map(resource).collect::<Result<_>>()?))
    }

    /// Evaluates a request that is written as [`send`](crate::expect::send) takes it and comes to a listener that is bound.
    ///
    /// # Errors
    /// Fails if the words are none of a request.
    pub fn walk(&self, at: SocketAddr, host: &str, ask: &str) -> Result<Walk> {
        Ok(walk(self, &arrival(at, None, host, ask)?))
    }

    /// Evaluates such a request that is sent over TLS.
    ///
    /// # Errors
    /// Fails if the words are none of a request.
    pub fn walk_encrypted(&self, at: SocketAddr, host: &str, ask: &str) -> Result<Walk> {
        let hello = TlsHello { server_name: Some(host.to_owned()), protocols: Vec::new() };
        Ok(walk(self, &arrival(at, Some(hello), host, ask)?))
    }
}

fn arrival(at: SocketAddr, tls: Option<TlsHello>, host: &str, ask: &str) -> Result<Arrival> {
    let mut words = ask.split(' ');
    let (method, path) = (words.next().context("a method")?, words.next().context("a path")?);
    let headers = words.filter_map(|word| word.split_once('='));
    let request = HttpRequest {
        method: method.to_owned(),
        scheme: if tls.is_some() { "https" } else { "http" }.to_owned(),
        authority: host.to_owned(),
        path: path.to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    };
    let address: IpAddr = at.ip();
    Ok(Arrival { entry: Entry::Bound, address: Some(address), port: at.port(), tls, request: Some(request) })
}

/// Checks that an answer of a real Envoy is one that the evaluator says is possible. `applications` are those that answer as
/// [`echo`](crate::echo) does, by their addresses.
///
/// # Errors
/// Says what is different.
pub fn compare(walk: &Walk, answer: &Answer, applications: &[(SocketAddr, &str)]) -> Result<()> {
    let echoed: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let reasons: Vec<String> = walk
        .ends
        .iter()
        .filter(|end| end.share > 0.0)
        .filter_map(|end| differs(end, answer, &echoed, applications).err())
        .map(|error| error.to_string())
        .collect();
    let sum: f64 = walk.ends.iter().map(|end| end.share).sum();
    ensure!((sum - 1.0).abs() < 1e-9, "the shares add up to {sum}");
    let possible = walk.ends.iter().filter(|end| end.share > 0.0).count();
    let steps: Vec<String> =
        walk.steps.iter().map(|step| format!("{} {} {}", step.kind.name(), step.name, step.text)).collect();
    ensure!(
        reasons.len() < possible,
        "{} {}: {} ({}: {:?})",
        answer.status,
        answer.body,
        reasons.join("; "),
        steps.join("; "),
        walk.ends
    );
    Ok(())
}

fn differs(end: &End, answer: &Answer, echoed: &Value, applications: &[(SocketAddr, &str)]) -> Result<()> {
    match &end.outcome {
        Outcome::Endpoints { endpoints, request, .. } => {
            let backend = echoed["backend"].as_str().context("no application answered")?;
            let known = applications.iter().filter(|(_, name)| *name == backend);
            let addresses: Vec<String> = known.map(|(address, _)| address.to_string()).collect();
            ensure!(
                endpoints.iter().any(|endpoint| addresses.contains(&endpoint.address)),
                "{backend} is none of the endpoints"
            );
            // Of a connection whose requests the proxy does not see nothing is changed.
            let Some(request) = request else { return Ok(()) };
            ensure!(echoed["path"] == *request.path, "path {} and not {}", echoed["path"], request.path);
            ensure!(echoed["host"] == *request.authority, "host {} and not {}", echoed["host"], request.authority);
            let texts = end.steps.iter().filter(|step| step.kind == StepKind::Rewrite).map(|step| step.text.as_str());
            for name in texts.flat_map(|text| text.split(", ")).filter_map(|part| part.strip_prefix("without header "))
            {
                ensure!(echoed["headers"][name].is_null(), "header {name}: {} and none", echoed["headers"][name]);
            }
            for (name, _) in &request.headers {
                let want = request.header(name).unwrap_or_default();
                let got = &echoed["headers"][name];
                ensure!(*got == want, "header {name}: {got} and not {want}");
            }
        }
        Outcome::Answered { status, grpc_status, .. } => {
            ensure!(echoed["backend"].is_null(), "an application answered");
            let want = if grpc_status.is_some() { 200 } else { *status };
            ensure!(u32::from(answer.status) == want, "status {} and not {want}", answer.status);
            if let Some(want) = grpc_status {
                let got = answer.header("grpc-status").unwrap_or_default();
                ensure!(got == want.to_string(), "gRPC status {got} and not {want}");
            }
        }
        Outcome::Redirected { status, location } => {
            ensure!(u32::from(answer.status) == *status, "status {} and not {status}", answer.status);
            let got = answer.header("location").unwrap_or_default();
            ensure!(got == location, "location {got} and not {location}");
        }
        Outcome::OriginalDestination { .. } | Outcome::Closed { .. } | Outcome::TakenHere => {
            anyhow::bail!("{:?}", end.outcome)
        }
    }
    Ok(())
}

/// Returns whether the evaluator says that a request may come to an application.
pub fn may_arrive(walk: &Walk) -> bool {
    walk.ends.iter().any(|end| matches!(end.outcome, Outcome::Endpoints { .. }))
}
