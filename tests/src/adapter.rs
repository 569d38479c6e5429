//! The service by which the xds-test-harness (github.com/ii/xds-test-harness) drives a server under test: the
//! resources of a node are set on one port, and served on another by the same ADS server that Rutter has.
//!
//! The versions of single resources are those that the suite names. The version of a state of the world stays a hash
//! of it, as everywhere, so a suite that wants to read its own version there fails.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::BufMut;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use prost_types::Any;
use rutter_api::ResourceType;
use rutter_api::pb::envoy::service::discovery::v3 as discovery;
use rutter_core::EncodedResource;
use rutter_core::ResourceWrite;
use rutter_server::scripted_server::ScriptedResources;
use tonic::{Request, Response, Status};

#[expect(missing_docs, clippy::too_many_lines, reason = "generated code")]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/adapter.rs"));
}

/// The number of a field that no message has. Its content makes a resource of another version another resource.
const UNREAD_FIELD: u32 = 90_000;
/// The number of the field `name`, or `cluster_name`, of every type.
const NAME_FIELD: u32 = 1;

/// The service by which a suite sets resources.
#[derive(Debug, Clone, Default)]
pub struct Adapter(pub ScriptedResources);

/// Serves at `addr` until `shutdown`.
///
/// # Errors
/// Fails if it cannot listen or serve.
pub async fn serve(addr: SocketAddr, adapter: Adapter, shutdown: impl Future<Output = ()>) -> Result<()> {
    let service = pb::adapter_server::AdapterServer::new(adapter);
    tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_shutdown(addr, shutdown)
        .await
        .with_context(|| format!("the adapter at {addr}"))
}

fn put(field: u32, text: &str, body: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, body);
    encode_varint(text.len() as u64, body);
    body.put_slice(text.as_bytes());
}

/// Returns the name with which a resource begins.
fn name_of(mut body: &[u8]) -> Option<&str> {
    let (field, wire) = decode_key(&mut body).ok()?;
    let length = usize::try_from(decode_varint(&mut body).ok()?).ok()?;
    let is_name = field == NAME_FIELD && wire == WireType::LengthDelimited;
    std::str::from_utf8(body.get(..length).filter(|_| is_name)?).ok()
}

/// Returns a resource with the version that a suite wants to read.
fn resource(resource_type: ResourceType, name: &str, (body, version): (&[u8], &str)) -> EncodedResource {
    let mut body = body.to_vec();
    put(UNREAD_FIELD, version, &mut body);
    let mut encoded = EncodedResource::new(resource_type, name.into(), &body);
    let resource = discovery::Resource {
        name: name.to_owned(),
        version: version.to_owned(),
        resource: Some(Any { type_url: resource_type.type_url().into(), value: body }),
        ..Default::default()
    };
    let entry = discovery::DeltaDiscoveryResponse { resources: vec![resource], ..Default::default() };
    encoded.entry = entry.encode_to_vec().into();
    encoded
}

fn resource_type_of(type_url: &str) -> Result<ResourceType, Status> {
    let resource_type = ResourceType::from_type_url(type_url);
    resource_type.ok_or_else(|| Status::invalid_argument(format!("{type_url}: want a type that Rutter serves")))
}

impl Adapter {
    fn write(&self, request: &pb::ResourceRequest) -> Result<(), Status> {
        let resource_type = resource_type_of(&request.type_url)?;
        let mut body = Vec::new();
        put(NAME_FIELD, &request.resource_name, &mut body);
        let one = resource(resource_type, &request.resource_name, (&body, &request.version));
        self.0.write(&request.node, vec![ResourceWrite::Put(resource_type, one)]);
        Ok(())
    }
}

#[tonic::async_trait]
impl pb::adapter_server::Adapter for Adapter {
    async fn set_state(&self, request: Request<pb::SetStateRequest>) -> Result<Response<pb::SetStateResponse>, Status> {
        let request = request.into_inner();
        let mut writes = Vec::new();
        for any in &request.resources {
            // Types that Rutter does not serve are part of what the suite sets.
            let Some(resource_type) = ResourceType::from_type_url(&any.type_url) else { continue };
            let name = name_of(&any.value)
                .ok_or_else(|| Status::invalid_argument(format!("{}: want a resource with a name", any.type_url)))?;
            writes
                .push(ResourceWrite::Put(resource_type, resource(resource_type, name, (&any.value, &request.version))));
        }
        self.0.replace(&request.node, writes);
        Ok(Response::new(pb::SetStateResponse { success: true }))
    }

    async fn clear_state(
        &self,
        request: Request<pb::ClearStateRequest>,
    ) -> Result<Response<pb::ClearStateResponse>, Status> {
        self.0.clear(&request.into_inner().node);
        Ok(Response::new(pb::ClearStateResponse { response: "cleared".into() }))
    }

    async fn update_resource(
        &self,
        request: Request<pb::ResourceRequest>,
    ) -> Result<Response<pb::UpdateResourceResponse>, Status> {
        self.write(request.get_ref())?;
        Ok(Response::new(pb::UpdateResourceResponse { success: true }))
    }

    async fn add_resource(
        &self,
        request: Request<pb::ResourceRequest>,
    ) -> Result<Response<pb::AddResourceResponse>, Status> {
        self.write(request.get_ref())?;
        Ok(Response::new(pb::AddResourceResponse { success: true }))
    }

    async fn remove_resource(
        &self,
        request: Request<pb::ResourceRequest>,
    ) -> Result<Response<pb::RemoveResourceResponse>, Status> {
        let request = request.into_inner();
        let resource_type = resource_type_of(&request.type_url)?;
        self.0.write(&request.node, vec![ResourceWrite::Remove(resource_type, request.resource_name.into())]);
        Ok(Response::new(pb::RemoveResourceResponse { success: true }))
    }
}
