use super::*;
use crate::settings::MeshSettings;
use crate::testing::{batch, configs, delete, node};
use rutter_api::Kind;

const SERVICES: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {clusterIP: 10.9.0.1, ports: [{name: http, port: 80}]}\n---\n\
    apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: bank}\nspec: {clusterIP: 10.9.0.2, ports: [{name: tcp, port: 81}]}\n---\n\
    apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s, namespace: shop}\nspec: {egress: [{hosts: [./*]}]}\n---\n";

fn endpoint(name: &str, namespace: &str, port: u16, ip: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: {namespace}, labels: \
         {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nendpoints: [{{addresses: [{ip}]}}]\n\
         ports: [{{name: {}, port: {port}}}]\n---\n",
        if port == 80 { "http" } else { "tcp" }
    )
}

fn mesh() -> Mesh {
    let mut mesh = Mesh::new(MeshSettings::default());
    for number in 0..3 {
        mesh.connect(node(&format!("a{number}"), "shop", &format!("10.0.0.{number}")));
    }
    mesh.connect(node("b", "bank", "10.0.1.1"));
    let text = [SERVICES, &endpoint("web", "shop", 80, "10.1.0.1"), &endpoint("db", "bank", 81, "10.1.0.2")].concat();
    mesh.apply(&batch(configs(&text)));
    mesh
}

fn told(impact: &Impact) -> Vec<String> {
    let mut lines = Vec::new();
    for group in &impact.groups {
        let names: Vec<String> = group.clients.iter().map(|(_, node)| node.id()).collect();
        lines.push(names.join(" "));
        for ResourceImpact { resource_type, name, before, after } in &group.resources {
            lines.push(format!("  {resource_type} {name} {} {}", before.is_some(), after.is_some()));
        }
        for RouteImpact { place, before, after, breaks, .. } in &group.routes {
            lines.push(format!("  {place}: {before} -> {after}{}", if *breaks { " BREAKS" } else { "" }));
        }
    }
    lines
}

fn routes(destination: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v, namespace: shop}}\n\
         spec: {{hosts: [web], exportTo: [.], http: [{{match: [{{uri: {{prefix: /a}}}}], directResponse: {{status: 418}}}}, \
         {{route: [{{destination: {{host: {destination}}}}}]}}]}}\n"
    )
}

#[test]
fn a_route_that_leads_elsewhere_is_told_to_those_who_see_it() {
    let mesh = mesh();
    let impact = impact(&mesh, &batch(configs(&routes("web"))));
    assert_eq!((impact.affected(), impact.clients), (3, 4));
    assert_eq!(
        told(&impact),
        [
            "a0.shop a1.shop a2.shop",
            "  virtualhost 80/web.shop.svc.cluster.local:80 true true",
            "  80/web.shop.svc.cluster.local:80 /a*:  -> 418",
        ]
    );
    let group = &impact.groups[0];
    assert_eq!(group.bytes(), group.resources[0].after.as_ref().unwrap().len());
    let gone = super::impact(&mesh, &batch(configs(&routes("gone"))));
    let want = "  80/web.shop.svc.cluster.local:80 /*: outbound|80||web.shop.svc.cluster.local -> 503: rutter: virtualService shop/v: \
                no service gone.shop.svc.cluster.local in this sidecar's scope BREAKS";
    assert!(told(&gone).contains(&want.to_owned()), "{:#?}", told(&gone));
}

#[test]
fn an_order_of_routes_that_changes_is_told() {
    let mut mesh = mesh();
    let rule = |path: &str, status: u16| {
        format!("{{match: [{{uri: {{prefix: {path}}}}}], directResponse: {{status: {status}}}}}")
    };
    let routes = |rules: &[String]| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v, namespace: shop}}\n\
             spec: {{hosts: [web], exportTo: [.], http: [{}]}}\n",
            rules.join(", ")
        )
    };
    let (a, b, c) = (rule("/a", 418), rule("/ab", 419), rule("/c", 420));
    mesh.apply(&batch(configs(&routes(&[b.clone(), a.clone()]))));
    let turned = impact(&mesh, &batch(configs(&routes(&[a.clone(), c.clone(), b.clone()]))));
    let order = "  80/web.shop.svc.cluster.local:80 order of the routes: /ab*, /a* -> /a*, /ab*".to_owned();
    assert!(told(&turned).contains(&order), "{:#?}", told(&turned));
    let more = impact(&mesh, &batch(configs(&routes(&[b, c, a]))));
    assert!(told(&more).iter().all(|line| !line.contains("order of the routes")), "{:#?}", told(&more));
}

#[test]
fn routes_to_what_loses_its_endpoints_are_told_although_they_stay() {
    let mesh = mesh();
    let web = impact(&mesh, &delete(Kind::EndpointSlice, "shop", "web"));
    let name = "outbound|80||web.shop.svc.cluster.local";
    let want = format!("  80/web.shop.svc.cluster.local:80 /*: {name} -> {name} (503: no endpoints) BREAKS");
    assert!(told(&web).contains(&want), "{:#?}", told(&web));
    assert_eq!(web.affected(), 4);
    let db = impact(&mesh, &delete(Kind::EndpointSlice, "bank", "db"));
    assert_eq!(db.affected(), 1, "those of the shop do not see it");
    assert!(told(&db).iter().any(|line| line.contains("outbound|81||db.bank") && line.ends_with(" BREAKS")));
}

#[test]
fn what_would_be_taken_away_is_told() {
    let mesh = mesh();
    let impact = impact(&mesh, &delete(Kind::Service, "shop", "web"));
    assert!(told(&impact).contains(&"  cluster outbound|80||web.shop.svc.cluster.local true false".to_owned()));
    let route = "  80/web.shop.svc.cluster.local:80 /*: outbound|80||web.shop.svc.cluster.local ->  BREAKS";
    assert!(told(&impact).contains(&route.to_owned()), "{:#?}", told(&impact));
    assert!(super::impact(&mesh, &batch(configs(SERVICES))).groups.is_empty(), "what is written as it was");
    let new = SERVICES.split("---").next().unwrap_or_default().replace("name: web", "name: new");
    let new = super::impact(&mesh, &batch(configs(&new)));
    assert!(new.affected() == 4 && told(&new).iter().all(|line| !line.contains("BREAKS")), "nobody asks for it yet");
}

#[test]
fn clients_that_ask_for_names_are_told_of_what_they_ask_for_and_of_what_that_names() {
    let mesh = mesh();
    let mut impact = impact(&mesh, &delete(Kind::Service, "shop", "web"));
    let names: Vec<Asked> = impact.groups.iter().map(Group::names).collect();
    let of = |resource_type: ResourceType| -> Asked {
        names.iter().flatten().filter(|(other, _)| *other == resource_type).cloned().collect()
    };
    let ids: Vec<NodeId> = impact.groups.iter().flat_map(|group| group.clients.iter().map(|(id, _)| *id)).collect();
    let asked = [(ids[0], Asked::new()), (ids[1], of(ResourceType::Cluster))].into();
    impact.narrow(&asked);
    let affected: Vec<NodeId> =
        impact.groups.iter().flat_map(|group| group.clients.iter().map(|(id, _)| *id)).collect();
    assert!(!affected.contains(&ids[0]) && affected.contains(&ids[1]) && affected.len() == 3);
    let of_clusters = impact.groups.iter().find(|group| group.clients[0].0 == ids[1]).unwrap();
    assert!(of_clusters.resources.iter().all(|resource| resource.resource_type == ResourceType::Cluster));
}
