//! What the admin API says of sidecars: their state, their resources, their pushes, and what they refuse.

use rutter_api::ResourceType;
use rutter_api::pb::envoy::service::status::v3 as csds;
use rutter_api::pb::envoy::r#type::matcher::v3 as matcher;
use rutter_api::pb::rutter::admin::v1 as pb;
use tonic::Code;

use crate::process::{Process, Sidecar, admin_channel, routes, service, wanted};

async fn sidecars(process: &mut Process) -> Vec<pb::Sidecar> {
    process.admin.proxy_status(pb::ProxyStatusRequest::default()).await.unwrap().into_inner().sidecars
}

/// Returns the state of a type of the only sidecar, with the number of its resources.
async fn state(process: &mut Process, resource_type: ResourceType) -> String {
    let sidecars = sidecars(process).await;
    let status = sidecars[0].types.iter().find(|status| status.r#type == resource_type.word()).unwrap();
    format!("{} of {}", status.state().as_str_name(), status.resources)
}

async fn config(process: &mut Process, sidecar: &str, word: &str) -> Result<Vec<String>, tonic::Status> {
    let request = pb::ProxyConfigRequest { sidecar: sidecar.into(), r#type: word.into(), ..Default::default() };
    let resources = process.admin.proxy_config(request).await?.into_inner().resources;
    Ok(resources.iter().map(|resource| format!("{} {}", resource.name, resource.state().as_str_name())).collect())
}

async fn wait(process: &mut Process, revision: u64, timeout_ms: u32) -> pb::WaitForAckResponse {
    let request = pb::WaitForAckRequest { revision, timeout_ms };
    process.admin.wait_for_ack(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_sidecar_is_shown_with_the_state_of_each_type() {
    let mut process = Process::start().await;
    process.apply(&service("a")).await;
    let mut sidecar = Sidecar::connect(&process, "web-1", ResourceType::Endpoint).await;
    let response = sidecar.next().await.unwrap();
    let shown = sidecars(&mut process).await.remove(0);
    assert_eq!((shown.id.as_str(), shown.ip.as_str(), shown.version.as_str()), ("web-1.shop", "10.0.0.1", "test"));
    let words: Vec<&str> = shown.types.iter().map(|status| status.r#type.as_str()).collect();
    assert_eq!(words, ResourceType::ALL.map(ResourceType::word));
    assert_eq!(state(&mut process, ResourceType::Endpoint).await, "STALE of 1");
    assert_eq!(state(&mut process, ResourceType::Route).await, "NOT_REQUESTED of 0");
    let acknowledged = rutter_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest {
        type_url: response.type_url,
        response_nonce: response.nonce,
        ..Default::default()
    };
    sidecar.send(acknowledged).await;
    assert!(wait(&mut process, 0, 10_000).await.waiting.is_empty());
    assert_eq!(state(&mut process, ResourceType::Endpoint).await, "SYNCED of 1");
    drop(sidecar);
    while !sidecars(&mut process).await.is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn resources_are_shown_with_what_became_of_them() {
    let mut process = Process::start().await;
    process.apply(&(service("a") + &service("b"))).await;
    let mut sidecar = Sidecar::connect(&process, "web-1", ResourceType::Endpoint).await;
    sidecar.acknowledge().await;
    wait(&mut process, 0, 10_000).await;
    let want = ["outbound|80||a.shop.svc.cluster.local ACKED", "outbound|80||b.shop.svc.cluster.local ACKED"];
    assert_eq!(config(&mut process, "web-1.shop", "endpoints").await.unwrap(), want);
    assert_eq!(config(&mut process, "web", "").await.unwrap(), want, "a beginning is enough, and all types are meant");
    assert!(config(&mut process, "web", "routes").await.unwrap().is_empty());
    process.apply(&service("b").replace("80", "81")).await;
    sidecar.refuse("no port 81").await;
    // The endpoints of the old port go in a response of their own, after those of the new one.
    assert!(sidecar.acknowledge().await.is_empty());
    assert_eq!(wait(&mut process, 2, 10_000).await.refused, ["web-1.shop"]);
    let shown = config(&mut process, "web", "endpoint").await.unwrap();
    assert_eq!(shown, ["outbound|80||a.shop.svc.cluster.local ACKED", "outbound|81||b.shop.svc.cluster.local REFUSED"]);
}

#[tokio::test]
async fn a_sidecar_that_is_not_there_or_not_alone_is_an_error() {
    let mut process = Process::start().await;
    let error = config(&mut process, "web", "").await.unwrap_err();
    let want = "web: no such sidecar is connected (see rutterctl proxy-status)";
    assert_eq!((error.code(), error.message()), (Code::NotFound, want));
    let mut held = Vec::new();
    for pod in ["web-1", "web-2", "web"] {
        let mut sidecar = Sidecar::connect(&process, pod, ResourceType::Cluster).await;
        sidecar.acknowledge().await;
        held.push(sidecar);
    }
    let error = config(&mut process, "web-", "").await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::InvalidArgument, "web-: want one sidecar, got web-1.shop, web-2.shop")
    );
    assert!(config(&mut process, "web.shop", "").await.is_ok(), "a whole name is no beginning");
    let error = config(&mut process, "web.shop", "pods").await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(error.message(), "\"pods\": want all or one of cluster, endpoint, listener, route, secret, virtualhost");
}

#[tokio::test]
async fn pushes_are_told_with_their_cause_and_their_answer() {
    let mut process = Process::start().await;
    let mut sidecar = Sidecar::connect(&process, "web-1", ResourceType::Endpoint).await;
    sidecar.acknowledge().await;
    let revision = process.apply(&service("a")).await;
    sidecar.acknowledge().await;
    wait(&mut process, revision, 10_000).await;
    let mut pushes = async |sidecar: &str, since_revision: u64| {
        let request = pb::PushesRequest { sidecar: sidecar.into(), since_revision, ..Default::default() };
        process.admin.pushes(request).await.map(|response| response.into_inner().pushes)
    };
    let all = pushes("", 0).await.unwrap();
    let shown: Vec<String> = all
        .iter()
        .map(|push| {
            let answer = if push.ack_us.is_some() { "answered" } else { "open" };
            format!("{} {} r{} {:?} {answer}", push.sidecar, push.r#type, push.revision, push.names)
        })
        .collect();
    let want = [
        r#"web-1.shop endpoint r1 ["outbound|80||a.shop.svc.cluster.local"] answered"#,
        "web-1.shop endpoint r0 [] answered",
    ];
    assert_eq!(shown, want, "the newest is first");
    assert!(all[0].sent_us > all[1].sent_us && all[1].sent_us > 1_700_000_000_000_000, "{all:?}");
    assert!(all[0].bytes > 40 && all[0].resources == 1 && all[0].removed == 0 && all[0].error.is_empty());
    assert_eq!(pushes("web", 1).await.unwrap().len(), 1, "only what this revision or a later one caused");
    assert_eq!(pushes("gone", 0).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn whoever_waits_is_told_who_has_not_answered_and_who_refused() {
    let mut process = Process::start().await;
    let mut slow = Sidecar::connect(&process, "slow", ResourceType::Endpoint).await;
    slow.acknowledge().await;
    let mut other = Sidecar::connect(&process, "other", ResourceType::Endpoint).await;
    other.acknowledge().await;
    assert_eq!(wait(&mut process, 0, 10_000).await, pb::WaitForAckResponse { connected: 2, ..Default::default() });
    let revision = process.apply(&service("a")).await;
    other.refuse("not this").await;
    let response = wait(&mut process, revision, 100).await;
    assert_eq!((response.waiting, response.refused), (vec!["slow.shop".to_owned()], vec!["other.shop".to_owned()]));
    slow.acknowledge().await;
    let response = wait(&mut process, revision, 10_000).await;
    assert_eq!((response.waiting.len(), response.refused), (0, vec!["other.shop".to_owned()]));
}

#[tokio::test]
async fn a_refusal_names_the_object_and_the_object_names_the_refusal() {
    let mut process = Process::start().await;
    process.apply(&(service("a") + &service("b"))).await;
    let mut sidecar = Sidecar::connect(&process, "web-1", ResourceType::Cluster).await;
    sidecar.acknowledge().await;
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r, namespace: shop}\n\
                spec: {host: a, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}\n";
    let revision = process.apply(rule).await;
    sidecar.refuse("7 is no number").await;
    wait(&mut process, revision, 10_000).await;
    let shown = sidecars(&mut process).await.remove(0);
    let refused = &shown.types[0].refused[0];
    assert_eq!(refused.name, "outbound|80||a.shop.svc.cluster.local");
    assert_eq!((refused.error.as_str(), shown.types[0].state().as_str_name()), ("7 is no number", "NACK"));
    assert_eq!(refused.sources, ["service shop/a", "destinationRule shop/r"]);
    let object = process.admin.get(wanted("dr", "", "")).await.unwrap().into_inner().objects.remove(0);
    let json: serde_json::Value = serde_json::from_slice(&object.json).unwrap();
    assert_eq!(
        json["status"]["conditions"][0]["message"],
        "refused by 1 of 1 sidecars, which keeps what it had: web-1.shop refuses cluster outbound|80||a.shop.svc.cluster.local: 7 is no number"
    );
    // The fault is mended: the sidecar takes the new version, and the condition goes.
    let revision = process.apply(&rule.replace("7}", "8}")).await;
    sidecar.acknowledge().await;
    assert!(wait(&mut process, revision, 10_000).await.refused.is_empty());
    let object = process.admin.get(wanted("dr", "", "")).await.unwrap().into_inner().objects.remove(0);
    assert!(!String::from_utf8_lossy(&object.json).contains("status"));
}

fn node_id(pattern: matcher::string_matcher::MatchPattern) -> matcher::NodeMatcher {
    let node_id = Some(matcher::StringMatcher { match_pattern: Some(pattern), ignore_case: false });
    matcher::NodeMatcher { node_id, node_metadatas: Vec::new() }
}

#[tokio::test]
async fn client_status_discovery_tells_the_same_to_tools_of_envoy() {
    use csds::client_status_discovery_service_client::ClientStatusDiscoveryServiceClient;
    use matcher::string_matcher::MatchPattern;
    let mut process = Process::start().await;
    process.apply(&(service("a") + &routes("v", "a", "a"))).await;
    let mut sidecar = Sidecar::connect(&process, "web-1", ResourceType::Endpoint).await;
    sidecar.acknowledge().await;
    wait(&mut process, 0, 10_000).await;
    let mut client = ClientStatusDiscoveryServiceClient::new(admin_channel(&process.socket).await);
    let response = client.fetch_client_status(csds::ClientStatusRequest::default()).await.unwrap().into_inner();
    let config = &response.config[0];
    assert_eq!(config.node.as_ref().unwrap().id, "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local");
    let resource = &config.generic_xds_configs[0];
    assert_eq!(resource.name, "outbound|80||a.shop.svc.cluster.local");
    assert_eq!(resource.config_status(), csds::ConfigStatus::Synced);
    assert_eq!(resource.xds_config.as_ref().unwrap().type_url, ResourceType::Endpoint.type_url());

    let request = |node_matchers, exclude_resource_contents| csds::ClientStatusRequest {
        node_matchers,
        exclude_resource_contents,
        ..Default::default()
    };
    let other = request(vec![node_id(MatchPattern::Contains("~web-2.shop~".into()))], false);
    assert!(client.fetch_client_status(other).await.unwrap().into_inner().config.is_empty());
    let without_contents = request(vec![node_id(MatchPattern::Contains("~web-1.shop~".into()))], true);
    let response = client.fetch_client_status(without_contents).await.unwrap().into_inner();
    assert!(response.config[0].generic_xds_configs[0].xds_config.is_none());

    let regex = matcher::RegexMatcher { regex: ".*".into(), ..Default::default() };
    let error = client.fetch_client_status(request(vec![node_id(MatchPattern::SafeRegex(regex))], false)).await;
    assert_eq!(error.unwrap_err().code(), Code::Unimplemented);
    let error = client.fetch_client_status(request(vec![matcher::NodeMatcher::default()], false)).await.unwrap_err();
    assert_eq!(error.message(), "node_matchers.node_id: want a pattern, got nothing");

    let requests = tokio_stream::iter([csds::ClientStatusRequest::default(), csds::ClientStatusRequest::default()]);
    let mut answers = client.stream_client_status(requests).await.unwrap().into_inner();
    for _ in 0..2 {
        assert_eq!(answers.message().await.unwrap().unwrap().config.len(), 1);
    }
    assert!(answers.message().await.unwrap().is_none(), "a stream ends with its requests");
}
