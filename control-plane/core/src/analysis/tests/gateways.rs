use super::*;

fn gateway(name: &str, selector: &str, servers: &str) -> String {
    istio("Gateway", name, &format!("selector: {{{selector}}}, servers: [{servers}]"))
}

fn server(port: u16, protocol: &str, host: &str, tls: &str) -> String {
    let tls = if tls.is_empty() { String::new() } else { format!(", tls: {{{tls}}}") };
    format!("{{port: {{number: {port}, name: p, protocol: {protocol}}}, hosts: ['{host}']{tls}}}")
}

fn secret(name: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap_or(("shop", name));
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\nstringData: {{tls.crt: c, tls.key: k}}\n---\n"
    )
}

#[test]
fn ist0101_selectors_and_secrets() {
    let edge = pod("edge", "10.0.0.9", "app: edge");
    let plain = server(80, "HTTP", "*", "");
    check(&[&edge, &gateway("g", "app: edgy", &plain)], &["IST0101 gateway shop/g"]);
    check(&[&edge, &gateway("g", "app: edge", &plain)], &[]);
    check(&[&gateway("g", "app: edgy", &plain)], &[]);
    let tls = server(443, "HTTPS", "*", "mode: SIMPLE, credentialName: cert");
    check(&[&edge, &gateway("g", "app: edge", &tls)], &["IST0101 gateway shop/g"]);
    check(&[&edge, &secret("bank/cert"), &gateway("g", "app: edge", &tls)], &["IST0101 gateway shop/g"]);
    check(&[&edge, &secret("cert"), &gateway("bank/g", "app: edge", &tls)], &[]);
    check(&[&secret("bank/cert"), &gateway("g", "app: edge", &tls)], &[]);
}

#[test]
fn ist0145_one_host_in_two() {
    let both = ["IST0145 gateway shop/a", "IST0145 gateway shop/b"];
    let of =
        |name: &str, selector: &str, port: u16, host: &str| gateway(name, selector, &server(port, "HTTP", host, ""));
    check(&[&of("a", "app: e", 80, "a.x"), &of("b", "app: e", 80, "a.x")], &both);
    check(&[&of("a", "app: e", 80, "bank/a.x"), &of("b", "app: e", 80, "a.x")], &both);
    check(&[&of("a", "app: e", 80, "*.x"), &of("b", "app: e", 80, "a.x")], &[]);
    let ingress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i, namespace: shop}\n\
        spec: {ingressClassName: istio, rules: [{host: a.x, http: {paths: [{path: /, pathType: Prefix, \
        backend: {service: {name: web, port: {number: 80}}}}]}}]}\n---\n";
    check(&[&service("web", WEB), ingress, &of("a", "istio: ingressgateway", 80, "*")], &[]);
    let edge = pod("edge", "10.0.0.9", "app: e, istio: i");
    check(&[&edge, &of("a", "app: e", 80, "a.x"), &of("b", "istio: i", 80, "a.x")], &both);
    check(&[&of("a", "app: e", 80, "a.x"), &of("b", "app: e", 80, "b.x")], &[]);
    check(&[&of("a", "app: e", 80, "a.x"), &of("b", "app: e", 81, "a.x")], &[]);
    check(&[&of("a", "app: e", 80, "a.x"), &of("b", "app: f", 80, "a.x")], &[]);
}

#[test]
fn rut0012_a_port_that_cannot_be_shared() {
    let of = |name: &str, port: u16, protocol: &str| gateway(name, "app: e", &server(port, protocol, "*", ""));
    check(&[&of("a", 80, "HTTP"), &of("b", 80, "TCP")], &["RUT0012 gateway shop/b"]);
    check(&[&of("a", 80, "TCP"), &of("b", 80, "HTTP")], &["RUT0012 gateway shop/b"]);
    check(&[&of("a", 80, "HTTP"), &of("b", 81, "TCP")], &[]);
    check(&[&of("a", 80, "HTTP")], &[]);
}

#[test]
fn ist0162_ports_that_no_service_has() {
    let edge = pod("edge", "10.0.0.9", "app: edge");
    let front = service("edge", "{name: http, port: 80, targetPort: 8080}");
    let of = |port: u16| gateway("g", "app: edge", &server(port, "HTTP", "*", ""));
    check(&[&edge, &front, &of(81)], &["IST0162 gateway shop/g"]);
    let two = gateway("g", "app: edge", &format!("{}, {}", server(80, "HTTP", "*", ""), server(9999, "TCP", "*", "")));
    check(&[&edge, &front, &two], &["IST0162 gateway shop/g"]);
    check(&[&edge, &front, &of(80)], &[]);
    check(&[&edge, &front, &of(8080)], &[]);
    check(&[&edge, &of(81)], &[]);
}

#[test]
fn ist0138_one_certificate_in_two() {
    let of = |name: &str, port: u16, host: &str, tls: &str| {
        gateway(name, "app: e", &server(port, "HTTPS", host, &format!("mode: SIMPLE, {tls}")))
    };
    let both = ["IST0138 gateway shop/a", "IST0138 gateway shop/b"];
    let by_secret = "credentialName: cert";
    check(&[&secret("cert"), &of("a", 443, "a.x", by_secret), &of("b", 443, "b.x", by_secret)], &both);
    let by_file = "serverCertificate: /c, privateKey: /k";
    check(&[&of("a", 443, "a.x", by_file), &of("b", 443, "b.x", by_file)], &both);
    check(&[&of("a", 443, "a.x", by_file), &of("b", 443, "b.x", "serverCertificate: /d, privateKey: /k")], &[]);
    check(&[&of("a", 443, "a.x", by_file)], &[]);
}
