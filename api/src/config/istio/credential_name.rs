//! The Secret that a TLS setting names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use crate::dns_name::{NAME_MAX, check_dns_name, shown};
use crate::invalid::Invalid;

/// What Istio lets people write before the name of a Secret.
const SCHEME: &str = "kubernetes://";

/// The name of a Secret in the namespace of the proxy that needs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialName(Box<str>);

impl CredentialName {
    /// Returns the name of the Secret.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CredentialName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let name = text.strip_prefix(SCHEME).unwrap_or(text);
        let refuse = |_| Invalid::new("", "the name of a Secret in the namespace of the pod", shown(text));
        check_dns_name("", name, NAME_MAX).map_err(refuse)?;
        Ok(Self(name.into()))
    }
}

impl<'de> Deserialize<'de> for CredentialName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|Invalid { want, got, .. }| de::Error::custom(format!("want {want}, got {got}")))
    }
}
