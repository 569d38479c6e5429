//! What is said of a change before it is made, compared with what it comes to.

use super::*;
use crate::impact::impact;

/// What clients would be sent, or were: the sizes before and after, by client and resource.
type Sent = BTreeMap<(NodeId, ResourceType, String), (Option<usize>, Option<usize>)>;

fn views(driver: &Driver) -> BTreeMap<NodeId, View> {
    let ids = driver.connected.values();
    ids.filter_map(|id| Some((*id, driver.mesh.view(*id)?.clone()))).collect()
}

fn sizes(view: &View) -> BTreeMap<(ResourceType, String), (usize, crate::resource::Version)> {
    let resources = ResourceType::ALL.into_iter().flat_map(|resource_type| {
        view.iter(resource_type)
            .map(move |resource| ((resource_type, resource.name.to_string()), (resource.entry.len(), resource.version)))
    });
    resources.collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn law_e_the_impact_of_a_change_is_what_it_comes_to(ops in prop::collection::vec(ops(), 1..30), last in ops()) {
        let mut driver = Driver::new();
        ops.iter().for_each(|op| drop(driver.run(op)));
        let batch = match &last {
            Op::Put(text) => batch(configs(text)),
            Op::Delete(kind, namespace, name) => delete(*kind, namespace, name),
            Op::Connect(_) | Op::Disconnect(_) | Op::Sweep => return Ok(()),
        };
        let (before, work) = (views(&driver), driver.mesh.work());
        let impact = impact(&driver.mesh, &batch);
        prop_assert_eq!(driver.mesh.work(), work, "it is no work of the mesh itself");
        for (id, view) in &views(&driver) {
            prop_assert!(!view.differs_from(&before[id]), "a branch alters nothing");
        }
        let mut foreseen = Sent::new();
        for group in &impact.groups {
            for (id, _) in &group.clients {
                for resource in &group.resources {
                    let key = (*id, resource.resource_type, resource.name.to_string());
                    foreseen.insert(key, (resource.before, resource.after.as_ref().map(|bytes| bytes.len())));
                }
            }
        }
        driver.mesh.apply(&batch);
        let mut sent = Sent::new();
        for (id, view) in &views(&driver) {
            let (was, is) = (sizes(&before[id]), sizes(view));
            for (resource_type, name) in was.keys().chain(is.keys()) {
                let key = (*resource_type, name.clone());
                let cluster = (ResourceType::Cluster, name.clone());
                let moved = is.contains_key(&cluster) && was.contains_key(&cluster) && was.get(&cluster) != is.get(&cluster);
                let is_again = *resource_type == ResourceType::Endpoint && moved && is.contains_key(&key);
                if is_again || was.get(&key) != is.get(&key) {
                    let size = |of: &BTreeMap<_, (usize, crate::resource::Version)>| of.get(&key).map(|(size, _)| *size);
                    sent.insert((*id, *resource_type, name.clone()), (size(&was), size(&is)));
                }
            }
        }
        prop_assert_eq!(foreseen, sent);
        let differs = driver.differences();
        prop_assert!(differs.is_empty(), "{:?}", differs);
    }
}

#[test]
fn an_impact_costs_what_the_change_costs_in_a_mesh_of_any_size() {
    let encodes = |namespaces: usize| {
        let mut mesh = Mesh::new(MeshSettings::default());
        let mut objects = Vec::new();
        for at in 0..namespaces {
            let namespace = format!("n{at}");
            objects.push(service(&namespace, "s", 80, "http", "."));
            mesh.connect(node("s", &namespace, &format!("10.0.{at}.1")));
        }
        mesh.apply(&batch(configs(&objects.join("\n---\n"))));
        let change =
            batch(configs(&istio("DestinationRule", "n1", "s", "host: s, trafficPolicy: {outlierDetection: {}}")));
        let mut branch = mesh.branch();
        branch.apply(&change);
        assert_eq!(impact(&mesh, &change).affected(), 1);
        branch.work()
    };
    assert_eq!(encodes(4), encodes(64));
}
