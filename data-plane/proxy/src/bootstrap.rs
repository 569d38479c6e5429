//! Who this sidecar is and whom it asks.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use prost_types::value::Kind;
use prost_types::{Struct, Value as PbValue};
use rutter_api::pb::envoy::config::core::v3 as core;
use serde::Deserialize;
use serde_json::Value;

/// What `rutterctl bootstrap --proxy rutter` prints.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    xds: String,
    admin: SocketAddr,
    node: NodeFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFile {
    id: String,
    cluster: String,
    metadata: serde_json::Map<String, Value>,
    #[serde(default)]
    locality: Option<Locality>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Locality {
    region: String,
    zone: String,
    sub_zone: String,
}

/// The settings of one sidecar.
pub(crate) struct Bootstrap {
    pub(crate) xds: String,
    pub(crate) admin: SocketAddr,
    pub(crate) node: core::Node,
}

impl Bootstrap {
    pub(crate) fn read(text: &str) -> Result<Self> {
        let file: File = serde_json::from_str(text).context("want what `rutterctl bootstrap --proxy rutter` prints")?;
        let metadata = file.node.metadata.into_iter().map(|(key, value)| (key, to_pb(value))).collect();
        let version = core::node::UserAgentVersionType::UserAgentVersion(env!("CARGO_PKG_VERSION").into());
        let node = core::Node {
            id: file.node.id,
            cluster: file.node.cluster,
            metadata: Some(Struct { fields: metadata }),
            locality: file.node.locality.map(|Locality { region, zone, sub_zone }| core::Locality {
                region,
                zone,
                sub_zone,
            }),
            user_agent_name: "rutter-proxy".into(),
            user_agent_version_type: Some(version),
            ..Default::default()
        };
        Ok(Self { xds: file.xds, admin: file.admin, node })
    }
}

fn to_pb(value: Value) -> PbValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        Value::String(value) => Kind::StringValue(value),
        Value::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.into_iter().map(to_pb).collect() })
        }
        Value::Object(map) => {
            Kind::StructValue(Struct { fields: map.into_iter().map(|(key, value)| (key, to_pb(value))).collect() })
        }
    };
    PbValue { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use rutter_api::SidecarNode;

    use super::*;

    #[test]
    fn a_bootstrap_is_read_as_istios_node() {
        let text = r#"{"xds": "127.0.0.1:1", "admin": "127.0.0.1:2", "node": {"id": "sidecar~127.0.3.1~a.shop~x", "cluster": "c",
            "metadata": {"NAMESPACE": "shop", "LABELS": {"app": "a"}, "INTERCEPTION_MODE": "NONE"}}}"#;
        let sidecar = SidecarNode::try_from(&Bootstrap::read(text).unwrap().node).unwrap();
        assert_eq!((sidecar.id().as_str(), sidecar.labels.get("app")), ("a.shop", Some("a")));
        assert!(sidecar.version.starts_with("rutter-proxy "));
        assert!(Bootstrap::read("{}").is_err());
    }
}
