//! Which hosts may be called the same.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rutter_api::Hostname;

use crate::index::MeshIndex;

/// Returns the hosts that may share a domain with a host that came, went or got other addresses.
pub(super) fn rivals(index: &MeshIndex, host: &Hostname, addresses: &BTreeSet<IpAddr>) -> BTreeSet<Hostname> {
    let (text, domain) = (host.as_str(), &*index.settings().domain);
    // A host may be called like the short form of another. Short forms without a dot are no hosts of services.
    let longer = [format!("{text}.svc.{domain}"), format!("{text}.{domain}")];
    // The names of the endpoints of a headless service may be the wildcard of another.
    let wildcards = [format!("*.{text}")].into_iter().chain(text.strip_prefix("*.").map(str::to_owned));
    let without_domain = text.strip_suffix(&format!(".{domain}"));
    let without_svc = without_domain.and_then(|text| text.strip_suffix(".svc"));
    let shorter = without_domain.into_iter().chain(without_svc).map(str::to_owned);
    let mut rivals: BTreeSet<Hostname> =
        longer.into_iter().chain(shorter).chain(wildcards).filter_map(|text| text.parse().ok()).collect();
    // The full name of a host may be an address.
    let is_known =
        |host: &Hostname| !index.definitions(host).is_empty() || index.virtual_services_routing(host).next().is_some();
    rivals.extend(addresses.iter().filter_map(|ip| ip.to_string().parse().ok()).filter(is_known));
    for ip in addresses.iter().copied().chain(text.parse()) {
        rivals.extend(index.hosts_at(&ip).cloned());
    }
    rivals.remove(host);
    rivals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::MeshSettings;
    use crate::testing::{batch, configs};

    #[test]
    fn rivals_are_longer_and_shorter_forms_and_hosts_at_the_same_address() {
        let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\n\
                     spec: {hosts: [e.x], addresses: [10.0.0.1], ports: [{number: 80, name: http}], resolution: STATIC}";
        let mut index = MeshIndex::new(MeshSettings::default());
        index.apply(&batch(configs(entry)));
        let names = |host: &str, addresses: &[&str]| {
            let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
            let rivals = rivals(&index, &host.parse().unwrap(), &addresses);
            rivals.iter().map(Hostname::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            names("a.shop.svc.cluster.local", &["10.0.0.1"]),
            [
                "*.a.shop.svc.cluster.local",
                "a.shop",
                "a.shop.svc",
                "a.shop.svc.cluster.local.cluster.local",
                "a.shop.svc.cluster.local.svc.cluster.local",
                "e.x"
            ]
        );
        assert_eq!(names("a.shop", &[]), ["*.a.shop", "a.shop.cluster.local", "a.shop.svc.cluster.local"]);
        assert!(names("10.0.0.1", &[]).contains(&"e.x".to_owned()));
    }
}
