//! What becomes of the requests that a route takes.

use prost_types::Duration;
use rutter_api::duration::to_pb;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::route::v3 as pb;
use rutter_api::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;

use crate::encode::wire::any;
use crate::model::RouteCluster;

/// The conditions under which a request is tried again, because it surely did nothing yet: Istio's default.
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
/// The number of times that a request is tried again: Istio's default.
const RETRIES: u32 = 2;
/// The number of times that another endpoint is looked for when one was tried already.
const HOST_SELECTION_ATTEMPTS: i64 = 5;

/// Returns the action that forwards to one cluster, with Istio's defaults: no time limit, and retries of requests that
/// surely did nothing, each at another endpoint. A VirtualService replaces the time limit, and the cluster by several
/// with weights.
pub(super) fn forward_to(cluster: String) -> pb::RouteAction {
    pb::RouteAction {
        cluster_specifier: Some(pb::route_action::ClusterSpecifier::Cluster(cluster)),
        timeout: Some(Duration::default()),
        retry_policy: Some(default_retries()),
        max_stream_duration: Some(grpc_timeout_max(Duration::default())),
        ..Default::default()
    }
}

/// Returns the action that forwards to clusters by their weights, within a time limit if there is one.
pub(super) fn forward(clusters: &[RouteCluster], timeout: Option<std::time::Duration>) -> pb::route::Action {
    let mut action = forward_to(String::new());
    action.cluster_specifier = Some(match clusters {
        [only] => pb::route_action::ClusterSpecifier::Cluster(only.name.to_string()),
        several => pb::route_action::ClusterSpecifier::WeightedClusters(weighted(several)),
    });
    if let Some(timeout) = timeout {
        action.timeout = Some(to_pb(timeout));
        action.max_stream_duration = Some(grpc_timeout_max(to_pb(timeout)));
    }
    pb::route::Action::Route(action)
}

fn weighted(clusters: &[RouteCluster]) -> pb::WeightedCluster {
    let clusters = clusters.iter().map(|cluster| pb::weighted_cluster::ClusterWeight {
        name: cluster.name.to_string(),
        weight: Some(cluster.weight),
        ..Default::default()
    });
    pb::WeightedCluster { clusters: clusters.collect(), ..Default::default() }
}

/// Returns the action that answers with a status and one line of text, which says that Rutter decided so. Whoever reads
/// the answer knows at once that no application gave it.
pub(super) fn direct_response(status: u32, reason: &str) -> pb::route::Action {
    let specifier = core::data_source::Specifier::InlineString(format!("rutter: {reason}\n"));
    let body = core::DataSource { specifier: Some(specifier), ..Default::default() };
    pb::route::Action::DirectResponse(pb::DirectResponseAction { status, body: Some(body), ..Default::default() })
}

fn default_retries() -> pb::RetryPolicy {
    const PREVIOUS_HOSTS: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
    let predicate = pb::retry_policy::RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".into(),
        config_type: Some(pb::retry_policy::retry_host_predicate::ConfigType::TypedConfig(any(
            PREVIOUS_HOSTS,
            &PreviousHostsPredicate {},
        ))),
    };
    pb::RetryPolicy {
        retry_on: RETRY_ON.into(),
        num_retries: Some(RETRIES),
        retry_host_predicate: vec![predicate],
        host_selection_retry_max_attempts: HOST_SELECTION_ATTEMPTS,
        ..Default::default()
    }
}

/// Returns the bound on what a gRPC client may ask for by its `grpc-timeout` header. Zero means that there is none.
fn grpc_timeout_max(timeout: Duration) -> pb::route_action::MaxStreamDuration {
    pb::route_action::MaxStreamDuration { grpc_timeout_header_max: Some(timeout), ..Default::default() }
}
