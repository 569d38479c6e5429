//! What `apiVersion` and `kind` of a document mean to Rutter.

use serde_json::Value;

use super::kind::Kind;
use crate::invalid::Invalid;
use crate::spelling::nearest;

/// The `apiVersion` and the `kind` of a document, which Kubernetes calls its type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeMeta {
    /// The group and the version, `networking.istio.io/v1`, or the version alone.
    pub api_version: String,
    /// The kind, `VirtualService`.
    pub kind: String,
}

impl std::fmt::Display for TypeMeta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.api_version, self.kind)
    }
}

/// What the type of a document is to Rutter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Class {
    /// Rutter takes it.
    Taken(Kind),
    /// It is no config of a mesh.
    Foreign,
    /// It is config of a mesh that Rutter does not take, or nothing at all.
    Refused(Invalid),
}

/// The groups whose kinds are config of a mesh, each with the kinds that Rutter does not take yet.
const MESH_GROUPS: [(&str, &[&str]); 5] = [
    ("networking.istio.io", &["EnvoyFilter", "ProxyConfig", "WorkloadGroup"]),
    ("security.istio.io", &["AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"]),
    ("telemetry.istio.io", &["Telemetry"]),
    ("extensions.istio.io", &["WasmPlugin"]),
    (
        "gateway.networking.k8s.io",
        &[
            "Gateway",
            "GatewayClass",
            "HTTPRoute",
            "GRPCRoute",
            "TCPRoute",
            "TLSRoute",
            "UDPRoute",
            "ReferenceGrant",
            "BackendTLSPolicy",
            "ListenerSet",
        ],
    ),
];

/// The groups of Istio whose kinds are about its installation and no config of a mesh.
const OTHER_ISTIO_GROUPS: [&str; 3] = ["install.istio.io", "operator.istio.io", "sailoperator.io"];

impl TypeMeta {
    /// Returns the type that a document states.
    pub(super) fn of(document: &Value) -> Result<Self, Invalid> {
        if !document.is_object() {
            return Err(Invalid::new("", "an object with apiVersion, kind and metadata", type_of(document)));
        }
        Ok(Self { api_version: text_of(document, "apiVersion")?, kind: text_of(document, "kind")? })
    }

    /// Returns the group, which is empty for those of Kubernetes' core.
    fn group(&self) -> &str {
        group_of(&self.api_version)
    }

    /// Returns what the type is to Rutter.
    pub(super) fn class(&self) -> Class {
        let group = self.group();
        let of_group = |kind: &Kind| group_of(kind.api_versions()[0]) == group;
        if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == self.kind && of_group(kind)) {
            return self.class_of_version(kind);
        }
        let taken = Kind::ALL.into_iter().filter(of_group).map(Kind::name);
        let mesh_group = MESH_GROUPS.into_iter().find(|(mesh_group, _)| *mesh_group == group);
        let Some((_, not_taken)) = mesh_group else {
            return self.misspelt(taken).map_or(Class::Foreign, Class::Refused);
        };
        if not_taken.contains(&self.kind.as_str()) {
            return Class::Refused(Invalid { is_unsupported: true, ..self.unknown_kind() });
        }
        let fault = self.misspelt(taken.chain(not_taken.iter().copied()));
        Class::Refused(fault.unwrap_or_else(|| Invalid::new("kind", format!("a kind of {group}"), &self.kind)))
    }

    /// Returns whether Rutter takes the version in which a kind is written.
    fn class_of_version(&self, kind: Kind) -> Class {
        if kind.api_versions().contains(&self.api_version.as_str()) {
            return Class::Taken(kind);
        }
        let want = kind.api_versions().join(" or ");
        Class::Refused(Invalid::new("apiVersion", want, &self.api_version).of(kind.name()))
    }

    /// Returns the fault of a type in which there is a typing error, in its kind or in its group, with what was probably meant.
    /// `None` means that it looks like none, as the types of other programs do that have nothing to do with a mesh.
    fn misspelt(&self, kinds: impl Iterator<Item = &'static str>) -> Option<Invalid> {
        let kind = nearest(&self.kind, kinds);
        if let Some(kind) = kind {
            return Some(self.unknown_kind().hint(format!("did you mean {kind}?")));
        }
        let fault = Invalid::new("apiVersion", "a group that there is", &self.api_version);
        if let Some(group) = nearest(self.group(), MESH_GROUPS.into_iter().map(|(group, _)| group)) {
            return Some(fault.hint(format!("did you mean {group}?")));
        }
        // Nobody else has such groups.
        let is_known = |group: &str| MESH_GROUPS.iter().any(|(known, _)| *known == group);
        let is_other = is_known(self.group()) || OTHER_ISTIO_GROUPS.contains(&self.group());
        let is_unknown_of_istio = self.group().contains("istio") && !is_other;
        let of_kind = |(_, kinds): &(&str, &[&str])| kinds.contains(&self.kind.as_str());
        let group = MESH_GROUPS.into_iter().find(of_kind).map_or("networking.istio.io", |(group, _)| group);
        is_unknown_of_istio.then(|| fault.hint(format!("did you mean {group}?")))
    }

    fn unknown_kind(&self) -> Invalid {
        Invalid::new("kind", "a kind that Rutter takes", &self.kind)
    }
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Returns the type of a value. The value itself may be a key that somebody applies by mistake.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn text_of(value: &Value, field: &str) -> Result<String, Invalid> {
    match value.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        wrong => Err(Invalid::new(field, "a string", wrong.map_or("nothing", type_of))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(api_version: &str, kind: &str) -> String {
        let type_meta = TypeMeta { api_version: api_version.into(), kind: kind.into() };
        match type_meta.class() {
            Class::Taken(kind) => format!("taken: {kind}"),
            Class::Foreign => "foreign".into(),
            Class::Refused(invalid) => invalid.to_string(),
        }
    }

    #[test]
    fn kinds_are_told_by_their_group() {
        assert_eq!(class("v1", "Service"), "taken: Service");
        assert_eq!(class("networking.istio.io/v1beta1", "VirtualService"), "taken: VirtualService");
        for (api_version, kind) in [
            ("apps/v1", "Deployment"),
            ("v1", "ServiceAccount"),
            ("v1", "Endpoints"),
            ("serving.knative.dev/v1", "Service"),
            ("appmesh.k8s.aws/v1beta2", "VirtualService"),
            ("networking.k8s.io/v1", "NetworkPolicy"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ] {
            assert_eq!(class(api_version, kind), "foreign", "{api_version} {kind}");
        }
        let not_yet = "kind: not supported yet";
        assert_eq!(class("networking.istio.io/v1", "EnvoyFilter"), not_yet);
        assert_eq!(class("gateway.networking.k8s.io/v1", "Gateway"), not_yet);
    }

    #[test]
    fn typing_errors_are_told_with_what_was_probably_meant() {
        let check = |api_version: &str, kind: &str, want: &str| assert_eq!(class(api_version, kind), want);
        let istio = "networking.istio.io/v1";
        check(
            istio,
            "VirtualSerivce",
            "kind: want a kind that Rutter takes, got VirtualSerivce (did you mean VirtualService?)",
        );
        check(
            istio,
            "virtualservice",
            "kind: want a kind that Rutter takes, got virtualservice (did you mean VirtualService?)",
        );
        check(istio, "Gatway", "kind: want a kind that Rutter takes, got Gatway (did you mean Gateway?)");
        check(istio, "Ruter", "kind: want a kind of networking.istio.io, got Ruter");
        check("v1", "Servce", "kind: want a kind that Rutter takes, got Servce (did you mean Service?)");
        check(
            "networking.istio.oi/v1",
            "VirtualService",
            "apiVersion: want a group that there is, got networking.istio.oi/v1 (did you mean networking.istio.io?)",
        );
        for (api_version, kind, group) in [
            ("networking.istio/v1", "DestinationRule", "networking.istio.io"),
            ("istio.io/v1", "PeerAuthentication", "security.istio.io"),
        ] {
            let want = format!("apiVersion: want a group that there is, got {api_version} (did you mean {group}?)");
            check(api_version, kind, &want);
        }
        check("install.istio.io/v1alpha1", "IstioOperator", "foreign");
        check(
            "networking.istio.io/v2",
            "Sidecar",
            "Sidecar: apiVersion: want networking.istio.io/v1 or networking.istio.io/v1beta1 or networking.istio.io/v1alpha3, got networking.istio.io/v2",
        );
    }
}
