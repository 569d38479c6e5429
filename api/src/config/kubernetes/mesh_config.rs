//! Istio's mesh config: the ConfigMap `istio`, whose value `mesh` is YAML.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use super::ingress::DEFAULT_INGRESS_CLASS;
use crate::config::checks::{Faults, check_export_to};
use crate::config::field_path::dotted;
use crate::config::istio::{
    HttpRetry, LocalityLbSetting, OutboundMode, TcpKeepalive, UpgradePolicy, check_locality_setting, check_retries,
};
use crate::duration;
use crate::invalid::Invalid;
use crate::yaml;

/// The name of the ConfigMap.
const NAME: &str = "istio";
/// The key of the text in it.
const KEY: &str = "mesh";

/// What the mesh config says of traffic. A part that is absent leaves Istio's default.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshConfig {
    /// What becomes of traffic to unknown destinations where no Sidecar object says it.
    #[serde(default)]
    pub outbound_traffic_policy: Option<MeshOutboundTrafficPolicy>,
    /// How requests are divided among localities where no DestinationRule says it.
    #[serde(default)]
    pub locality_lb_setting: Option<LocalityLbSetting>,
    /// The time that a connection may take to be established where no DestinationRule says it.
    #[serde(default, deserialize_with = "duration::optional")]
    pub connect_timeout: Option<Duration>,
    /// How silent connections are kept alive where no DestinationRule says it.
    #[serde(default)]
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Whether HTTP/1.1 is spoken as HTTP/2 to endpoints where no DestinationRule says it.
    #[serde(default)]
    pub h2_upgrade_policy: UpgradePolicy,
    /// How long the first bytes of a captured connection are awaited, where the protocol has to be found out. Absent or zero
    /// means for ever.
    #[serde(default, deserialize_with = "duration::optional")]
    pub protocol_detection_timeout: Option<Duration>,
    /// The time between two questions to DNS.
    #[serde(default, deserialize_with = "duration::optional")]
    pub dns_refresh_rate: Option<Duration>,
    /// The retries of routes that say nothing of them.
    #[serde(default)]
    pub default_http_retry_policy: Option<HttpRetry>,
    /// What the bootstraps of proxies have. It counts where they are made, by `rutterctl bootstrap --mesh-config`.
    #[serde(default)]
    pub default_config: Option<ProxyDefaults>,
    /// The namespaces whose clients see a service that says nothing of it: `.` for its own, `*`, or names. Empty means every
    /// namespace.
    #[serde(default)]
    pub default_service_export_to: Vec<String>,
    /// The same for VirtualServices.
    #[serde(default)]
    pub default_virtual_service_export_to: Vec<String>,
    /// The same for DestinationRules.
    #[serde(default)]
    pub default_destination_rule_export_to: Vec<String>,
    /// Which Ingresses gateways serve.
    #[serde(default)]
    pub ingress_controller_mode: IngressControllerMode,
    /// The class of the Ingresses that gateways serve. Empty means `istio`.
    #[serde(default)]
    pub ingress_class: String,
    /// The Service in front of the gateways that serve Ingresses. Where no selector is given, a name other than Istio's own is also
    /// their label `istio`.
    #[serde(default)]
    pub ingress_service: String,
    /// The label `istio` of the gateways that serve Ingresses.
    #[serde(default)]
    pub ingress_selector: String,
    /// The fields that Rutter does not act on, of which `apply` warns.
    #[serde(skip)]
    pub ignored: Vec<String>,
}

/// What the bootstraps of proxies have.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyDefaults {
    /// Variables of Istio's agent. Those that begin with `ISTIO_META_` are metadata of the node, without that.
    #[serde(default)]
    pub proxy_metadata: BTreeMap<String, String>,
    /// The number of worker threads. Absent means Istio's default, and 0 one for each core.
    #[serde(default)]
    pub concurrency: Option<u32>,
}

/// Which Ingresses gateways serve: Istio's `MeshConfig.IngressControllerMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IngressControllerMode {
    /// None.
    Off,
    /// Those of the mesh's class, and those without a class.
    Default,
    /// Those of the mesh's class.
    #[default]
    Strict,
}

impl MeshConfig {
    /// Returns the class of the Ingresses that gateways serve.
    pub fn ingress_class(&self) -> &str {
        if self.ingress_class.is_empty() { DEFAULT_INGRESS_CLASS } else { &self.ingress_class }
    }

    /// Returns whether gateways serve Ingresses of a class, or those of none.
    pub fn serves_ingress(&self, class: Option<&str>) -> bool {
        match (self.ingress_controller_mode, class) {
            (IngressControllerMode::Off, _) | (IngressControllerMode::Strict, None) => false,
            (IngressControllerMode::Default, None) => true,
            (IngressControllerMode::Default | IngressControllerMode::Strict, Some(class)) => {
                class == self.ingress_class()
            }
        }
    }

    /// Returns the label `istio` of the gateways that serve Ingresses.
    pub fn ingress_label(&self) -> &str {
        match (&*self.ingress_selector, &*self.ingress_service) {
            ("", "" | "istio-ingressgateway") => "ingressgateway",
            ("", service) => service,
            (selector, _) => selector,
        }
    }
}

/// What becomes of traffic to unknown destinations.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct MeshOutboundTrafficPolicy {
    /// Whether such traffic passes.
    pub mode: OutboundMode,
}

/// Returns whether a document of a ConfigMap is Istio's mesh config. The others are no config of a mesh.
pub(crate) fn is_mesh_config(document: &Value) -> bool {
    document["metadata"]["name"].as_str() == Some(NAME) && document["data"].get(KEY).is_some()
}

/// A whole document.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MeshConfigDocument {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "metadata")]
    _metadata: ObjectMeta,
    #[serde(rename = "immutable", default)]
    _immutable: Option<bool>,
    data: BTreeMap<String, String>,
}

fn read(text: &str) -> Result<MeshConfig, Invalid> {
    let path = format!("data.{KEY}");
    let refuse = |got: String| Invalid::new(&path, "a mesh config in YAML", got);
    let mut documents = yaml::parse(text).map_err(|error| refuse(error.to_string()))?;
    let mut value = match documents.len() {
        0 => Value::Object(serde_json::Map::new()),
        1 => documents.remove(0).value,
        number => return Err(refuse(format!("{number} documents"))),
    };
    if let Some(mode) = value.get_mut("ingressControllerMode").filter(|mode| **mode == Value::Bool(false)) {
        // What YAML makes of OFF without quotes.
        *mode = "OFF".into();
    }
    let mut ignored = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let mut note = |field: serde_ignored::Path<'_>| ignored.push(dotted(&field.to_string()));
    let deserializer =
        serde_ignored::Deserializer::new(serde_path_to_error::Deserializer::new(value, &mut track), &mut note);
    let config = MeshConfig::deserialize(deserializer);
    let config =
        config.map_err(|error| Invalid::new(format!("{path}.{}", track.path()), "a valid value", error.to_string()))?;
    Ok(MeshConfig { ignored, ..config })
}

/// Reads a mesh config: the ConfigMap, or its text alone.
///
/// # Errors
/// Fails with what is wrong in it.
pub fn read_mesh_config(text: &str) -> Result<MeshConfig, Invalid> {
    let documents = yaml::parse(text).map_err(|error| Invalid::new("", "a mesh config in YAML", error))?;
    let items = |value: &Value| value["items"].as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    let objects: Vec<Value> = documents.iter().flat_map(|document| items(&document.value)).collect();
    if objects.iter().all(|object| object.get("kind").is_none()) {
        return read(text);
    }
    let config_map = objects.iter().find(|object| object["kind"] == "ConfigMap" && is_mesh_config(object));
    let mesh = config_map.and_then(|object| object["data"][KEY].as_str());
    read(
        mesh.ok_or_else(|| {
            Invalid::new("", format!("a mesh config, or the ConfigMap {NAME} with one"), "other objects")
        })?,
    )
}

fn text_of(full: &MeshConfigDocument) -> &str {
    full.data.get(KEY).map(String::as_str).unwrap_or_default()
}

/// Returns what is wrong in a ConfigMap that has the right types.
pub(crate) fn check(full: &MeshConfigDocument) -> Faults {
    let config = match read(text_of(full)) {
        Ok(config) => config,
        Err(invalid) => return vec![invalid],
    };
    let mut faults = Vec::new();
    if let Some(setting) = &config.locality_lb_setting {
        check_locality_setting(&format!("data.{KEY}.localityLbSetting"), setting, &mut faults);
    }
    if let Some(retries) = &config.default_http_retry_policy {
        check_retries(&format!("data.{KEY}.defaultHttpRetryPolicy"), retries, &mut faults);
    }
    for (name, words) in [
        ("defaultServiceExportTo", &config.default_service_export_to),
        ("defaultVirtualServiceExportTo", &config.default_virtual_service_export_to),
        ("defaultDestinationRuleExportTo", &config.default_destination_rule_export_to),
    ] {
        let mut wrong = Vec::new();
        check_export_to(words, &mut wrong);
        let at = |fault: Invalid| Invalid {
            path: fault.path.replace("spec.exportTo", &format!("data.{KEY}.{name}")),
            ..fault
        };
        faults.extend(wrong.into_iter().map(at));
    }
    // Envoy wants more than a millisecond between two questions to DNS.
    for (name, duration, min) in
        [("connectTimeout", config.connect_timeout, 1), ("dnsRefreshRate", config.dns_refresh_rate, 2)]
    {
        if duration.is_some_and(|duration| duration.as_millis() < min) {
            faults.push(Invalid::new(format!("data.{KEY}.{name}"), format!("at least {min}ms"), "less"));
        }
    }
    faults
}

impl From<MeshConfigDocument> for MeshConfig {
    fn from(full: MeshConfigDocument) -> Self {
        read(text_of(&full)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{assert_refused, read};
    use crate::config::{Content, read_manifests};

    fn text(mesh: &str) -> String {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    {mesh}\n"
        )
    }

    #[test]
    fn what_is_acted_on_is_read_and_the_rest_is_named() {
        let object = read(&text(
            "{connectTimeout: 3s, accessLogFile: /dev/stdout, defaultConfig: {concurrency: 2, tracing: {}}}",
        ))
        .unwrap();
        let config = object.config.spec.as_mesh_config().unwrap();
        assert_eq!(config.connect_timeout.map(|timeout| timeout.as_secs()), Some(3));
        assert_eq!(config.ignored, ["accessLogFile", "defaultConfig.tracing"]);
        let defaults = config.default_config.as_ref().unwrap();
        assert_eq!(defaults.concurrency, Some(2));
    }

    #[test]
    fn which_ingresses_are_served_follows_from_mode_and_class() {
        let mesh = |text: &str| super::read_mesh_config(text).unwrap();
        let classes = [None, Some("istio"), Some("edge")];
        let served = |text: &str| classes.map(|class| mesh(text).serves_ingress(class));
        assert_eq!(served("{}"), [false, true, false]);
        assert_eq!(served("{ingressControllerMode: STRICT, ingressClass: edge}"), [false, false, true]);
        assert_eq!(served("{ingressControllerMode: DEFAULT}"), [true, true, false]);
        assert_eq!(served("{ingressControllerMode: OFF}"), [false; 3]);
        assert_eq!(mesh("{}").ingress_label(), "ingressgateway");
        assert_eq!(mesh("{ingressService: edge}").ingress_label(), "edge");
        assert_eq!(mesh("{ingressService: edge, ingressSelector: front}").ingress_label(), "front");
    }

    #[test]
    fn the_config_map_and_its_text_are_the_same() {
        let mesh = "{connectTimeout: 3s}";
        assert_eq!(super::read_mesh_config(mesh).unwrap(), super::read_mesh_config(&text(mesh)).unwrap());
        let list = format!("kind: List\nitems:\n- {}", text(mesh).replace('\n', "\n  "));
        assert_eq!(super::read_mesh_config(mesh).unwrap(), super::read_mesh_config(&list).unwrap());
        assert!(super::read_mesh_config("{connectTimeout: [1]}").is_err());
        let other = text(mesh).replace("name: istio,", "name: other,");
        let error = super::read_mesh_config(&other).unwrap_err().to_string();
        assert_eq!(error, "want a mesh config, or the ConfigMap istio with one, got other objects");
    }

    #[test]
    fn wrong_values_are_named_and_other_config_maps_are_none_of_a_mesh() {
        let refused =
            |mesh: &str, want: &str| assert_refused(&text(mesh), &format!("configMap istio-system/istio: {want}"));
        refused("{connectTimeout: 0s}", "data.mesh.connectTimeout: want at least 1ms, got less");
        refused("{dnsRefreshRate: 1ms}", "data.mesh.dnsRefreshRate: want at least 2ms, got less");
        refused(
            "{defaultHttpRetryPolicy: {attempts: 1, retryOn: 6xx}}",
            "data.mesh.defaultHttpRetryPolicy.retryOn: want",
        );
        refused("{connectTimeout: [1]}", "data.mesh.connectTimeout: want a valid value, got");
        refused(
            "{localityLbSetting: {failoverPriority: ['']}}",
            "data.mesh.localityLbSetting.failoverPriority[0]: want",
        );
        refused("{defaultServiceExportTo: ['a b']}", "data.mesh.defaultServiceExportTo[0]: want");
        refused("'", "data.mesh: want a mesh config in YAML, got");
        let is_taken =
            |text: &str| matches!(read_manifests(text, "default").unwrap().remove(0).content, Content::Taken(_));
        assert!(is_taken(&text("{}")) && !is_taken(&text("{}").replace("name: istio,", "name: other,")));
        assert!(!is_taken(&text("{}").replace("mesh:", "other:")));
    }
}
