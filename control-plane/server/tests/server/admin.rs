//! Config through the admin API.

use rutter_api::pb::rutter::admin::v1 as pb;
use tonic::Code;

use crate::process::{Process, routes, service};

fn key(kind: &str, name: &str) -> pb::ObjectKey {
    pb::ObjectKey { kind: kind.into(), namespace: "shop".into(), name: name.into() }
}

/// Returns what became of each object of an apply.
fn actions(response: &pb::ApplyResponse) -> Vec<String> {
    let describe = |applied: &pb::Applied| {
        let key = applied.key.as_ref().unwrap();
        format!("{} {}/{} {}", key.kind, key.namespace, key.name, applied.action().as_str_name())
    };
    response.applied.iter().map(describe).collect()
}

/// Returns the names of the objects that a request finds.
async fn names(process: &mut Process, kind: &str, namespace: &str, name: &str) -> Result<Vec<String>, tonic::Status> {
    let request = pb::GetRequest { kind: kind.into(), namespace: namespace.into(), name: name.into() };
    let objects = process.admin.get(request).await?.into_inner().objects;
    let name_of = |object: pb::Object| object.key.map(|key| format!("{} {}", key.kind, key.name)).unwrap_or_default();
    Ok(objects.into_iter().map(name_of).collect())
}

#[tokio::test]
async fn an_apply_says_what_became_of_each_object() {
    let mut process = Process::start().await;
    let first = process.try_apply(&(service("a") + &service("b")), false).await.unwrap();
    assert_eq!(actions(&first), ["Service shop/a CREATED", "Service shop/b CREATED"]);
    let second = process.try_apply(&(service("a") + &service("b").replace("80", "81")), false).await.unwrap();
    assert_eq!(actions(&second), ["Service shop/a UNCHANGED", "Service shop/b CONFIGURED"]);
    assert_eq!((first.revision, second.revision), (1, 2));
    let third = process.try_apply(&service("a"), false).await.unwrap();
    assert_eq!((actions(&third), third.revision), (vec!["Service shop/a UNCHANGED".to_owned()], 2), "no commit");
}

#[tokio::test]
async fn another_age_is_a_change() {
    let mut process = Process::start().await;
    let aged = |time: &str| service("a").replace("name: a,", &format!("name: a, creationTimestamp: '{time}',"));
    process.apply(&aged("2026-01-01T00:00:00Z")).await;
    let same = process.try_apply(&aged("2026-01-01T00:00:00Z"), false).await.unwrap();
    assert_eq!(actions(&same), ["Service shop/a UNCHANGED"]);
    let older = process.try_apply(&aged("2025-01-01T00:00:00Z"), false).await.unwrap();
    assert_eq!(actions(&older), ["Service shop/a CONFIGURED"]);
    let without = process.try_apply(&service("a"), false).await.unwrap();
    assert_eq!(actions(&without), ["Service shop/a UNCHANGED"], "who gives no age leaves it as it is");
}

#[tokio::test]
async fn a_dry_run_says_the_same_and_writes_nothing() {
    let mut process = Process::start().await;
    let dry = process.try_apply(&service("a"), true).await.unwrap();
    assert_eq!((actions(&dry), dry.revision), (vec!["Service shop/a CREATED".to_owned()], 0));
    assert!(names(&mut process, "all", "", "").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_apply_lands_as_a_whole_or_not_at_all() {
    let mut process = Process::start().await;
    let error = process.try_apply(&(service("a") + &service("b").replace("80", "0")), false).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(error.message(), "test.yaml: line 6: service shop/b: spec.ports[0].port: want 1..=65535, got 0");
    assert!(names(&mut process, "all", "", "").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_destination_that_nobody_knows_is_a_warning_unless_it_comes_along() {
    let mut process = Process::start().await;
    let response = process.try_apply(&(service("a") + &routes("v", "a", "b")), false).await.unwrap();
    let want =
        "virtualService shop/v: no service b.shop.svc.cluster.local is known; requests sent there are answered 503";
    assert_eq!(response.warnings, [want]);
    let response = process.try_apply(&(service("b") + &routes("v", "a", "b")), false).await.unwrap();
    assert!(response.warnings.is_empty());
}

#[tokio::test]
async fn objects_are_found_by_kind_namespace_and_name() {
    let mut process = Process::start().await;
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n";
    let elsewhere = service("a").replace("shop", "bank");
    process.apply(&(service("a") + &service("b") + &elsewhere + &routes("v", "a", "b") + namespace)).await;
    let mut found =
        async |kind: &str, namespace: &str, name: &str| names(&mut process, kind, namespace, name).await.unwrap();
    assert_eq!(found("svc", "shop", "").await, ["Service a", "Service b"]);
    assert_eq!(found("services", "", "a").await.len(), 2);
    assert_eq!(found("vs", "", "").await, ["VirtualService v"]);
    assert_eq!(found("all", "shop", "").await.len(), 4, "a namespace is in no namespace");
    assert!(found("sidecar", "", "").await.is_empty(), "a list may be empty");
}

#[tokio::test]
async fn an_object_that_is_not_there_and_a_kind_that_nobody_knows_are_errors() {
    let mut process = Process::start().await;
    let error = names(&mut process, "svc", "shop", "a").await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::NotFound, "svc shop/a: not found"));
    let error = names(&mut process, "pods", "", "").await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().starts_with("\"pods\": want one of Namespace, Service, "), "{error}");
}

#[tokio::test]
async fn an_object_comes_back_as_it_was_applied_with_its_version_and_age() {
    let mut process = Process::start().await;
    process.apply(&service("a").replace("name: a,", "name: a, creationTimestamp: '2026-01-01T00:00:00Z',")).await;
    let request = pb::GetRequest { kind: "svc".into(), ..Default::default() };
    let response = process.admin.get(request).await.unwrap().into_inner();
    let json: serde_json::Value = serde_json::from_slice(&response.objects[0].json).unwrap();
    let want = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "a",
            "namespace": "shop",
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z"
        },
        "spec": {"ports": [{"name": "http", "port": 80}]}
    });
    assert_eq!((json, response.objects[0].owner.as_str(), response.revision), (want, "api", 1));
}

#[tokio::test]
async fn deletions_are_one_transaction() {
    let mut process = Process::start().await;
    process.apply(&(service("a") + &service("b"))).await;
    let request = pb::DeleteRequest { keys: vec![key("svc", "a"), key("svc", "gone")] };
    let error = process.admin.delete(request).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::NotFound, "service shop/gone: not found"));
    assert_eq!(names(&mut process, "svc", "", "").await.unwrap().len(), 2, "nothing was deleted");
    let request = pb::DeleteRequest { keys: vec![key("svc", "a"), key("Service", "b")] };
    assert_eq!(process.admin.delete(request).await.unwrap().into_inner().revision, 2);
    assert!(names(&mut process, "svc", "", "").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_stale_version_is_a_conflict() {
    let mut process = Process::start().await;
    process.apply(&service("a")).await;
    process.apply(&service("a").replace("80", "81")).await;
    let stale = service("a").replace("name: a,", "name: a, resourceVersion: '1',").replace("80", "82");
    let error = process.try_apply(&stale, false).await.unwrap_err();
    assert_eq!(error.code(), Code::Aborted);
    assert!(error.message().starts_with("service shop/a: want resourceVersion 1, got 2"), "{error}");
}

#[tokio::test]
async fn objects_of_the_watched_folder_are_changed_only_there() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.yaml"), service("a")).unwrap();
    let folder = dir.path().to_owned();
    let mut process = Process::with_settings(move |settings| settings.store.config_dir = Some(folder)).await;
    assert_eq!(names(&mut process, "svc", "", "").await.unwrap(), ["Service a"]);
    let error = process.try_apply(&service("a").replace("80", "81"), false).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert_eq!(error.message(), "service shop/a: want an object of api, got one of a.yaml (change it there)");
}

#[tokio::test]
async fn refused_applies_are_counted_and_health_is_told() {
    let mut process = Process::start().await;
    process.try_apply("a: [", false).await.unwrap_err();
    assert!(process.monitoring("/metrics").await.contains("\nrutter_config_rejected_total 1\n"));
    assert!(process.monitoring("/healthz").await.ends_with("\r\n\r\nok\n"));
    assert!(process.monitoring("/readyz").await.starts_with("HTTP/1.1 200 "));
    assert!(process.monitoring("/readyz?verbose").await.ends_with("\r\n\r\nxds: ok\nstore: ok\n"));
    let unknown = process.monitoring("/metric").await;
    assert!(unknown.starts_with("HTTP/1.1 404 "), "{unknown}");
    assert!(unknown.ends_with("/metric: not found (want /metrics, /healthz or /readyz)\n"), "{unknown}");
}
