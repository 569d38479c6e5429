//! What tables of objects say of each kind.

use std::collections::BTreeMap;

use rutter_api::Kind;
use rutter_api::config::kubernetes::INGRESS_CLASS_ANNOTATION;
use serde_json::Value;

/// The endpoints of services that are ready, and all: by namespace and name.
pub(crate) type Endpoints = BTreeMap<(String, String), (usize, usize)>;

/// Returns the heads of the columns that are special to a kind.
pub(crate) fn heads(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Namespace => &[],
        Kind::ConfigMap => &["DATA"],
        Kind::Service => &["CLUSTER-IP", "PORTS", "ENDPOINTS"],
        Kind::Pod => &["READY", "IP", "NODE"],
        Kind::EndpointSlice => &["PORTS", "ENDPOINTS"],
        Kind::ServiceEntry => &["HOSTS", "PORTS", "LOCATION", "RESOLUTION"],
        Kind::WorkloadGroup => &["LABELS", "LOCALITY"],
        Kind::WorkloadEntry => &["ADDRESS"],
        Kind::Secret => &["TYPE", "DATA"],
        Kind::Ingress => &["CLASS", "HOSTS"],
        Kind::Gateway => &["SELECTOR", "PORTS", "HOSTS"],
        Kind::VirtualService => &["GATEWAYS", "HOSTS"],
        Kind::DestinationRule => &["HOST", "SUBSETS"],
        Kind::Sidecar => &["SELECTOR", "EGRESS"],
    }
}

/// Returns the cells of these columns. Without endpoints, nothing is said of those of services.
pub(crate) fn cells(kind: Kind, object: &Value, endpoints: Option<&Endpoints>) -> Vec<String> {
    let spec = &object["spec"];
    match kind {
        Kind::Namespace => Vec::new(),
        Kind::ConfigMap => {
            vec![joined(object["data"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()))]
        }
        Kind::Service => {
            let ip = spec["clusterIP"].as_str().unwrap_or("-").to_owned();
            let ready = endpoints.map_or_else(|| "-".to_owned(), |endpoints| ready_of_service(object, endpoints));
            vec![ip, ports(&spec["ports"], "port"), ready]
        }
        Kind::Pod => {
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let status = &object["status"];
            vec![text(&status["conditions"][0]["status"]), text(&status["podIP"]), text(&spec["nodeName"])]
        }
        Kind::EndpointSlice => {
            let (ready, all) = ready_of_slice(object);
            vec![ports(&object["ports"], "port"), format!("{ready}/{all} ready")]
        }
        Kind::ServiceEntry => {
            let word = |field: &str, default: &str| spec[field].as_str().unwrap_or(default).to_owned();
            let (location, resolution) = (word("location", "MESH_EXTERNAL"), word("resolution", "NONE"));
            vec![list(&spec["hosts"]), ports(&spec["ports"], "number"), location, resolution]
        }
        Kind::WorkloadGroup => {
            let locality = spec["template"]["locality"].as_str().unwrap_or("-").to_owned();
            vec![labels(&spec["metadata"]["labels"]), locality]
        }
        Kind::WorkloadEntry => vec![spec["address"].as_str().unwrap_or("-").to_owned()],
        Kind::Secret => {
            let secret_type = object["type"].as_str().filter(|text| !text.is_empty()).unwrap_or("Opaque");
            vec![secret_type.to_owned(), list(&object["sealed"]["names"])]
        }
        Kind::Ingress => {
            let hosts = items(&spec["rules"]).iter().map(|rule| rule["host"].as_str().unwrap_or("*"));
            let annotation = object["metadata"]["annotations"][INGRESS_CLASS_ANNOTATION].as_str();
            let class = annotation.or(spec["ingressClassName"].as_str()).unwrap_or("-");
            vec![class.to_owned(), joined(hosts)]
        }
        Kind::Gateway => {
            let servers = items(&spec["servers"]);
            let ports = servers.iter().map(|server| {
                let protocol = server["port"]["protocol"].as_str().unwrap_or_default();
                format!("{}/{protocol}", server["port"]["number"])
            });
            let hosts = servers.iter().flat_map(|server| items(&server["hosts"])).filter_map(Value::as_str);
            let ports: Vec<String> = ports.collect();
            vec![labels(&spec["selector"]), joined(ports.iter().map(String::as_str)), joined(hosts)]
        }
        Kind::VirtualService => vec![list(&spec["gateways"]), list(&spec["hosts"])],
        Kind::DestinationRule => {
            let subsets = items(&spec["subsets"]).iter().filter_map(|subset| subset["name"].as_str());
            vec![spec["host"].as_str().unwrap_or("-").to_owned(), joined(subsets)]
        }
        Kind::Sidecar => {
            let egress = items(&spec["egress"]).iter().flat_map(|egress| items(&egress["hosts"]));
            vec![labels(&spec["workloadSelector"]["labels"]), joined(egress.filter_map(Value::as_str))]
        }
    }
}

/// Returns labels as `app=web,version=v1`.
pub(crate) fn labels(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    let pairs: Vec<String> =
        pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if pairs.is_empty() { "-".to_owned() } else { pairs.join(",") }
}

/// Counts the endpoints of EndpointSlices by the service that they are of.
pub(crate) fn count_endpoints(slices: &[Value]) -> Endpoints {
    let mut endpoints = Endpoints::new();
    for slice in slices {
        let Some(service) = slice["metadata"]["labels"]["kubernetes.io/service-name"].as_str() else { continue };
        let namespace = slice["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let (ready, all) = ready_of_slice(slice);
        let counted = endpoints.entry((namespace, service.to_owned())).or_default();
        *counted = (counted.0 + ready, counted.1 + all);
    }
    endpoints
}

fn ready_of_slice(slice: &Value) -> (usize, usize) {
    let endpoints = items(&slice["endpoints"]);
    // As in Kubernetes, an endpoint of which nothing is said is ready.
    let ready = endpoints.iter().filter(|endpoint| endpoint["conditions"]["ready"].as_bool().unwrap_or(true));
    (ready.count(), endpoints.len())
}

fn ready_of_service(service: &Value, endpoints: &Endpoints) -> String {
    let text = |field: &str| service["metadata"][field].as_str().unwrap_or_default().to_owned();
    let counted = endpoints.get(&(text("namespace"), text("name")));
    counted.map_or_else(|| "none".to_owned(), |(ready, all)| format!("{ready}/{all} ready"))
}

fn ports(ports: &Value, number: &str) -> String {
    let ports = items(ports).iter().map(|port| match port["name"].as_str() {
        Some(name) if !name.is_empty() => format!("{}/{name}", port[number]),
        _ => port[number].to_string(),
    });
    let ports: Vec<String> = ports.collect();
    joined(ports.iter().map(String::as_str))
}

fn list(value: &Value) -> String {
    joined(items(value).iter().filter_map(Value::as_str))
}

fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let joined = texts.collect::<Vec<_>>().join(",");
    if joined.is_empty() { "-".to_owned() } else { joined }
}

pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_has_a_cell_for_each_head() {
        for kind in Kind::ALL.into_iter() {
            assert_eq!(cells(kind, &json!({}), None).len(), heads(kind).len(), "{kind}");
        }
    }

    #[test]
    fn cells_say_what_people_look_for() {
        let slice = json!({
            "metadata": {"namespace": "shop", "labels": {"kubernetes.io/service-name": "a"}},
            "endpoints": [{"addresses": ["10.0.0.1"]}, {"conditions": {"ready": false}}, {"conditions": {"ready": true}}],
        });
        let endpoints = count_endpoints(&[slice.clone(), slice.clone(), json!({})]);
        let service = json!({
            "metadata": {"namespace": "shop", "name": "a"},
            "spec": {"clusterIP": "10.9.0.1", "ports": [{"name": "http", "port": 80}, {"port": 81}]},
        });
        assert_eq!(cells(Kind::Service, &service, Some(&endpoints)), ["10.9.0.1", "80/http,81", "4/6 ready"]);
        assert_eq!(cells(Kind::EndpointSlice, &slice, None), ["-", "2/3 ready"]);
        let virtual_service = json!({"spec": {"hosts": ["a", "b"], "gateways": ["mesh"]}});
        assert_eq!(cells(Kind::VirtualService, &virtual_service, None), ["mesh", "a,b"]);
        let rule = json!({"spec": {"host": "a", "subsets": [{"name": "v1"}, {"name": "v2"}]}});
        assert_eq!(cells(Kind::DestinationRule, &rule, None), ["a", "v1,v2"]);
        let sidecar = json!({"spec": {"workloadSelector": {"labels": {"app": "web"}}, "egress": [{"hosts": ["./*"]}]}});
        assert_eq!(cells(Kind::Sidecar, &sidecar, None), ["app=web", "./*"]);
        let entry = json!({"spec": {"hosts": ["a.b"], "ports": [{"number": 443, "name": "tls"}], "resolution": "DNS"}});
        assert_eq!(cells(Kind::ServiceEntry, &entry, None), ["a.b", "443/tls", "MESH_EXTERNAL", "DNS"]);
    }
}
