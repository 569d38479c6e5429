//! The DNS cache of hosts that are resolved as clients name them.

use rutter_api::pb::envoy::config::cluster::v3::cluster::DnsLookupFamily;
use rutter_api::pb::envoy::extensions::common::dynamic_forward_proxy::v3 as pb;

/// Returns the cache. A proxy has one of it, which its clusters and listeners name, and wants them all to say the same of it:
/// so it depends on nothing. Answers are kept for as long as DNS says.
pub(super) fn dns_cache() -> pb::DnsCacheConfig {
    pb::DnsCacheConfig {
        name: "hosts-of-clients".into(),
        dns_lookup_family: DnsLookupFamily::V4Only as i32,
        ..Default::default()
    }
}
