//! `Secret`: certificates with their keys, and the certificates that vouch for others.
//!
//! A Secret is written with its values, [`SecretContent::Open`]. The control plane seals them before it keeps them, so
//! that what it stores, shows and logs is [`SecretContent::Sealed`]. No message about a Secret quotes a value of it.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Value, json};

use crate::config::checks::Faults;
use crate::dns_name::NAME_MAX;
use crate::invalid::Invalid;

/// The key of a certificate chain and that of its private key, under each of the pairs of names that Istio takes.
const CERTIFICATE_KEYS: [(&str, &str); 2] = [("tls.crt", "tls.key"), ("cert", "key")];
/// The names of the certificates that vouch for others.
const AUTHORITY_KEYS: [&str; 2] = ["ca.crt", "cacert"];
/// The name of the list of certificates that are no longer valid.
const REVOCATION_KEY: &str = "ca.crl";
/// The type whose certificate and key Kubernetes demands.
const TLS_TYPE: &str = "kubernetes.io/tls";
/// The type of the tokens of service accounts, which have the certificate of the API server beside them.
const TOKEN_TYPE: &str = "kubernetes.io/service-account-token";

/// A Kubernetes Secret that TLS needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Secret {
    /// The type, such as `kubernetes.io/tls`. Empty means `Opaque`.
    pub secret_type: String,
    /// The values.
    pub content: SecretContent,
}

/// The values of a Secret.
#[derive(Debug, Clone, PartialEq)]
pub enum SecretContent {
    /// The values, by their names.
    Open(BTreeMap<String, SecretBytes>),
    /// The values as the control plane keeps them.
    Sealed(SealedValues),
}

/// The values of a Secret, which only the control plane that sealed them can open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SealedValues {
    /// Names the key with which the values are sealed; it says nothing of the key.
    pub key_id: String,
    /// The names of the values, sorted.
    pub names: Vec<String>,
    /// The sealed values, in base64.
    pub text: String,
}

/// A value that no output has in the clear.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Returns the value.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(value: Vec<u8>) -> Self {
        Self(value)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Secret {
    fn value(&self, name: &str) -> Option<&[u8]> {
        match &self.content {
            SecretContent::Open(values) => values.get(name).map(SecretBytes::reveal),
            SecretContent::Sealed(_) => None,
        }
    }

    /// Returns the certificate chain and its private key, both in PEM, if the Secret is open and has both.
    pub fn certificate(&self) -> Option<(&[u8], &[u8])> {
        CERTIFICATE_KEYS.into_iter().find_map(|(chain, key)| self.value(chain).zip(self.value(key)))
    }

    /// Returns the certificates that vouch for others, in PEM, if the Secret is open and has some.
    pub fn authorities(&self) -> Option<&[u8]> {
        AUTHORITY_KEYS.into_iter().find_map(|name| self.value(name))
    }

    /// Returns the list of certificates that are no longer valid, in PEM, if the Secret is open and has one.
    pub fn revocations(&self) -> Option<&[u8]> {
        self.value(REVOCATION_KEY)
    }

    /// Returns the names of the values, sorted.
    pub fn names(&self) -> Vec<&str> {
        match &self.content {
            SecretContent::Open(values) => values.keys().map(String::as_str).collect(),
            SecretContent::Sealed(sealed) => sealed.names.iter().map(String::as_str).collect(),
        }
    }
}

/// Returns whether a document of a Secret has something that TLS needs. The others are no config of a mesh.
pub(crate) fn is_for_tls(document: &Value) -> bool {
    let has = |name: &str| ["data", "stringData"].iter().any(|field| document[*field].get(name).is_some());
    let has_pair = CERTIFICATE_KEYS.into_iter().any(|(chain, key)| has(chain) && has(key));
    let is_complete = has_pair || AUTHORITY_KEYS.into_iter().any(has);
    let secret_type = document["type"].as_str().unwrap_or_default();
    secret_type != TOKEN_TYPE && (is_complete || secret_type == TLS_TYPE || document.get("sealed").is_some())
}

/// Returns the text of a document of a Secret with its values sealed.
pub(crate) fn with_sealed(mut document: Value, sealed: &SealedValues) -> Value {
    if let Some(fields) = document.as_object_mut() {
        fields.remove("data");
        fields.remove("stringData");
        fields.insert("sealed".into(), json!(sealed));
    }
    document
}

/// A whole document.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretDocument {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "metadata")]
    _metadata: ObjectMeta,
    #[serde(rename = "type", default)]
    secret_type: String,
    #[serde(rename = "immutable", default)]
    _immutable: Option<bool>,
    #[serde(default)]
    data: Encoded,
    #[serde(default)]
    string_data: Plain,
    #[serde(default)]
    sealed: Option<SealedValues>,
}

/// Values in base64.
#[derive(Default)]
struct Encoded(BTreeMap<String, SecretBytes>);

/// Values as they are.
#[derive(Default)]
struct Plain(BTreeMap<String, SecretBytes>);

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let decoded = |text: &str| STANDARD.decode(text.split_whitespace().collect::<String>()).ok();
        values(from, "base64", decoded).map(Self)
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        values(from, "a string", |text| Some(text.as_bytes().to_vec())).map(Self)
    }
}

/// Reads a map of values without ever quoting one of them.
fn values<'de, D: Deserializer<'de>>(
    from: D,
    want: &str,
    read: impl Fn(&str) -> Option<Vec<u8>>,
) -> Result<BTreeMap<String, SecretBytes>, D::Error> {
    let fields = match Value::deserialize(from)? {
        Value::Null => return Ok(BTreeMap::new()),
        Value::Object(fields) => fields,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(de::Error::custom("want a map of names and values, got another type"));
        }
    };
    let read_field = |(name, value): (String, Value)| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(is_plain) {
            let want = format!("names of 1 to {NAME_MAX} letters, digits, \"-\", \"_\" and \".\"");
            return Err(de::Error::custom(format!("want {want}, got another (is a colon missing?)")));
        }
        let bytes = value.as_str().and_then(&read);
        let error = || de::Error::custom(format!("want {want} under {name:?}, got something else"));
        bytes.map(|bytes| (name.clone(), SecretBytes(bytes))).ok_or_else(error)
    };
    fields.into_iter().map(read_field).collect()
}

/// Returns what is wrong in a Secret that has the right types.
pub(crate) fn check(full: &SecretDocument) -> Faults {
    let mut faults = Vec::new();
    let has = |name: &str| full.data.0.contains_key(name) || full.string_data.0.contains_key(name);
    if full.sealed.is_some() {
        if !full.data.0.is_empty() || !full.string_data.0.is_empty() {
            faults.push(Invalid::new("sealed", "no data beside it", "both"));
        }
        return faults;
    }
    let is_tls = full.secret_type == TLS_TYPE;
    for (chain, key) in CERTIFICATE_KEYS {
        let is_wanted = (is_tls && chain == "tls.crt") || has(chain) || has(key);
        for name in [chain, key] {
            // A certificate alone may be there to vouch for others.
            let is_alone = name == key && !is_tls && AUTHORITY_KEYS.into_iter().any(has);
            if is_wanted && !has(name) && !is_alone {
                faults.push(Invalid::new(format!("data[{name}]"), "a certificate and its key", "only one of them"));
            }
        }
    }
    faults
}

impl From<SecretDocument> for Secret {
    fn from(full: SecretDocument) -> Self {
        let mut values = full.data.0;
        values.extend(full.string_data.0);
        let content = full.sealed.map_or(SecretContent::Open(values), SecretContent::Sealed);
        Self { secret_type: full.secret_type, content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Content, Object, read_manifests};
    use crate::yaml;

    fn text(body: &str) -> String {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\n{body}")
    }

    fn read(body: &str) -> Result<Secret, String> {
        let document = yaml::parse(&text(body)).unwrap().remove(0).value;
        let texts = |faults: Vec<Invalid>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let object = Object::from_value(document, "shop").map_err(texts)?;
        Ok(object.config.spec.as_secret().unwrap().clone())
    }

    #[test]
    fn both_pairs_of_names_are_read_from_either_field() {
        let secret = read("type: kubernetes.io/tls\ndata: {tls.crt: Y2VydA==}\nstringData: {tls.key: k}").unwrap();
        assert_eq!(secret.certificate(), Some((b"cert".as_slice(), b"k".as_slice())));
        let secret = read("stringData: {cert: c, key: k, cacert: a, ca.crl: l}").unwrap();
        assert_eq!(secret.certificate(), Some((b"c".as_slice(), b"k".as_slice())));
        assert_eq!((secret.authorities(), secret.revocations()), (Some(b"a".as_slice()), Some(b"l".as_slice())));
        assert_eq!(secret.names(), ["ca.crl", "cacert", "cert", "key"]);
    }

    #[test]
    fn what_is_wrong_is_told_without_the_values() {
        let refused = |body: &str| read(body).unwrap_err();
        let key = "PRIVATE";
        for body in [
            format!("data: {{tls.crt: aaaa, tls.key: '{key}!'}}"),
            format!("data: {key}"),
            format!("stringData: [{key}]"),
            format!("stringData: {{tls.crt: a, tls.key: [{key}]}}"),
            format!("stringData: {{tls.crt: a, tls.key {key}}}"),
        ] {
            let error = refused(&body);
            assert!(error.contains("want ") && !error.contains(key), "{error}");
        }
        assert_eq!(
            refused("type: kubernetes.io/tls\ndata: {tls.crt: YQ==}"),
            "secret shop/a: data[tls.key]: want a certificate and its key, got only one of them"
        );
        assert!(format!("{:?}", read("stringData: {cert: c, key: PRIVATE}")).contains("7 bytes"));
    }

    #[test]
    fn secrets_that_tls_does_not_need_are_no_config_of_a_mesh() {
        let is_taken = |body: &str| {
            let manifest = read_manifests(&text(body), "shop").unwrap().remove(0);
            matches!(manifest.content, Content::Taken(_))
        };
        assert!(is_taken("stringData: {cert: c, key: k}") && is_taken("data: {ca.crt: YQ==}"));
        assert!(!is_taken("stringData: {password: p}") && !is_taken("stringData: {key: k}"));
        assert!(!is_taken("type: kubernetes.io/service-account-token\ndata: {ca.crt: YQ==, token: YQ==}"));
    }

    #[test]
    fn annotations_in_which_tools_keep_copies_are_dropped() {
        let copied = text("stringData: {cert: c, key: PRIVATE}")
            .replace("{name: a}", "{name: a, annotations: {kapp.k14s.io/original: PRIVATE}}");
        let document = yaml::parse(&copied).unwrap().remove(0).value;
        let object = Object::from_value(document, "shop").unwrap();
        assert!(!object.json.contains("annotations") && object.config.annotations.iter().next().is_none());
    }

    #[test]
    fn sealed_values_take_the_place_of_those_in_the_clear() {
        let document = yaml::parse(&text("stringData: {cert: c, key: PRIVATE}")).unwrap().remove(0).value;
        let object = Object::from_value(document, "shop").unwrap();
        let values = SealedValues { key_id: "k".into(), names: vec!["cert".into()], text: "xyz".into() };
        let sealed = object.with_sealed_values(&values).unwrap();
        assert!(sealed.json.contains("xyz") && !sealed.json.contains("PRIVATE"), "{}", sealed.json);
        let secret = sealed.config.spec.as_secret().unwrap();
        assert_eq!((secret.names(), secret.certificate()), (vec!["cert"], None));
        let again: Value = serde_json::from_str(&sealed.json).unwrap();
        assert_eq!(Object::from_value(again, "x").unwrap(), sealed);
    }
}
