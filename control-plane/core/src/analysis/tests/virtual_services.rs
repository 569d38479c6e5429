use super::*;

fn routes(name: &str, host: &str, destination: &str) -> String {
    istio(
        "VirtualService",
        name,
        &format!("hosts: ['{host}'], http: [{{route: [{{destination: {{{destination}}}}}]}}]"),
    )
}

#[test]
fn ist0101_destinations_of_all_sorts() {
    let web = service("web", WEB);
    check(&[&web, &routes("v", "web", "host: gone")], &["IST0101 virtualService shop/v"]);
    check(&[&web, &routes("v", "web", "host: web, port: {number: 81}")], &["IST0101 virtualService shop/v"]);
    check(&[&web, &routes("v", "web", "host: web, subset: v1")], &["IST0101 virtualService shop/v"]);
    check(&[&web, &routes("bank/v", "x.y", "host: web")], &["IST0101 virtualService bank/v"]);
    let hidden = istio(
        "ServiceEntry",
        "bank/e",
        "hosts: [e.x], exportTo: [.], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]",
    );
    check(&[&hidden, &routes("v", "a.b", "host: e.x")], &["IST0101 virtualService shop/v"]);
    let several = "hosts: [web], http: [{mirrors: [{destination: {host: m1}}], mirror: null, route: [{destination: {host: r1}}]}], \
         tcp: [{route: [{destination: {host: t1}}]}], tls: [{match: [{sniHosts: [web]}], route: [{destination: {host: s1}}]}]";
    let want = ["IST0101 virtualService shop/v"; 4];
    check(&[&web, &istio("VirtualService", "v", several)], &want);
    check(&[&web, &routes("v", "web", "host: web, port: {number: 80}")], &[]);
    check(&[&web, &routes("bank/v", "x.y", "host: web.shop.svc.cluster.local")], &[]);
    let rule = istio("DestinationRule", "r", "host: web, subsets: [{name: v1, labels: {version: v1}}]");
    check(&[&web, &rule, &routes("v", "web", "host: web, subset: v1")], &[]);
    let far = "host: web.shop.svc.cluster.local, subsets: [{name: v1, labels: {version: v1}}]";
    check(
        &[&web, &istio("DestinationRule", "far/r", far), &routes("v", "web", "host: web, subset: v1")],
        &["IST0101 virtualService shop/v", "RUT0002 destinationRule far/r"],
    );
}

#[test]
fn ist0101_gateways_and_delegates() {
    let web = service("web", WEB);
    let spec = |gateway: &str| {
        format!("hosts: [a.x], gateways: [{gateway}], http: [{{route: [{{destination: {{host: web}}}}]}}]")
    };
    let server = "selector: {app: g}, servers: [{port: {number: 80, protocol: HTTP}, hosts: ['*']}]";
    check(&[&web, &istio("VirtualService", "v", &spec("g"))], &["IST0101 virtualService shop/v"]);
    check(
        &[&web, &istio("Gateway", "bank/g", server), &istio("VirtualService", "v", &spec("g"))],
        &["IST0101 virtualService shop/v"],
    );
    check(&[&web, &istio("Gateway", "bank/g", server), &istio("VirtualService", "v", &spec("bank/g"))], &[]);
    check(&[&web, &istio("VirtualService", "v", &spec("mesh"))], &[]);
    let delegating = istio("VirtualService", "v", "hosts: [a.x], http: [{delegate: {name: d}}]");
    check(&[&delegating], &["IST0101 virtualService shop/v"]);
    let delegate = istio("VirtualService", "d", "http: [{route: [{destination: {host: web}}]}]");
    check(&[&web, &delegating, &delegate], &[]);
}

#[test]
fn rut0001_a_wildcard_is_no_destination() {
    let wild = |host: &str| {
        let spec = format!("hosts: ['{host}'], resolution: NONE, ports: [{{number: 443, name: tls, protocol: TLS}}]");
        istio("ServiceEntry", "e", &spec)
    };
    check(&[&wild("*.x"), &routes("v", "a.x", "host: a.x")], &["RUT0001 virtualService shop/v"]);
    check(&[&wild("*.x"), &routes("v", "b.a.x", "host: b.a.x")], &["RUT0001 virtualService shop/v"]);
    check(&[&wild("*.x"), &routes("v", "a.x", "host: '*.x'")], &[]);
    check(&[&wild("*.y"), &routes("v", "a.x", "host: a.x")], &["IST0101 virtualService shop/v"]);
}

#[test]
fn ist0109_one_host_in_two() {
    let web = service("web", WEB);
    let spec =
        |more: &str| format!("hosts: [web.shop.svc.cluster.local], {more}http: [{{directResponse: {{status: 200}}}}]");
    let both = ["IST0109 virtualService bank/b", "IST0109 virtualService shop/a"];
    let a = istio("VirtualService", "a", &spec(""));
    check(&[&web, &a, &istio("VirtualService", "bank/b", &spec(""))], &both);
    check(&[&web, &a, &istio("VirtualService", "bank/b", &spec("exportTo: [.], "))], &both);
    check(
        &[&web, &a, &istio("VirtualService", "b", &spec("gateways: [mesh], "))],
        &["IST0109 virtualService shop/a", "IST0109 virtualService shop/b"],
    );
    let narrow = istio("VirtualService", "a", &spec("exportTo: [.], "));
    check(&[&web, &narrow, &istio("VirtualService", "bank/b", &spec("exportTo: [.], "))], &[]);
    let server = "selector: {app: g}, servers: [{port: {number: 80, protocol: HTTP}, hosts: ['*']}]";
    let at_gateway = istio("VirtualService", "b", &spec("gateways: [g], "));
    check(&[&web, &a, &istio("Gateway", "g", server), &at_gateway], &[]);
    let other = istio("VirtualService", "b", "hosts: [other.x], http: [{directResponse: {status: 200}}]");
    check(&[&web, &a, &other], &[]);
}

#[test]
fn ist0112_several_ports() {
    let two = "{name: http, port: 80}, {name: http-b, port: 81}";
    check(&[&service("web", two), &routes("v", "web", "host: web")], &["IST0112 virtualService shop/v"]);
    let connections = istio("VirtualService", "v", "hosts: [web], tcp: [{route: [{destination: {host: web}}]}]");
    check(&[&service("web", two), &connections], &["IST0112 virtualService shop/v"]);
    check(&[&service("web", two), &routes("v", "web", "host: web, port: {number: 81}")], &[]);
    check(&[&service("web", WEB), &routes("v", "web", "host: web")], &[]);
}

fn rules(http: &str) -> String {
    istio("VirtualService", "v", &format!("hosts: [a.x], http: [{http}]"))
}

const ANSWER: &str = "directResponse: {status: 200}";

#[test]
fn ist0130_rules_that_are_never_taken() {
    let told = ["IST0130 virtualService shop/v"];
    check(&[&rules(&format!("{{{ANSWER}}}, {{match: [{{uri: {{prefix: /a}}}}], {ANSWER}}}"))], &told);
    check(&[&rules(&format!("{{{ANSWER}}}, {{{ANSWER}}}"))], &told);
    let prefix = |prefix: &str| format!("{{match: [{{uri: {{prefix: {prefix}}}}}], {ANSWER}}}");
    check(&[&rules(&format!("{}, {}", prefix("/a"), prefix("/a/b")))], &told);
    let tcp =
        "tcp: [{route: [{destination: {host: web}}]}, {match: [{port: 80}], route: [{destination: {host: web}}]}]";
    check(&[&service("web", WEB), &istio("VirtualService", "v", &format!("hosts: [web], {tcp}"))], &told);
    let tls = "{match: [{sniHosts: [web]}], route: [{destination: {host: web}}]}";
    let tls = format!("hosts: [web], tls: [{tls}, {tls}]");
    check(&[&service("web", WEB), &istio("VirtualService", "v", &tls)], &told);
    let headers = format!("{{match: [{{headers: {{x: {{exact: a}}}}}}], {ANSWER}}}");
    check(&[&rules(&format!("{}, {headers}", prefix("/")))], &told);
    check(&[&rules(&format!("{}, {{{ANSWER}}}", prefix("/")))], &told);
    let delegated = istio("VirtualService", "d", &format!("http: [{{match: [{{uri: {{prefix: /a}}}}], {ANSWER}}}]"));
    check(&[&delegated, &rules(&format!("{{delegate: {{name: d}}}}, {{{ANSWER}}}"))], &[]);
    check(&[&rules(&format!("{}, {}", prefix("/a/b"), prefix("/a")))], &[]);
    check(&[&rules(&format!("{}, {{{ANSWER}}}", prefix("/a")))], &[]);
    let narrowed = format!("{{match: [{{uri: {{prefix: /a}}, method: {{exact: GET}}}}], {ANSWER}}}");
    check(&[&rules(&format!("{narrowed}, {}", prefix("/a/b")))], &[]);
    let without = format!("{{match: [{{uri: {{prefix: /a}}, withoutHeaders: {{x: {{}}}}}}], {ANSWER}}}");
    check(&[&rules(&format!("{without}, {}", prefix("/a")))], &[]);
    let elsewhere = format!("{{match: [{{uri: {{prefix: /a}}, sourceLabels: {{app: b}}}}], {ANSWER}}}");
    check(&[&rules(&format!("{elsewhere}, {}", prefix("/a")))], &[]);
}

#[test]
fn ist0131_conditions_that_never_count() {
    let first = format!("{{match: [{{uri: {{prefix: /a}}}}], {ANSWER}}}");
    let second = |uri: &str| format!("{{match: [{{uri: {{{uri}}}}}, {{uri: {{exact: /c}}}}], {ANSWER}}}");
    let told = ["IST0131 virtualService shop/v"];
    check(&[&rules(&format!("{first}, {}", second("prefix: /a/b")))], &told);
    check(&[&rules(&format!("{first}, {}", second("exact: /a1")))], &told);
    check(&[&rules(&format!("{first}, {}", second("prefix: /b")))], &[]);
    check(&[&rules(&format!("{first}, {}", second("regex: /a")))], &[]);
}

#[test]
fn ist0132_hosts_that_no_server_has() {
    let gateway = |hosts: &str| {
        let spec =
            format!("selector: {{app: g}}, servers: [{{port: {{number: 80, protocol: HTTP}}, hosts: [{hosts}]}}]");
        istio("Gateway", "g", &spec)
    };
    let bound =
        |host: &str| istio("VirtualService", "v", &format!("hosts: ['{host}'], gateways: [g], http: [{{{ANSWER}}}]"));
    let told = ["IST0132 virtualService shop/v"];
    check(&[&gateway("a.x"), &bound("b.x")], &told);
    check(&[&gateway("bank/a.x"), &bound("a.x")], &told);
    check(&[&gateway("'*.x'"), &bound("b.x")], &[]);
    check(&[&gateway("./a.x"), &bound("a.x")], &[]);
}

#[test]
fn ist0140_a_split_that_a_gateway_does_not_make() {
    let server = "selector: {app: g}, servers: [{port: {number: 80, protocol: HTTP}, hosts: ['*']}]";
    let rule = istio(
        "DestinationRule",
        "r",
        "host: web, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]",
    );
    let base = [service("web", WEB), istio("Gateway", "g", server), rule].concat();
    let split = routes("split", "web", "host: web, subset: v1");
    let edge = |destination: &str| {
        let spec = format!("hosts: [a.x], gateways: [g], http: [{{route: [{{destination: {{{destination}}}}}]}}]");
        istio("VirtualService", "edge", &spec)
    };
    check(&[&base, &split, &edge("host: web")], &["IST0140 virtualService shop/edge"]);
    check(&[&base, &split, &edge("host: web.shop.svc.cluster.local")], &["IST0140 virtualService shop/edge"]);
    check(&[&base, &split, &edge("host: web, subset: v2")], &[]);
    check(&[&base, &edge("host: web")], &[]);
}

#[test]
fn ist0165_gateways_of_a_controller() {
    let bound = |gateway: &str| {
        istio("VirtualService", "v", &format!("hosts: [a.x], gateways: [{gateway}], http: [{{{ANSWER}}}]"))
    };
    check(&[&bound("g-istio-autogenerated-k8s-gateway-default")], &["IST0165 virtualService shop/v"]);
    check(&[&bound("bank/g-istio-autogenerated-k8s-gateway-x")], &["IST0165 virtualService shop/v"]);
    check(&[&bound("g")], &["IST0101 virtualService shop/v"]);
    check(&[&bound("mesh")], &[]);
}

#[test]
fn ist0002_fields_that_should_not_be_written() {
    let delay = |share: &str| rules(&format!("{{fault: {{delay: {{fixedDelay: 1s, {share}}}}}, {ANSWER}}}"));
    check(&[&delay("percent: 10")], &["IST0002 virtualService shop/v"]);
    check(&[&delay("percentage: {value: 10}")], &[]);
}

#[test]
fn rut0008_a_path_that_another_has_at_the_gateway() {
    let server = "selector: {app: g}, servers: [{port: {number: 80, protocol: HTTP}, hosts: ['*']}]";
    let bound = |name: &str, prefix: &str| {
        let spec = format!("hosts: [a.x], gateways: [g], http: [{{match: [{{uri: {{prefix: {prefix}}}}}], {ANSWER}}}]");
        istio("VirtualService", name, &spec)
    };
    let gateway = istio("Gateway", "g", server);
    check(&[&gateway, &bound("a", "/x"), &bound("b", "/x")], &["RUT0008 virtualService shop/b"]);
    let whole =
        |name: &str| istio("VirtualService", name, &format!("hosts: [a.x], gateways: [g], http: [{{{ANSWER}}}]"));
    check(&[&gateway, &whole("a"), &whole("b")], &["RUT0008 virtualService shop/b"]);
    check(&[&gateway, &bound("a", "/x"), &bound("b", "/y")], &[]);
    check(&[&gateway, &bound("a", "/x")], &[]);
}

#[test]
fn rut0011_posts_that_are_repeated() {
    let posts = |method: &str, retries: &str| {
        let spec = format!(
            "hosts: [web], http: [{{match: [{{method: {{exact: {method}}}}}], {retries}route: [{{destination: {{host: web}}}}]}}]"
        );
        istio("VirtualService", "v", &spec)
    };
    let web = service("web", WEB);
    check(&[&web, &posts("POST", "")], &["RUT0011 virtualService shop/v"]);
    check(&[&web, &posts("PATCH", "")], &["RUT0011 virtualService shop/v"]);
    check(&[&web, &posts("POST", "retries: {attempts: 0}, ")], &[]);
    check(&[&web, &posts("GET", "")], &[]);
    let mesh = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n\
        data: {mesh: '{defaultHttpRetryPolicy: {attempts: 0}}'}\n---\n";
    check(&[&web, mesh, &posts("POST", "")], &[]);
}

#[test]
fn rut0013_routes_to_whatever_is_named() {
    let entry = istio(
        "ServiceEntry",
        "e",
        "hosts: ['*.x'], resolution: DYNAMIC_DNS, ports: [{number: 80, name: http, protocol: HTTP}]",
    );
    let server = "selector: {app: g}, servers: [{port: {number: 80, protocol: HTTP}, hosts: ['*']}]";
    let bound = |host: &str| {
        let spec = format!("hosts: ['{host}'], gateways: [g], http: [{{route: [{{destination: {{host: '*.x'}}}}]}}]");
        istio("VirtualService", "v", &spec)
    };
    let base = [entry, istio("Gateway", "g", server)].concat();
    check(&[&base, &bound("*")], &["RUT0013 virtualService shop/v"]);
    check(&[&base, &bound("a.y")], &["RUT0013 virtualService shop/v"]);
    check(&[&base, &bound("a.x")], &[]);
    check(&[&base, &bound("*.x")], &[]);
}
