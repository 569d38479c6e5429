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
    fn law_d_findings_that_are_kept_up_to_date_are_those_that_are_found_afresh(
        ops in prop::collection::vec((ops(), 0usize..9), 1..40)
    ) {
        let mut driver = Driver::new();
        for (op, checks) in &ops {
            driver.run(op);
            driver.mesh.settle_analysis(*checks);
        }
        let kept: Vec<Finding> = driver.mesh.analyzer().findings().cloned().collect();
        prop_assert_eq!(kept, afresh(&driver));
    }

    #[test]
    fn law_d_the_outlook_on_a_change_is_what_it_comes_to(
        ops in prop::collection::vec(ops(), 1..30), last in ops()
    ) {
        let mut driver = Driver::new();
        ops.iter().for_each(|op| drop(driver.run(op)));
        let before = afresh(&driver);
        let batch = match &last {
            Op::Put(text) => batch(configs(text)),
            Op::Delete(kind, namespace, name) => delete(*kind, namespace, name),
            Op::Connect(_) | Op::Disconnect(_) | Op::Sweep => return Ok(()),
        };
        let outlook = driver.mesh.analyzer().outlook(&batch, &[]);
        prop_assert_eq!(&afresh(&driver), &before, "a branch alters nothing");
        driver.mesh.apply(&batch);
        let is_written = |finding: &&Finding| batch.changes.contains_key(&finding.object);
        let after = afresh(&driver);
        let (written, others): (Vec<&Finding>, Vec<&Finding>) = after.iter().partition(is_written);
        let elsewhere: Vec<&Finding> = others.into_iter().filter(|finding| !before.contains(finding)).collect();
        prop_assert_eq!(outlook.written.iter().collect::<Vec<_>>(), written);
        prop_assert_eq!(outlook.elsewhere.iter().collect::<Vec<_>>(), elsewhere);
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
