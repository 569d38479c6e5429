//! The scenarios of the xds-test-harness (github.com/ii/xds-test-harness), written anew: each row is driven by
//! the harness's own service, `adapter.Adapter`, and asked by either protocol variant over aggregated discovery.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use prost_types::Any;
use rutter_api::ResourceType::{self, Cluster, Endpoint, Listener, Route, Secret};
use rutter_api::pb::envoy::config::core::v3::Node;
use rutter_api::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use rutter_api::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use rutter_core::Variant::{self, Delta, Sotw};
use rutter_server::Settings;
use rutter_server::scripted_server::{ScriptedResources, ScriptedServer};
use rutter_tests::adapter::pb::adapter_client::AdapterClient;
use rutter_tests::adapter::{Adapter, pb, serve};
use rutter_tests::process::{eventually, free_port};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// The harness's node.
const NODE: &str = "test-id";
const BOTH: [Variant; 2] = [Delta, Sotw];
const ALL: [ResourceType; 4] = [Cluster, Listener, Route, Endpoint];
/// Whose state is told as a whole.
const WHOLE: [ResourceType; 2] = [Cluster, Listener];

/// The server under test, as the harness sees it.
struct Target {
    adapter: AdapterClient<Channel>,
    xds: SocketAddr,
    _tasks: JoinSet<Result<()>>,
}

enum Responses {
    Delta(Streaming<DeltaDiscoveryResponse>),
    Sotw(Streaming<DiscoveryResponse>),
}

enum Requests {
    Delta(mpsc::Sender<DeltaDiscoveryRequest>),
    Sotw(mpsc::Sender<DiscoveryRequest>),
}

/// A client of either variant, which acknowledges everything.
struct Client {
    requests: Requests,
    responses: Responses,
    /// Of the state of the world: what it asks for, and the last response.
    state: BTreeMap<ResourceType, (Vec<String>, String, String)>,
    nonces: BTreeSet<String>,
}

/// What a response says: its type, what is there, what is not.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    resource_type: ResourceType,
    names: BTreeSet<String>,
    gone: BTreeSet<String>,
    /// Of delta, the version of each resource.
    versions: BTreeSet<String>,
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The name that every type begins with.
fn name_of(any: &Any) -> String {
    let length = usize::from(any.value[1]);
    String::from_utf8_lossy(&any.value[2..2 + length]).into_owned()
}

fn named(resource_type: ResourceType, name: &str) -> Any {
    let value = [&[0x0a, u8::try_from(name.len()).unwrap_or(u8::MAX)], name.as_bytes()].concat();
    Any { type_url: resource_type.type_url().into(), value }
}

async fn channel(addr: SocketAddr) -> Result<Channel> {
    Ok(tonic::transport::Endpoint::from_shared(format!("http://{addr}"))?.connect().await?)
}

impl Target {
    /// With these resources of every type.
    async fn start(names: &[&str]) -> Result<Self> {
        let resources = ScriptedResources::default();
        let server = ScriptedServer::bind(Settings::for_tests(Path::new("")), resources.clone())?;
        let (xds, port) = (server.addr()?, SocketAddr::from(([127, 0, 0, 1], free_port()?)));
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run(std::future::pending()));
        tasks.spawn(serve(port, Adapter(resources), std::future::pending()));
        eventually("the adapter serves", || async { tokio::net::TcpStream::connect(port).await.is_ok() }).await?;
        let mut adapter = AdapterClient::new(channel(port).await?);
        let resources =
            ALL.iter().flat_map(|resource_type| names.iter().map(|name| named(*resource_type, name))).collect();
        adapter.set_state(pb::SetStateRequest { node: NODE.into(), version: "1".into(), resources }).await?;
        Ok(Self { adapter, xds, _tasks: tasks })
    }

    fn request(resource_type: ResourceType, name: &str, version: &str) -> pb::ResourceRequest {
        let (type_url, resource_name) = (resource_type.type_url().into(), name.into());
        pb::ResourceRequest { node: NODE.into(), type_url, resource_name, version: version.into() }
    }

    async fn update(&mut self, resource_type: ResourceType, name: &str) -> Result<()> {
        self.adapter.update_resource(Self::request(resource_type, name, "2")).await?;
        Ok(())
    }

    async fn add(&mut self, resource_type: ResourceType, name: &str) -> Result<()> {
        self.adapter.add_resource(Self::request(resource_type, name, "2")).await?;
        Ok(())
    }

    async fn remove(&mut self, resource_type: ResourceType, name: &str) -> Result<()> {
        self.adapter.remove_resource(Self::request(resource_type, name, "")).await?;
        Ok(())
    }

    /// A client that has asked for these; for nothing in particular: for everything.
    async fn client(&self, variant: Variant, resource_type: ResourceType, names: &[&str]) -> Result<Client> {
        let mut client = AggregatedDiscoveryServiceClient::new(channel(self.xds).await?);
        let node = Some(Node { id: NODE.into(), ..Default::default() });
        let type_url = resource_type.type_url().to_owned();
        let owned: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut state = BTreeMap::new();
        let (requests, responses) = match variant {
            Delta => {
                let (sender, receiver) = mpsc::channel(16);
                let resource_names_subscribe = owned;
                sender
                    .send(DeltaDiscoveryRequest { node, type_url, resource_names_subscribe, ..Default::default() })
                    .await?;
                let stream = client.delta_aggregated_resources(ReceiverStream::new(receiver)).await?;
                (Requests::Delta(sender), Responses::Delta(stream.into_inner()))
            }
            Sotw => {
                let (sender, receiver) = mpsc::channel(16);
                state.insert(resource_type, (owned.clone(), String::new(), String::new()));
                sender.send(DiscoveryRequest { node, type_url, resource_names: owned, ..Default::default() }).await?;
                let stream = client.stream_aggregated_resources(ReceiverStream::new(receiver)).await?;
                (Requests::Sotw(sender), Responses::Sotw(stream.into_inner()))
            }
        };
        Ok(Client { requests, responses, state, nonces: BTreeSet::new() })
    }
}

impl Client {
    /// Asks for more, and leaves others.
    async fn subscribe(&mut self, resource_type: ResourceType, more: &[&str], fewer: &[&str]) -> Result<()> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let type_url = resource_type.type_url().to_owned();
        match &self.requests {
            Requests::Delta(sender) => {
                let (resource_names_subscribe, resource_names_unsubscribe) = (owned(more), owned(fewer));
                let request = DeltaDiscoveryRequest {
                    type_url,
                    resource_names_subscribe,
                    resource_names_unsubscribe,
                    ..Default::default()
                };
                sender.send(request).await?;
            }
            Requests::Sotw(sender) => {
                let (names, version, nonce) = self.state.entry(resource_type).or_default();
                names.retain(|name| !fewer.contains(&name.as_str()));
                names.extend(owned(more));
                let (version_info, response_nonce) = (version.clone(), nonce.clone());
                let resource_names = names.clone();
                let request =
                    DiscoveryRequest { type_url, resource_names, version_info, response_nonce, ..Default::default() };
                sender.send(request).await?;
            }
        }
        Ok(())
    }

    /// The next response, acknowledged.
    async fn next(&mut self) -> Result<Said> {
        timeout(Duration::from_secs(10), self.take()).await.context("no response")?
    }

    async fn take(&mut self) -> Result<Said> {
        let type_of = |type_url: &str| ResourceType::from_type_url(type_url).context("a type that nobody asked for");
        match (&mut self.responses, &self.requests) {
            (Responses::Delta(stream), Requests::Delta(sender)) => {
                let response = stream.message().await?.context("the stream ended")?;
                ensure!(self.nonces.insert(response.nonce.clone()), "a nonce came twice");
                let (type_url, response_nonce) = (response.type_url.clone(), response.nonce);
                sender.send(DeltaDiscoveryRequest { type_url, response_nonce, ..Default::default() }).await?;
                let resources = || response.resources.iter();
                Ok(Said {
                    resource_type: type_of(&response.type_url)?,
                    names: resources().map(|one| one.name.clone()).collect(),
                    gone: response.removed_resources.iter().cloned().collect(),
                    versions: resources().map(|one| one.version.clone()).collect(),
                })
            }
            (Responses::Sotw(stream), Requests::Sotw(sender)) => {
                let response = stream.message().await?.context("the stream ended")?;
                ensure!(self.nonces.insert(response.nonce.clone()), "a nonce came twice");
                let resource_type = type_of(&response.type_url)?;
                let (names, version, nonce) = self.state.entry(resource_type).or_default();
                (*version, *nonce) = (response.version_info.clone(), response.nonce.clone());
                let (version_info, response_nonce) = (response.version_info, response.nonce);
                let (type_url, resource_names) = (response.type_url, names.clone());
                let request =
                    DiscoveryRequest { type_url, resource_names, version_info, response_nonce, ..Default::default() };
                sender.send(request).await?;
                let names = response.resources.iter().map(name_of).collect();
                Ok(Said { resource_type, names, gone: BTreeSet::new(), versions: BTreeSet::new() })
            }
            (Responses::Delta(_), Requests::Sotw(_)) | (Responses::Sotw(_), Requests::Delta(_)) => {
                bail!("a client of two variants")
            }
        }
    }

    /// The next response has these, and no others.
    async fn receives(&mut self, resource_type: ResourceType, names: &[&str]) -> Result<Said> {
        let said = self.next().await?;
        ensure!(
            (said.resource_type, &said.names) == (resource_type, &set(names)),
            "want {resource_type} {names:?}, got {said:?}"
        );
        Ok(said)
    }

    /// Nothing is on its way: a secret, which is sent last, is the next thing that comes.
    async fn receives_nothing_more(&mut self, target: &mut Target) -> Result<()> {
        target.add(Secret, "mark").await?;
        self.subscribe(Secret, &["mark"], &[]).await?;
        self.receives(Secret, &["mark"]).await.map(drop)
    }
}

/// What is sent when some of a subscription changed.
fn after<'a>(variant: Variant, resource_type: ResourceType, changed: &[&'a str], whole: &[&'a str]) -> Vec<&'a str> {
    if variant == Sotw && WHOLE.contains(&resource_type) { whole.to_vec() } else { changed.to_vec() }
}

/// Runs a scenario for each variant and type.
async fn rows<F: Future<Output = Result<()>>>(
    variants: &[Variant],
    kinds: &[ResourceType],
    scenario: impl Fn(Variant, ResourceType) -> F,
) -> Result<()> {
    for variant in variants {
        for resource_type in kinds {
            scenario(*variant, *resource_type).await.with_context(|| format!("{variant:?} {resource_type}"))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_wildcard_gets_everything() -> Result<()> {
    rows(&BOTH, &WHOLE, |variant, resource_type| async move {
        let mut target = Target::start(&["A", "B", "C"]).await?;
        let mut client = target.client(variant, resource_type, &[]).await?;
        client.receives(resource_type, &["A", "B", "C"]).await?;
        client.receives_nothing_more(&mut target).await
    })
    .await
}

#[tokio::test]
async fn a_wildcard_gets_what_is_updated_and_what_is_added() -> Result<()> {
    rows(&BOTH, &WHOLE, |variant, resource_type| async move {
        let mut target = Target::start(&["A", "B", "C"]).await?;
        let mut client = target.client(variant, resource_type, &[]).await?;
        client.receives(resource_type, &["A", "B", "C"]).await?;
        target.update(resource_type, "A").await?;
        client.receives(resource_type, &after(variant, resource_type, &["A"], &["A", "B", "C"])).await?;
        target.add(resource_type, "D").await?;
        client.receives(resource_type, &after(variant, resource_type, &["D"], &["A", "B", "C", "D"])).await?;
        client.receives_nothing_more(&mut target).await
    })
    .await
}

#[tokio::test]
async fn who_names_some_gets_these_and_their_updates() -> Result<()> {
    rows(&BOTH, &ALL, |variant, resource_type| async move {
        let mut target = Target::start(&["A", "B", "C", "D"]).await?;
        let mut client = target.client(variant, resource_type, &["B", "D"]).await?;
        client.receives(resource_type, &["B", "D"]).await?;
        target.update(resource_type, "A").await?;
        target.update(resource_type, "B").await?;
        let said = client.receives(resource_type, &after(variant, resource_type, &["B"], &["B", "D"])).await?;
        ensure!(variant == Sotw || said.versions == set(&["2"]), "{said:?}");
        client.receives_nothing_more(&mut target).await
    })
    .await
}

#[tokio::test]
async fn what_is_not_there_comes_when_it_is_created() -> Result<()> {
    rows(&BOTH, &ALL, |variant, resource_type| async move {
        let mut target = Target::start(&["A", "B"]).await?;
        let mut client = target.client(variant, resource_type, &["A", "Z"]).await?;
        // Of the state of the world, endpoints that are not there are none, so that a warming Envoy goes on.
        let is_made_up = variant == Sotw && resource_type == Endpoint;
        let first = client.receives(resource_type, if is_made_up { &["A", "Z"] } else { &["A"] }).await?;
        if variant == Delta {
            let told = if first.gone.is_empty() { client.next().await?.gone } else { first.gone };
            ensure!(told == set(&["Z"]), "want to be told that there is no Z, got {told:?}");
        }
        target.add(resource_type, "Z").await?;
        client.receives(resource_type, &after(variant, resource_type, &["Z"], &["A", "Z"])).await?;
        client.receives_nothing_more(&mut target).await
    })
    .await
}

#[tokio::test]
async fn names_are_added_one_after_the_other() -> Result<()> {
    rows(&BOTH, &ALL, |variant, resource_type| async move {
        let mut target = Target::start(&["A", "B", "C"]).await?;
        let mut client = target.client(variant, resource_type, &["A"]).await?;
        client.receives(resource_type, &["A"]).await?;
        client.subscribe(resource_type, &["B"], &[]).await?;
        client.receives(resource_type, &after(variant, resource_type, &["B"], &["A", "B"])).await?;
        client.receives_nothing_more(&mut target).await
    })
    .await
}

#[tokio::test]
async fn what_was_left_is_not_sent_again() -> Result<()> {
    rows(&BOTH, &ALL, |variant, resource_type| async move {
        let mut target = Target::start(&["A", "B", "C"]).await?;
        let mut client = target.client(variant, resource_type, &["A", "B"]).await?;
        client.receives(resource_type, &["A", "B"]).await?;
        client.subscribe(resource_type, &[], &["B"]).await?;
        // The server has taken this in when it has answered what came after it.
        client.receives_nothing_more(&mut target).await?;
        target.update(resource_type, "B").await?;
        target.update(resource_type, "A").await?;
        client.receives(resource_type, &["A"]).await?;
        client.subscribe(resource_type, &[], &["A"]).await?;
        client.subscribe(Secret, &["other"], &["mark"]).await?;
        target.add(Secret, "other").await?;
        target.update(resource_type, "A").await?;
        let mut said = client.next().await?;
        while said.resource_type == Secret && !said.names.contains("other") {
            said = client.next().await?;
        }
        ensure!(said.resource_type == Secret, "nothing is asked for any more, and yet: {said:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_removed_is_said_to_be_and_comes_again() -> Result<()> {
    rows(&[Delta], &ALL, |variant, resource_type| async move {
        let mut target = Target::start(&["A", "B"]).await?;
        let mut client = target.client(variant, resource_type, &["A", "B"]).await?;
        client.receives(resource_type, &["A", "B"]).await?;
        target.remove(resource_type, "B").await?;
        let said = client.next().await?;
        ensure!((said.resource_type, &said.gone) == (resource_type, &set(&["B"])) && said.names.is_empty(), "{said:?}");
        target.add(resource_type, "B").await?;
        let said = client.receives(resource_type, &["B"]).await?;
        ensure!(said.versions == set(&["2"]), "{said:?}");
        client.receives_nothing_more(&mut target).await
    })
    .await
}

#[tokio::test]
async fn of_a_whole_state_what_is_removed_is_missing() -> Result<()> {
    rows(&[Sotw], &WHOLE, |variant, resource_type| async move {
        let mut target = Target::start(&["A", "B"]).await?;
        let mut client = target.client(variant, resource_type, &[]).await?;
        client.receives(resource_type, &["A", "B"]).await?;
        target.remove(resource_type, "B").await?;
        client.receives(resource_type, &["A"]).await?;
        client.receives_nothing_more(&mut target).await
    })
    .await
}

#[tokio::test]
async fn several_types_on_one_stream_do_not_disturb_each_other() -> Result<()> {
    for (one, other) in [(Cluster, Listener), (Route, Endpoint)] {
        rows(&BOTH, &[one], |variant, resource_type| async move {
            let mut target = Target::start(&["A", "B", "C"]).await?;
            let mut client = target.client(variant, resource_type, &["B"]).await?;
            client.receives(resource_type, &["B"]).await?;
            client.subscribe(other, &["B"], &[]).await?;
            client.receives(other, &["B"]).await?;
            target.update(resource_type, "B").await?;
            client.receives(resource_type, &["B"]).await?;
            client.receives_nothing_more(&mut target).await
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_cleared_node_has_nothing() -> Result<()> {
    rows(&[Delta], &[Cluster], |variant, resource_type| async move {
        let mut target = Target::start(&["A", "B"]).await?;
        let mut client = target.client(variant, resource_type, &[]).await?;
        client.receives(resource_type, &["A", "B"]).await?;
        target.adapter.clear_state(pb::ClearStateRequest { node: NODE.into() }).await?;
        let said = client.next().await?;
        ensure!(said.gone == set(&["A", "B"]), "{said:?}");
        Ok(())
    })
    .await
}
