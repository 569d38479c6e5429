//! The client against the server's own encoders: what the control plane makes, the proxy takes.

use prost_types::Any;
use rutter_api::pb::envoy::config::cluster::v3 as cluster;
use rutter_api::pb::envoy::config::route::v3::RouteConfiguration;
use rutter_api::pb::envoy::service::discovery::v3::Resource;
use rutter_core::EncodedResource;
use rutter_core::encode::listener::{BoundListener, encode_bound};
use rutter_core::encode::route::{encode_head, encode_table};
use rutter_core::model::UnknownTraffic;

use super::*;

fn respond(
    client: &mut AdsClient,
    resource_type: ResourceType,
    resources: &[(&str, Vec<u8>)],
) -> Vec<DeltaDiscoveryRequest> {
    let one = |(name, body): &(&str, Vec<u8>)| Resource {
        name: (*name).into(),
        version: "1".into(),
        resource: Some(Any { type_url: resource_type.type_url().into(), value: body.clone() }),
        ..Default::default()
    };
    client.on_response(&DeltaDiscoveryResponse {
        type_url: resource_type.type_url().into(),
        nonce: "7".into(),
        resources: resources.iter().map(one).collect(),
        ..Default::default()
    })
}

fn eds(name: &str) -> (&str, Vec<u8>) {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
    let discovery_type = ClusterDiscoveryType::Type(DiscoveryType::Eds as i32);
    (
        name,
        cluster::Cluster { name: name.into(), cluster_discovery_type: Some(discovery_type), ..Default::default() }
            .encode_to_vec(),
    )
}

fn original_dst(name: &str) -> (&str, Vec<u8>) {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
    let discovery_type = ClusterDiscoveryType::Type(DiscoveryType::OriginalDst as i32);
    (
        name,
        cluster::Cluster { name: name.into(), cluster_discovery_type: Some(discovery_type), ..Default::default() }
            .encode_to_vec(),
    )
}

fn body(resource: &EncodedResource) -> Vec<u8> {
    resource.body().to_vec()
}

#[test]
fn clusters_lead_to_endpoints_and_listeners_to_tables() {
    let mut client = AdsClient::new(Node { id: "n".into(), ..Default::default() }, 7);
    let first = client.on_connect();
    assert_eq!(first.len(), 2);
    assert_eq!((first[0].node.as_ref().map(|node| node.id.as_str()), first[1].node.as_ref()), (Some("n"), None));
    let requests = respond(&mut client, ResourceType::Cluster, &[eds("c")]);
    assert_eq!((requests[0].response_nonce.as_str(), &requests[0].error_detail), ("7", &None));
    assert_eq!(requests[1].resource_names_subscribe, ["c"]);

    let listener = encode_bound("127.0.0.1".parse().unwrap(), 80, &BoundListener::Routes("80".into()));
    let before = client.config();
    let requests = respond(&mut client, ResourceType::Listener, &[("127.0.0.1_80", body(&listener))]);
    assert_eq!(requests[1].resource_names_subscribe, ["80"]);
    assert_eq!(client.config().plan(&before).open, [], "O12: no table, no socket");
    let table = encode_table(80, [].into_iter(), &UnknownTraffic::IsRefused);
    respond(&mut client, ResourceType::Route, &[("80", body(&table))]);
    let plan = client.config().plan(&before);
    assert_eq!(plan.open, [("127.0.0.1_80".to_owned(), "127.0.0.1:80".parse().unwrap())]);
    // The same listener with another table keeps its socket.
    let now = client.config();
    respond(&mut client, ResourceType::Route, &[("80", RouteConfiguration::default().encode_to_vec())]);
    assert_eq!(client.config().plan(&now), Default::default());
}

#[test]
fn what_is_refused_is_named_and_the_rest_is_taken() {
    let mut client = AdsClient::new(Node::default(), 7);
    client.on_connect();
    let requests = respond(&mut client, ResourceType::Cluster, &[eds("good"), original_dst("bad")]);
    let error = requests[0].error_detail.clone().unwrap().message;
    assert_eq!(error, "cluster bad: type: not supported yet (ORIGINAL_DST)");
    assert!(client.config().cluster("good").is_some());
    let listed = client.on_connect().remove(0).initial_resource_versions;
    assert_eq!(listed.into_keys().collect::<Vec<_>>(), ["good"], "only what is held is listed");
}

#[test]
fn a_reconnect_lists_what_is_held_and_a_removal_forgets_it() {
    let mut client = AdsClient::new(Node::default(), 7);
    client.on_connect();
    respond(&mut client, ResourceType::Cluster, &[eds("a"), eds("b")]);
    respond(&mut client, ResourceType::Endpoint, &[("a", Vec::new()), ("b", Vec::new())]);
    let again = client.on_connect();
    assert_eq!(again[0].initial_resource_versions.len(), 2);
    let endpoints = again.iter().find(|one| one.type_url == ResourceType::Endpoint.type_url()).unwrap();
    assert_eq!((endpoints.resource_names_subscribe.len(), endpoints.initial_resource_versions.len()), (2, 2));
    let requests = client.on_response(&DeltaDiscoveryResponse {
        type_url: ResourceType::Cluster.type_url().into(),
        removed_resources: vec!["b".into()],
        ..Default::default()
    });
    assert_eq!(requests[1].resource_names_unsubscribe, ["b"]);
    assert!(client.config().cluster("b").is_none());
}

#[test]
fn virtual_hosts_are_asked_for_once_and_a_split_table_serves_when_they_came() {
    let mut client = AdsClient::new(Node::default(), 7);
    client.on_connect();
    let before = client.config();
    let listener = encode_bound("127.0.0.1".parse().unwrap(), 80, &BoundListener::Routes("80".into()));
    respond(&mut client, ResourceType::Listener, &[("127.0.0.1_80", body(&listener))]);
    let requests =
        respond(&mut client, ResourceType::Route, &[("80", body(&encode_head(80, &UnknownTraffic::IsRefused)))]);
    let asked = &requests[1];
    assert_eq!(
        (asked.type_url.as_str(), asked.resource_names_subscribe.len()),
        (ResourceType::VirtualHost.type_url(), 0)
    );
    assert_eq!(client.config().plan(&before).open, [], "W13: its virtual hosts are not known yet");
    let host = |domain: &str| {
        use rutter_api::pb::envoy::config::route::v3::VirtualHost;
        VirtualHost { domains: vec![domain.into()], ..Default::default() }.encode_to_vec()
    };
    let requests = respond(&mut client, ResourceType::VirtualHost, &[("80/a", host("a"))]);
    assert_eq!(requests.len(), 1, "they are asked for once");
    assert_eq!(client.config().plan(&before).open.len(), 1);
    let table = |client: &AdsClient| client.config().table(client.config().listener("127.0.0.1_80").unwrap()).unwrap();
    assert_eq!(table(&client).len(), 2);
    respond(&mut client, ResourceType::Route, &[("80", body(&encode_head(80, &UnknownTraffic::Passes)))]);
    assert_eq!(table(&client).len(), 2, "V6: a changed head keeps the virtual hosts");
    client.on_response(&DeltaDiscoveryResponse {
        type_url: ResourceType::VirtualHost.type_url().into(),
        removed_resources: vec!["80/a".into(), "80/none".into()],
        ..Default::default()
    });
    assert_eq!(table(&client).len(), 1);
    assert!(client.on_connect().iter().any(|one| one.type_url == ResourceType::VirtualHost.type_url()));
}

#[test]
fn the_turns_of_a_cluster_go_on_when_it_changes() {
    let mut client = AdsClient::new(Node::default(), 7);
    client.on_connect();
    respond(&mut client, ResourceType::Cluster, &[eds("a"), eds("b")]);
    let before = client.config();
    respond(&mut client, ResourceType::Cluster, &[eds("a")]);
    let after = client.config();
    assert!(Arc::ptr_eq(&before.cluster("a").unwrap().turns, &after.cluster("a").unwrap().turns));
    assert!(!Arc::ptr_eq(&after.cluster("a").unwrap().turns, &after.cluster("b").unwrap().turns));
}

#[test]
fn the_cost_of_a_response_follows_what_is_in_it() {
    let mut client = AdsClient::new(Node::default(), 7);
    client.on_connect();
    let names: Vec<String> = (0..5_000).map(|number| format!("cluster-{number}")).collect();
    let clusters: Vec<(&str, Vec<u8>)> = names.iter().map(|name| eds(name)).collect();
    let requests = respond(&mut client, ResourceType::Cluster, &clusters);
    assert_eq!(requests[1].resource_names_subscribe.len(), 5_000);
    let before = client.config();
    let requests = respond(&mut client, ResourceType::Cluster, &[eds("cluster-7"), eds("new")]);
    assert_eq!((requests.len(), requests[1].resource_names_subscribe.as_slice()), (2, &["new".to_owned()][..]));
    let copied = client.config().copied_since(&before);
    assert!(copied < 20, "of 5,000 clusters {copied} were copied");
}
