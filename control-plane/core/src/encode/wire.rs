//! Protobuf messages that every encoder needs.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message;
use prost_types::{Any, ListValue, Struct, Value, value::Kind};
use rutter_api::Config;
use rutter_api::duration::to_pb;
use rutter_api::pb::envoy::config::core::v3 as core;

/// Returns a message in an `Any`, given the full name of its type.
pub(super) fn any<M: Message>(type_name: &str, message: &M) -> Any {
    Any { type_url: format!("type.googleapis.com/{type_name}"), value: message.encode_to_vec() }
}

/// Returns the config source `{ads: {}}`, by which the proxy asks for a resource on the stream that it has. It waits
/// without a time limit, as with Istio, because what is named will come.
pub(super) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3 as i32,
        initial_fetch_timeout: Some(prost_types::Duration::default()),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {})),
        ..Default::default()
    }
}

/// How long a proxy waits for a Secret before it goes on without, so that a missing one holds nothing else up.
const SECRET_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the config source of Secrets, which may never come.
pub(super) fn ads_of_secrets() -> core::ConfigSource {
    core::ConfigSource { initial_fetch_timeout: Some(to_pb(SECRET_TIMEOUT)), ..ads() }
}

/// Returns the address of a socket. The host may be a DNS name where the message allows one.
pub(super) fn socket_address(host: &str, port: u16) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: host.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(u32::from(port))),
            ..Default::default()
        })),
    }
}

/// Returns the address of a Unix socket, by its path.
pub(super) fn pipe_address(path: &str) -> core::Address {
    let pipe = core::Pipe { path: path.to_owned(), ..Default::default() };
    core::Address { address: Some(core::address::Address::Pipe(pipe)) }
}

/// Returns metadata with the given fields under `filter_metadata.istio`, where Istio writes what a resource was made
/// from.
pub(super) fn istio_metadata(fields: Vec<(&str, Value)>) -> core::Metadata {
    let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let filter_metadata: BTreeMap<String, Struct> = [("istio".to_owned(), Struct { fields })].into();
    core::Metadata { filter_metadata, ..Default::default() }
}

/// Returns the metadata field `config` of a resource that is made from an object.
pub(super) fn config_field(config: &Config) -> (&'static str, Value) {
    ("config", text_value(&config.key.metadata_path()))
}

/// Returns a text as a value of metadata.
pub(super) fn text_value(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

/// Returns a list with one struct of texts as a value of metadata.
pub(super) fn list_of_one_struct(fields: &[(&str, &str)]) -> Value {
    let fields = fields.iter().map(|(key, text)| ((*key).to_owned(), text_value(text))).collect();
    let only = Value { kind: Some(Kind::StructValue(Struct { fields })) };
    Value { kind: Some(Kind::ListValue(ListValue { values: vec![only] })) }
}
