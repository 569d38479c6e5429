//! Objects as clusters export them: what servers and kubectl add is no part of what the writer said.

use crate::config::{Content, read_manifests};

/// Returns the texts that are kept of the objects of a text, all of which are taken.
fn kept(text: &str) -> Vec<String> {
    let manifests = read_manifests(text, "default").unwrap();
    let texts = manifests.into_iter().map(|manifest| match manifest.content {
        Content::Taken(object) => object.json.to_string(),
        Content::Foreign(foreign) => panic!("foreign: {}", foreign.type_meta),
        Content::Refused(refused) => panic!("{:?}", refused.faults),
    });
    texts.collect()
}

const WRITTEN: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop, labels: {app: reviews}}
spec:
  clusterIP: 10.96.3.7
  clusterIPs: [10.96.3.7]
  internalTrafficPolicy: Cluster
  ipFamilies: [IPv4]
  ipFamilyPolicy: SingleStack
  ports: [{name: http, port: 9080, protocol: TCP, targetPort: 9080}]
  selector: {app: reviews}
  sessionAffinity: None
  type: ClusterIP
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: reviews-x7x2k
  namespace: shop
  labels: {kubernetes.io/service-name: reviews, endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io}
  generateName: reviews-
  ownerReferences:
  - {apiVersion: v1, blockOwnerDeletion: true, controller: true, kind: Service, name: reviews, uid: 6f1c}
addressType: IPv4
endpoints:
- addresses: [10.244.0.9]
  conditions: {ready: true, serving: true, terminating: false}
  nodeName: kind-control-plane
  targetRef: {kind: Pod, name: reviews-v1-0, namespace: shop, uid: 91aa}
ports: [{name: http, port: 9080, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}
"#;

const EXPORTED: &str = r#"
apiVersion: v1
items:
- apiVersion: v1
  kind: Service
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {"apiVersion":"v1","kind":"Service","metadata":{"annotations":{},"name":"reviews"},"spec":{}}
    creationTimestamp: "2026-03-01T10:00:00Z"
    labels:
      app: reviews
    managedFields:
    - {apiVersion: v1, fieldsType: FieldsV1, manager: kubectl-client-side-apply, operation: Update}
    name: reviews
    namespace: shop
    resourceVersion: "48151623"
    uid: 6f1c0d7e-0d8e-4f5a-9a55-2f0f7c6b3c11
  spec:
    clusterIP: 10.96.3.7
    clusterIPs:
    - 10.96.3.7
    internalTrafficPolicy: Cluster
    ipFamilies:
    - IPv4
    ipFamilyPolicy: SingleStack
    ports:
    - name: http
      port: 9080
      protocol: TCP
      targetPort: 9080
    selector:
      app: reviews
    sessionAffinity: None
    type: ClusterIP
  status:
    loadBalancer: {}
- addressType: IPv4
  apiVersion: discovery.k8s.io/v1
  endpoints:
  - addresses:
    - 10.244.0.9
    conditions:
      ready: true
      serving: true
      terminating: false
    nodeName: kind-control-plane
    targetRef:
      kind: Pod
      name: reviews-v1-0
      namespace: shop
      uid: 91aa
  kind: EndpointSlice
  metadata:
    creationTimestamp: "2026-03-01T10:00:01Z"
    generateName: reviews-
    generation: 4
    labels:
      endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io
      kubernetes.io/service-name: reviews
    name: reviews-x7x2k
    namespace: shop
    ownerReferences:
    - apiVersion: v1
      blockOwnerDeletion: true
      controller: true
      kind: Service
      name: reviews
      uid: 6f1c
    resourceVersion: "48151700"
    uid: 5b1d
  ports:
  - name: http
    port: 9080
    protocol: TCP
- apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata:
    creationTimestamp: "2026-03-01T10:00:02Z"
    generation: 1
    name: reviews
    namespace: shop
    resourceVersion: "48151701"
    uid: 77aa
  spec:
    hosts:
    - reviews
    http:
    - route:
      - destination:
          host: reviews
  status:
    conditions: [{type: Reconciled, status: "True"}]
kind: List
metadata:
  resourceVersion: ""
"#;

#[test]
fn an_export_is_kept_as_its_writer_wrote_it() {
    let (written, exported) = (kept(WRITTEN), kept(EXPORTED));
    assert_eq!(written.len(), 3);
    assert_eq!(written, exported);
}

#[test]
fn an_export_as_json_is_the_same() {
    let mut documents = crate::yaml::parse(EXPORTED).unwrap();
    let list = documents.remove(0).value;
    assert_eq!(kept(&list.to_string()), kept(WRITTEN));
    assert_eq!(kept(&serde_json::to_string_pretty(&list).unwrap()), kept(WRITTEN));
    let items = list["items"].as_array().unwrap();
    assert_eq!(kept(&serde_json::to_string(items).unwrap()), kept(WRITTEN), "an array");
    let one_by_one: Vec<String> = items.iter().map(ToString::to_string).collect();
    assert_eq!(kept(&one_by_one.join("\n")), kept(WRITTEN), "one value after the other");
}

#[test]
fn an_exported_object_keeps_its_age_and_expects_no_version() {
    for manifest in read_manifests(EXPORTED, "default").unwrap() {
        let Content::Taken(object) = manifest.content else { panic!("it was taken before") };
        assert!(object.created.is_some(), "the age decides which of several objects counts");
        assert_eq!(object.revision, None, "the version is that of another store");
    }
}
