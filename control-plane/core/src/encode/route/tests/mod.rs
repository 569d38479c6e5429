mod actions;
mod whole_messages;

use expect_test::expect;
use rutter_api::ResourceType;

use super::*;
use crate::client::RouteTableForm;
use crate::encode::testing::{Mesh, json_of, pretty};
use crate::model::RequestSource;
use crate::model::UnknownTraffic;
use crate::resource::EncodedResource;

const HOST: &str = "a.default.svc.cluster.local";
const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n\
    spec: {clusterIP: 10.9.0.1, ports: [{name: http, port: 80}]}\n---\n";

fn virtual_service(http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\n\
         spec: {{hosts: [a], http: [{http}]}}\n---\n"
    )
}

fn inputs(text: &str, form: RouteTableForm) -> VirtualHostInputs {
    let mesh = Mesh::new(text);
    let host = HOST.parse().unwrap();
    let seen = LookedUpService { service: Some(mesh.service(HOST)), host: HOST.parse().unwrap(), rule: None };
    let unseen = LookedUpService { service: None, host: "gone.x".parse().unwrap(), rule: None };
    VirtualHostInputs {
        retries: None,
        short_names: ShortNames::for_client("client", &host, "cluster.local"),
        host,
        port: 80,
        service: Some(mesh.service(HOST)),
        rule: mesh.destination_rule(HOST),
        virtual_service: mesh.virtual_service(HOST),
        destinations: vec![seen, unseen],
        source: RequestSource::default(),
        domain: "cluster.local".into(),
        form,
    }
}

fn encode(text: &str, form: RouteTableForm) -> EncodedResource {
    encode_virtual_host(&inputs(text, form))
}

#[test]
fn a_host_without_a_virtual_service_has_the_default_route() {
    let virtual_host = encode(SERVICE, RouteTableForm::Split);
    expect![[r#"
        {
          "domains": [
            "a.default.svc.cluster.local",
            "a.default.svc.cluster.local.",
            "a.default",
            "a.default.svc",
            "10.9.0.1"
          ],
          "include_request_attempt_count": true,
          "name": "80/a.default.svc.cluster.local:80",
          "routes": [
            {
              "decorator": {
                "operation": "a.default.svc.cluster.local:80/*"
              },
              "match": {
                "prefix": "/"
              },
              "name": "default",
              "route": {
                "cluster": "outbound|80||a.default.svc.cluster.local",
                "max_stream_duration": {
                  "grpc_timeout_header_max": "0s"
                },
                "retry_policy": {
                  "host_selection_retry_max_attempts": "5",
                  "num_retries": 2,
                  "retry_host_predicate": [
                    {
                      "name": "envoy.retry_host_predicates.previous_hosts",
                      "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                      }
                    }
                  ],
                  "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
                },
                "timeout": "0s"
              }
            }
          ]
        }"#]].assert_eq(&pretty(ResourceType::VirtualHost, &virtual_host));
}

#[test]
fn conditions_weights_and_a_timeout_are_encoded() {
    let http = "{name: r, timeout: 2s, match: [{uri: {exact: /p}, headers: {x-a: {prefix: b}, x-b: {}}}], \
                route: [{destination: {host: a, subset: v1}, weight: 90}, {destination: {host: gone.x}, weight: 10}]}";
    let virtual_host = encode(&format!("{SERVICE}{}", virtual_service(http)), RouteTableForm::Split);
    let route = &json_of(ResourceType::VirtualHost, &virtual_host)["routes"][0];
    let mut action = route["route"].clone();
    action.as_object_mut().unwrap().remove("retry_policy");
    let lines = format!("match: {}\nroute: {action}\nname: {}", route["match"], route["name"]);
    expect![[r#"
        match: {"case_sensitive":true,"headers":[{"name":"x-a","string_match":{"prefix":"b"}},{"name":"x-b","present_match":true}],"path":"/p"}
        route: {"max_grpc_timeout":"2s","timeout":"2s","weighted_clusters":{"clusters":[{"name":"outbound|80|v1|a.default.svc.cluster.local","weight":90},{"name":"outbound|80||gone.x","weight":10}]}}
        name: "r""#]].assert_eq(&lines);
}

#[test]
fn a_rule_without_any_destination_answers_itself() {
    let http = "{route: [{destination: {host: gone.x}}]}";
    let virtual_host = encode(&format!("{SERVICE}{}", virtual_service(http)), RouteTableForm::Split);
    let route = &json_of(ResourceType::VirtualHost, &virtual_host)["routes"][0];
    expect![[r#"{"body":{"inline_string":"rutter: virtualService default/v: no service gone.x in this sidecar's scope\n"},"status":503}"#]].assert_eq(&route["direct_response"].to_string());
}

#[test]
fn a_virtual_host_is_called_as_its_form_of_table_wants() {
    let names = |form: RouteTableForm| {
        let resource = encode(SERVICE, form);
        let resource_type = match form {
            RouteTableForm::Split | RouteTableForm::Whole => ResourceType::VirtualHost,
            RouteTableForm::PerHost => ResourceType::Route,
        };
        let json = json_of(resource_type, &resource);
        let first_host = &json["virtual_hosts"][0]["name"];
        format!("{}: {} {first_host}", resource.name, json["name"])
    };
    expect![[r#"
        80/a.default.svc.cluster.local:80: "80/a.default.svc.cluster.local:80" null
        80/a.default.svc.cluster.local:80: "a.default.svc.cluster.local:80" null
        outbound|80||a.default.svc.cluster.local: "outbound|80||a.default.svc.cluster.local" "a.default.svc.cluster.local:80""#]]
        .assert_eq(&[RouteTableForm::Split, RouteTableForm::Whole, RouteTableForm::PerHost].map(names).join("\n"));
}

#[test]
fn domains_are_the_names_by_which_clients_of_a_namespace_may_call_a_host() {
    let host = HOST.parse().unwrap();
    let addresses = ["10.9.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    let domains = |namespace: &str, host| {
        let short_names = ShortNames::for_client(namespace, host, "cluster.local");
        domains(DomainInputs { host, addresses: &addresses, is_headless: false, short_names, domain: "cluster.local" })
            .join(" ")
    };
    let external = "*.x".parse().unwrap();
    let lines = [domains("default", &host), domains("client", &host), domains("client", &external)];
    expect![[r#"
        a.default.svc.cluster.local a.default.svc.cluster.local. a a.default.svc a.default 10.9.0.1 [fd00::1]
        a.default.svc.cluster.local a.default.svc.cluster.local. a.default a.default.svc 10.9.0.1 [fd00::1]
        *.x *.x. 10.9.0.1 [fd00::1]"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn domains_that_another_host_has_are_left_out() {
    let virtual_host = encode(SERVICE, RouteTableForm::Split);
    let without = without_domains(&virtual_host, &["10.9.0.1".to_owned(), "a.default".to_owned()]);
    assert_eq!(without.name, virtual_host.name);
    expect![[r#"["a.default.svc.cluster.local","a.default.svc.cluster.local.","a.default.svc"]"#]]
        .assert_eq(&json_of(ResourceType::VirtualHost, &without)["domains"].to_string());
}

#[test]
fn tables_end_with_what_becomes_of_other_hosts() {
    let virtual_host = encode(SERVICE, RouteTableForm::Whole);
    let whole = encode_table(80, std::iter::once(&virtual_host), &UnknownTraffic::IsRefused);
    let lines = [encode_head(80, &UnknownTraffic::Passes), whole].map(|table| {
        let json = json_of(ResourceType::Route, &table);
        let hosts = json["virtual_hosts"].as_array().unwrap();
        let names: Vec<String> = hosts.iter().map(|host| host["name"].to_string()).collect();
        format!("{} [{}] vhds {}", table.name, names.join(", "), json["vhds"])
    });
    expect![[r#"
        80 ["allow_any"] vhds {"config_source":{"ads":{},"initial_fetch_timeout":"0s","resource_api_version":"V3"}}
        80 ["a.default.svc.cluster.local:80", "block_all"] vhds null"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn the_table_of_a_service_sends_everything_to_it() {
    let table = encode_own_table(&inputs(SERVICE, RouteTableForm::Split));
    let json = json_of(ResourceType::Route, &table);
    let host = &json["virtual_hosts"][0];
    let lines = format!("{}: {} {}", table.name, host["domains"], host["routes"][0]["route"]["cluster"]);
    expect![[r#"a.default.svc.cluster.local:80: ["*"] "outbound|80||a.default.svc.cluster.local""#]].assert_eq(&lines);
}
