//! What an operator should know of a change, although nothing is wrong with its objects alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use rutter_api::config::istio::Gateway;
use rutter_api::node::{DEFAULT_RE2_PROGRAM_MAX, Role};
use rutter_api::{Config, ConfigKey, Invalid, SidecarNode};
use rutter_core::analysis::{Finding, Level, Outlook, is_checked};
use rutter_core::message_size::check_endpoints;
use rutter_core::model::{ExportTo, bound_gateways, is_for_mesh, with_default_export};
use rutter_core::{ConfigBatch, ConfigChange, Mesh, MeshIndex};

use crate::engine::Branch;

/// Returns why objects of a change must not be applied beside those that are there.
pub(crate) fn faults_of_change(branch: &Branch, changes: &[(ConfigKey, ConfigChange)]) -> Vec<Invalid> {
    check_endpoints(branch.mesh.index(), &configs_of(changes.iter().map(|(_, change)| change)))
}

/// Returns the objects that changes write.
fn configs_of<'a>(changes: impl Iterator<Item = &'a ConfigChange>) -> Vec<Arc<Config>> {
    let written = changes.filter_map(|change| match change {
        ConfigChange::Put(config) => Some(config.clone()),
        ConfigChange::Delete => None,
    });
    written.collect()
}

/// Returns a change as a batch, its objects with the ages that they will have.
pub(crate) fn batch_of(changes: &[(ConfigKey, ConfigChange)], index: &MeshIndex) -> ConfigBatch {
    let aged = |(key, change): &(ConfigKey, ConfigChange)| match change {
        ConfigChange::Put(config) => (key.clone(), ConfigChange::Put(index.aged(config))),
        ConfigChange::Delete => (key.clone(), ConfigChange::Delete),
    };
    ConfigBatch { changes: changes.iter().map(aged).collect(), ..ConfigBatch::default() }
}

/// Returns what the analysis has to say of a change: of the objects that it writes, and of others with which nothing was wrong
/// without it. What has no effect and harms nobody is not told.
pub(crate) fn of_change(branch: &Branch, changes: &[(ConfigKey, ConfigChange)]) -> Vec<String> {
    if !branch.mesh.follows_analysis() {
        return bounded(long_regexes(&branch.mesh, &configs_of(changes.iter().map(|(_, change)| change))));
    }
    let mut analyzer = branch.mesh.analyzer();
    let mut batch = batch_of(changes, analyzer.index());
    let long_regexes = long_regexes(&branch.mesh, &configs_of(batch.changes.values()));
    // What stays as it is has the findings that it had.
    let pending = &branch.pending.changes;
    let same = batch.changes.extract_if(.., |key, change| match change {
        ConfigChange::Put(config) => !pending.contains_key(key) && analyzer.index().written(key) == Some(&*config),
        ConfigChange::Delete => false,
    });
    let same: Vec<ConfigKey> = same.map(|(key, _)| key).collect();
    // Endpoints come all the time. Nothing is wrong with them, and to look further costs copies of what the branch writes.
    let is_new = batch.changes.iter().any(|(key, change)| *change == ConfigChange::Delete || is_checked(key.kind));
    let mut findings: Vec<Finding> = if is_new {
        if !pending.is_empty() {
            analyzer.apply(&branch.pending);
        }
        let Outlook { written, elsewhere } = analyzer.outlook(&batch, &same);
        written.into_iter().chain(elsewhere).collect()
    } else {
        same.iter().flat_map(|key| analyzer.findings_of(key)).cloned().collect()
    };
    findings.sort();
    let mut by_code: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.code.level() > Level::Info) {
        by_code.entry((std::cmp::Reverse(finding.code.level()), finding.code)).or_default().push(text(finding));
    }
    by_code.into_values().chain([long_regexes]).flat_map(bounded).collect()
}

fn text(Finding { object, code, path, cause, fix: _ }: &Finding) -> String {
    let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
    format!("{code} {object}: {path}{cause}")
}

/// The number of warnings of one sort that are told one by one.
const MOST: usize = 50;

/// Shortens the warnings of one sort, if they are too many for anybody to read.
fn bounded(mut warnings: Vec<String>) -> Vec<String> {
    if warnings.len() > MOST {
        let more = warnings.len() - MOST;
        warnings.truncate(MOST);
        warnings.push(format!("{more} more warnings like these are not shown"));
    }
    warnings
}

/// The number of clients that a warning names.
const NAMED: usize = 3;

/// Returns a warning for each regular expression that some of the connected clients will refuse, unless they are set up otherwise than
/// is known of them.
fn long_regexes(mesh: &Mesh, configs: &[Arc<Config>]) -> Vec<String> {
    let mut warnings = Vec::new();
    for config in configs {
        let Some(virtual_service) = config.spec.as_virtual_service() else { continue };
        let sizes = virtual_service.regexes().into_iter().map(|regex| (regex.program_size(), regex));
        let long: Vec<_> = sizes.filter(|(size, _)| *size > DEFAULT_RE2_PROGRAM_MAX).collect();
        if long.is_empty() || warnings.len() > MOST {
            continue;
        }
        let Some(clients) = refusing_clients(mesh, config) else { continue };
        warnings.extend(long.into_iter().map(|(size, regex)| {
            format!(
                "{}: {}: its program has about {size} instructions; Envoys refuse more than {DEFAULT_RE2_PROGRAM_MAX} unless \
                 their bootstrap sets re2.max_program_size.error_level, which is not known of {clients}",
                config.key, regex.path
            )
        }));
    }
    warnings
}

/// Returns the names of clients that may be sent the routes of a VirtualService and bound the size of regular expressions. `None`
/// means that there are none.
fn refusing_clients(mesh: &Mesh, config: &Arc<Config>) -> Option<String> {
    let index = mesh.index();
    let exported = index.mesh().and_then(|mesh| with_default_export(config, mesh));
    let export_to = ExportTo::of_config(exported.as_ref().unwrap_or(config));
    let gateways: Vec<&Gateway> =
        bound_gateways(config).iter().filter_map(|key| index.config(key)?.spec.as_gateway()).collect();
    let is_for = |node: &SidecarNode| match node.role {
        Role::Sidecar => is_for_mesh(config),
        Role::Gateway => gateways.iter().any(|gateway| gateway.selector.selects(&node.labels)),
    };
    let nodes = mesh.sidecars().map(|(node, _)| node);
    let mut refusing = nodes.filter(|node| node.bounds_regexes && export_to.reaches(&node.namespace) && is_for(node));
    let named: Vec<String> = refusing.by_ref().take(NAMED).map(|node| node.id()).collect();
    let more = refusing.count();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!named.is_empty()).then(|| format!("{}{more}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use rutter_api::config::Object;
    use rutter_api::yaml;
    use rutter_core::MeshSettings;

    use super::*;

    fn objects(text: &str) -> Vec<Arc<Config>> {
        let documents = yaml::parse(text).unwrap().into_iter();
        documents.map(|document| Object::from_value(document.value, "shop").unwrap().config).collect()
    }

    fn put(text: &str) -> ConfigBatch {
        let changes = objects(text).into_iter().map(|config| (config.key.clone(), ConfigChange::Put(config))).collect();
        ConfigBatch { changes, ..ConfigBatch::default() }
    }

    /// Returns the warnings of a change of objects of which some are there and some are on their way.
    fn said(there: &str, pending: &str, coming: &ConfigBatch) -> Vec<String> {
        let mut mesh = Mesh::new(MeshSettings::default()).with_analysis();
        mesh.apply(&put(there));
        let changes: Vec<_> = coming.changes.clone().into_iter().collect();
        of_change(&Branch { mesh, pending: put(pending) }, &changes)
    }

    fn virtual_service(name: &str, gateways: &str) -> String {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\n\
             spec: {{hosts: [a.test], gateways: [{gateways}], http: [{{directResponse: {{status: 200}}}}]}}\n---\n"
        )
    }

    #[test]
    fn of_two_virtual_services_for_one_host_the_younger_is_told() {
        let old = virtual_service("old", "mesh");
        let told = said(&old, "", &put(&virtual_service("new", "mesh")));
        let objects: Vec<&str> = told.iter().filter_map(|text| text.split(": ").next()).collect();
        assert_eq!(objects, ["IST0109 virtualService shop/new", "IST0109 virtualService shop/old"]);
        assert!(said(&old, "", &put(&virtual_service("old", "mesh"))).is_empty(), "it is the same object");
        let both = [old.as_str(), &virtual_service("new", "mesh")].concat();
        assert_eq!(said(&both, "", &put(&virtual_service("new", "mesh"))).len(), 1, "it is told again");
        let many: String = (0..1000).map(|number| virtual_service(&format!("v{number}"), "mesh")).collect();
        let told = said(&old, "", &put(&many));
        assert_eq!((told.len(), told[50].as_str()), (51, "951 more warnings like these are not shown"));
    }

    const ROUTES: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n\
                          spec: {hosts: [a.test], http: [{route: [{destination: {host: late.test}}]}]}";
    const LATE: &str = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: late}\n\
                        spec: {hosts: [late.test], resolution: STATIC, ports: [{number: 80, name: http}]}";

    #[test]
    fn what_is_on_its_way_is_known() {
        let want = "IST0101 virtualService shop/v: spec.http[0].route[0].destination.host: no service late.test is known; requests \
                    sent there are answered 503";
        assert_eq!(said("", "", &put(ROUTES)), [want]);
        assert!(said("", LATE, &put(ROUTES)).is_empty());
        let both = format!("{ROUTES}\n---\n{LATE}");
        assert!(said(ROUTES, "", &put(&both)).is_empty(), "what is missing comes, and the rest stays as it is");
    }

    #[test]
    fn whoever_deletes_is_told_what_still_refers_to_it() {
        let late = objects(LATE).remove(0).key.clone();
        let deletion = ConfigBatch { changes: [(late, ConfigChange::Delete)].into(), ..ConfigBatch::default() };
        let there = format!("{LATE}\n---\n{ROUTES}");
        let told = said(&there, "", &deletion);
        assert!(told.len() == 1 && told[0].starts_with("IST0101 virtualService shop/v: "), "{told:?}");
        let rest = objects(ROUTES).remove(0).key.clone();
        let both = ConfigBatch {
            changes: [deletion.changes, [(rest, ConfigChange::Delete)].into()].into_iter().flatten().collect(),
            ..ConfigBatch::default()
        };
        assert!(said(&there, "", &both).is_empty(), "nothing is left that refers to it");
        assert!(
            said(ROUTES, "", &put(&virtual_service("other", "mesh").replace("a.test", "b.test"))).is_empty(),
            "that was so before"
        );
    }
}
