use super::*;

fn sidecar(name: &str, spec: &str) -> String {
    istio("Sidecar", name, spec)
}

const OWN: &str = "egress: [{hosts: ['./*']}]";

#[test]
fn ist0111_two_for_a_namespace() {
    let both = ["IST0111 sidecar shop/a", "IST0111 sidecar shop/b"];
    check(&[&sidecar("a", OWN), &sidecar("b", OWN)], &both);
    check(&[&sidecar("a", OWN), &sidecar("b", "workloadSelector: {labels: {}}, egress: [{hosts: ['./*']}]")], &both);
    check(&[&sidecar("a", OWN), &sidecar("bank/b", OWN)], &[]);
    check(&[&sidecar("a", OWN), &sidecar("b", &selecting("app: x"))], &[]);
}

fn selecting(labels: &str) -> String {
    format!("workloadSelector: {{labels: {{{labels}}}}}, {OWN}")
}

#[test]
fn ist0110_two_for_a_workload() {
    let web = pod("w", "10.0.0.1", "app: web, version: v1");
    let both = ["IST0110 sidecar shop/a", "IST0110 sidecar shop/b"];
    check(&[&web, &sidecar("a", &selecting("app: web")), &sidecar("b", &selecting("version: v1"))], &both);
    check(&[&web, &sidecar("a", &selecting("app: web")), &sidecar("b", &selecting("app: web"))], &both);
    check(&[&web, &sidecar("a", &selecting("app: web")), &sidecar("b", OWN)], &[]);
    let other = pod("o", "10.0.0.2", "app: other");
    check(&[&web, &other, &sidecar("a", &selecting("app: web")), &sidecar("b", &selecting("app: other"))], &[]);
}

#[test]
fn ist0101_for_nobody() {
    let web = pod("w", "10.0.0.1", "app: web");
    check(&[&web, &sidecar("a", &selecting("app: webb"))], &["IST0101 sidecar shop/a"]);
    let elsewhere = pod("bank/b", "10.0.0.2", "app: bank");
    check(&[&web, &elsewhere, &sidecar("bank/a", &selecting("app: web"))], &["IST0101 sidecar bank/a"]);
    // Of the workloads of the namespace nothing is known: a machine says nothing of Deployments.
    check(&[&web, &sidecar("bank/a", &selecting("app: web"))], &[]);
    let machine = workload("bank/m", "10.0.0.3", "app: machine");
    check(&[&machine, &sidecar("bank/a", &selecting("app: web"))], &[]);
    check(&[&web, &sidecar("a", &selecting("app: web"))], &[]);
    check(&[&sidecar("a", &selecting("app: webb"))], &[]);
}

#[test]
fn ist0002_and_ist0101_a_proxy_for_egress() {
    let policy = |host: &str| {
        format!(
            "outboundTrafficPolicy: {{mode: ALLOW_ANY, egressProxy: {{host: {host}, port: {{number: 80}}}}}}, {OWN}"
        )
    };
    let web = service("web", WEB);
    check(&[&web, &sidecar("a", &policy("web.shop.svc.cluster.local"))], &["IST0002 sidecar shop/a"]);
    check(&[&web, &sidecar("a", &policy("gone.x"))], &["IST0002 sidecar shop/a", "IST0101 sidecar shop/a"]);
    check(&[&web, &sidecar("a", &format!("outboundTrafficPolicy: {{mode: ALLOW_ANY}}, {OWN}"))], &[]);
    check(&[&web, &sidecar("a", OWN)], &[]);
}

#[test]
fn rut0005_a_sidecar_without_egress() {
    let ingress = "ingress: [{port: {number: 80, protocol: HTTP}}]";
    let root = sidecar("istio-system/r", OWN);
    check(&[&root, &sidecar("a", ingress)], &["RUT0005 sidecar shop/a"]);
    check(&[&root, &sidecar("a", "inboundConnectionPool: {tcp: {maxConnections: 1}}")], &["RUT0005 sidecar shop/a"]);
    check(&[&root, &sidecar("a", OWN)], &[]);
    check(&[&sidecar("a", ingress)], &[]);
    let wide = sidecar("istio-system/r", "egress: [{hosts: ['*/*']}]");
    check(&[&wide, &sidecar("a", ingress)], &[]);
}

#[test]
fn rut0006_hosts_of_nobody() {
    let web = service("web", WEB);
    let egress = |hosts: &str| sidecar("a", &format!("egress: [{{hosts: [{hosts}]}}]"));
    check(&[&web, &egress("shop/web")], &["RUT0006 sidecar shop/a"]);
    check(&[&web, &egress("bank/web.shop.svc.cluster.local")], &["RUT0006 sidecar shop/a"]);
    check(&[&web, &egress("./web.shop.svc.cluster.local, bank/*")], &[]);
    check(&[&web, &egress("'*/*.shop.svc.cluster.local'")], &[]);
    let routes = istio("VirtualService", "v", "hosts: [api.example.com], http: [{directResponse: {status: 200}}]");
    check(&[&routes, &egress("./api.example.com")], &[]);
    let narrow = istio(
        "ServiceEntry",
        "e",
        "hosts: [e.x], exportTo: [shop], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]",
    );
    check(&[&narrow, &sidecar("istio-system/r", "egress: [{hosts: [shop/e.x]}]")], &[]);
}

#[test]
fn rut0007_hosts_that_let_in_nothing_more() {
    let web = service("web", WEB);
    let egress = |hosts: &str| sidecar("a", &format!("egress: [{{hosts: [{hosts}]}}]"));
    check(&[&web, &egress("./*, ./web.shop.svc.cluster.local")], &["RUT0007 sidecar shop/a"]);
    check(&[&web, &egress("./*, shop/*")], &["RUT0007 sidecar shop/a"]);
    check(&[&web, &egress("./*, bank/*")], &[]);
    // In the default for all namespaces the dot means that of each workload.
    check(&[&web, &sidecar("istio-system/r", "egress: [{hosts: ['./*', 'istio-system/*']}]")], &[]);
    check(&[&web, &egress("./web.shop.svc.cluster.local")], &[]);
}
