//! What a change of the mesh config costs.

use super::*;

fn mesh_config(text: &str) -> ConfigBatch {
    batch(configs(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata: {{mesh: '{text}'}}"
    )))
}

#[test]
fn a_mesh_config_that_goes_leaves_everything_as_it_was() {
    let mut driver = Driver::new();
    driver.run(&Op::Put(service("n0", "s0", 80, "http", "")));
    let before = driver.views();
    assert!(!driver.mesh.apply(&mesh_config("{connectTimeout: 3s}")).is_empty());
    assert_ne!(driver.views(), before);
    assert!(!driver.run(&Op::Delete(Kind::ConfigMap, "istio-system".into(), "istio".into())).is_empty());
    assert_eq!(driver.views(), before);
    assert!(driver.differences().is_empty());
}

/// Twelve services: two that ask DNS, one with a rule, one that says who sees it, and one with routes.
fn twelve_services() -> Mesh {
    let mut mesh = Mesh::new(MeshSettings::default());
    let mut objects: Vec<String> = (0..9).map(|at| service("n0", &format!("s{at}"), 80, "http", "")).collect();
    objects.push(service("n0", "s9", 80, "http", "*"));
    for name in ["dns0", "dns1"] {
        let ports = "ports: [{number: 80, name: http}]";
        let spec = format!("hosts: [{name}.x], resolution: DNS, {ports}, exportTo: ['*']");
        objects.push(istio("ServiceEntry", "n0", name, &spec));
    }
    objects.push(istio("DestinationRule", "n0", "s0", "host: s0, trafficPolicy: {outlierDetection: {}}"));
    let routes = "hosts: [s1], http: [{route: [{destination: {host: s2}}]}]";
    objects.push(istio("VirtualService", "n0", "s1", routes));
    mesh.apply(&batch(configs(&objects.join("\n---\n"))));
    mesh
}

#[test]
fn a_changed_field_costs_what_it_alters_whatever_else_there_is() {
    let costs = |text: &str| {
        let mut mesh = twelve_services();
        // One that stands alone, and two over one base.
        mesh.apply(&batch(configs(&istio("Sidecar", "n1", "s", "egress: [{hosts: ['n0/*']}]"))));
        for node in [node("a", "n0", "10.0.0.1"), node("b", "n2", "10.0.0.2"), node("c", "n1", "10.0.0.3")] {
            mesh.connect(node);
        }
        let before = mesh.work();
        let changed = mesh.apply(&mesh_config(text)).len();
        let Work { visits: _, encodes, tables, sidecars } = mesh.work();
        let encodes = encodes - before.encodes;
        format!(
            "{changed} changed, {encodes} encodes, {} tables, {} sidecars",
            tables - before.tables,
            sidecars - before.sidecars
        )
    };
    let check = |text: &str, want: &str| assert_eq!(costs(text), want, "{text}");
    check("{accessLogFile: /a, defaultConfig: {concurrency: 1}}", "0 changed, 0 encodes, 0 tables, 0 sidecars");
    // The clusters of every service, which all clients share.
    check("{connectTimeout: 3s}", "3 changed, 12 encodes, 0 tables, 0 sidecars");
    // Their virtual hosts, ten of them with short names in the namespace of the services as well.
    check("{defaultHttpRetryPolicy: {attempts: 5}}", "3 changed, 22 encodes, 0 tables, 0 sidecars");
    // The clusters of those that ask DNS.
    check("{dnsRefreshRate: 9s}", "3 changed, 2 encodes, 0 tables, 0 sidecars");
    // The clusters and the endpoints of the one with a rule, which are as they were.
    check("{localityLbSetting: {enabled: false}}", "0 changed, 2 encodes, 0 tables, 0 sidecars");
    // The listener and the table of the port, in the base and in the scope that stands alone.
    check("{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}", "3 changed, 0 encodes, 2 tables, 0 sidecars");
    check("{protocolDetectionTimeout: 1s}", "3 changed, 0 encodes, 2 tables, 1 sidecars");
    // The nine that do not say it, where they are still seen, and routes to one of them.
    check("{defaultServiceExportTo: [n0]}", "2 changed, 28 encodes, 0 tables, 0 sidecars");
    // The only one, where it is no longer seen, and the same for the rule.
    check("{defaultVirtualServiceExportTo: [.]}", "2 changed, 2 encodes, 0 tables, 0 sidecars");
    check("{defaultDestinationRuleExportTo: [.]}", "2 changed, 4 encodes, 0 tables, 0 sidecars");
}
