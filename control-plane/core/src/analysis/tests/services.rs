use super::*;

fn entry(name: &str, spec: &str) -> String {
    istio("ServiceEntry", name, spec)
}

#[test]
fn ist0118_ports_without_a_protocol_that_somebody_cares_for() {
    let rule = istio("DestinationRule", "r", "host: web");
    let told = ["IST0118 service shop/web"];
    check(&[&service("web", "{name: main, port: 80}"), &rule], &told);
    check(&[&service("web", "{port: 80}"), &rule], &told);
    check(&[&service("web", "{name: main, port: 80}")], &[]);
    check(&[&service("web", "{name: http-main, port: 80}"), &rule], &[]);
    check(&[&service("web", "{name: main, port: 80, appProtocol: kubernetes.io/h2c}"), &rule], &[]);
    check(&[&service("web", "{name: main, port: 3306}"), &rule], &[]);
}

#[test]
fn ist0134_hosts_that_only_a_port_tells() {
    let wild = |port: &str| entry("e", &format!("hosts: ['*.x'], resolution: NONE, ports: [{port}]"));
    check(&[&wild("{number: 443, name: tcp, protocol: TCP}")], &["IST0134 serviceEntry shop/e"]);
    check(&[&wild("{number: 443, name: other}")], &["IST0134 serviceEntry shop/e"]);
    check(&[&wild("{number: 443, name: tls, protocol: TLS}")], &[]);
    let tcp = "ports: [{number: 443, name: tcp, protocol: TCP}]";
    check(&[&entry("e", &format!("hosts: [a.x], resolution: DNS, {tcp}"))], &[]);
    check(&[&entry("e", &format!("hosts: [a.x], addresses: [10.1.0.1], resolution: STATIC, {tcp}"))], &[]);
}

#[test]
fn ist0177_one_port_of_two_protocols() {
    let of = |name: &str, protocol: &str, export: &str| {
        let ports = format!("ports: [{{number: 80, name: p, protocol: {protocol}}}]");
        entry(name, &format!("hosts: [a.x], addresses: [10.1.0.1], exportTo: [{export}], resolution: STATIC, {ports}"))
    };
    let both = ["IST0177 serviceEntry bank/b", "IST0177 serviceEntry shop/a"];
    check(&[&of("a", "HTTP", "'*'"), &of("bank/b", "TCP", "'*'")], &both);
    check(&[&of("a", "HTTP", "'*'"), &of("bank/b", "TCP", ".")], &both);
    check(&[&of("a", "HTTP", "."), &of("bank/b", "TCP", ".")], &[]);
    check(&[&of("a", "HTTP", "'*'"), &of("bank/b", "http", "'*'")], &[]);
}

#[test]
fn ist0150_external_names_that_take_a_port() {
    let external = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: e, namespace: shop}}\n\
             spec: {{type: ExternalName, externalName: e.x, ports: [{{{name}port: 443}}]}}\n---\n"
        )
    };
    check(&[&external("name: tcp, ")], &["IST0150 service shop/e"]);
    check(&[&external("")], &["IST0150 service shop/e"]);
    check(&[&external("name: https, ")], &[]);
    check(&[&service("web", "{port: 443}")], &[]);
}

#[test]
fn rut0009_connections_that_another_service_takes() {
    let wild = |name: &str, host: &str, port: u16| {
        let ports = format!("ports: [{{number: {port}, name: mongo, protocol: MONGO}}]");
        entry(name, &format!("hosts: ['{host}'], resolution: STATIC, {ports}, endpoints: [{{address: 10.2.0.1}}]"))
    };
    check(&[&wild("a", "*.a.x", 27017), &wild("b", "*.b.x", 27017)], &["RUT0009 serviceEntry shop/b"]);
    check(&[&wild("a", "*.a.x", 27017), &wild("bank/b", "*.b.x", 27017)], &["RUT0009 serviceEntry bank/b"]);
    check(&[&wild("a", "*.a.x", 27017), &wild("b", "*.b.x", 27018)], &[]);
    check(&[&wild("a", "a.x", 27017), &wild("b", "b.x", 27017)], &[]);
}

#[test]
fn ist0133_what_has_no_effect() {
    let mesh = |namespace: &str, text: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: {namespace}}}\ndata: {{mesh: '{text}'}}\n---\n"
        )
    };
    check(&[&mesh("shop", "{connectTimeout: 1s}")], &["IST0133 configMap shop/istio"]);
    check(&[&mesh("istio-system", "{enableTracing: true}")], &["IST0133 configMap istio-system/istio"]);
    check(&[&mesh("istio-system", "{connectTimeout: 1s}")], &[]);
    let ingress = |class: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: i, namespace: shop}}\n\
             spec: {{{class}rules: [{{host: a.x, http: {{paths: [{{path: /, pathType: Prefix, \
             backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}}}]}}\n---\n"
        )
    };
    check(&[&service("web", WEB), &ingress("")], &["IST0133 ingress shop/i"]);
    check(&[&service("web", WEB), &ingress("ingressClassName: other, ")], &[]);
    check(&[&service("web", WEB), &ingress("ingressClassName: istio, ")], &[]);
}
