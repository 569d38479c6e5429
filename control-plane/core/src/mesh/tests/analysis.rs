//! The findings of a mesh, kept up to date over random changes.

use super::*;
use crate::analysis::{Analyzer, Finding};

fn afresh(driver: &Driver) -> Vec<Finding> {
    let mut analyzer = Analyzer::new(driver.mesh.index.settings().clone());
    for (node, _) in driver.mesh.sidecars() {
        analyzer.connect(&node.namespace, &node.labels);
    }
    analyzer.apply(&batch(driver.mesh.index.configs().cloned().collect()));
    analyzer.findings().cloned().collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn law_d_findings_that_are_kept_up_to_date_are_those_that_are_found_afresh(ops in prop::collection::vec(ops(), 1..40)) {
        let mut driver = Driver::new();
        let mut kept = Analyzer::new(driver.mesh.index.settings().clone());
        for (node, _) in driver.mesh.sidecars() {
            kept.connect(&node.namespace, &node.labels);
        }
        for op in &ops {
            let nodes = |driver: &Driver| driver.connected.keys().copied().collect::<BTreeSet<usize>>();
            let before = nodes(&driver);
            driver.run(op);
            match op {
                Op::Put(text) => {
                    let key = configs(text).remove(0).key.clone();
                    let written = driver.mesh.index.written(&key).cloned();
                    kept.apply(&batch(written.into_iter().collect()));
                }
                Op::Delete(kind, namespace, name) => kept.apply(&delete(*kind, namespace, name)),
                Op::Connect(_) | Op::Disconnect(_) | Op::Sweep => {}
            }
            let after = nodes(&driver);
            for at in after.difference(&before) {
                let node = sidecars().remove(*at);
                kept.connect(&node.namespace, &node.labels);
            }
            for at in before.difference(&after) {
                let node = sidecars().remove(*at);
                kept.disconnect(&node.namespace, &node.labels);
            }
        }
        prop_assert_eq!(kept.findings().cloned().collect::<Vec<_>>(), afresh(&driver));
    }
}

#[test]
fn a_change_checks_what_it_can_alter_in_a_mesh_of_any_size() {
    let checks = |services: usize| {
        let mut objects = Vec::new();
        for at in 0..services {
            let name = format!("s{at}");
            objects.push(service("n0", &name, 80, "http", ""));
            let routes = format!("hosts: [{name}], http: [{{route: [{{destination: {{host: {name}}}}}]}}]");
            objects.push(istio("VirtualService", "n0", &name, &routes));
            objects.push(istio("DestinationRule", "n0", &name, &format!("host: {name}")));
        }
        let mut analyzer = Analyzer::new(MeshSettings::default());
        analyzer.apply(&batch(configs(&objects.join("\n---\n"))));
        let changes = [
            service("n0", "s1", 81, "http", ""),
            istio("VirtualService", "n0", "s2", "hosts: [s2], http: [{route: [{destination: {host: gone}}]}]"),
            istio("DestinationRule", "n0", "s3", "host: s3, subsets: [{name: a, labels: {a: b}}]"),
        ];
        let costs = changes.map(|change| {
            let before = analyzer.checks();
            analyzer.apply(&batch(configs(&change)));
            analyzer.checks() - before
        });
        (costs, analyzer.findings().count())
    };
    assert_eq!(checks(10), ([3, 1, 2], 1));
    assert_eq!(checks(100), checks(10));
}
