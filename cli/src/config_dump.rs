//! What an Envoy has, as its admin port tells it at `/config_dump`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rutter_api::ResourceType;
use rutter_api::json::to_bytes;
use rutter_core::walk::Resources;
use serde_json::Value;

/// The resources of a config dump that came from a control plane.
#[derive(Debug, Default)]
pub(crate) struct ConfigDump(BTreeMap<(ResourceType, String), Vec<u8>>);

impl Resources for ConfigDump {
    fn body(&self, resource_type: ResourceType, name: &str) -> Option<bytes::Bytes> {
        self.0.get(&(resource_type, name.to_owned())).map(|body| body.clone().into())
    }

    fn for_each(&self, resource_type: ResourceType, prefix: &str, each: &mut dyn FnMut(&str, bytes::Bytes)) {
        let of_type = self.0.iter().filter(|((known, name), _)| *known == resource_type && name.starts_with(prefix));
        of_type.for_each(|((_, name), body)| each(name, body.clone().into()));
    }
}

/// Where a resource stands in an entry of a list of a dump, and the field that has its name.
struct Place {
    list: &'static str,
    path: &'static [&'static str],
    resource_type: ResourceType,
    name: &'static str,
}

const PLACES: [Place; 4] = [
    Place { list: "dynamic_active_clusters", path: &["cluster"], resource_type: ResourceType::Cluster, name: "name" },
    Place {
        list: "dynamic_listeners",
        path: &["active_state", "listener"],
        resource_type: ResourceType::Listener,
        name: "name",
    },
    Place { list: "dynamic_route_configs", path: &["route_config"], resource_type: ResourceType::Route, name: "name" },
    Place {
        list: "dynamic_endpoint_configs",
        path: &["endpoint_config"],
        resource_type: ResourceType::Endpoint,
        name: "cluster_name",
    },
];

impl ConfigDump {
    /// Reads a dump from a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let dump: Value = serde_json::from_str(text).context("want the JSON of an Envoy's /config_dump?include_eds")?;
        let Some(configs) = dump["configs"].as_array() else {
            bail!("want the JSON of an Envoy's /config_dump?include_eds, got other JSON");
        };
        let mut resources = BTreeMap::new();
        for Place { list, path, resource_type, name } in &PLACES {
            let entries = configs.iter().filter_map(|config| config[*list].as_array()).flatten();
            for entry in entries {
                let mut resource = path.iter().fold(entry, |value, field| &value[*field]).clone();
                let Some(fields) = resource.as_object_mut() else { continue };
                fields.remove("@type");
                let named = fields.get(*name).and_then(Value::as_str).unwrap_or_default().to_owned();
                let body = to_bytes(resource_type.type_url(), &resource).with_context(|| format!("{list}: {named}"))?;
                resources.insert((*resource_type, named), body);
            }
        }
        if !resources.keys().any(|(resource_type, _)| *resource_type == ResourceType::Listener) {
            bail!("want a dump with listeners of a control plane, got none");
        }
        let has = |wanted: ResourceType| resources.keys().any(|(resource_type, _)| *resource_type == wanted);
        let clusters = configs.iter().filter_map(|config| config["dynamic_active_clusters"].as_array()).flatten();
        if !has(ResourceType::Endpoint) && clusters.into_iter().any(|entry| entry["cluster"]["type"] == "EDS") {
            bail!("want a dump with endpoints, got none: ask for /config_dump?include_eds");
        }
        Ok(Self(resources))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_of_a_control_plane_are_found() {
        let text = r#"{"configs": [
            {"@type": "x/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {"x": 1}},
            {"dynamic_active_clusters": [{"cluster": {"@type": "x/y", "name": "a", "type": "EDS"}}]},
            {"dynamic_listeners": [{"name": "l", "active_state": {"listener": {"@type": "x/y", "name": "l"}}}, {"name": "m", "error_state": {}}]},
            {"dynamic_endpoint_configs": [{"endpoint_config": {"@type": "x/y", "cluster_name": "a"}}]}
        ]}"#;
        let dump = ConfigDump::parse(text).unwrap();
        assert_eq!(dump.0.len(), 3);
        assert!(dump.body(ResourceType::Cluster, "a").is_some() && dump.body(ResourceType::Listener, "m").is_none());
        let mut names = Vec::new();
        dump.for_each(ResourceType::Listener, "", &mut |name, _| names.push(name.to_owned()));
        assert_eq!(names, ["l"]);
    }

    #[test]
    fn what_is_no_dump_is_refused() {
        let error = |text: &str| format!("{:#}", ConfigDump::parse(text).unwrap_err());
        assert!(error("x").starts_with("want the JSON of an Envoy's /config_dump?include_eds"));
        assert!(error("{}").ends_with("got other JSON"));
        assert_eq!(error(r#"{"configs": []}"#), "want a dump with listeners of a control plane, got none");
        let no_endpoints = r#"{"configs": [{"dynamic_listeners": [{"active_state": {"listener": {"name": "l"}}}]},
            {"dynamic_active_clusters": [{"cluster": {"name": "a", "type": "EDS"}}]}]}"#;
        assert!(error(no_endpoints).ends_with("ask for /config_dump?include_eds"));
    }
}
