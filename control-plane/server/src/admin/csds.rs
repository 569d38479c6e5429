//! Client status discovery (CSDS): what was sent to whom, for tools that speak the protocol of Envoy for it.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use prost_types::{Any, Timestamp};
use rutter_api::ResourceType;
use rutter_api::pb::envoy::admin::v3 as admin;
use rutter_api::pb::envoy::config::core::v3::Node;
use rutter_api::pb::envoy::service::status::v3 as pb;
use rutter_api::pb::envoy::service::status::v3::client_config::GenericXdsConfig;
use rutter_api::pb::envoy::r#type::matcher::v3 as matcher;
use rutter_core::AdsStream;
use rutter_core::stream::{ResourceState, ResourceStatus};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use super::secrets::shown_body;
use crate::shutdown::stopped;
use crate::streams::{OpenStreams, StreamHandle};

/// The client status discovery service of Envoy.
#[derive(Clone)]
pub(crate) struct ClientStatus {
    pub(crate) streams: OpenStreams,
    pub(crate) stop: watch::Receiver<bool>,
}

type Answers = Pin<Box<dyn Stream<Item = Result<pb::ClientStatusResponse, Status>> + Send>>;

#[tonic::async_trait]
impl pb::client_status_discovery_service_server::ClientStatusDiscoveryService for ClientStatus {
    type StreamClientStatusStream = Answers;

    async fn stream_client_status(
        &self,
        requests: Request<Streaming<pb::ClientStatusRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (status, stop) = (self.clone(), stopped(self.stop.clone()));
        let answers = requests.into_inner().then(move |request| {
            let status = status.clone();
            async move { status.answer(&request?).await }
        });
        Ok(Response::new(Box::pin(answers.take_until(Box::pin(stop)))))
    }

    async fn fetch_client_status(
        &self,
        request: Request<pb::ClientStatusRequest>,
    ) -> Result<Response<pb::ClientStatusResponse>, Status> {
        self.answer(request.get_ref()).await.map(Response::new)
    }
}

impl ClientStatus {
    async fn answer(&self, request: &pb::ClientStatusRequest) -> Result<pb::ClientStatusResponse, Status> {
        let wanted = request.node_matchers.iter().map(node_id).collect::<Result<Vec<_>, Status>>()?;
        let with_contents = !request.exclude_resource_contents;
        let mut response = pb::ClientStatusResponse::default();
        for handle in self.streams.all() {
            let id = id_of(&handle);
            if !wanted.is_empty() && !wanted.iter().any(|matcher| matches(matcher, &id)) {
                continue;
            }
            let configs = handle.ask(move |stream| configs(stream, with_contents)).await;
            let node = Node { id, user_agent_name: handle.node.version.clone(), ..Default::default() };
            // A stream that ends meanwhile is no client any more.
            let Some(generic_xds_configs) = configs else { continue };
            response.config.push(pb::ClientConfig { node: Some(node), generic_xds_configs, ..Default::default() });
        }
        Ok(response)
    }
}

/// Returns the node id as the client has it, except for its domain, which is not kept.
fn id_of(handle: &StreamHandle) -> String {
    let node = &handle.node;
    format!("sidecar~{}~{}~{}.svc.cluster.local", node.ip(), node.id(), node.namespace)
}

fn node_id(matcher: &matcher::NodeMatcher) -> Result<matcher::StringMatcher, Status> {
    if !matcher.node_metadatas.is_empty() {
        return Err(Status::unimplemented("node_matchers.node_metadatas: not supported yet: match by node_id"));
    }
    let text = matcher.node_id.clone().unwrap_or_default();
    use matcher::string_matcher::MatchPattern;
    match &text.match_pattern {
        Some(
            MatchPattern::Exact(_) | MatchPattern::Prefix(_) | MatchPattern::Suffix(_) | MatchPattern::Contains(_),
        ) => Ok(text),
        Some(MatchPattern::SafeRegex(_) | MatchPattern::Custom(_)) => Err(Status::unimplemented(
            "node_matchers.node_id: want exact, prefix, suffix or contains: others are not supported yet",
        )),
        None => Err(Status::invalid_argument("node_matchers.node_id: want a pattern, got nothing")),
    }
}

fn matches(matcher: &matcher::StringMatcher, text: &str) -> bool {
    use matcher::string_matcher::MatchPattern;
    let text = folded(text, matcher);
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(pattern)) => text == folded(pattern, matcher),
        Some(MatchPattern::Prefix(pattern)) => text.starts_with(&folded(pattern, matcher)),
        Some(MatchPattern::Suffix(pattern)) => text.ends_with(&folded(pattern, matcher)),
        Some(MatchPattern::Contains(pattern)) => text.contains(&folded(pattern, matcher)),
        Some(MatchPattern::SafeRegex(_) | MatchPattern::Custom(_)) | None => false,
    }
}

/// Returns a text in the case in which a matcher compares it.
fn folded(text: &str, matcher: &matcher::StringMatcher) -> String {
    if matcher.ignore_case { text.to_ascii_lowercase() } else { text.to_owned() }
}

fn configs(stream: &AdsStream, with_contents: bool) -> Vec<GenericXdsConfig> {
    let mut configs = Vec::new();
    for resource_type in ResourceType::ALL {
        let statuses = stream.resources(resource_type).into_iter();
        configs.extend(statuses.map(|status| config(resource_type, status, with_contents)));
    }
    configs
}

fn config(resource_type: ResourceType, status: ResourceStatus, with_contents: bool) -> GenericXdsConfig {
    let ResourceStatus { resource, state } = status;
    let (config_status, error) = match state {
        ResourceState::Acked => (pb::ConfigStatus::Synced, None),
        ResourceState::Sent | ResourceState::Due => (pb::ConfigStatus::Stale, None),
        ResourceState::Refused(error) => (pb::ConfigStatus::Error, Some(error)),
    };
    let type_url = resource_type.type_url();
    let version_info = resource.version.to_string();
    let failure = |details| admin::UpdateFailureState {
        details,
        version_info: version_info.clone(),
        last_update_attempt: None::<Timestamp>,
        ..Default::default()
    };
    GenericXdsConfig {
        type_url: type_url.into(),
        name: resource.name.to_string(),
        version_info: version_info.clone(),
        xds_config: with_contents
            .then(|| Any { type_url: type_url.into(), value: shown_body(resource_type, &resource).to_vec() }),
        config_status: config_status as i32,
        error_state: error.map(failure),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_envoys_do() {
        use matcher::string_matcher::MatchPattern::{Contains, Exact, Prefix, Suffix};
        let check = |pattern, ignore_case| {
            let matcher = matcher::StringMatcher { match_pattern: Some(pattern), ignore_case };
            matches(&matcher, "sidecar~10.0.0.1~web-1.shop~x")
        };
        assert!(
            check(Exact("sidecar~10.0.0.1~web-1.shop~x".into()), false) && !check(Exact("web-1.shop".into()), false)
        );
        assert!(check(Prefix("sidecar~10".into()), false) && check(Suffix("~x".into()), false));
        assert!(check(Contains("~WEB-1.shop~".into()), true) && !check(Contains("~WEB-1.shop~".into()), false));
    }
}
