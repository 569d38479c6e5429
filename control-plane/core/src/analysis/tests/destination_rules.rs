use super::*;

fn rule(spec: &str) -> String {
    istio("DestinationRule", "r", spec)
}

#[test]
fn ist0174_a_rule_for_nobody() {
    let web = service("web", WEB);
    check(&[&web, &rule("host: webb")], &["IST0174 destinationRule shop/r"]);
    let hidden = istio(
        "ServiceEntry",
        "bank/e",
        "hosts: [e.x], exportTo: [.], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]",
    );
    check(&[&hidden, &rule("host: e.x")], &["IST0174 destinationRule shop/r"]);
    check(&[&web, &rule("host: web")], &[]);
    check(&[&web, &rule("host: '*.shop.svc.cluster.local'")], &[]);
}

#[test]
fn ist0173_a_subset_without_workloads() {
    let base = [service("web", WEB), workload("w", "10.0.0.1", "app: web, version: v1")].concat();
    let subset = |labels: &str| rule(&format!("host: web, subsets: [{{name: s, labels: {{{labels}}}}}]"));
    check(&[&base, &subset("version: v2")], &["IST0173 destinationRule shop/r"]);
    check(&[&base, &subset("topology.kubernetes.io/zone: z1")], &["IST0173 destinationRule shop/r"]);
    check(&[&base, &subset("version: v1")], &[]);
    let placed = istio("WorkloadEntry", "w2", "address: 10.0.0.2, locality: r/z1, labels: {app: web}");
    check(&[&base, &placed, &subset("topology.kubernetes.io/zone: z1")], &[]);
    check(&[&service("web", WEB), &subset("version: v2")], &[]);
    check(&[&service("web", WEB), &pod("p", "10.0.0.7", "app: web"), &subset("version: v2")], &[]);
}

#[test]
fn ist0128_and_ist0129_servers_that_are_not_verified() {
    let web = service("web", WEB);
    let host = |tls: &str| rule(&format!("host: web, trafficPolicy: {{tls: {{{tls}}}}}"));
    let port = |tls: &str| {
        rule(&format!("host: web, trafficPolicy: {{portLevelSettings: [{{port: {{number: 80}}, tls: {{{tls}}}}}]}}"))
    };
    check(&[&web, &host("mode: SIMPLE")], &["IST0128 destinationRule shop/r"]);
    let mutual = "mode: MUTUAL, clientCertificate: /c, privateKey: /k";
    check(&[&web, &host(mutual)], &["IST0128 destinationRule shop/r"]);
    check(&[&web, &host("mode: SIMPLE, caCertificates: /ca")], &[]);
    check(&[&web, &host("mode: DISABLE")], &[]);
    check(&[&web, &port("mode: SIMPLE")], &["IST0129 destinationRule shop/r"]);
    check(&[&web, &port(mutual)], &["IST0129 destinationRule shop/r"]);
    check(&[&web, &port("mode: SIMPLE, caCertificates: /ca")], &[]);
    check(&[&web, &port("mode: DISABLE")], &[]);
}

#[test]
fn rut0002_a_rule_that_acts_in_its_own_namespace() {
    let web = service("web", WEB);
    let full = "host: web.shop.svc.cluster.local";
    check(&[&web, &istio("DestinationRule", "bank/r", full)], &["RUT0002 destinationRule bank/r"]);
    check(
        &[&web, &istio("DestinationRule", "bank/r", &format!("{full}, exportTo: ['*']"))],
        &["RUT0002 destinationRule bank/r"],
    );
    check(&[&web, &istio("DestinationRule", "istio-system/r", full)], &[]);
    check(&[&web, &rule("host: web")], &[]);
}

#[test]
fn rut0003_a_rule_that_others_come_before() {
    let web = service("web", WEB);
    let root = |host: &str| istio("DestinationRule", "istio-system/r", &format!("host: '{host}'"));
    let own = rule("host: web");
    check(&[&web, &own, &root("web.shop.svc.cluster.local")], &["RUT0003 destinationRule istio-system/r"]);
    check(&[&web, &own, &root("*.shop.svc.cluster.local")], &["RUT0003 destinationRule istio-system/r"]);
    check(&[&web, &service("other", WEB), &own, &root("*.shop.svc.cluster.local")], &[]);
    check(&[&web, &root("web.shop.svc.cluster.local")], &[]);
    check(&[&web, &rule("host: web, exportTo: [.]"), &root("web.shop.svc.cluster.local")], &[]);
    let chosen = rule("host: web, workloadSelector: {matchLabels: {app: a}}");
    check(&[&web, &chosen, &root("web.shop.svc.cluster.local")], &[]);
}

#[test]
fn rut0004_a_policy_that_no_route_leads_to() {
    let web = service("web", WEB);
    let subset = |policy: &str| rule(&format!("host: web, subsets: [{{name: s, labels: {{a: b}}{policy}}}]"));
    let policy = ", trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}";
    let routes = |subset: &str| {
        let spec = format!("hosts: [web], http: [{{route: [{{destination: {{host: web{subset}}}}}]}}]");
        istio("VirtualService", "v", &spec)
    };
    check(&[&web, &subset(policy)], &["RUT0004 destinationRule shop/r"]);
    check(&[&web, &subset(policy), &routes("")], &["RUT0004 destinationRule shop/r"]);
    check(&[&web, &subset(policy), &routes(", subset: s")], &[]);
    check(&[&web, &subset("")], &[]);
}

#[test]
fn rut0010_failover_that_never_happens() {
    let web = service("web", WEB);
    let setting = "localityLbSetting: {failover: [{from: a, to: b}]}";
    let priority = "localityLbSetting: {failoverPriority: [a]}";
    let policy = |text: &str| rule(&format!("host: web, trafficPolicy: {{{text}}}"));
    let told = ["RUT0010 destinationRule shop/r"];
    check(&[&web, &policy(&format!("loadBalancer: {{simple: ROUND_ROBIN, {setting}}}"))], &told);
    check(&[&web, &policy(&format!("loadBalancer: {{simple: ROUND_ROBIN, {priority}}}"))], &told);
    let port =
        format!("portLevelSettings: [{{port: {{number: 80}}, loadBalancer: {{simple: ROUND_ROBIN, {setting}}}}}]");
    check(&[&web, &policy(&port)], &told);
    check(&[&web, &policy(&format!("loadBalancer: {{simple: ROUND_ROBIN, {setting}}}, outlierDetection: {{}}"))], &[]);
    let shares = "localityLbSetting: {distribute: [{from: a/*, to: {'a/*': 100}}]}";
    check(&[&web, &policy(&format!("loadBalancer: {{simple: ROUND_ROBIN, {shares}}}"))], &[]);
}
