//! The codes of findings.

use std::fmt;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something has no effect, or works otherwise than people often expect.
    Info,
    /// Something will probably not work.
    Warning,
    /// Something does not work.
    Error,
}

impl Level {
    /// Every level, the least bad first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Error];

    /// Returns the word for the level, as Istio's analysis has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "Info",
            Self::Warning => "Warning",
            Self::Error => "Error",
        }
    }

    /// Reads the word for a level, in any case.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.word().eq_ignore_ascii_case(word))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

macro_rules! codes {
    ($($name:ident $id:literal $level:ident $about:literal;)*) => {
        /// What sort of thing is wrong. The codes that begin with `IST` are those of Istio's analysis, with its names and levels.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $about] $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the number by which people know the code: `IST0101`.
            pub fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// Returns the name of the code.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Returns how bad it is.
            pub fn level(self) -> Level {
                match self { $(Self::$name => Level::$level,)* }
            }

            /// Returns when the code is told.
            pub fn about(self) -> &'static str {
                match self { $(Self::$name => $about,)* }
            }
        }
    };
}

codes! {
    Deprecated "IST0002" Warning "A field still works and should not be written.";
    ReferencedResourceNotFound "IST0101" Error "Something that is named is not there.";
    SchemaValidationError "IST0106" Error "A document is refused.";
    ConflictingMeshGatewayVirtualServiceHosts "IST0109" Error
        "Two VirtualServices are for one host in sidecars that see both.";
    ConflictingSidecarWorkloadSelectors "IST0110" Error "Two Sidecars of a namespace select one workload.";
    MultipleSidecarsWithoutWorkloadSelectors "IST0111" Error "Two Sidecars of a namespace have no selector.";
    VirtualServiceDestinationPortSelectorRequired "IST0112" Error
        "A destination names no port, and its host has several.";
    PortNameIsNotUnderNamingConvention "IST0118" Info
        "Neither the name nor the appProtocol of a port tells its protocol, and routes or a rule depend on it.";
    NoServerCertificateVerificationDestinationLevel "IST0128" Warning
        "A DestinationRule encrypts connections and verifies no server.";
    NoServerCertificateVerificationPortLevel "IST0129" Warning
        "A DestinationRule encrypts connections to a port and verifies no server.";
    VirtualServiceUnreachableRule "IST0130" Warning "A rule can never be taken, because others are before it.";
    VirtualServiceIneffectiveMatch "IST0131" Info "A condition of a rule never counts, because others are before it.";
    VirtualServiceHostNotFoundInGateway "IST0132" Warning
        "No server of a Gateway that a VirtualService names has one of its hosts.";
    SchemaWarning "IST0133" Warning "Something is valid and has no effect.";
    ServiceEntryAddressesRequired "IST0134" Warning
        "A host at a port for TCP has no address, so that its connections are told from others by the port alone.";
    GatewayDuplicateCertificate "IST0138" Warning
        "Two Gateways of one workload have one certificate, so that browsers use one connection for the hosts of both.";
    IngressRouteRulesNotAffected "IST0140" Warning
        "Routes at a gateway lead to a host that sidecars divide into subsets, which holds in sidecars only.";
    ConflictingGateways "IST0145" Error "Two Gateways of one workload have the same host at the same port.";
    ExternalNameServiceTypeInvalidPortName "IST0150" Warning
        "A port of an ExternalName service is named tcp or not at all.";
    GatewayPortNotDefinedOnService "IST0162" Warning
        "A Gateway has a server at a port that no service of its workloads has.";
    ReferencedInternalGateway "IST0165" Warning "A VirtualService names a Gateway that a controller has made.";
    DestinationRuleSubsetNotSelectPods "IST0173" Error "No workload has the labels of a subset.";
    UnknownDestinationRuleHost "IST0174" Warning "A DestinationRule is for a host that no service has.";
    ConflictingServiceEntryProtocol "IST0177" Warning
        "Two ServiceEntries have one host and port with different protocols.";
    WildcardIsNoDestination "RUT0001" Warning
        "A destination is known only by a wildcard, for which there is no cluster of that name.";
    DestinationRuleForOwnNamespaceOnly "RUT0002" Info
        "A DestinationRule acts on clients of its own namespace only, whatever its exportTo says.";
    DestinationRuleShadowed "RUT0003" Warning "A DestinationRule is used by nobody, because others come before it.";
    SubsetPolicyUnused "RUT0004" Info "A subset has a policy, and no route leads to the subset.";
    SidecarSeesEverything "RUT0005" Info
        "A Sidecar without egress sees everything, although the one of the root namespace does not.";
    SidecarEgressMatchesNothing "RUT0006" Warning "A host of a Sidecar's egress is that of no service.";
    SidecarEgressRedundant "RUT0007" Info "A host of a Sidecar's egress lets in nothing beyond another one.";
    GatewayPathTaken "RUT0008" Warning
        "Another VirtualService has the same host and condition at the same gateway, and comes first.";
    PortTakenByAnother "RUT0009" Warning
        "Two ServiceEntries without addresses have the same port for TCP, and one of them takes the connections of the other.";
    FailoverWithoutOutlierDetection "RUT0010" Warning
        "A rule says where requests go when endpoints fail, and not how that is found out.";
    RetriesRepeatPosts "RUT0011" Info "Requests that change something are sent again after a 503.";
    GatewayPortTaken "RUT0012" Error "An older Gateway has a port for another protocol, which cannot be shared.";
    ResolvesWhateverIsNamed "RUT0013" Warning
        "Routes for some hosts lead to a service that resolves whatever host a client names.";
}

impl Code {
    /// Reads the number of a code, in any case.
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.id().eq_ignore_ascii_case(id))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_used_once_and_are_read_back() {
        for (at, code) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::from_id(&code.id().to_lowercase()), Some(*code));
            assert!(Code::ALL[..at].iter().all(|other| other.id() < code.id()), "{code} is out of order");
        }
        assert_eq!((Code::from_id("IST9999"), Level::from_word("warning")), (None, Some(Level::Warning)));
    }
}
