//! `docs/istio.md`, which is made from the lists by which fields are refused.

use expect_test::expect_file;

use crate::Kind;
use crate::config::istio::{
    destination_rule, gateway, service_entry, sidecar, virtual_service, workload_entry, workload_group,
};

const HEAD: &str = "# Istio's kinds, field by field

This page is made from the code (`UPDATE_EXPECT=1 cargo test -p rutter-api published`). Rutter acts on every field of these
kinds in `networking.istio.io`, but for those that are listed. A listed field is refused by its path, \"not supported yet\", and a
field that the API does not have is refused as unknown; none is taken and then ignored. `[]` stands for every item of a list, `**`
for any fields before.

`rutterctl check -f DIR --from-istio` says for your own files what of them is acted on.
";

fn refused(kind: Kind) -> Option<&'static [&'static str]> {
    match kind {
        Kind::Namespace | Kind::Service | Kind::Pod | Kind::EndpointSlice => None,
        Kind::Secret | Kind::Ingress | Kind::ConfigMap => None,
        Kind::ServiceEntry => Some(service_entry::UNSUPPORTED),
        Kind::WorkloadGroup => Some(workload_group::UNSUPPORTED),
        Kind::WorkloadEntry => Some(workload_entry::UNSUPPORTED),
        Kind::Gateway => Some(gateway::UNSUPPORTED),
        Kind::VirtualService => Some(virtual_service::UNSUPPORTED),
        Kind::DestinationRule => Some(destination_rule::UNSUPPORTED),
        Kind::Sidecar => Some(sidecar::UNSUPPORTED),
    }
}

/// Values of fields that are acted on, which are refused.
fn refused_values(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::ServiceEntry => &["`spec.ports[].protocol: UDP`"],
        Kind::Gateway => &["`spec.servers[].tls.mode: ISTIO_MUTUAL`, which comes with identities"],
        Kind::DestinationRule => &["`**.tls.mode: ISTIO_MUTUAL`, which comes with identities"],
        Kind::Namespace
        | Kind::Service
        | Kind::Pod
        | Kind::EndpointSlice
        | Kind::WorkloadGroup
        | Kind::WorkloadEntry
        | Kind::Secret
        | Kind::Ingress
        | Kind::ConfigMap
        | Kind::VirtualService
        | Kind::Sidecar => &[],
    }
}

#[test]
fn every_refused_field_is_published() {
    let mut page = HEAD.to_owned();
    for kind in Kind::ALL {
        let Some(fields) = refused(kind) else { continue };
        page.push_str(&format!("\n## {kind}\n\nRefused:\n\n"));
        fields.iter().for_each(|field| page.push_str(&format!("- `{field}`\n")));
        refused_values(kind).iter().for_each(|value| page.push_str(&format!("- {value}\n")));
        if fields.is_empty() && refused_values(kind).is_empty() {
            page.push_str("- nothing\n");
        }
    }
    expect_file!["../../../../docs/istio.md"].assert_eq(&page);
}
