//! What is said of a DestinationRule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rutter_api::{Config, Hostname};

use super::description::{Description, export_words, joined, known_hosts};
use crate::mesh::Mesh;

pub(super) fn describe(mesh: &Mesh, config: &Arc<Config>) -> Description {
    let index = mesh.index();
    let mut description = Description::new(&config.key);
    let (Some(spec), Some(host)) = (config.spec.as_destination_rule(), index.destination_rule_host(config)) else {
        return description;
    };
    description.fact("host", &host);
    description.fact("subsets", joined(spec.subsets.iter().map(|subset| &subset.name)));
    description.fact("policy", if spec.traffic_policy.is_some() { "for all endpoints" } else { "" });
    description.fact("exported to", export_words(&spec.export_to));
    let known: BTreeSet<Hostname> = known_hosts(index, &host, &mut description);
    let services = known.iter().filter(|host| !index.definitions(host).is_empty()).count();
    description.fact("services", if services == 0 { "none has the host".to_owned() } else { services.to_string() });
    for (scope, ids) in mesh.groups() {
        let viewpoint = scope.viewpoint();
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        let mut is_used = false;
        for host in &known {
            let Some(service) = viewpoint.service(index, host) else {
                *reasons.entry("they do not see its host".to_owned()).or_default() += 1;
                continue;
            };
            if let Some(why) = viewpoint.why_not_rule(index, config, service) {
                *reasons.entry(why).or_default() += 1;
                continue;
            }
            is_used = true;
            if let Some(applying) = viewpoint.destination_rule(index, service).filter(|rule| rule.key != config.key) {
                description.shaped(
                    &applying.key,
                    "is older and as specific: both are one rule, with the subsets of both and the policy of the first that has one",
                    ids.len(),
                );
            }
            let Some(view) = ids.first().and_then(|id| mesh.view(*id)) else { continue };
            description.cost.add_clusters(view, (index, viewpoint), service, ids.len());
        }
        if is_used {
            description.seen_by.extend(ids);
        } else {
            description.leave_out(reasons, "no service has its host", ids.len());
        }
    }
    description
}
